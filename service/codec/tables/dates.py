"""Dates as people write them: ISO 8601, days and months in either order, names of months, quarters, Unix times."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from msgspec import Struct

from service.codec.tables.types import DateOrder
from service.codec.timeline import Moment, parse_moment

# English, Spanish, German, French, Portuguese and Italian: the first three letters, or what tells two months apart
_MONTHS = {
    name: month
    for month, names in enumerate(
        (
            *("jan ene gen", "feb fév fev", "mar mär mrz", "apr abr avr", "may mai mag", "jun juin giu"),
            *("jul juil lug", "aug ago aoû aou", "sep set", "oct okt out ott", "nov", "dec dic dez déc"),
        ),
        start=1,
    )
    for name in names.split()
}
_CLOCK = (
    r"(?:[T ,]+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,][0-9]+)?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?)?"
)
_NUMERIC = re.compile(r"(?P<a>[0-9]{1,4})(?P<mark>[./-])(?P<b>[0-9]{1,2})(?P=mark)(?P<c>[0-9]{1,4})" + _CLOCK)
_MONTH_OF_YEAR = re.compile(r"(?P<a>[0-9]{1,2})[./-](?P<c>[0-9]{4})|(?P<year>[0-9]{4})[./M](?P<month>[0-9]{1,2})")
_DAY_FIRST = re.compile(
    r"(?:[^\W\d]+\.?,?\s+)??(?:(?P<day>[0-9]{1,2})\.?(?:\s+de)?[\s-]+)?(?P<name>[^\W\d]{3,})\.?(?:\s+de[l]?)?"
    r"[\s,'-]+(?P<year>[0-9]{4}|[0-9]{2})" + _CLOCK
)
_NAME_FIRST = re.compile(
    r"(?P<name>[^\W\d]{3,})\.?\s+(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>[0-9]{4})" + _CLOCK
)
_YEAR_FIRST = re.compile(r"(?P<year>[0-9]{4})[\s-]+(?P<name>[^\W\d]{3,})(?:[\s-]+(?P<day>[0-9]{1,2}))?" + _CLOCK)
_QUARTER = re.compile(
    r"(?P<year>[0-9]{4})[\s-]*[QTqt](?P<quarter>[1-4])|[QTqt](?P<quarter2>[1-4])[\s/-]*(?P<year2>[0-9]{4})"
)
_DIGITS = re.compile(r"[0-9]{4}|[0-9]{6}|[0-9]{8}|[0-9]{10}|[0-9]{13}|[0-9]{10}\.[0-9]+")
_UTC_WORD = re.compile(r"\s*(?:UTC|GMT|Z)$")
_CLOCK_ALONE = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(\s*[AaPp][Mm])?")

_SAMPLE_SIZE = 1000  # cells that are looked at where a few tell as much as all

Parser = Callable[[str], Moment]


class DateFormat(Struct, frozen=True):
    """How the dates of a column are written."""

    parse: Parser  # raises ValueError
    order: DateOrder | None = None
    note: str | None = None


def month_of(name: str) -> int | None:
    """The month that a name or its abbreviation in one of six languages means."""
    text = name.strip().lower().rstrip(".")
    if not text.isalpha() or len(text) < 3:
        return None
    return _MONTHS.get(text[:4]) or _MONTHS.get(text[:3])


def is_clock(text: str) -> bool:
    """Whether a cell is a time of day alone."""
    return bool(_CLOCK_ALONE.fullmatch(text.strip()))


def looks_like_date(text: str) -> bool:
    """Whether a cell is a date in some writing; numbers count only where they can be nothing but a date of 8 digits."""
    text = text.strip()
    if text.isdigit():
        return len(text) == 8 and _succeeds(_of_digits, text)
    return any(_succeeds(parser, text) for parser in (_iso, _by_words, *_ORDERS.values()))


def find_date_format(texts: Sequence[str], order: DateOrder | None, *, prefers_day_first: bool) -> DateFormat | None:
    """The writing in which all (or nearly all) of `texts` are dates, None where there is none.

    Days and months are distinguished by a number above 12, then by which order makes the dates ascend or descend.
    """
    cells = list(dict.fromkeys(texts))  # series often have the same times
    sample = cells[:: max(1, len(cells) // _SAMPLE_SIZE)]
    parsers = (_iso, _of_digits, _of_decimal_years, _by_words)
    for parser in parsers:
        if not (parser is _iso and order) and _share(parser, sample) >= 0.8:
            return DateFormat(parser)
    if order is not None:
        return DateFormat(_ORDERS[order], order) if _share(_ORDERS[order], cells) > 0 else None
    readable: list[DateOrder] = [name for name, parser in _ORDERS.items() if _share(parser, cells) == 1]
    if not readable:
        best = max(_ORDERS, key=lambda name: _share(_ORDERS[name], cells))
        return DateFormat(_ORDERS[best], best) if _share(_ORDERS[best], cells) >= 0.8 else None
    if len(readable) == 1:
        return DateFormat(_ORDERS[readable[0]], readable[0])
    return _two_way(texts, readable, prefers_day_first)


def _two_way(cells: Sequence[str], readable: list[DateOrder], prefers_day_first: bool) -> DateFormat:
    """The order of days and months where both can be read."""
    in_order = [name for name in readable if _is_ordered([_ORDERS[name](cell).clock for cell in cells])]
    candidates = in_order or readable
    if "." in cells[0] and "dmy" in candidates:  # with points, the day comes first
        return DateFormat(_ORDERS["dmy"], "dmy")
    preferred: DateOrder = "dmy" if prefers_day_first or "mdy" not in candidates else "mdy"
    chosen = preferred if preferred in candidates else candidates[0]
    if len(candidates) == 1:
        return DateFormat(_ORDERS[chosen], chosen)
    words = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
    alternative = next(name for name in candidates if name != chosen)
    note = f"dates such as {cells[0]} were read as {words[chosen]}; date_order={alternative} reads them otherwise"
    return DateFormat(_ORDERS[chosen], chosen, note)


def _is_ordered(clocks: list[dt.datetime]) -> bool:
    return all(a <= b for a, b in pairwise(clocks)) or all(a >= b for a, b in pairwise(clocks))


def _share(parser: Parser, cells: Sequence[str]) -> float:
    return sum(_succeeds(parser, cell) for cell in cells) / len(cells) if cells else 0.0


def _succeeds(parser: Parser, text: str) -> bool:
    try:
        parser(text)
    except (ValueError, OverflowError):
        return False
    return True


def _iso(text: str) -> Moment:
    text = text.strip()
    if text.isdigit():
        raise ValueError("digits alone are read by their number")
    word = _UTC_WORD.search(text)
    return parse_moment(text[: word.start()] + "Z" if word and len(text) > 11 else text)


def _of_digits(text: str) -> Moment:
    """A year, 202401, 20240131, or a Unix time in seconds or milliseconds."""
    text = text.strip().removesuffix(".0")
    if not _DIGITS.fullmatch(text):
        raise ValueError("is no date of digits")
    if len(text) >= 10:
        seconds = float(text) / (1000 if len(text) == 13 and "." not in text else 1)
        time = dt.datetime.fromtimestamp(seconds, dt.UTC).replace(tzinfo=None)
        if not 1971 <= time.year <= 2100:
            raise ValueError("is no likely Unix time")
        return Moment(time, dt.timedelta(0), None, "s", is_utc=True)
    year = int(text[:4])
    if not 1600 <= year <= 2200:
        raise ValueError("is no likely year")
    month, day = int(text[4:6] or 1), int(text[6:8] or 1)
    return Moment(_clock(year, month, day), None, None, {4: "Y", 6: "M", 8: "D"}[len(text)])


def _of_decimal_years(text: str) -> Moment:
    """A year with a fraction of twelfths, as R writes the times of a series: 1949.08333 is February."""
    year = float(text)
    if not 1600 <= year <= 2200:
        raise ValueError("is no likely year")
    months = round(year * 12)
    if abs(year * 12 - months) > 0.02:
        raise ValueError("is no month of a year")
    return Moment(_clock(months // 12, months % 12 + 1, 1), None, None, "M")


def _by_words(text: str) -> Moment:
    """Names of months, quarters, and a month of a year in digits."""
    text = text.strip()
    quarter = _QUARTER.fullmatch(text)
    if quarter:
        number = int(quarter["quarter"] or quarter["quarter2"])
        return Moment(_clock(int(quarter["year"] or quarter["year2"]), 3 * number - 2, 1), None, None, "D")
    of_year = _MONTH_OF_YEAR.fullmatch(text)
    if of_year:
        return Moment(
            _clock(int(of_year["c"] or of_year["year"]), int(of_year["a"] or of_year["month"]), 1), None, None, "M"
        )
    match = _NAME_FIRST.fullmatch(text) or _DAY_FIRST.fullmatch(text) or _YEAR_FIRST.fullmatch(text)
    if not match:
        raise ValueError("is no date")
    name = match["name"].lower()
    month = _MONTHS.get(name[:4]) or _MONTHS.get(name[:3])
    if month is None:
        raise ValueError("names no month")
    day = int(match["day"] or 1)
    return _with_clock(match, _year(match["year"]), month, day, "D" if match["day"] else "M")


def _numeric(order: DateOrder) -> Parser:
    def parse(text: str) -> Moment:
        match = _NUMERIC.fullmatch(text.strip())
        if not match:
            raise ValueError("is no date of numbers")
        parts = dict(zip(order, (match["a"], match["b"], match["c"]), strict=True))
        if max(len(parts["d"]), len(parts["m"])) > 2 or len(parts["y"]) not in {2, 4}:
            raise ValueError("is no date in this order")
        return _with_clock(match, _year(parts["y"]), int(parts["m"]), int(parts["d"]), "D")

    return parse


def _with_clock(match: re.Match[str], year: int, month: int, day: int, precision: str) -> Moment:
    """The moment of a date with the time of day in `match`, if there is one."""
    day_clock = _clock(year, month, day)
    if match["hour"] is None:
        return Moment(day_clock, None, None, precision)
    hour = int(match["hour"])
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("has no hour of a half day")
        hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
    return Moment(
        day_clock.replace(hour=hour, minute=int(match["minute"]), second=int(match["second"] or 0)), None, None, "s"
    )


def _clock(year: int, month: int, day: int) -> dt.datetime:
    return dt.datetime(year, month, day)  # noqa: DTZ001 (a clock without a zone)


def _year(digits: str) -> int:
    """A year of two digits is one of 1970 to 2069, as POSIX (strptime, %y) nearly has it."""
    year = int(digits)
    return year if len(digits) == 4 else year + (2000 if year < 70 else 1900)


_ORDERS: dict[DateOrder, Parser] = {"dmy": _numeric("dmy"), "mdy": _numeric("mdy"), "ymd": _numeric("ymd")}
