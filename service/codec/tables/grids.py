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
_QUARTER = re.compile(r"(?:[QTKqtk]|[Qq]tr)\.?\s?([1-4])")
_HOUR = re.compile(r"(?:h|hour|hora|stunde|heure|he|hr)?[\s_]?([0-9]{1,2})\s?h?", re.IGNORECASE)

Time = Callable[[str, int], str]  # the name of a row, and the number of a column, to the text of a time


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
                return _unrolled(grid, months, lambda name, month: f"{name}-{month:02}", "a year", "a month")
            quarters = _numbered(header, _quarter_of)
            if len(quarters) == 4:
                return _unrolled(grid, quarters, lambda name, quarter: f"{name}Q{quarter}", "a year", "a quarter")
        if grid is table and all(map(looks_like_date, names)) and not any(":" in name for name in names):
            return _days(grid)
    return None


def _days(grid: Rows) -> Rows | None:
    """A row for each day, a column for each hour or quarter of one."""
    header = grid.rows[0]
    clocks = {index: cell.strip() for index, cell in enumerate(header.cells) if index and is_clock(cell)}
    if len(clocks) >= _FEWEST_COLUMNS and len(clocks) + 1 == len(header.cells):
        return _unrolled(grid, {i: i for i in clocks}, lambda day, i: f"{day} {start_of(clocks[i])}", "a day", "a time")
    hours = _numbered(header, _hour_of)
    if sorted(hours.values()) not in ([*range(24)], [*range(1, 25)]) or len(hours) + 1 != len(header.cells):
        return None
    first = min(hours.values())  # hour 1 of 24 begins at midnight
    return _unrolled(grid, hours, lambda day, hour: f"{day} {hour - first:02}:00", "a day", "an hour")


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
    if not 4 <= len(rows) - 1 <= 14 or any(len(row.cells) != width for row in rows):
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


def _unrolled(grid: Rows, columns: dict[int, int], time: Time, row_word: str, column_word: str) -> Rows:
    """The values of a grid in the order of their times, up to the last one."""
    header, body = grid.rows[0], grid.rows[1:]
    rows = [Row(header.line, ["time", "value"])]
    for number, row in enumerate(body, start=2):
        places = row.positions or [(row.line, number, column + 1) for column in range(len(row.cells))]
        for index, part in columns.items():
            cell = row.cells[index] if index < len(row.cells) else ""
            positions = [places[0], places[index] if index < len(places) else places[-1]]
            rows.append(Row(row.line, [time(row.cells[0].strip(), part), cell], positions))
    while len(rows) > 1 and is_missing(rows[-1].cells[1]):
        rows.pop()
    words = f"each row was read as {row_word}, each column as {column_word}"
    if grid.rows[0].positions is not None:
        words = f"each column was read as {row_word}, each row as {column_word}"
    return replace(grid, rows=rows, notes=[*grid.notes, f"{words} of it"])
