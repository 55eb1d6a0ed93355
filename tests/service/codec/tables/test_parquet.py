"""Parquet: what a small file may unfold to, and what pyarrow makes no Python of."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from service.codec.tables.parquet import read_rows, row_parts
from service.contract.errors import InvalidRequest

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def written(columns: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), file, compression="zstd")
    return file.getvalue()


def cells(content: bytes) -> list[list[str]]:
    whole = [row.cells for row in read_rows(content).rows]
    assert [row.cells for part in row_parts(io.BytesIO(content), 2) for row in part.rows] == whole
    return whole


def test_texts_numbers_and_times() -> None:
    columns = {
        "shop": pa.array(["a", None, "a", "b"]),
        "kind": pa.array(["x", "y", "x", None]).dictionary_encode(),
        "t": pa.array([1, 1_000_000_001, None, 3], pa.timestamp("ns")),  # nanoseconds, which Python's times have not
        "v": [1.5, float("nan"), None, 2.0],
    }
    first = "1970-01-01T00:00:00"
    assert cells(written(columns)) == [
        ["shop", "kind", "t", "v"],
        ["a", "x", first, "1.5"],
        ["", "y", "1970-01-01T00:00:01", ""],
        ["a", "x", "", ""],
        ["b", "", first, "2.0"],
    ]


def test_two_columns_of_one_name() -> None:
    table = pa.Table.from_arrays([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"])
    assert cells(written(table)) == [["a", "a"], ["1", "3"], ["2", "4"]]


@pytest.mark.parametrize(
    "times",
    [
        pa.array([2**60, 0], pa.timestamp("us")),
        pa.array([2**30, 0], pa.date32()),
        pa.array([0, 1], pa.timestamp("us", tz="Nowhere/At_All")),
    ],
    ids=["microseconds", "days", "zone"],
)
def test_times_that_python_has_not_are_refused(times: Any) -> None:
    with pytest.raises(InvalidRequest, match="no Parquet file that can be read"):
        read_rows(written({"t": times, "v": [1, 2]}))


def test_a_small_file_does_not_unfold_to_a_large_table() -> None:
    """9 kB of zeros became 340 MiB, and a text of 100 kB in 5,000 rows, which takes 1 kB, 860 MiB."""
    with pytest.raises(InvalidRequest, match="a table of this size has at most"):
        read_rows(written({"a": np.zeros(300_000), "b": np.zeros(300_000)}))
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int32)), pa.array(["a" * 100_000]))
    content = written({"s": texts.cast(pa.string()), "v": np.zeros(5000)})
    with pytest.raises(InvalidRequest, match="the texts of a table"):
        read_rows(content)
    with pytest.raises(InvalidRequest, match="the texts of a table"):
        list(row_parts(io.BytesIO(content), 16_384))


def test_columns_of_lists_are_left_out() -> None:
    """A row of them may have any number of values: 1 kB of zeros became 400 MB."""
    content = written({"l": [[0] * 5_000_000, []], "s": [{"a": 1}, {"a": 2}], "v": [1, 2]})
    assert cells(content) == [["v"], ["1"], ["2"]]
    assert read_rows(content).notes == ["left out, as they hold lists: l, s"]
