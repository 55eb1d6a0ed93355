"""One pass over digits: like `service.backend.forecasting`, for readings that may stop before their last row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from service.backend.buckets import Group, Ints, ShapeBuckets, padded
from service.backend.chunks import ChunkReader, IsCancelled, PaddingStats
from service.backend.forecasting import Array, IndexedResults, Network, not_finite, partition
from service.contract.types import DigitItem, DigitResult, Floats

_NOTHING: Floats = np.zeros((0, 10))


def read_batch(
    network: Network, shapes: ShapeBuckets, items: Sequence[DigitItem], is_cancelled: IsCancelled, padding: PaddingStats
) -> Iterator[IndexedResults]:
    """Read `items`; yields the answers of the digits that ended, and an empty list after every other call."""
    batch = _Readings(network, shapes, items)
    inputs = [item.rows for item in items]
    for members in partition(items, _traced):
        traced = _traced(items[members[0]])
        cursor = ChunkReader(shapes, inputs, members, is_cancelled, padding)
        for group in cursor.groups(merge=not traced):
            ended = cursor.ended(group)
            if not traced and group.steps and len(ended) == len(group.rows):
                yield batch.finish(cursor, group)
                continue
            if group.steps:
                (batch.trace if traced else batch.step)(cursor, group)
                ended = cursor.ended(group)  # a reading may stop before its last row
            if not len(ended):
                yield []
            for start in range(0, len(ended), shapes.most_rows):
                yield batch.read(ended[start : start + shapes.most_rows])


def _traced(item: DigitItem) -> bool:
    return item.trace or (item.stop is not None and item.length > 0)


class _Readings:
    """The digits of one batch: their states, their traces as far as they are known, and the calls."""

    def __init__(self, network: Network, shapes: ShapeBuckets, items: Sequence[DigitItem]) -> None:
        self._network = network
        self._shapes = shapes
        self._items = items
        self._states = np.stack([network.initial(0) if i.state is None else i.state for i in items])
        self._used = np.zeros(len(items), np.int64)
        self._pieces: dict[int, list[Array]] = {row: [] for row, item in enumerate(items) if _traced(item)}

    def step(self, cursor: ChunkReader, group: Group) -> None:
        """Read a chunk of the group's digits."""
        ink, counts = cursor.pack(group)
        after = self._network.step(ink, counts, self._states[padded(group.rows, len(counts))])
        self._keep(group.rows, after, counts)

    def finish(self, cursor: ChunkReader, group: Group) -> IndexedResults:
        """Read the last chunk of the group's digits, and answer them."""
        ink, counts = cursor.pack(group)
        after, said = self._network.finish_reading(ink, counts, self._states[padded(group.rows, len(counts))])
        self._keep(group.rows, after, counts)
        return self._answers(group.rows, said)

    def trace(self, cursor: ChunkReader, group: Group) -> None:
        """Read a chunk of the group's digits, each up to the row at which it is sure enough, and keep what was said."""
        rows, (ink, counts) = group.rows, cursor.pack(group)
        before = self._states[padded(rows, len(counts))]
        after, said = self._network.trace(ink, counts, before)
        kept = counts.copy()
        for line, row in enumerate(rows.tolist()):
            kept[line] = _stop(said[line, : counts[line]], self._items[row].stop)
            self._pieces[row].append(said[line, : kept[line]])
        if (kept < counts).any():  # the state must be that of the row at which the reading stopped
            after, _ = self._network.trace(ink, kept, before)
            cursor.end(rows[(kept < counts)[: len(rows)]])
        self._keep(rows, after, kept)

    def read(self, rows: Ints) -> IndexedResults:
        """Answer `rows`, which have ended."""
        return self._answers(rows, self._network.read(self._states[padded(rows, self._shapes.rows_for(len(rows)))]))

    def _keep(self, rows: Ints, states: Floats, counts: Ints) -> None:
        self._states[rows] = states[: len(rows)]
        self._used[rows] += counts[: len(rows)]

    def _answers(self, rows: Ints, said: Array) -> IndexedResults:
        lasts = _probabilities(said[: len(rows)])
        answers: IndexedResults = []
        for row, last in zip(rows.tolist(), lasts, strict=True):
            # A row that was traced is judged by its trace: its last is the answer, and `stop` holds.
            trace = self._trace(row)
            judged = trace if len(trace) else last[None]
            shown = trace if self._items[row].trace else None
            answers.append((row, DigitResult(judged[-1], shown, int(self._used[row]), self._states[row])))
            if not np.isfinite(judged.sum()):
                answers[-1] = row, not_finite("reading")
        return answers

    def _trace(self, row: int) -> Floats:
        """The probabilities (T, 10) after each row of ink that a traced digit has read; empty for others."""
        pieces = self._pieces.get(row)
        return _probabilities(np.concatenate(pieces)) if pieces else _NOTHING


def _stop(said: Array, confidence: float | None) -> int:
    """How many rows to use of log-probabilities `said` (T, 10): up to the first that is confident enough, or all."""
    if confidence is None:
        return len(said)
    reached = np.exp(said.max(axis=1).astype(np.float64)) >= confidence
    return int(reached.argmax()) + 1 if reached.any() else len(said)


def _probabilities(logarithms: Array) -> Floats:
    """Log-probabilities (…, 10) as float64 probabilities that sum to 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by whoever asked
        raw: Floats = np.exp(logarithms.astype(np.float64))
        normal: Floats = raw / raw.sum(axis=-1, keepdims=True)
    return normal
