"""Several rows of names above a table become one."""

from __future__ import annotations

import pytest

from service.codec.tables.headers import with_one_header
from service.codec.tables.rows import Row


def header(*lines: str) -> list[str]:
    rows, _ = with_one_header([Row(number, line.split(",")) for number, line in enumerate(lines, start=1)])
    return rows[0].cells


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("day,A,,B,", ",x,y,x,y", "2024,1,2,3,4"), ["day", "A / x", "A / y", "B / x", "B / y"]),
        (("shop,2023,,2024,", ",Q3,Q4,Q1,Q2", "N,1,2,3,4"), ["shop", "2023 Q3", "2023 Q4", "2024 Q1", "2024 Q2"]),
        (
            ("Price,Close,Close", "Ticker,A,B", "Date,,", "2024-01-01,1,2"),
            ["Price / Ticker / Date", "Close / A", "Close / B"],
        ),
        (("day,n", ",kg", "2024-01-01,1"), ["day", "n"]),
        (("day,n,", "2024-01-01,1,2"), ["day", "n", ""]),
    ],
)
def test_names_over_several_columns(lines: tuple[str, ...], expected: list[str]) -> None:
    assert header(*lines) == expected


def test_what_is_left_out_is_told() -> None:
    rows = [Row(1, ["day", "n"]), Row(2, ["", "kg"]), Row(3, ["2024-01-01", "1"])]
    assert with_one_header(rows)[1] == ["left out, as units or remarks next to the names of columns: line 2 ('kg')"]
    assert with_one_header([rows[0], rows[2]])[1] == []
