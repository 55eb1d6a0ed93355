"""Ragged rows in arrays of few shapes: which rows are computed together, and to which size they are padded.

A recurrent call of some rows and steps costs about `CALL_COST + steps * (STEP_COST + rows)`, in units of one row's step
(measured on CPU among calls of other shapes: an LSTM 64 120 us a call, 0.24 us a row's step; `forecaster` 670 and
0.73 us; Python around a call 20 us). Lengths and row counts are rounded up to buckets: every new shape costs a
millisecond once and stays in oneDNN's cache, so they must be few enough to stay there. Rows are sorted by length and
cut into the cheapest groups, the padding of both kinds included.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, field
from operator import add

import numpy as np
from numpy.typing import NDArray

from service.backend.prices import CallPrice, steps_with_levels
from service.runtime import compiled

Ints = NDArray[np.int64]

# Most steps of one call: between two chunks requests may be cancelled and shorter work may overtake.
CHUNK = 512
# Most steps of a call that answers every step (history, trace). It is part of the bits of an answer, so it depends on
# neither the machine nor the neighbours; one row of `forecaster` takes 15 ms for it.
STEPWISE_CHUNK = 64
# Most steps of a call that takes as many rows as there may be; a call of more steps takes fewer rows.
FULL = 128
# Steps ahead of which a read-out takes as many rows as there may be; like a chunk, it then takes some 10 ms.
READOUT_STEPS = 32
# Seconds that one call may last: work that comes meanwhile waits for its end.
LONGEST_CALL = 0.02
LENGTHS = (1, 2, *range(4, 64, 4), *range(64, FULL, 8), *range(FULL, 256, 32), *range(256, CHUNK + 1, 64))
# A call of 36 rows gives other bits than one of 40; above 128 rows the rate of a thread no longer rises.
ROWS = (1, 2, 4, 8, 12, *range(16, 129, 8))
# More rows than a request brings by default (`Settings.max_items`): no call needs more, however many threads share it.
MAX_CALL_ROWS = 1024
# Fewest rows of a shard, and fewest rows x steps: these take 0.25 to 0.7 ms, and to wake a thread takes 0.1.
MIN_SHARD_ROWS, MIN_SHARD_WORK = 32, 1024
DEAR_CALL = 0.002  # seconds, from which threads share a call that answers every step, however few rows it has
HORIZONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # then multiples of 64
LEVELS = (1, 3, 5, 9, 19, 49, 99)
CALL_COST, STEP_COST = 700, 1.0


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many rows a call may have, so that it lasts no longer than `LONGEST_CALL`: by its price, and its threads."""

    step: CallPrice = field(default_factory=CallPrice)
    stepwise: CallPrice = field(default_factory=CallPrice)  # of `history` or `trace`
    readout: CallPrice = field(default_factory=CallPrice)  # of `forecast` or `read`
    threads: int = 1
    least_rows: int = MIN_SHARD_ROWS  # of a shard of a call that answers every step

    def allows(self, price: CallPrice, rows: int, steps: float) -> bool:
        """Whether a call of that `price` may have `rows` rows of `steps` steps: where most of its time is the same for
        any number of rows, fewer of them would not help."""
        shards = n_shards(rows, int(steps), self.threads)
        if shards == 1 and price is self.stepwise:
            shards = n_dear_shards(rows, price.seconds(rows, steps), self.threads, self.least_rows)
        shard = rows / shards
        seconds = price.seconds(shard, steps)
        return seconds <= LONGEST_CALL or seconds - price.seconds(0, steps) <= LONGEST_CALL / 4


