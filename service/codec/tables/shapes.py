"""Tables of other shapes than long and wide, turned: a row for each series, and a row for each year of months.

A cell of a turned table keeps the place that it had in the file, for errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from service.codec.tables.dates import looks_like_date, month_of
from service.codec.tables.numerals import is_missing, looks_like_number
from service.codec.tables.rows import Row, Rows

_FEWEST_COLUMNS = 3  # of values in a row that is a series
_FEWEST_MONTHS = 6


def reshaped(table: Rows) -> Rows:
    """`table` as a wide one, where its rows are series or years; without a row of units below the names of columns."""
    rows = _without_units(table.rows)
    if len(rows) < 2:
        return replace(table, rows=rows)
    header, body = rows[0], rows[1:]
    months = {index: month for index, cell in enumerate(header.cells) if (month := month_of(cell))}
    if len(months) >= _FEWEST_MONTHS and all(_is_year(row.cells[0]) for row in body):
        note = "each row was read as a year, each column as a month of it"
        return replace(table, rows=_years(header, body, months), notes=[*table.notes, note])
    first = next((index for index, cell in enumerate(header.cells) if _is_step(cell)), len(header.cells))
    count = len(header.cells) - first
    if count >= _FEWEST_COLUMNS and first > 0 and all(map(_is_step, header.cells[first:])) and _are_names(body, first):
        note = "each row was read as a series, each column as a time"
        return replace(table, rows=_turned(header, body, first), notes=[*table.notes, note], is_turned=True)
    return replace(table, rows=rows)


def _without_units(rows: list[Row]) -> list[Row]:
    """`rows` without a second one that holds no number or date although the first is one of words and the third not."""
    if len(rows) < 3 or _has_values(rows[0]) or _has_values(rows[1]) or not _has_values(rows[2]):
        return rows
    return [rows[0], *rows[2:]]


def _has_values(row: Row) -> bool:
    return any(looks_like_number(cell) or looks_like_date(cell) for cell in row.cells)


def _is_year(cell: str) -> bool:
    text = cell.strip()
    return text.isdigit() and len(text) == 4 and 1600 <= int(text) <= 2200


def _is_step(name: str) -> bool:
    """Whether a column is named by a date, or by a number with at most some letters before it (`d_1`, `V2`, `t3`)."""
    text = name.strip()
    digits = text.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_ ")
    return looks_like_date(text) or (digits.isdigit() and len(text) - len(digits) <= 6)


def _are_names(body: Sequence[Row], count: int) -> bool:
    """Whether the first `count` cells of the rows tell the rows apart, and all others are numbers."""
    names = {tuple(row.cells[:count]) for row in body}
    cells = [cell for row in body[:200] for cell in row.cells[count:] if not is_missing(cell)]
    are_numbers = sum(map(looks_like_number, cells)) >= 0.8 * len(cells)
    return len(names) == len(body) and are_numbers and not any(looks_like_date(row.cells[0]) for row in body[:200])


def _years(header: Row, body: Sequence[Row], months: dict[int, int]) -> list[Row]:
    """Years of months as a column of months and one of values, up to the last value."""
    rows = [Row(header.line, ["month", "value"])]
    for number, row in enumerate(body, start=2):
        for index, month in months.items():
            cell = row.cells[index] if index < len(row.cells) else ""
            positions = [(row.line, number, 1), (row.line, number, index + 1)]
            rows.append(Row(row.line, [f"{row.cells[0].strip()}-{month:02}", cell], positions))
    while len(rows) > 1 and is_missing(rows[-1].cells[1]):
        rows.pop()
    return rows


def _turned(header: Row, body: Sequence[Row], first: int) -> list[Row]:
    """Series in rows as a column of times, where the names of columns are times, and one for each series."""
    names = [" / ".join(cell.strip() for cell in row.cells[:first]) for row in body]
    has_times = all(looks_like_date(name) or _is_year(name) for name in header.cells[first:])
    lead = ["time"] if has_times else []
    rows = [Row(header.line, [*lead, *names])]
    for index in range(first, len(header.cells)):
        time = [header.cells[index].strip()] if has_times else []
        positions = [(header.line, 1, index + 1)] if has_times else []
        cells = [row.cells[index] if index < len(row.cells) else "" for row in body]
        positions += [(row.line, number, index + 1) for number, row in enumerate(body, start=2)]
        rows.append(Row(header.line, [*time, *cells], positions))
    return rows
