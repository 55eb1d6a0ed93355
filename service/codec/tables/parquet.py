"""Parquet, where pyarrow is installed (the extra `ritmo[parquet]`): tables to rows of text, columns to a file."""

from __future__ import annotations

import datetime as dt
import io
import math
from collections.abc import Mapping
from typing import Any

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