@dataclass(frozen=True, slots=True)
class ShapeBuckets:
    """The shapes in use: from `least_rows` rows and `least_steps` steps on, the kernels of a model agree on every row.

    `rows_for[n]` and `steps_for[n]` are the row count and the number of steps to which n of them are padded.
    """

    least_rows: int = 1
    least_steps: int = 1
    rows: tuple[int, ...] = ROWS
    limits: CallLimits = field(default_factory=CallLimits, compare=False)
    _readout_rows: dict[tuple[int, int], int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _finish_rows: dict[tuple[int, int, int], int] = field(default_factory=dict, init=False, repr=False, compare=False)
    rows_for: Ints = field(init=False, repr=False, compare=False)
    steps_for: Ints = field(init=False, repr=False, compare=False)
    max_rows: int = field(init=False, repr=False, compare=False)  # of one call
    _max_rows: Ints = field(init=False, repr=False, compare=False)  # of a call, by its steps
    _max_stepwise_rows: Ints = field(init=False, repr=False, compare=False)  # likewise, of one that answers every step

    def __post_init__(self) -> None:
        usable = tuple(rows for rows in self.rows if rows >= self.least_rows) or (self.least_rows,)
        object.__setattr__(self, "rows", usable)
        object.__setattr__(self, "max_rows", usable[-1])
        object.__setattr__(self, "rows_for", _lookup(usable))
        object.__setattr__(self, "steps_for", _lookup(tuple(n for n in LENGTHS if n >= self.least_steps)))
        lengths = (0, *(n for n in LENGTHS if n >= self.least_steps))
        of_length = np.searchsorted(lengths, np.arange(CHUNK + 1))
        for name, price in (("_max_rows", self.limits.step), ("_max_stepwise_rows", self.limits.stepwise)):
            by_length = np.array([self.max_rows_of(steps, price) for steps in lengths])
            object.__setattr__(self, name, by_length[of_length])

    def max_rows_of(self, steps: float, price: CallPrice | None = None) -> int:
        """Most rows of one call of `steps` steps: it is to take no longer than one of `FULL` steps, or its limit."""
        allowed = [rows for rows in self.rows if rows * steps <= self.max_rows * FULL]
        if price is not None:
            allowed = [rows for rows in allowed if self.limits.allows(price, rows, steps)]
        return max(allowed, default=self.rows[0])

    def max_readout_rows(self, horizon: int, levels: int) -> int:
        """Most rows of a call that reads out so many steps ahead and quantile levels."""
        max_rows = self._readout_rows.get((horizon, levels))
        if max_rows is None:
            max_rows = min(
                max(self.rows[0], self.max_rows * READOUT_STEPS // horizon),
                self.max_rows_of(steps_with_levels(horizon, levels), self.limits.readout),
            )
            self._readout_rows[horizon, levels] = max_rows
        return max_rows

    def fit_one_call(self, rows: int, steps: int, horizon: int, levels: int) -> bool:
        """Whether `rows` rows may be read and read out in the same call."""
        max_rows = self._finish_rows.get((steps, horizon, levels))
        if max_rows is None:
            max_rows = self._finish_rows[steps, horizon, levels] = self._max_finish_rows(steps, horizon, levels)
        return rows <= max_rows

    def _max_finish_rows(self, steps: int, horizon: int, levels: int) -> int:
        """Most rows of a call that reads `steps` steps and reads out; 0 where even the fewest would take too long."""
        limits, ahead_steps = self.limits, steps_with_levels(horizon, levels)
        max_rows = 0
        for rows in self.rows:
            shard = rows / n_shards(rows, steps + int(ahead_steps), limits.threads)
            if limits.step.seconds(shard, steps) + limits.readout.seconds(shard, ahead_steps) <= LONGEST_CALL:
                max_rows = rows
        return min(max_rows, self.max_readout_rows(horizon, levels))

    def split(self, counts: Ints, *, merge: bool = True) -> list[Group]:
        """Cut rows with `counts` (0..CHUNK) steps each into groups, shortest first; rows of no steps are left out.

        With `merge`, short rows join longer ones where that costs less than a call of their own. Without it the padding
        of a row depends on its own length alone.
        """
        order = np.argsort(counts, kind="stable")
        order = order[np.searchsorted(counts[order], 1) :]
        if not len(order):
            return []
        buckets = self.steps_for[counts[order]]  # ascending
        bounds = [0, *(np.flatnonzero(np.diff(buckets)) + 1).tolist(), len(order)]
        max_rows = self._max_rows if merge else self._max_stepwise_rows
        if merge and len(bounds) > 2:
            longest = int(buckets[-1])
            one_call = self.rows_for[len(order)] * longest if len(order) <= self._max_rows[longest] else math.inf
            if one_call - int(buckets.sum()) <= CALL_COST:  # no padding at all would not be worth another call
                bounds = [0, len(order)]
            else:
                bounds = self._cheapest(np.array(bounds), buckets)
        groups: list[Group] = []
        cost = 0.0
        for end, begin in itertools.pairwise(reversed(bounds)):
            for group in _cut(order, buckets, begin, end, max_rows):  # the longest rows first
                group.cost_of_later_groups = cost
                cost += CALL_COST + group.steps * (STEP_COST + int(self.rows_for[len(group.rows)]))
                groups.append(group)
        return groups[::-1]

    def _cheapest(self, bounds: Ints, buckets: Ints) -> list[int]:
        """Those of `bounds`, between rows of different length, at which it costs the least to cut."""
        steps = np.array((0, *buckets[bounds[1:] - 1]))
        max_rows = self._max_rows[steps]
        if compiled.in_use is not None:
            return compiled.in_use.cheapest_cuts(bounds, steps, max_rows, self.rows_for, CALL_COST, STEP_COST)
        counts = bounds - bounds[:, None]  # of the rows from one bound (line) to another (column)
        full_calls, remainder = np.divmod(np.maximum(counts, 0), max_rows)
        rows = full_calls * max_rows + self.rows_for[remainder]
        prices = ((full_calls + (remainder > 0)) * (CALL_COST + STEP_COST * steps) + rows * steps).T.tolist()
        # Of the rows up to a bound: what they cost at least, and where their last group begins then.
        costs, last_begins = [0.0], [0]
        for end in range(1, len(bounds)):
            sums = list(map(add, costs, prices[end]))  # as many as there are bounds before this one
            costs.append(min(sums))
            last_begins.append(sums.index(costs[-1]))
        chosen = [len(bounds) - 1]
        while chosen[-1]:
            chosen.append(last_begins[chosen[-1]])
        return [int(bounds[index]) for index in reversed(chosen)]


@dataclass(slots=True)
class Group:
    """Rows to compute in one call of `steps` steps."""

    rows: Ints  # indices into the counts that were split
    steps: int
    cost_of_later_groups: float = 0.0  # in the units of the module's docstring


def _cut(order: Ints, buckets: Ints, begin: int, end: int, max_rows: Ints) -> list[Group]:
    """Rows `begin`..`end` of `order` in groups of at most as many as a call takes, the longest rows first."""
    groups: list[Group] = []
    while end > begin:
        steps = int(buckets[end - 1])
        start = max(begin, end - int(max_rows[steps]))
        groups.append(Group(order[start:end], steps))
        end = start
    return groups


def rows_for_threads(threads: int) -> tuple[int, ...]:
    """The row counts of calls that `threads` threads share: those of one thread, and more in equal shards of such.

    At most `MAX_CALL_ROWS`: each of these counts is run once when a model is loaded.
    """
    shared = [
        shards * rows
        for shards in range(2, threads + 1)
        for rows in ROWS
        if (shards - 1) * ROWS[-1] < shards * rows <= MAX_CALL_ROWS
    ]
    return (*ROWS, *shared)


def n_shards(rows: int, steps: int, threads: int) -> int:
    """Into how many equal shards, each of a row count in `ROWS`, a call of `rows` rows and `steps` steps is split."""
    for shards in range(min(threads, rows // MIN_SHARD_ROWS), 1, -1):
        if rows % (8 * shards) == 0 and (rows > ROWS[-1] or rows * steps >= shards * MIN_SHARD_WORK):
            return shards
    return 1


def n_dear_shards(rows: int, seconds: float, threads: int, least_rows: int) -> int:
    """The same for a call that answers every step and takes `seconds`: a few rows of it may be worth a thread.

    A shard has `least_rows` rows or more, from which on the kernels agree on every row.
    """
    if seconds >= DEAR_CALL:
        for shards in range(min(threads, rows // least_rows), 1, -1):
            if rows % shards == 0 and rows // shards in ROWS:
                return shards
    return 1


@functools.lru_cache(maxsize=4096)  # needed for every item, and almost always for the same arguments
def horizon_for(steps: int, max_horizon: int | None) -> int:
    """The horizon that is computed for `steps` steps ahead, at most `max_horizon`; it depends on no other item."""
    rounded = next((h for h in HORIZONS if h >= steps), -(-steps // 64) * 64)
    return rounded if max_horizon is None else max(steps, min(rounded, max_horizon))


@functools.lru_cache(maxsize=256)
def levels_for(count: int) -> int:
    """The number of quantile levels that is computed for `count` levels."""
    return next((q for q in LEVELS if q >= count), count)


def _lookup(buckets: tuple[int, ...]) -> Ints:
    """`table[n]` is the smallest bucket that holds n, for n up to the last bucket."""
    sizes = np.array((0, *buckets), np.int64)
    return sizes[np.searchsorted(sizes, np.arange(sizes[-1] + 1))]
