"""Parquet, where pyarrow is installed (the extra `ritmo[parquet]`): tables to rows of text, columns to a file."""

from __future__ import annotations

import datetime as dt
import io
import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from service.codec.tables.rows import Row, Rows
from service.codec.tables.types import bad_table
from service.contract.errors import InvalidRequest

MAX_CELLS = 20_000_000  # a small file may hold very many equal values


def read_rows(content: bytes) -> Rows:
    """The rows of a Parquet file with the names of its columns first; raises `InvalidRequest`."""
    pyarrow, parquet = _modules()
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        if file.metadata.num_rows * file.metadata.num_columns > MAX_CELLS:
            raise InvalidRequest(f"a table has at most {MAX_CELLS} cells", code="too_many_items")
        table = file.read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise bad_table("the body is no Parquet file that can be read") from error
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    columns = [[_text(value) for value in table.column(name).to_pylist()] for name in names]
    rows = [Row(1, names), *(Row(line, list(cells)) for line, cells in enumerate(zip(*columns, strict=True), start=2))]
    if len(rows) < 2:
        raise bad_table("the table has names of columns, and no rows")
    return Rows(rows, "utf-8", ",", [])


def row_parts(file: BinaryIO, part_rows: int) -> Iterator[Rows]:
    """The rows of a large file, `part_rows` at a time; the names of columns are in the first part."""
    pyarrow, parquet = _modules()
    try:
        source = parquet.ParquetFile(file)
        names = [name for name in source.schema_arrow.names if not name.startswith("__index_level_")]
        line = 1
        for batch in source.iter_batches(batch_size=part_rows, columns=names):
            columns = [[_text(value) for value in batch.column(name).to_pylist()] for name in names]
            header = [Row(1, names)] if line == 1 else []
            rows = [Row(number, list(cells)) for number, cells in enumerate(zip(*columns, strict=True), start=line + 1)]
            line += len(rows)
            yield Rows(header + rows, "utf-8", ",", [])
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise bad_table("the body is no Parquet file that can be read") from error
    if line == 1:
        raise bad_table("the table has names of columns, and no rows")


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
