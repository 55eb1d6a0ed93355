"""Tables of two times, unrolled: a row for each year and a column for each month, or for each day and each hour."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec.structs import replace

from service.codec.tables.date_writings import month_of
from service.codec.tables.dates import is_clock, looks_like_date, start_of
from service.codec.tables.numerals import is_missing
from service.codec.tables.rows import Row, Rows, is_year

_FEWEST_COLUMNS = 6
_MOST_TURNED = 14  # rows of a table of which columns may be years: months, quarters, and what adds them up
_QUARTER = re.compile(r"(?:[QTKqtk]|[Qq]tr)\.?\s?([1-4])")
_HOUR = re.compile(r"(?:h|hour|hora|stunde|heure|he|hr)?[\s_]?([0-9]{1,2})\s?h?", re.IGNORECASE)


def unrolled_grid(table: Rows) -> Rows | None:
    """`table` as a column of times and one of values, where rows and columns are both times; None elsewhere."""
    header, body = table.rows[0], table.rows[1:]
    for grid in (table, _transposed(table)):
        header, body = grid.rows[0], grid.rows[1:]
        if not body or any(not row.cells or not row.cells[0].strip() for row in body):
            continue
        names = [row.cells[0].strip() for row in body]
        if all(map(is_year, names)):
            months = _numbered(header, month_of)
            if len(months) >= _FEWEST_COLUMNS:
                ends = {index: f"-{month:02}" for index, month in months.items()}
                return _unrolled(grid, ends, "a year", "a month")
            quarters = _numbered(header, _quarter_of)
            if len(quarters) == 4:
                ends = {index: f"Q{quarter}" for index, quarter in quarters.items()}
                return _unrolled(grid, ends, "a year", "a quarter")
        if grid is table and not any(":" in name for name in names):
            parts = _parts_of_days(header)  # before the names of rows, which are many
            if (parts is not None or len(names) <= _MOST_TURNED) and all(map(looks_like_date, names)):
                return _unrolled(grid, *parts) if parts is not None else None
    return None


def _parts_of_days(header: Row) -> tuple[dict[int, str], str, str] | None:
    """The ends of the times in each column of a table with a row for each day, where it is an hour or a part of one."""
    clocks = {index: start_of(cell.strip()) for index, cell in enumerate(header.cells) if index and is_clock(cell)}
    if len(clocks) >= _FEWEST_COLUMNS and len(clocks) + 1 == len(header.cells):
        return {index: f" {clock}" for index, clock in clocks.items()}, "a day", "a time"
    hours = _numbered(header, _hour_of)
    if sorted(hours.values()) not in ([*range(24)], [*range(1, 25)]) or len(hours) + 1 != len(header.cells):
        return None
    first = min(hours.values())  # hour 1 of 24 begins at midnight
    return {index: f" {hour - first:02}:00" for index, hour in hours.items()}, "a day", "an hour"


def _numbered(header: Row, number_of: Callable[[str], int | None]) -> dict[int, int]:
    """The number of each column that is a part of the time of its row."""
    found = ((index, number_of(cell)) for index, cell in enumerate(header.cells) if index)
    return {index: number for index, number in found if number is not None}


def _quarter_of(name: str) -> int | None:
    match = _QUARTER.fullmatch(name.strip())
    return int(match[1]) if match else None


def _hour_of(name: str) -> int | None:
    match = _HOUR.fullmatch(name.strip())
    return int(match[1]) if match else None


def _transposed(table: Rows) -> Rows:
    """`table` with its rows as columns, where it is small enough to be one of years and months."""
    rows = table.rows
    width = len(rows[0].cells)
    if not 4 <= len(rows) - 1 <= _MOST_TURNED or any(len(row.cells) != width for row in rows):
        return replace(table, rows=rows[:1])
    turned = [
        Row(
            rows[0].line,
            [row.cells[index] for row in rows],
            [(row.line, n, index + 1) for n, row in enumerate(rows, 1)],
        )
        for index in range(width)
    ]
    return replace(table, rows=turned)


def _unrolled(grid: Rows, ends: dict[int, str], row_word: str, column_word: str) -> Rows:
    """The values of a grid in the order of their times, up to the last one.

    A time is the name of its row with the end that `ends` has for its column.
    """
    header, body = grid.rows[0], grid.rows[1:]
    rows = [Row(header.line, ["time", "value"])]
    for number, row in enumerate(body, start=2):
        places = row.positions or [(row.line, number, column + 1) for column in range(len(row.cells))]
        line, cells, first, name = row.line, row.cells, places[0], row.cells[0].strip()
        rows += [
            Row(line, [name + end, cells[index]], (first, places[index]))
            if index < len(cells)
            else Row(line, [name + end, ""], (first, places[-1]))
            for index, end in ends.items()
        ]
    while len(rows) > 1 and is_missing(rows[-1].cells[1]):
        rows.pop()
    words = f"each row was read as {row_word}, each column as {column_word}"
    if grid.rows[0].positions is not None:
        words = f"each column was read as {row_word}, each row as {column_word}"
    return replace(grid, rows=rows, notes=[*grid.notes, f"{words} of it"])
