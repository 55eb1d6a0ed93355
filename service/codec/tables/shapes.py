"""Tables of other shapes than long and wide, turned: a row for each series, and a row for each year of months.

A cell of a turned table keeps the place that it had in the file, for errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msgspec.structs import replace

from service.codec.tables.date_writings import month_of
from service.codec.tables.dates import looks_like_date
from service.codec.tables.grids import unrolled_grid
from service.codec.tables.headers import with_one_header
from service.codec.tables.numerals import are_usual_numbers, is_missing, looks_like_number, whole_number
from service.codec.tables.rows import Row, Rows, filled, holds_values, is_year, named_lines
from service.codec.tables.types import printable

_SAMPLE_SIZE = 200  # rows that are looked at
_FEWEST_COLUMNS = 3  # of values in a row that is a series
_MOST_GROUPS = 3  # columns of names that are written once for several rows
_MOST_HEADERS = 2  # rows of names below the first one
_TOTAL_STARTS = ("total ", "grand total", "gesamt", "sum of", "subtotal", "sub-total", "sous-total", "zwischensumme")
_TOTAL_ENDS = (" total", " gesamt", " ergebnis", " subtotal", " totals")
_TOTAL_WORDS = (
    "total totals sum summe gesamt gesamtergebnis suma somme totale average итого всего 合计 总计 totaal razem"
)
_TOTALS = frozenset(_TOTAL_WORDS.split())


def reshaped(table: Rows) -> Rows:
    """`table` as a wide one, where its rows are series or years; with one row of names, and no columns without any."""
    rows, remarks = _without_remarks(_without_empty_ends(table.rows))
    rows, left_out = with_one_header(rows)
    names = [] if not rows or holds_values(rows[0]) else rows[0].cells
    distinct = [row for index, row in enumerate(rows) if not index or row.cells != names]
    complete = _filled_down(distinct)
    notes = (
        []
        if complete is distinct
        else ["names of groups that stand in their first row were read for their other rows, too"]
    )
    notes += [] if len(distinct) == len(rows) else ["rows that repeat the names of the columns were left out"]
    table = replace(table, rows=complete, notes=[*table.notes, *remarks, *left_out, *notes])
    if len(table.rows) < 2:
        return _single_row(table)
    return unrolled_grid(table) or _with_series_in_columns(table) or _without_any_names(table) or table


def _single_row(table: Rows) -> Rows:
    """`table` turned, where it is one row of numbers behind a name."""
    row = table.rows[0]
    numbers = row.cells[1:]
    if len(numbers) < 2 or not row.cells[0].strip() or _is_value(row.cells[0]) or not all(map(_is_value, numbers)):
        return table
    return replace(table, rows=_turned(Row(row.line, [""] * len(row.cells)), [row], range(1, len(row.cells)), 1))


def _is_value(cell: str) -> bool:
    return looks_like_number(cell) or is_missing(cell)


def _without_any_names(table: Rows) -> Rows | None:
    """`table` turned, where each row has the name of a series before its values, and no column has a name."""
    rows = table.rows
    width = len(rows[0].cells)
    if width <= max(_FEWEST_COLUMNS, len(rows)) or any(len(row.cells) != width for row in rows):
        return None
    names = {row.cells[0].strip() for row in rows}
    if len(names) < len(rows) or any(not name or _is_value(name) or looks_like_date(name) for name in names):
        return None
    if not all(_is_value(cell) for row in rows for cell in row.cells[1:]):
        return None
    header = Row(rows[0].line, [""] * width)
    note = "each row was read as a series: its name, then its values"
    return replace(table, rows=_turned(header, rows, range(1, width), 1), notes=[*table.notes, note], is_turned=True)


def _filled_down(rows: list[Row]) -> list[Row]:
    """`rows` with the names of groups in every row, where the first columns have them in the first row of each alone.

    So write pivot tables, merged cells and the levels of an index.
    """
    columns = 0
    while columns < _MOST_GROUPS and _is_sparse(rows[1:], columns):
        columns += 1
    if not columns:
        return rows
    filled = [rows[0]]
    current = [""] * columns
    for row in rows[1:]:
        for column in range(columns):
            cell = row.cells[column]
            if cell.strip():
                current[column] = cell
        filled.append(replace(row, cells=[*current, *row.cells[columns:]]))
    labels = [tuple(cell for cell in row.cells if not looks_like_number(cell)) for row in filled]
    return filled if len(set(labels)) == len(labels) else rows


def _is_sparse(body: Sequence[Row], column: int) -> bool:
    """Whether a column holds a name where a group begins, and nothing in the rows below of which the rest is full."""
    if len(body) < 2 or any(len(row.cells) < column + 2 for row in body) or not body[0].cells[column].strip():
        return False
    empty = [row for row in body if not row.cells[column].strip()]
    names = [row.cells[column].strip() for row in body if row.cells[column].strip()]
    if not empty or len(empty) + 1 < len(names) or any(looks_like_number(name) and "." in name for name in names):
        return False
    return all(row.cells[column + 1].strip() for row in empty) and all(a != b for a, b in pairwise(names))


def _with_series_in_columns(table: Rows) -> Rows | None:
    """`table` turned, where its rows are series; None elsewhere."""
    header = table.rows[0]
    dated = {index for index, cell in enumerate(header.cells) if looks_like_date(cell)}
    body, remarks = _with_numbers(dated, table.rows[1:])
    if _names_dates(body):
        return None
    is_name = _is_step if sum(month_of(cell) is not None for cell in header.cells) < _FEWEST_COLUMNS else _is_month
    named = [index for index, cell in enumerate(header.cells) if index in dated or is_name(cell)]
    sample = body[:_SAMPLE_SIZE]
    steps = [index for index in named if _holds_numbers(sample, index)]
    digits = [number for index in steps if (number := whole_number(header.cells[index].strip())) is not None]
    if any(a >= b for a, b in pairwise(digits)):  # values, not numbers of steps
        return None
    totals = [index for index, cell in enumerate(header.cells) if is_total(cell)]
    first = steps[0] if steps else 0
    if first == 0 or len(steps) < _FEWEST_COLUMNS or len(steps) + len(totals) < len(header.cells) - first:
        return None
    series = [row for row in body if not any(is_total(cell) for cell in row.cells[:first])]
    count = _columns_of_names(series, first)
    if count == 0:
        return None
    notes = ["each row was read as a series, each column as a time"]
    notes += [f"left out, as no number is in them: {named_lines(remarks)}"] if remarks else []
    series_ids = set(map(id, series))
    left_out = [f"line {row.line}" for row in body if id(row) not in series_ids]
    left_out += [f"column '{printable(header.cells[index])}'" for index in totals]
    if left_out:
        notes.append(f"left out as totals: {', '.join(left_out)}")
    rows = _turned(header, series, steps, count)
    return replace(table, rows=rows, notes=[*table.notes, *notes], is_turned=True)


def _names_dates(body: Sequence[Row]) -> bool:
    """Whether a row begins with a date, so that it is no series; a total may have one, too."""
    return any(looks_like_date(row.cells[0]) and not any(map(is_total, row.cells)) for row in body[:_SAMPLE_SIZE])


def _with_numbers(dated: set[int], body: list[Row]) -> tuple[list[Row], list[Row]]:
    """The rows that have a number in a column named by a date, and those that have words alone there, such as codes."""
    if len(dated) < _FEWEST_COLUMNS:
        return body, []
    words = []
    for row in body:
        cells = [row.cells[index] for index in dated if index < len(row.cells)]
        if not any(map(looks_like_number, cells)) and not all(map(is_missing, cells)):
            words.append(row)
    if not words or len(words) == len(body):
        return body, []
    lines = {row.line for row in words}
    return [row for row in body if row.line not in lines], words


def is_total(name: str) -> bool:
    """Whether a name says that its row or column adds up the others."""
    if name[:1].isdigit() and name[-1:].isdigit():  # most names of rows are times
        return False
    text = name.strip().lower().rstrip(":")
    return text in _TOTALS or text.startswith(_TOTAL_STARTS) or text.endswith(_TOTAL_ENDS)


def _without_empty_ends(rows: list[Row]) -> list[Row]:
    """`rows` without columns at their end that hold nothing at all."""
    width = max((len(row.cells) for row in rows), default=0)
    last_width = max(map(filled, rows), default=0)
    return rows if last_width == width else [replace(row, cells=row.cells[:last_width]) for row in rows]


def _without_remarks(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """`rows` without what is no row of the table below its names and at its end, and notes on that.

    Statistics offices write what a series is, its unit and its source there.
    """
    may_be = len(rows) > 3 and len(rows[0].cells) > 1
    if not may_be or not any(_is_outside(row, has_times=True) for row in (rows[1], rows[-1])):
        return rows, []
    has_times = _mostly_dates(rows)
    above = 0
    while has_times and above + 1 < len(rows) and _is_outside(rows[above + 1], has_times=True):
        above += 1
    above = above if above > _MOST_HEADERS else 0
    end = len(rows)
    while end > above + 3 and _is_outside(rows[end - 1], has_times=has_times):
        end -= 1
    notes = [f"left out below the names of columns: {named_lines(rows[1 : above + 1])}"] if above else []
    notes += [f"left out below the table: {named_lines(rows[end:])}"] if end < len(rows) else []
    return [*rows[:1], *rows[above + 1 : end]], notes


def _mostly_dates(rows: Sequence[Row]) -> bool:
    """Whether the first column is one of times."""
    cells = [row.cells[0] for row in rows[1:][-_SAMPLE_SIZE:] if row.cells and row.cells[0].strip()]
    return len(cells) > 1 and 2 * sum(looks_like_date(cell) or is_year(cell) for cell in cells) > len(cells)


def _is_outside(row: Row, *, has_times: bool) -> bool:
    """Whether a row is none of the table: text and no number, and where rows have no times, a single cell of text."""
    first, others = row.cells[0].strip(), [cell for cell in row.cells[1:] if not is_missing(cell)]
    if not first or looks_like_number(first) or looks_like_date(first) or is_total(first) or is_missing(first):
        return False
    return not others or (has_times and not any(map(looks_like_number, others)))


def _is_step(name: str) -> bool:
    """Whether a column is named by a number with at most some letters before it (`d_1`, `V2`, `t3`)."""
    text = name.strip()
    digits = text.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_ ")
    return digits.isdigit() and len(text) - len(digits) <= 6


def _is_month(name: str) -> bool:
    return month_of(name) is not None or _is_step(name)


def _holds_numbers(body: Sequence[Row], index: int) -> bool:
    """Whether nearly all cells of a column in `body` are numbers or missing."""
    cells = [row.cells[index] for row in body if index < len(row.cells)]
    if are_usual_numbers(cells):
        return True
    cells = [cell for cell in cells if not is_missing(cell)]
    return sum(map(looks_like_number, cells)) >= 0.8 * len(cells)


def _columns_of_names(body: Sequence[Row], max_columns: int) -> int:
    """How many of the first columns tell all rows apart; 0 where not even all of them do."""
    for count in range(1, max_columns + 1):
        names = {tuple(cell.strip() for cell in row.cells[:count]) for row in body}
        if len(names) == len(body) and not any(is_missing(name[0]) for name in names):
            return count
    return 0


def _turned(header: Row, body: Sequence[Row], steps: Sequence[int], count: int) -> list[Row]:
    """Series in rows as a column of times, where the names of columns are times, and one for each series."""
    names = [" / ".join(cell.strip() for cell in row.cells[:count]) for row in body]
    has_times = all(looks_like_date(header.cells[index]) or is_year(header.cells[index]) for index in steps)
    lead = ["time"] if has_times else []
    rows = [Row(header.line, [*lead, *names])]
    for index in steps:
        time = [header.cells[index].strip()] if has_times else []
        positions = [(header.line, 1, index + 1)] if has_times else []
        cells = [row.cells[index] if index < len(row.cells) else "" for row in body]
        positions += [(row.line, number, index + 1) for number, row in enumerate(body, start=2)]
        rows.append(Row(header.line, [*time, *cells], positions))
    return rows
