"""Tables of any length, from a file: read in parts, each of them whole series, so that memory is bounded.

What the columns mean is found by looking at the first part, and holds for all. A table in parts is a long one, sorted
by its series: of any other, no part could be computed before the last row is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from msgspec.structs import replace

from service.codec.common import PARQUET
from service.codec.tables import parquet
from service.codec.tables.reader import Limits, read_table
from service.codec.tables.rows import Row, Rows, row_parts
from service.codec.tables.types import Table, TableOptions, TableReading, bad_table, printable
from service.contract.errors import InvalidRequest

PART_BYTES = 1 << 18  # of a file of text that are read at once
PART_ROWS = 16_384  # of Parquet
MAX_NOTES = 20


def read_parts(file: BinaryIO, media_type: str, options: TableOptions, limits: Limits) -> Iterator[Table]:
    """The series of a large file, a table for each part of it; raises `InvalidRequest`."""
    if media_type == PARQUET:
        return _tables(parquet.row_parts(file, PART_ROWS), options, limits, "parquet")
    return _tables(row_parts(file, options.delimiter, options.encoding, PART_BYTES), options, limits, "csv")


def _tables(parts: Iterator[Rows], options: TableOptions, limits: Limits, file_format: str) -> Iterator[Table]:
    first = next(parts)
    table = read_table(first, options, limits, file_format)
    reading = table.reading
    splitter = _Splitter(table, limits.max_observations)
    options = _settled(options, reading)
    header = first.rows[:1] if reading.header else []
    splitter.add(first.rows[len(header) :])
    for part in parts:
        rows = splitter.take()
        if rows:
            yield read_table(replace(first, rows=header + rows), options, limits, file_format)
        splitter.add(part.rows)
    yield read_table(replace(first, rows=header + splitter.rest()), options, limits, file_format)


def joined(whole: TableReading | None, part: TableReading) -> TableReading:
    """How all parts so far were read: `whole` those before, None for none."""
    if whole is None:
        return part
    notes = [*whole.notes, *(note for note in part.notes if note not in whole.notes)][:MAX_NOTES]
    return replace(whole, rows=whole.rows + part.rows, series=whole.series + part.series, notes=notes)


def _settled(options: TableOptions, reading: TableReading) -> TableOptions:
    """`options` that say of every part what was found in the first one."""
    if any("," in name for name in (*reading.id, *reading.time, *reading.value)):
        raise bad_table("in a table of this size, names of columns have no comma")
    return replace(
        options,
        id=",".join(reading.id),
        time=",".join(reading.time),
        value=",".join(reading.value),
        decimal=reading.decimal,
        header=reading.header,
        date_order=reading.date_order,
    )


class _Splitter:
    """Cuts rows where a series ends."""

    def __init__(self, first: Table, max_rows: int) -> None:
        """`first`: the table in the first part; `max_rows`: of one series."""
        if first.reading.layout != "long":
            detail = f"a table that is {first.reading.layout} is read as a whole: send it in several requests"
            raise InvalidRequest(f"{detail}, or as rows of series, time and value", code="body_too_large")
        self._columns = first.id_columns
        self._max_rows = max_rows
        self._rows: list[Row] = []
        self._seen: set[int] = set()  # hashes of the series that are complete

    def add(self, rows: Sequence[Row]) -> None:
        """More rows, in the order of the file."""
        self._rows.extend(rows)

    def take(self) -> list[Row]:
        """The rows of all series but the last one, which may go on; raises `InvalidRequest` where one begins again.

        One that is longer than any series may be is refused before its end, so that its rows are not kept.
        """
        last = self._key(self._rows[-1])
        end = len(self._rows)
        while end and self._key(self._rows[end - 1]) == last:
            end -= 1
        complete, self._rows = self._rows[:end], self._rows[end:]
        if len(self._rows) > self._max_rows:
            detail = f"series '{printable(' / '.join(last))}' has more than {self._max_rows} rows"
            raise InvalidRequest(f"line {self._rows[0].line}: {detail}", code="series_too_long")
        self._check(complete)
        return complete

    def rest(self) -> list[Row]:
        """The rows that are left at the end of the file."""
        self._check(self._rows)
        return self._rows

    def _key(self, row: Row) -> tuple[str, ...]:
        return tuple(row.cells[column].strip() if column < len(row.cells) else "" for column in self._columns)

    def _check(self, rows: Sequence[Row]) -> None:
        previous = None
        for row in rows:
            key = self._key(row)
            if key == previous:
                continue
            if hash(key) in self._seen:
                name = printable(" / ".join(key))
                advice = "sort a table of this size by its series, then by time"
                raise bad_table(f"line {row.line}: series '{name}' begins again: {advice}")
            self._seen.add(hash(key))
            previous = key
