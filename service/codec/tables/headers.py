"""The rows of names above a table, made one: merged cells, several levels, units; flags behind values are left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from service.codec.tables.numerals import is_missing
from service.codec.tables.rows import Row, holds_values, is_year, named_lines

_MOST_HEADERS = 4  # rows of names above the first value
_EUROSTAT = "\\TIME_PERIOD"  # ends the name of the column before those of times, in Eurostat's tables
_FLAGGED = re.compile(r"(?P<value>:|[-+]?[0-9.,]+(?:[eE][-+]?[0-9]+)?)\s+(?P<flag>[a-z]{1,4})")


def with_one_header(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """`rows` with one row of names, and notes on what was left out for that."""
    rows, flags = _without_flags(rows)
    rows, units = _with_one_level(_with_merged_names(rows))
    return rows, flags + units


def _without_flags(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """`rows` of a table of Eurostat without the letters behind values (`1.5 p`), and a note on them."""
    if not rows or not any(cell.strip().endswith(_EUROSTAT) for cell in rows[0].cells):
        return rows, []
    flags: dict[str, None] = {}
    plain = []
    for row in rows:
        matches = [_FLAGGED.fullmatch(cell.strip()) for cell in row.cells]
        flags |= dict.fromkeys(match["flag"] for match in matches if match)
        cells = [match["value"] if match else cell for match, cell in zip(matches, row.cells, strict=True)]
        plain.append(replace(row, cells=cells))
    return plain, [f"flags behind values were left out: {', '.join(flags)}"] if flags else []


def _with_merged_names(rows: list[Row]) -> list[Row]:
    """`rows` with the names of merged cells over each column that they stand above; a year is put before its parts.

    A spreadsheet saves the text of merged cells in the first of them, and leaves the others empty.
    """
    if len(rows) < 3 or holds_values(rows[1]):
        return rows
    above, below = rows[0], rows[1]
    names = _padded([cell.strip() for cell in above.cells], len(below.cells))
    merged = [index for index, name in enumerate(names) if index and not name and below.cells[index].strip()]
    if not merged or not any(names[index - 1] for index in merged):
        return rows
    for index in range(1, len(names)):
        if not names[index] and not is_missing(below.cells[index]) and (names[index - 1] and index - 1 > 0):
            names[index] = names[index - 1]
    if not all(is_year(name) for name, part in zip(names, below.cells, strict=True) if name and part.strip()):
        return [replace(above, cells=names), *rows[1:]]
    joined = [f"{name} {part.strip()}".strip() for name, part in zip(names, below.cells, strict=True)]
    return [replace(below, cells=joined), *rows[2:]]


def _with_one_level(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """`rows` with one row of names where several stand above the first value, and a note on those left out.

    They are put together where those of the first one repeat (several levels of pandas), else the others are units.
    """
    logger = rows[:1] if rows and rows[0].cells[0] == "TOA5" else []  # of Campbell's loggers: what wrote it
    rows = rows[len(logger) :]
    first = next((index for index, row in enumerate(rows[:_MOST_HEADERS]) if holds_values(row)), 0)
    if first < 2 or first > len(rows) - 1:
        return rows, _left_out(logger)
    above, names = rows[:first], [cell.strip() for cell in rows[0].cells]
    if len(set(names)) == len(names):
        if first > 2:  # the last row names the rows, as in (Price, Ticker, Date)
            names[0] = above[-1].cells[0].strip() or names[0]
        return [replace(rows[0], cells=names), *rows[first:]], _left_out([*logger, *above[1:]])
    columns = zip(*(_padded(row.cells, len(rows[first].cells)) for row in above), strict=True)
    joined = [" / ".join(dict.fromkeys(cell.strip() for cell in column if cell.strip())) for column in columns]
    return [Row(above[0].line, joined), *rows[first:]], _left_out(logger)


def _left_out(rows: Sequence[Row]) -> list[str]:
    return [f"left out, as units or remarks next to the names of columns: {named_lines(rows)}"] if rows else []


def _padded(cells: list[str], width: int) -> list[str]:
    return cells[:width] + [""] * (width - len(cells))
