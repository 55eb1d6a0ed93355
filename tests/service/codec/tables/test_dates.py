from __future__ import annotations

import pytest

from service.codec.tables import dates
from service.codec.tables.date_writings import Parser
from service.codec.tables.dates import find_date_format, is_clock, looks_like_date
from service.codec.timeline import Moment


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
        ("1709643600000000", "2024-03-05T13:00:00"),
        ("1709643600000000000", "2024-03-05T13:00:00"),
        ("202403051307", "2024-03-05T13:07:00"),
        ("20240305130709", "2024-03-05T13:07:09"),
        ("2024-W10", "2024-03-04T00:00:00"),
        ("2024W10", "2024-03-04T00:00:00"),
        ("Week 10, 2024", "2024-03-04T00:00:00"),
        ("10. KW 2024", "2024-03-04T00:00:00"),
        ("202452", "2024-12-23T00:00:00"),
        ("3T2024", "2024-07-01T00:00:00"),
        ("Q3'24", "2024-07-01T00:00:00"),
        ("3. Quartal 2024", "2024-07-01T00:00:00"),
        ("3er trimestre de 2024", "2024-07-01T00:00:00"),
        ("2024-H2", "2024-07-01T00:00:00"),
        ("2024年3月5日", "2024-03-05T00:00:00"),
        ("2024년 3월", "2024-03-01T00:00:00"),
        ("5 мая 2024", "2024-05-05T00:00:00"),
        ("05 mrt 2024", "2024-03-05T00:00:00"),
        ("05. 03. 2024", "2024-03-05T00:00:00"),
        ("Tue Mar  5 13:07:09 2024", "2024-03-05T13:07:09"),
        ("Tue, 05 Mar 2024 13:07:09 GMT", "2024-03-05T13:07:09"),
        ("05/Mar/2024:13:07:09 +0100", "2024-03-05T13:07:09"),
        ("2024-03-05 24:00", "2024-03-06T00:00:00"),
        ("05.03.2024 24:00", "2024-03-06T00:00:00"),
        ("05.03.2024 13:00 - 05.03.2024 14:00", "2024-03-05T13:00:00"),
        ("2024-03-04/2024-03-10", "2024-03-04T00:00:00"),
    ],
)
def test_dates_as_people_write_them(text: str, iso: str) -> None:
    found = find_date_format([text], None, prefers_day_first=True)
    assert found is not None
    assert found.parse(text).clock.isoformat() == iso


@pytest.mark.parametrize(
    "text", ["", "abc", "32.01.2024", "99/99/2024", "Foo 2024", "12.5", "1.2.3.4", "99999999", "5W30", "1Q", "54Q2024"]
)
def test_what_is_no_date(text: str) -> None:
    assert find_date_format([text], None, prefers_day_first=True) is None
    assert not looks_like_date(text)


def test_a_zone_that_is_not_known_makes_no_date() -> None:
    assert not looks_like_date("2024-01-01T00:00[America/Nowhere]")


def test_numbers_are_not_taken_for_dates() -> None:
    assert not looks_like_date("2024")
    assert not looks_like_date("1709643600")
    assert looks_like_date("20240305")
    assert not looks_like_date("1234.5")
    assert not looks_like_date("2024,5")


def test_times_of_day() -> None:
    assert is_clock("7:05")
    assert is_clock("07:05:59 PM")
    assert not is_clock("7.05")


def test_a_cell_without_a_digit_is_no_date_and_no_parser_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(dates, "_succeeds", lambda _parser, text: asked.append(text))
    for text in ("word", "Montag", "x" * 1000, "1" + "x" * 1000, ""):
        assert not dates.looks_like_date(text)
    assert asked == []


def test_each_date_is_read_about_once_to_find_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders that fail are left at their first failure."""
    read: list[str] = []

    def counted(parser: Parser) -> Parser:
        def parse(text: str) -> Moment:
            read.append(text)
            return parser(text)

        return parse

    monkeypatch.setattr(dates, "_ORDERS", {name: counted(parser) for name, parser in dates._ORDERS.items()})
    texts = [f"{day:02}.{month:02}.{year}" for year in range(1990, 2020) for month in range(1, 13) for day in (1, 28)]
    found = find_date_format(texts, None, prefers_day_first=True)
    assert found is not None
    assert found.order == "dmy"
    assert len(read) < 1.1 * len(texts)


@pytest.mark.parametrize("text", ["s1", "sensor123", "d_1942", "V20240131", "x1234567"])
def test_a_word_with_a_number_is_no_date(text: str) -> None:
    assert not looks_like_date(text)


@pytest.mark.parametrize("text", ["Q12024", "W012024", "KW12024", "S12024", "Jan-24", "Q1 24"])
def test_a_part_of_a_year_without_blanks_is_one(text: str) -> None:
    assert looks_like_date(text)


@pytest.mark.parametrize("mark", [" - ", " to ", "/", "--", "–", " – "])
def test_a_stretch_of_time_among_many_times_is_found(mark: str) -> None:
    texts = [f"2024-01-01T0{hour}:00Z" for hour in range(9)]
    texts[7] += f"{mark}2024-01-01T08:00Z"
    found = find_date_format(texts, None, prefers_day_first=False)
    assert found is not None
    assert found.note is not None
    assert found.read(texts[7]).clock.hour == 7


def test_a_stretch_between_two_clocks_among_many_times_is_found() -> None:
    texts = [f"2024-01-01 0{hour}:00-0{hour + 1}:00" for hour in range(9)]
    found = find_date_format(texts, None, prefers_day_first=False)
    assert found is not None
    assert found.read(texts[7]).clock.hour == 7


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("01.02.2024 10:00 Uhr", 10),
        ("01.02.2024 10:00Uhr", 10),
        ("01.02.2024 10:00  pm", 22),
        ("01.02.2024 10:00 CET", 10),
    ],
)
def test_words_behind_a_clock(text: str, hour: int) -> None:
    found = find_date_format(
        [text, text.replace("01.", "31.", 1).replace("02.2024", "03.2024")], None, prefers_day_first=True
    )
    assert found is not None
    assert found.read(text).clock.hour == hour
