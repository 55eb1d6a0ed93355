"""The rows of a batch in calls of bounded size: chunk by chunk, and in each chunk group by group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.backend.buckets import CHUNK, STEPWISE_CHUNK, Ints, ShapeBuckets
from service.backend.network import Array
from service.contract.types import PaddingStats
from service.runtime import compiled

CancelledRows = Callable[[], Collection[int]]  # indices of the inputs that need no answer any more

NO_ROWS: Ints = np.zeros(0, np.int64)
_NO_VALUES: Array = np.zeros((0, 0))
_STEPS = np.arange(CHUNK)


@dataclass(slots=True)
class Chunk:
    """The next values of rows that are read in one call; R is their count, rounded up to a bucket.

    Rows that have nothing to read come without values, and where no row needs its answer any more there are no rows.
    """

    rows: Ints  # indices into the inputs
    padded_rows: Ints  # (R,), `rows` with the last one repeated
    ending: Ints  # those of `rows` that end with this chunk
    values: Array  # (R, T, …)
    lengths: Ints  # (R,)
    cost_of_later_groups: float  # until the next chunk begins, in the units of `service.backend.buckets`


class ChunkReader:
    """How far each of the rows `members` of `inputs` has been read; what it packs it adds to `padding`.

    `stepwise`: for calls that answer every step, which are shorter, and in which rows are padded for themselves alone.
    """

    def __init__(
        self,
        shapes: ShapeBuckets,
        inputs: Sequence[Array],
        members: Sequence[int],
        cancelled: CancelledRows,
        padding: PaddingStats,
        *,
        stepwise: bool = False,
    ) -> None:
        self._stepwise = stepwise
        self._chunk = STEPWISE_CHUNK if stepwise else CHUNK
        self._padding = padding
        self._shapes = shapes
        self._inputs = inputs
        self._cancelled = cancelled
        self._active: Ints = np.array(members, np.int64)
        self._lengths: Ints = np.array([len(sequence) for sequence in inputs], np.int64)
        self._start = 0

    def chunks(self) -> Iterator[Chunk]:
        """What to read next, short rows first; a chunk has been read when the next is requested."""
        while len(self._active):
            cancelled: Collection[int] | None = self._cancelled()
            active = self._active = _without(self._active, cancelled) if cancelled else self._active
            counts = np.minimum(self._lengths[active] - self._start, self._chunk)
            groups = self._shapes.split(counts, merge=not self._stepwise)
            if not counts.all():
                rows = active[counts == 0]
                yield Chunk(
                    rows, rows, rows, _NO_VALUES, NO_ROWS, groups[0].cost_of_later_groups + 1.0 if groups else 0.0
                )
                cancelled = None
            for group in groups:
                rows, cost = active[group.rows], group.cost_of_later_groups
                cancelled = self._cancelled() if cancelled is None else cancelled
                if not cancelled or len(_without(rows, cancelled)):
                    yield self._pack(rows, group.steps, cost)
                else:
                    yield Chunk(NO_ROWS, NO_ROWS, NO_ROWS, _NO_VALUES, NO_ROWS, cost)
                cancelled = None
            self._start += self._chunk
            self._active = active[self._lengths[active] > self._start]

    def ended(self, chunk: Chunk) -> Ints:
        """Those of the rows of `chunk`, which has been read, that end with it and need their answer."""
        rows = chunk.rows[self._lengths[chunk.rows] <= self._start + self._chunk]
        cancelled = self._cancelled()
        return _without(rows, cancelled) if cancelled else rows

    def end(self, rows: Ints) -> None:
        """Read nothing more of `rows`."""
        self._lengths[rows] = self._start

    def _pack(self, rows: Ints, steps: int, cost: float) -> Chunk:
        start = self._start
        sequences = [self._inputs[row][start : start + self._chunk] for row in rows.tolist()]
        values, lengths = pack(sequences, int(self._shapes.rows_for[len(sequences)]), steps)
        self._padding.real += int(lengths[: len(sequences)].sum())
        self._padding.computed += values.shape[0] * values.shape[1]
        ending = rows[self._lengths[rows] <= start + self._chunk]
        return Chunk(rows, pad_rows(rows, len(lengths)), ending, values, lengths, cost)


def _without(rows: Ints, cancelled: Collection[int]) -> Ints:
    """`rows` that are not among `cancelled`."""
    return rows[[row not in cancelled for row in rows.tolist()]] if len(rows) else rows


def pack(sequences: Sequence[NDArray[Any]], rows: int, steps: int) -> tuple[NDArray[Any], Ints]:
    """`sequences` right-padded with zeros to `(rows, steps, …)`, and lengths `(rows,)`; then copies of the last."""
    n_sequences = len(sequences)
    counts = np.empty(rows, np.int64)
    if compiled.in_use is not None:
        dense = np.zeros((rows, steps, *sequences[0].shape[1:]), sequences[0].dtype)
        compiled.in_use.fill_rows(sequences, dense, counts)
        return dense, counts
    counts[:n_sequences] = [len(sequence) for sequence in sequences]
    counts[n_sequences:] = counts[n_sequences - 1]
    dense = np.zeros((rows, steps, *sequences[0].shape[1:]), sequences[0].dtype)
    dense[:n_sequences][_STEPS[:steps] < counts[:n_sequences, None]] = np.concatenate(sequences)
    dense[n_sequences:] = dense[n_sequences - 1]
    return dense, counts


def pack_one(shapes: ShapeBuckets, sequence: Array, padding: PaddingStats) -> tuple[Array, Ints]:
    """`pack` of a single sequence of at most `CHUNK` steps, counted in `padding`."""
    rows, count = shapes.rows[0], len(sequence)
    steps = int(shapes.steps_for[count])
    dense = np.zeros((rows, steps, *sequence.shape[1:]), sequence.dtype)
    dense[:, :count] = sequence
    padding.real += count
    padding.computed += rows * steps
    return dense, np.full(rows, count)


def pad_rows(index: Ints, rows: int) -> Ints:
    """`index` with its last entry repeated up to `rows` entries: what fills a batch is a copy of a real row."""
    return np.concatenate((index, np.full(rows - len(index), index[-1]))) if rows > len(index) else index
