"""Readings of a batch of digits: like `service.backend.forecasting`, but a reading may stop before its last row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from service.backend.buckets import CHUNK, Ints, ShapeBuckets
from service.backend.chunks import CancelledRows, Chunk, ChunkReader, pack_one, pad_rows
from service.backend.network import Array, IndexedResults, Network, partition
from service.backend.probabilities import probabilities_of, rows_until, unsoundness
from service.contract.types import DigitItem, DigitResult, Floats, PaddingStats

_NO_TRACE: Floats = np.zeros((0, 1))


def read_batch(
    network: Network,
    shapes: ShapeBuckets,
    items: Sequence[DigitItem],
    cancelled: CancelledRows,
    padding: PaddingStats,
) -> Iterator[IndexedResults]:
    """Read `items`; yields the answers of the digits that ended, and an empty list after every other call."""
    if len(items) == 1 and not _is_traced(items[0]) and 0 < len(items[0].rows) <= CHUNK:
        return iter((_read_one(network, shapes, items[0], padding),))
    return _read_many(network, shapes, items, cancelled, padding)


def _read_one(network: Network, shapes: ShapeBuckets, item: DigitItem, padding: PaddingStats) -> IndexedResults:
    """One digit, in the same call as among others, without arranging anything."""
    rows, lengths = pack_one(shapes, item.rows, padding)
    states = (network.initial(0) if item.state is None else item.state)[None].repeat(len(lengths), axis=0)
    states, logarithms = network.finish_reading(rows, lengths, states)
    (probabilities,) = probabilities_of(logarithms[:1])
    if not np.isfinite(probabilities.sum()):
        return [(0, network.fault(unsoundness(logarithms[:1])))]
    return [(0, DigitResult(probabilities, None, len(item.rows), states[0]))]


def _read_many(
    network: Network,
    shapes: ShapeBuckets,
    items: Sequence[DigitItem],
    cancelled: CancelledRows,
    padding: PaddingStats,
) -> Iterator[IndexedResults]:
    inputs = [item.rows for item in items]
    groups = partition(items, _is_traced)
    batch = DigitBatch(network, shapes, items)
    for members in groups:
        traced = _is_traced(items[members[0]])
        reader = ChunkReader(shapes, inputs, members, cancelled, padding, stepwise=traced)
        for chunk in reader.chunks():
            ended = chunk.ending
            if len(chunk.lengths):
                if not traced and len(ended) == len(chunk.rows):
                    yield batch.finish(chunk)
                    continue
                if traced:
                    reader.end(batch.trace(chunk))
                else:
                    batch.step(chunk)
                ended = reader.ended(chunk)
            if not len(ended):
                yield []
            for start in range(0, len(ended), shapes.max_rows):
                yield batch.read_out(ended[start : start + shapes.max_rows])


def _is_traced(item: DigitItem) -> bool:
    return item.trace or (item.stop is not None and len(item.rows) > 0)


class DigitBatch:
    """The digits of one batch: their states, their traces as far as they are computed, and the calls."""

    def __init__(self, network: Network, shapes: ShapeBuckets, items: Sequence[DigitItem]) -> None:
        self._network = network
        self._shapes = shapes
        self._items = items
        self._rows_used = np.zeros(len(items), np.int64)  # rows of each digit
        self._pieces: dict[int, list[Array]] = {row: [] for row, item in enumerate(items) if _is_traced(item)}
        self._states = np.stack([network.initial(0) if item.state is None else item.state for item in items])

    def step(self, chunk: Chunk) -> None:
        """Read `chunk`."""
        states = self._network.step(chunk.values, chunk.lengths, self._states[chunk.padded_rows])
        self._update(chunk.rows, states, chunk.lengths)

    def finish(self, chunk: Chunk) -> IndexedResults:
        """Read `chunk`, the last one of all its digits, and answer them."""
        states = self._states[chunk.padded_rows]
        states, logarithms = self._network.finish_reading(chunk.values, chunk.lengths, states)
        self._update(chunk.rows, states, chunk.lengths)
        return self._results(chunk.rows, logarithms)

    def trace(self, chunk: Chunk) -> Ints:
        """Read `chunk`, each digit up to the row at which it is sure enough; returns the digits that stopped early."""
        rows, lengths = chunk.rows, chunk.lengths
        states = self._states[chunk.padded_rows]
        new_states, logarithms = self._network.trace(chunk.values, lengths, states)
        n_used = lengths.copy()
        for line, row in enumerate(rows.tolist()):
            n_used[line] = rows_until(logarithms[line, : lengths[line]], self._items[row].stop)
            self._pieces[row].append(logarithms[line, : n_used[line]])
        stopped = n_used < lengths
        if stopped.any():  # the state must be that of the row at which the reading stopped
            new_states, _ = self._network.trace(chunk.values, n_used, states)
        self._update(rows, new_states, n_used)
        return rows[stopped[: len(rows)]]

    def read_out(self, rows: Ints) -> IndexedResults:
        """Answer `rows`, which have ended."""
        states = self._states[pad_rows(rows, int(self._shapes.rows_for[len(rows)]))]
        return self._results(rows, self._network.read(states))

    def _update(self, rows: Ints, states: Floats, n_used: Ints) -> None:
        self._states[rows] = states[: len(rows)]
        self._rows_used[rows] += n_used[: len(rows)]

    def _results(self, rows: Ints, logarithms: Array) -> IndexedResults:
        results: IndexedResults = []
        for line, (row, probabilities) in enumerate(
            zip(rows.tolist(), probabilities_of(logarithms[: len(rows)]), strict=True)
        ):
            # The answer to a traced digit is the last row of its trace, so that its `stop` holds.
            pieces = self._pieces.get(row)
            trace = probabilities_of(np.concatenate(pieces)) if pieces else _NO_TRACE
            judged = trace if len(trace) else probabilities[None]
            if np.isfinite(judged.sum()):
                shown_trace = trace if self._items[row].trace else None
                results.append(
                    (row, DigitResult(judged[-1], shown_trace, int(self._rows_used[row]), self._states[row]))
                )
            else:
                unsound = np.concatenate(pieces) if pieces else logarithms[line : line + 1]
                results.append((row, self._network.fault(unsoundness(unsound))))
        return results
