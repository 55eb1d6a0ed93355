"""Tables of other shapes than long and wide, turned: a row for each series, and a row for each year of months.

A cell of a turned table keeps the place that it had in the file, for errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from service.codec.tables.date_writings import month_of
from service.codec.tables.dates import looks_like_date
from service.codec.tables.numerals import is_missing, looks_like_number
from service.codec.tables.rows import Row, Rows
from service.codec.tables.types import printable

_FEWEST_COLUMNS = 3  # of values in a row that is a series
_FEWEST_MONTHS = 6
_MOST_HEADERS = 4  # rows of names above the first value
_TOTALS = "total totals sum summe gesamt gesamtergebnis suma somme totale average итого всего 合计 总计 totaal razem"


def reshaped(table: Rows) -> Rows:
    """`table` as a wide one, where its rows are series or years; with one row of names, and no columns without any."""
    table = replace(table, rows=_with_one_header(_without_empty_ends(table.rows)))
    rows = table.rows
    if len(rows) < 2:
        return table
    header, body = rows[0], rows[1:]
    months = {index: month for index, cell in enumerate(header.cells) if (month := month_of(cell))}
    if len(months) >= _FEWEST_MONTHS and all(_is_year(row.cells[0]) for row in body):
        note = "each row was read as a year, each column as a month of it"
        return replace(table, rows=_years(header, body, months), notes=[*table.notes, note])
    return _with_series_in_columns(table) or table


def _with_series_in_columns(table: Rows) -> Rows | None:
    """`table` turned, where its rows are series; None elsewhere."""
    header, body = table.rows[0], table.rows[1:]
    steps = [index for index, cell in enumerate(header.cells) if _is_step(cell) and _holds_numbers(body, index)]
    totals = [index for index, cell in enumerate(header.cells) if is_total(cell)]
    first = steps[0] if steps else 0
    if first == 0 or len(steps) < _FEWEST_COLUMNS or len(steps) + len(totals) < len(header.cells) - first:
        return None
    series = [row for row in body if not any(is_total(cell) for cell in row.cells[:first])]
    count = _columns_of_names(series, first)
    if count == 0 or any(looks_like_date(row.cells[0]) for row in series[:200]):
        return None
    notes = ["each row was read as a series, each column as a time"]
    left_out = [f"line {row.line}" for row in body if row not in series]
    left_out += [f"column '{printable(header.cells[index])}'" for index in totals]
    if left_out:
        notes.append(f"left out as totals: {', '.join(left_out)}")
    rows = _turned(header, series, steps, count)
    return replace(table, rows=rows, notes=[*table.notes, *notes], is_turned=True)


def is_total(name: str) -> bool:
    """Whether a name says that its row or column adds up the others."""
    text = name.strip().lower().rstrip(":")
    return text in _TOTALS.split() or text.startswith(("total ", "grand total", "gesamt", "sum of"))


def _without_empty_ends(rows: list[Row]) -> list[Row]:
    """`rows` without columns at their end that hold nothing at all."""
    width = max((len(row.cells) for row in rows), default=0)
    used = max((index + 1 for row in rows for index, cell in enumerate(row.cells) if cell.strip()), default=0)
    return rows if used == width else [replace(row, cells=row.cells[:used]) for row in rows]


def _with_one_header(rows: list[Row]) -> list[Row]:
    """`rows` with one row of names where several stand above the first value.

    They are put together where those of the first one repeat (several levels of pandas), else the others are units.
    """
    first = next((index for index, row in enumerate(rows[:_MOST_HEADERS]) if _has_values(row)), 0)
    if first < 2:
        return rows
    above, names = rows[:first], [cell.strip() for cell in rows[0].cells]
    if len(set(names)) == len(names) or first > len(rows) - 1:
        return [rows[0], *rows[first:]] if first == 2 else rows
    columns = zip(*(_padded(row.cells, len(rows[first].cells)) for row in above), strict=True)
    joined = [" / ".join(dict.fromkeys(cell.strip() for cell in column if cell.strip())) for column in columns]
    return [Row(above[0].line, joined), *rows[first:]]


def _padded(cells: list[str], width: int) -> list[str]:
    return cells[:width] + [""] * (width - len(cells))


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


def _holds_numbers(body: Sequence[Row], index: int) -> bool:
    """Whether nearly all cells of a column are numbers or missing."""
    cells = [row.cells[index] for row in body[:200] if index < len(row.cells) and not is_missing(row.cells[index])]
    return sum(map(looks_like_number, cells)) >= 0.8 * len(cells)


def _columns_of_names(body: Sequence[Row], most: int) -> int:
    """How many of the first columns tell all rows apart; 0 where not even all of them do."""
    for count in range(1, most + 1):
        names = {tuple(cell.strip() for cell in row.cells[:count]) for row in body}
        if len(names) == len(body) and not any(is_missing(name[0]) for name in names):
            return count
    return 0


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


def _turned(header: Row, body: Sequence[Row], steps: Sequence[int], count: int) -> list[Row]:
    """Series in rows as a column of times, where the names of columns are times, and one for each series."""
    names = [" / ".join(cell.strip() for cell in row.cells[:count]) for row in body]
    has_times = all(looks_like_date(header.cells[index]) or _is_year(header.cells[index]) for index in steps)
    lead = ["time"] if has_times else []
    rows = [Row(header.line, [*lead, *names])]
    for index in steps:
        time = [header.cells[index].strip()] if has_times else []
        positions = [(header.line, 1, index + 1)] if has_times else []
        cells = [row.cells[index] if index < len(row.cells) else "" for row in body]
        positions += [(row.line, number, index + 1) for number, row in enumerate(body, start=2)]
        rows.append(Row(header.line, [*time, *cells], positions))
    return rows
