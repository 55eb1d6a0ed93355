"""Ragged rows to dense, right-padded arrays of few shapes: which rows are computed together, and how they are laid out.

A recurrent step over rows x steps costs about `CALL + steps * (STEP + rows)`, in units of one row's step (measured on
CPU among calls of other shapes: an LSTM 64 120 us a call, 0.24 us a row's step; `forecaster` 670 and 0.73 us; Python
around a call 20 us). Lengths and row counts are rounded up to buckets: every new shape costs a millisecond once and
stays in oneDNN's cache, so they must be few enough to stay there. Rows are sorted by length and cut into the cheapest
groups, the padding of both kinds included.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

CHUNK = 512  # most steps of one call: between two chunks callers may leave and shorter work may overtake
FULL = 128  # steps of which a call takes as many rows as there may be; of more steps it takes fewer rows
LENGTHS = (1, 2, *range(4, 64, 4), *range(64, FULL, 8), *range(FULL, 256, 32), *range(256, CHUNK + 1, 64))
ROWS = (1, 2, 4, 8, 12, *range(16, 129, 8))  # 36 gives other bits than 40; above 128 a thread's rate no longer rises
SHARE_ROWS, SHARE_WORK = (
    32,
    1024,
)  # fewest rows of a share, and fewest rows x steps: 0.25 to 0.7 ms, to wake a thread 0.1
HORIZONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # then multiples of 64
LEVELS = (1, 3, 5, 9, 19, 49, 99)
CALL, STEP = 700, 1.0


@dataclass(frozen=True, slots=True)
class ShapeBuckets:
    """The shapes in use: from `least_rows` rows and `least_steps` steps on, a model's kernels agree on every row."""

    least_rows: int = 1
    least_steps: int = 1
    rows: tuple[int, ...] = ROWS
    _rows_for: Ints = field(init=False, repr=False, compare=False)
    _steps_for: Ints = field(init=False, repr=False, compare=False)
    _most: Ints = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        usable = tuple(r for r in self.rows if r >= self.least_rows) or (self.least_rows,)
        object.__setattr__(self, "rows", usable)
        object.__setattr__(self, "_rows_for", _lookup(usable))
        object.__setattr__(self, "_steps_for", _lookup(tuple(n for n in LENGTHS if n >= self.least_steps)))
        object.__setattr__(self, "_most", np.array([self.most_rows_of(steps) for steps in range(CHUNK + 1)]))

    @property
    def most_rows(self) -> int:
        """Most rows of one call."""
        return self.rows[-1]

    def most_rows_of(self, steps: int) -> int:
        """Most rows of one call of `steps` steps: it is to take no longer than one of `FULL` steps."""
        return max([rows for rows in self.rows if rows * steps <= self.most_rows * FULL], default=self.rows[0])

    def rows_for(self, count: int) -> int:
        """The row count that `count` rows are padded to."""
        return int(self._rows_for[count])

    def steps_for(self, count: int) -> int:
        """The number of steps that a row of `count` steps is padded to where it is alone."""
        return int(self._steps_for[count])

    def split(self, counts: Ints, *, merge: bool = True) -> list[Group]:
        """Cut rows with `counts` (0..CHUNK) steps each into groups, shortest first; rows of no steps are left out.

        With `merge`, short rows join longer ones where that costs less than a call of their own. Without it a row's
        padding depends on its own length alone.
        """
        order = np.argsort(counts, kind="stable")
        order = order[np.searchsorted(counts[order], 1) :]
        if not len(order):
            return []
        buckets = self._steps_for[counts[order]]  # ascending
        bounds = [0, *(np.flatnonzero(np.diff(buckets)) + 1).tolist(), len(order)]
        if merge and len(bounds) > 2:
            longest = int(buckets[-1])
            alone = self.rows_for(len(order)) * longest if len(order) <= self._most[longest] else math.inf
            if alone - int(buckets.sum()) <= CALL:  # no padding at all would not be worth another call
                bounds = [0, len(order)]
            else:
                bounds = self._cheapest(np.array(bounds), buckets)
        groups: list[Group] = []
        later = 0.0
        for end, begin in itertools.pairwise(reversed(bounds)):
            for group in self._cut(order, buckets, begin, end):  # the longest rows first
                group.later = later
                later += CALL + group.steps * (STEP + self.rows_for(len(group.rows)))
                groups.append(group)
        return groups[::-1]

    def _cheapest(self, bounds: Ints, buckets: Ints) -> list[int]:
        """Those of `bounds`, between rows of different length, at which it costs the least to cut."""
        counts = bounds - bounds[:, None]  # of the rows from one bound (line) to another (column)
        steps = np.array((0, *buckets[bounds[1:] - 1]))
        most = self._most[steps]
        whole, rest = np.divmod(np.maximum(counts, 0), most)
        rows = whole * most + self._rows_for[rest]
        prices = ((whole + (rest > 0)) * (CALL + STEP * steps) + rows * steps).T.tolist()
        least, came = [0.0], [0]  # of the rows up to a bound: what they cost, and where their last group begins
        for end in range(1, len(bounds)):
            sums = list(map(add, least, prices[end]))  # as many as there are bounds before this one
            least.append(min(sums))
            came.append(sums.index(least[-1]))
        chosen = [len(bounds) - 1]
        while chosen[-1]:
            chosen.append(came[chosen[-1]])
        return [int(bounds[place]) for place in reversed(chosen)]

    def _cut(self, order: Ints, buckets: Ints, begin: int, end: int) -> list[Group]:
        """Rows `begin`..`end` of `order` in groups of at most as many as a call takes, the longest rows first."""
        groups: list[Group] = []
        while end > begin:
            steps = int(buckets[end - 1])
            start = max(begin, end - int(self._most[steps]))
            groups.append(Group(order[start:end], steps))
            end = start
        return groups


