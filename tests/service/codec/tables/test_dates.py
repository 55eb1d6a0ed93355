from __future__ import annotations

import pytest

from service.codec.tables.dates import find_date_format, is_clock, looks_like_date


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024-03-05", "2024-03-05T00:00:00"),
        ("2024-03-05 13:07:09", "2024-03-05T13:07:09"),
        ("2024-03-05 13:07:09 UTC", "2024-03-05T13:07:09"),
        ("20240305", "2024-03-05T00:00:00"),
        ("202403", "2024-03-01T00:00:00"),
        ("2024", "2024-01-01T00:00:00"),
        ("1709643600", "2024-03-05T13:00:00"),
        ("1709643600000", "2024-03-05T13:00:00"),
        ("15.03.2024", "2024-03-15T00:00:00"),
        ("15/3/24 7:05", "2024-03-15T07:05:00"),
        ("3/15/2024 12:30 AM", "2024-03-15T00:30:00"),
        ("2024/03/15", "2024-03-15T00:00:00"),
        ("15-Mar-2024", "2024-03-15T00:00:00"),
        ("15 de marzo de 2024", "2024-03-15T00:00:00"),
        ("15. März 2024", "2024-03-15T00:00:00"),
        ("15 août 2024", "2024-08-15T00:00:00"),
        ("March 15, 2024", "2024-03-15T00:00:00"),
        ("Fri 15 Mar 2024", "2024-03-15T00:00:00"),
        ("Mar 2024", "2024-03-01T00:00:00"),
        ("Mar-24", "2024-03-01T00:00:00"),
        ("dez 2024", "2024-12-01T00:00:00"),
        ("2024 Jan", "2024-01-01T00:00:00"),
        ("2024Q3", "2024-07-01T00:00:00"),
        ("Q3 2024", "2024-07-01T00:00:00"),
        ("03/2024", "2024-03-01T00:00:00"),
        ("2024M03", "2024-03-01T00:00:00"),
        ("1949.25", "1949-04-01T00:00:00"),
    ],
)
def test_dates_as_people_write_them(text: str, iso: str) -> None:
    found = find_date_format([text], None, prefers_day_first=True)
    assert found is not None
    assert found.parse(text).clock.isoformat() == iso


@pytest.mark.parametrize("text", ["", "abc", "32.01.2024", "99/99/2024", "Foo 2024", "12.5", "1.2.3.4", "99999999"])
def test_what_is_no_date(text: str) -> None:
    assert find_date_format([text], None, prefers_day_first=True) is None
    assert not looks_like_date(text)


def test_numbers_are_not_taken_for_dates() -> None:
    assert not looks_like_date("2024")
    assert not looks_like_date("1709643600")
    assert looks_like_date("20240305")


def test_times_of_day() -> None:
    assert is_clock("7:05")
    assert is_clock("07:05:59 PM")
    assert not is_clock("7.05")
