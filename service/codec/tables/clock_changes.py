"""The hour that comes twice in times without a zone, when clocks are set back in autumn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

_HOUR = dt.timedelta(hours=1)
_LAST_HOUR = 3  # of the day at which clocks are set back anywhere
_SUNDAY = 6
_MOST_ROWS = 3600  # of an hour


def second_hours(clocks: Sequence[dt.datetime]) -> list[int]:
    """The positions of the rows of such an hour when it comes for the second time.

    They repeat the times of the rows before them, less than an hour long, at night on a Sunday; the row before those is
    no further away than an hour, since days that come twice are no clocks that were set back.
    """
    positions: list[int] = []
    backward = [position for position, (first, second) in enumerate(pairwise(clocks), start=1) if second <= first]
    for position in backward:
        repeated = clocks[position]
        if repeated.weekday() != _SUNDAY or repeated.hour > _LAST_HOUR:
            continue
        count = 1
        while count < min(position, _MOST_ROWS) and clocks[position - 1 - count] >= repeated:
            count += 1
        preceding = position - count - 1
        first, second = clocks[position - count : position], clocks[position : position + count]
        if first != second or preceding < 0 or first[-1] - repeated >= _HOUR:
            continue
        if dt.timedelta(0) < repeated - clocks[preceding] <= _HOUR:
            positions += range(position, position + count)
    return positions


def joined_hours(values: Sequence[float | None], positions: Sequence[int]) -> list[float | None]:
    """`values` with the mean of both hours in place of the first, where those at `positions` are of the second."""
    joined = list(values)
    start = 0
    while start < len(positions):
        end = start + 1
        while end < len(positions) and positions[end] == positions[end - 1] + 1:
            end += 1
        count = end - start
        for position in positions[start:end]:
            pair = [value for value in (values[position - count], values[position]) if value is not None]
            joined[position - count] = sum(pair) / len(pair) if pair else None
        start = end
    left_out = set(positions)
    return [value for position, value in enumerate(joined) if position not in left_out]