@dataclass(slots=True)
class Group:
    """Rows to compute in one call of `steps` steps."""

    rows: Ints  # indices into the counts that were split
    steps: int
    later: float = 0.0  # what the groups after it cost, in the units above


def pack(parts: Sequence[NDArray[Any]], rows: int, steps: int) -> tuple[NDArray[Any], Ints]:
    """`parts` right-padded with zeros to `(rows, steps, …)`, and lengths `(rows,)`; then copies of the last."""
    given = len(parts)
    counts = np.empty(rows, np.int64)
    counts[:given] = [len(part) for part in parts]
    counts[given:] = counts[given - 1]
    dense = np.zeros((rows, steps, *parts[0].shape[1:]), parts[0].dtype)
    dense[:given][_STEPS[:steps] < counts[:given, None]] = np.concatenate(parts)
    dense[given:] = dense[given - 1]
    return dense, counts


def padded(index: Ints, rows: int) -> Ints:
    """`index` with its last entry repeated up to `rows` entries: what fills a batch is a copy of a real row."""
    return np.concatenate((index, np.full(rows - len(index), index[-1]))) if rows > len(index) else index


def rows_for_threads(threads: int) -> tuple[int, ...]:
    """The row counts of calls that `threads` threads share: those of one, and more in equal shares of such."""
    more = [parts * rows for parts in range(2, threads + 1) for rows in ROWS if (parts - 1) * ROWS[-1] < parts * rows]
    return (*ROWS, *more)


def shares(rows: int, steps: int, threads: int) -> int:
    """Into how many equal shares, each of a row count in `ROWS`, a call of `rows` rows and `steps` steps is split."""
    for parts in range(min(threads, rows // SHARE_ROWS), 1, -1):
        if rows % (8 * parts) == 0 and (rows > ROWS[-1] or rows * steps >= parts * SHARE_WORK):
            return parts
    return 1


@functools.lru_cache(maxsize=4096)  # asked for every item, and almost always for the same
def horizon_for(steps: int, most: int | None) -> int:
    """The horizon that is computed for `steps` steps ahead, at most `most`; the neighbours have no say in it."""
    rounded = next((h for h in HORIZONS if h >= steps), -(-steps // 64) * 64)
    return rounded if most is None else max(steps, min(rounded, most))


@functools.lru_cache(maxsize=256)
def levels_for(count: int) -> int:
    """The number of quantile levels that is computed for `count` levels."""
    return next((q for q in LEVELS if q >= count), count)


def _lookup(buckets: tuple[int, ...]) -> Ints:
    """`table[n]` is the smallest bucket that holds n, for n up to the last bucket."""
    sizes = np.array((0, *buckets), np.int64)
    return sizes[np.searchsorted(sizes, np.arange(sizes[-1] + 1))]


_STEPS = np.arange(CHUNK)
