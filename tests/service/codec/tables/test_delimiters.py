"""What separates cells, by the lines themselves."""

from __future__ import annotations

import pytest

from service.codec.tables.delimiters import WIDE_BLANKS, find_delimiter, split_at_blanks, stated_delimiter
from service.contract.errors import InvalidRequest


@pytest.mark.parametrize(
    ("lines", "delimiter"),
    [
        (["a;b", "1,5;2", "2,5;3"], ";"),
        (["a\tb", "1\t2"], "\t"),
        (["a,b", "1,2"], ","),
        (["a b", "1 2"], " "),
        (["date   store", "2024   New York", "2025   Boston"], WIDE_BLANKS),
        (["    Jan Feb", "2024 1 2", "2025 3 4"], " "),  # the names lack that of the years
        (["5,5 6,25 7,0"], " "),
        (["1.234,50 €", "987,00 €"], None),
        (["1 500", "2 600"], None),  # blanks between thousands
        (["12", "13,5"], None),
    ],
)
def test_found_by_looking(lines: list[str], delimiter: str | None) -> None:
    assert find_delimiter(lines)[0] == delimiter


def test_quotes_hold_blanks_together() -> None:
    assert split_at_blanks('"New York" 1  2', " ") == ["New York", "1", "2"]
    assert split_at_blanks("  New York   1\t2", WIDE_BLANKS) == ["New York", "1", "2"]


def test_a_stated_one() -> None:
    assert [stated_delimiter(name) for name in ("semicolon", ";", "Tab", "spaces")] == [";", ";", "\t", WIDE_BLANKS]
    with pytest.raises(InvalidRequest, match="one character"):
        stated_delimiter("::")
