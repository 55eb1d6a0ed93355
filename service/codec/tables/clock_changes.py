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
    candidates = [p for p in backward if clocks[p].hour <= _LAST_HOUR and clocks[p].weekday() == _SUNDAY]
    for position, preceding in zip(candidates, _last_earlier(clocks, candidates), strict=True):
        repeated, count = clocks[position], position - preceding - 1
        if preceding < 0 or count > _MOST_ROWS or repeated - clocks[preceding] > _HOUR:
            continue
        if clocks[position - 1] - repeated >= _HOUR:
            continue
        if clocks[preceding + 1 : position] == clocks[position : position + count]:
            start = max(position, positions[-1] + 1) if positions else position
            positions += range(start, position + count)
    return positions


def _last_earlier(clocks: Sequence[dt.datetime], candidates: Sequence[int]) -> list[int]:
    """For each of `candidates`, in ascending order, the last position before it with an earlier time; -1 for none."""
    found: list[int] = []
    rising: list[int] = []  # positions before it with nothing earlier behind them
    begin = 0
    for candidate in candidates:
        for position in range(begin, candidate + 1):
            while rising and clocks[rising[-1]] >= clocks[position]:
                rising.pop()
            if position == candidate:
                found.append(rising[-1] if rising else -1)
            rising.append(position)
        begin = candidate + 1
    return found


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
