"""The rows of a table that belong to one series, and the grid of their times, found once for series that share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from service.codec.tables.clock_changes import second_hours
from service.codec.timeline import Moment, Placed, place_moments


class Group:
    """Rows of one series, oldest first; the columns of values of a table have them in common."""

    def __init__(self, positions: Sequence[int], moments: Sequence[Moment]) -> None:
        """`positions` in the body of the table, in the order of the file, and the times there, if it has any."""
        self.repeated = _repeated(moments)  # rows of an hour that comes for the second time
        self.changed_on = moments[self.repeated[0]].clock if self.repeated else None
        if self.repeated:
            left_out = set(self.repeated)
            moments = [moment for index, moment in enumerate(moments) if index not in left_out]
            positions = [position for index, position in enumerate(positions) if index not in left_out]
        self.is_reversed = len(moments) > 1 and all(a.clock > b.clock for a, b in pairwise(moments))
        self.moments = moments[::-1] if self.is_reversed else moments
        self.positions = positions[::-1] if self.is_reversed else positions


class Placements:
    """The grids of times that were placed before: series of one table often have the same."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._found: dict[tuple[str | None, tuple[Moment, ...]], Placed] = {}

    def place(self, group: Group, freq: str | None, line_of: Callable[[int], int]) -> Placed:
        """`place_moments` for the rows of a group, of which `line_of` says the lines; raises `Fault`."""
        key = (freq, tuple(group.moments))
        placed = self._found.get(key)
        if placed is None:
            lines = [line_of(position) for position in group.positions]
            placed = self._found[key] = place_moments(group.moments, freq, self._max_length, lines)
        return placed


def groups_of(keys: Sequence[str], moments: Sequence[Moment], count: int) -> dict[str | None, Group]:
    """The groups of `count` rows by their `keys`, in the order in which these appear; one of all rows without keys."""
    if not keys:
        return {None: Group(range(count), moments)}
    positions: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, []).append(position)
    return {key: Group(rows, [moments[row] for row in rows] if moments else []) for key, rows in positions.items()}


def _repeated(moments: Sequence[Moment]) -> list[int]:
    if not moments or any(moment.offset is not None for moment in moments):
        return []
    return second_hours([moment.clock for moment in moments])
