"""How far the rows of a batch have been read: chunk by chunk, and in each chunk group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.backend.buckets import CHUNK, Group, Ints, ShapeBuckets, pack

Array = NDArray[Any]
IsCancelled = Callable[[int], bool]

NOBODY: Ints = np.zeros(0, np.int64)


@dataclass(slots=True)
class PaddingStats:
    """Steps of rows: `real` ones were observations, `computed` ones include the padding. A pass adds to it."""

    real: int = 0
    computed: int = 0


class ChunkReader:
    """How far each of `members` has been read; rows are indices into `inputs`."""

    def __init__(
        self,
        shapes: ShapeBuckets,
        inputs: Sequence[Array],
        members: Sequence[int],
        is_cancelled: IsCancelled,
        padding: PaddingStats,
    ) -> None:
        self._tally = padding
        self._shapes = shapes
        self._inputs = inputs
        self._gone = is_cancelled
        self._active: Ints = np.array(members, np.int64)
        self._total: Ints = np.array([len(part) for part in inputs], np.int64)
        self._at = 0

    def groups(self, *, merge: bool) -> Iterator[Group]:
        """What to read next, the shortest rows of a chunk first; a group has been read when the next is asked for.

        Rows without anything to read come in a group of no steps, and a group that nobody waits for has no rows.
        """
        while len(self._active):
            counts = np.minimum(self._total[self._active] - self._at, CHUNK)
            groups = self._shapes.split(counts, merge=merge)
            if not counts.all():
                yield Group(self._active[counts == 0], 0, groups[0].later + 1.0 if groups else 0.0)
            for group in groups:
                rows = self._active[group.rows]
                should_continue = not all(map(self._gone, rows.tolist()))
                yield replace(group, rows=rows) if should_continue else Group(NOBODY, 0, group.later)
            self._at += CHUNK
            left = self._active[self._total[self._active] > self._at]
            self._active = left[[not self._gone(row) for row in left.tolist()]] if len(left) else left

    def pack(self, group: Group) -> tuple[Array, Ints]:
        """The next chunk of the group's rows, `(R, steps, …)`, and its lengths, R rounded up to a row bucket."""
        at = self._at
        parts = [self._inputs[row][at : at + CHUNK] for row in group.rows.tolist()]
        dense, counts = pack(parts, self._shapes.rows_for(len(parts)), group.steps)
        self._tally.real += int(counts[: len(parts)].sum())
        self._tally.computed += dense.shape[0] * dense.shape[1]
        return dense, counts

    def ended(self, group: Group) -> Ints:
        """Those of the group's rows that end with it, and are waited for."""
        rows = group.rows[self._total[group.rows] <= self._at + CHUNK]
        if not any(map(self._gone, rows.tolist())):
            return rows
        return rows[[not self._gone(row) for row in rows.tolist()]]

    def end(self, rows: Ints) -> None:
        """Read nothing more of `rows`."""
        self._total[rows] = self._at
