"""Tables of any length, a part at a time."""

from __future__ import annotations

import datetime as dt
import io
import tracemalloc
from collections.abc import Iterator

import pytest

from service.codec.common import CSV
from service.codec.tables.parts import PART_BYTES, read_parts
from service.codec.tables.reader import Limits
from service.codec.tables.types import Table, TableOptions
from service.contract.errors import InvalidRequest

DAYS = [str(dt.date(2024, 1, 1) + dt.timedelta(days)) for days in range(300)]


def parts(content: str) -> Iterator[Table]:
    return read_parts(io.BytesIO(content.encode()), CSV, TableOptions(), Limits(20_000))


def rows(n_series: int, row: str = "{name},{day},{value}") -> str:
    return "".join(
        row.format(name=f"s{number}", day=day, value=index) + "\n"
        for number in range(n_series)
        for index, day in enumerate(DAYS)
    )


@pytest.mark.parametrize(
    ("names", "row"),
    [
        ("id,date,value", "{name},{day},{value}"),
        (",date,value", "{name},{day},{value}"),  # the index of pandas has no name
        ("id,,date,value", "1,{name},{day},{value}"),
    ],
)
def test_series_are_told_apart_whatever_their_column_is_named(names: str, row: str) -> None:
    content = f"{names}\n{rows(100, row)}"
    assert len(content) > 2 * PART_BYTES
    assert [len(entry.target) for table in parts(content) for entry in table.inputs] == [len(DAYS)] * 100


def test_a_series_without_end_is_refused_before_it_is_read() -> None:
    """Its rows stayed in memory until the end of the file, 27 times as long as their text."""
    start = dt.datetime(2024, 1, 1)  # noqa: DTZ001 (a clock without a zone)
    content = "id,date,value\n" + "".join(f"a,{start + dt.timedelta(minutes=row)},1\n" for row in range(80_000))
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="line 2: series 'a' has more than 20000 rows") as caught:
        list(parts(content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "series_too_long"
    assert peak < 10 * len(content)
