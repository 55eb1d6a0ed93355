from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.tables.numerals import NumberFormat, find_number_format, is_missing, looks_like_number, unit_of


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "+3.5", "1e3", ".5", "5."], [1, -2, 3.5, 1000, 0.5, 5]),
        (["1,5", "-2,25"], [1.5, -2.25]),
        (["1.234,5", "2"], [1234.5, 2]),
        (["1,234.5", "1,000,000"], [1234.5, 1_000_000]),
        (["1.000.000", "5"], [1_000_000, 5]),
        (["1 234,5", "1\u202f000,0", "1'000,0"], [1234.5, 1000, 1000]),
        (["€ 12,50", "13,00 €", "5 %", "EUR 7,5"], [12.5, 13, 5, 7.5]),
        (["(12.5)", "12.5-", "\u221212.5"], [-12.5, -12.5, -12.5]),
        (["0.123", "1.234"], [0.123, 1.234]),
        (["-$20.00", "$-20", "($5.00)", "CHF 9.50", "R$ 10"], [-20, -20, -5, 9.5, 10]),
        (["20.5 °C", "21 kWh", "5 m³", "3 x", "293.15 K"], [20.5, 21, 5, 3, 293.15]),
        (["1.2K", "3 Mio. €", "1M", "2.5bn", "7 Tsd."], [1200, 3e6, 1e6, 2.5e9, 7000]),
        (["1,234", "12345"], [1.234, 12345]),
    ],
)
def test_numbers_as_people_write_them(cells: list[str], values: list[float]) -> None:
    found = find_number_format(cells, ";" if any("," in cell for cell in cells) else ",", None)
    assert [found.parse(cell) for cell in cells] == values


@pytest.mark.parametrize("cell", ["", " ", "NA", "n/a", "NaN", "null", "-", "#N/A", "\\N", "<NA>"])
def test_missing(cell: str) -> None:
    assert is_missing(cell)
    assert NumberFormat().parse(cell) is None


@pytest.mark.parametrize(
    "cell",
    [
        "abc",
        "1.2.3",
        "12a",
        "inf",
        "-Infinity",
        "1_000",
        "0x10",
        "1e999",
        "--5",
        "2024-01-01",
        "Store 1",
        "5W30",
        "1-2",
        "5 apples",
    ],
)
def test_anything_else_is_no_number(cell: str) -> None:
    with pytest.raises(ValueError, match="no"):
        NumberFormat().parse(cell)


def test_units_have_one_name() -> None:
    assert [unit_of(cell) for cell in ("5 EUR", "€5", "-$5", "USD 5", "5 kWh", "5K", "5")] == [
        "€", "€", "$", "$", "kWh", None, None,
    ]  # fmt: skip


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_is_read(value: float) -> None:
    assert looks_like_number(repr(value))
    assert NumberFormat().parse(repr(value)) == value
    assert NumberFormat(",").parse(repr(value).replace(".", ",")) == value


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "-2.5", "1e3", " 7 "], [1.0, -2.5, 1000.0, 7.0]),
        (["1", ""], None),
        (["1", "nan"], None),
        (["1", "inf"], None),
        (["1", "1_000"], None),
        (["1", "5 %"], None),
    ],
)
def test_plain_numbers_are_read_at_once(texts: list[str], values: list[float] | None) -> None:
    assert NumberFormat().parse_plain(texts) == values


def test_numbers_are_not_plain_where_marks_or_words_are_stated() -> None:
    assert NumberFormat(decimal=",").parse_plain(["1"]) is None
    assert NumberFormat(missing=frozenset({"1"})).parse_plain(["1"]) is None
