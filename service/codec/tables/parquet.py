"""Parquet, where pyarrow is installed (the extra `ritmo[parquet]`): tables to rows of text, columns to a file."""

from __future__ import annotations

import datetime as dt
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from service.codec.tables.rows import Row, Rows
from service.codec.tables.types import bad_table, printable
from service.contract.errors import InvalidRequest

# A small file may hold very many equal values, and long texts once that stand in many rows.
MAX_CELLS, MAX_LOCAL_CELLS = 2_000_000, 20_000_000  # of a request; of a file on this machine
_FEW_CELLS, _CELLS_PER_BYTE = 100_000, 16  # that a small file may have, and further ones for each of its bytes
_CHARACTERS = 16  # for each cell, that all texts have together, those that are equal counted each
_MAX_PART_CELLS = 1_000_000


def read_rows(content: bytes, max_cells: int = MAX_CELLS) -> Rows:
    """The rows of a Parquet file with the names of its columns first; raises `InvalidRequest`."""
    pyarrow, _ = _modules()
    limit = min(max_cells, _FEW_CELLS + _CELLS_PER_BYTE * len(content))
    try:
        file, read = _opened(io.BytesIO(content))
        if file.metadata.num_rows * file.metadata.num_columns > limit:
            raise InvalidRequest(f"a table of this size has at most {limit} cells", code="too_many_items")
        names, columns = _texts_of(file.read(columns=read), _CHARACTERS * max_cells)
    except _faults(pyarrow) as error:
        raise bad_table("the body is no Parquet file that can be read") from error
    rows = [Row(1, names), *(Row(line, list(cells)) for line, cells in enumerate(zip(*columns, strict=True), start=2))]
    if len(rows) < 2:
        raise bad_table("the table has names of columns, and no rows")
    return Rows(rows, "utf-8", ",", _notes(file, read))


def row_parts(file: BinaryIO, part_rows: int) -> Iterator[Rows]:
    """The rows of a large file, `part_rows` at a time; the names of columns are in the first part."""
    pyarrow, _ = _modules()
    line = 1
    try:
        source, read = _opened(file)
        part_rows = max(1, min(part_rows, _MAX_PART_CELLS // max(1, source.metadata.num_columns)))
        for batch in source.iter_batches(batch_size=part_rows, columns=read):
            names, columns = _texts_of(batch, _CHARACTERS * MAX_CELLS)
            header = [Row(1, names)] if line == 1 else []
            rows = [Row(number, list(cells)) for number, cells in enumerate(zip(*columns, strict=True), start=line + 1)]
            line += len(rows)
            yield Rows(header + rows, "utf-8", ",", _notes(source, read))
    except _faults(pyarrow) as error:
        raise bad_table("the body is no Parquet file that can be read") from error
    if line == 1:
        raise bad_table("the table has names of columns, and no rows")


def _opened(file: BinaryIO) -> tuple[Any, list[str]]:
    """A Parquet file in which each text is read once, however many rows it stands in, and the columns that are read.

    Those of lists are not: a row of them may have any number of values.
    """
    pyarrow, parquet = _modules()
    schema = parquet.read_schema(file)
    file.seek(0)
    are_text = (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_binary)
    texts = [column.name for column in schema if any(test(column.type) for test in are_text)]
    read = [column.name for column in schema if not pyarrow.types.is_nested(column.type)]
    read = list(dict.fromkeys(name for name in read if not name.startswith("__index_level_")))
    return parquet.ParquetFile(file, read_dictionary=texts), read


def _notes(file: Any, read: Sequence[str]) -> list[str]:
    """What to say about columns that are not read."""
    names = [name for name in file.schema_arrow.names if name not in read and not name.startswith("__index_level_")]
    return [f"left out, as they hold lists: {', '.join(map(printable, names[:5]))}"] if names else []


def _faults(pyarrow: Any) -> tuple[type[Exception], ...]:
    """What is raised for files that cannot be read, and for times that Python has not."""
    return (pyarrow.ArrowException, OSError, ValueError, OverflowError)


def _texts_of(table: Any, room: int) -> tuple[list[str], list[list[str]]]:
    """The names and the cells of the columns of a table, or of a part of one; raises `InvalidRequest`.

    There is `room` for so many characters.
    """
    columns: list[list[str]] = []
    for column in table.columns:
        cells = [text for chunk in getattr(column, "chunks", [column]) for text in _texts(chunk, room)]
        room -= sum(map(len, cells))
        columns.append(cells)
    return table.schema.names, columns


def _texts(chunk: Any, room: int) -> list[str]:
    """The cells of a part of a column, of `room` characters together at most."""
    pyarrow, _ = _modules()
    if pyarrow.types.is_dictionary(chunk.type):
        texts = [*map(_text, chunk.dictionary.to_pylist()), ""]
        numbers = chunk.indices.fill_null(len(texts) - 1).to_pylist()
        if sum(len(texts[number]) for number in numbers) > room:
            raise InvalidRequest("the texts of a table are too long for so many rows", code="too_many_items")
        return [texts[number] for number in numbers]
    if pyarrow.types.is_timestamp(chunk.type) and chunk.type.unit == "ns":  # Python's times have microseconds
        chunk = chunk.cast(pyarrow.timestamp("us", chunk.type.tz), safe=False)
    return [_text(value) for value in chunk.to_pylist()]


class GrowingFile:
    """A Parquet file that is written part by part, and whose bytes are taken away as they come."""

    def __init__(self, columns: Mapping[str, list[Any]]) -> None:
        """`columns`: those of the first part, which is not written yet."""
        self._pyarrow, parquet = _modules()
        self._target = _Target()
        self._schema = self._pyarrow.table(dict(columns)).schema
        self._writer = parquet.ParquetWriter(self._target, self._schema)

    def append(self, columns: Mapping[str, list[Any]]) -> bytes:
        """The bytes of a further part."""
        self._writer.write_table(self._pyarrow.table(dict(columns), schema=self._schema))
        return self._target.taken()

    def end(self) -> bytes:
        """The bytes after the last part."""
        self._writer.close()
        return self._target.taken()


class _Target(io.RawIOBase):
    """A file for pyarrow that keeps nothing but what was not taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        """What was written since the last call."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content


def write(columns: Mapping[str, list[Any]]) -> bytes:
    """A Parquet file of `columns`; times stay text, since they may be months or have zones."""
    pyarrow, parquet = _modules()
    target = io.BytesIO()
    parquet.write_table(pyarrow.table(dict(columns)), target)
    return target.getvalue()


def _modules() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        detail = "Parquet is not installed here (pip install 'ritmo[parquet]'): send text/csv"
        raise InvalidRequest(detail, code="unsupported_media_type") from error
    return pa, parquet


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value.isoformat() if isinstance(value, dt.date) else str(value)
