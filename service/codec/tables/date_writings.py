"""One parser for each way to write a date; `dates` finds the one that reads a column."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from msgspec.structs import replace

from service.codec.tables.types import DateOrder
from service.codec.timeline import Moment, parse_moment

# The first three letters, or the four that tell two months apart, in the order of the months: English, Spanish, German,
# French, Portuguese, Italian, Dutch, Polish, Russian, Turkish, Czech, Hungarian, Romanian, Finnish and Scandinavian.
_MONTHS = {
    name: month
    for month, names in enumerate(
        (
            "jan ene gen sty янв oca led ian tam",
            "feb fév fev lut фев şub úno hel",
            "mar mär mrz mrt мар bře már maa",
            "apr abr avr kwi апр nis dub ápr huh",
            "may mai mag mei maj май мая kvě máj tou",
            "jun juin giu cze июн haz jún iun kes",
            "jul juil lug lip июл tem júl iul hei",
            "aug ago aoû aou sie авг ağu srp elo",
            "sep set wrz сен eyl zář sze syy",
            "oct okt out ott paź paz окт eki říj lok",
            "nov lis ноя kas noi marr",
            "dec dic dez déc gru дек ara pro des jou",
        ),
        start=1,
    )
    for name in names.split()
}
_CLOCK = (  # blanks stand before what follows them alone: three runs of them in a row take the cube of their number
    r"(?:[T ,:]+(?P<hour>[0-9]{1,2})[:.hH](?P<minute>[0-9]{2})(?:[:.](?P<second>[0-9]{2})(?:[.,][0-9]+)?)?"
    r"(?:\s*Uhr)?(?:\s*(?P<half>[AaPp]\.?\s?[Mm]\.?))?"
    r"(?:\s*(?P<zone>(?:UTC|GMT)?[+-][0-9]{2}:?[0-9]{2}|[A-Z]{3,4}|Z)(?:\s*\([^()]*\))?)?)?"
)
_WEEKDAY = r"(?:[^\W\d]+\.?,?\s+)??"
_NUMERIC = re.compile(
    _WEEKDAY + r"(?P<a>[0-9]{1,4})(?P<mark>[./-])\s?(?P<b>[0-9]{1,2})(?P=mark)\s?(?P<c>[0-9]{1,4})\.?" + _CLOCK
)
_MONTH_OF_YEAR = re.compile(r"0?(?P<a>[0-9]{1,2})[./-](?P<c>[0-9]{4})|(?P<year>[0-9]{4})[./M](?P<month>[0-9]{1,2})")
_DAY_FIRST = re.compile(
    _WEEKDAY
    + r"(?:(?P<day>[0-9]{1,2})(?:\.|er|º|°|st|nd|rd|th)?(?:\s+de)?[\s/-]+)?(?P<name>[^\W\d]{3,})\.?(?:\s+de[l]?)?"
    r"[\s,'/-]+(?P<year>[0-9]{4}|[0-9]{2})" + _CLOCK
)
_NAME_FIRST = re.compile(
    _WEEKDAY + r"(?P<name>[^\W\d]{3,})\.?\s+(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>[0-9]{4})" + _CLOCK
)
_YEAR_LAST = re.compile(  # of ctime(3) and the command `date`
    r"[^\W\d]+\s+(?P<name>[^\W\d]{3,})\s+(?P<day>[0-9]{1,2})\s+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):"
    r"(?P<second>[0-9]{2})(?P<half>)(?:\s+(?P<zone>UTC|GMT))?\s+(?P<year>[0-9]{4})"
)
_YEAR_FIRST = re.compile(r"(?P<year>[0-9]{4})[\s-]+(?P<name>[^\W\d]{3,})(?:[\s-]+(?P<day>[0-9]{1,2}))?" + _CLOCK)
_EAST_ASIAN = re.compile(
    r"(?P<year>[0-9]{4})\s?[年년]\s?(?P<month>[0-9]{1,2})\s?[月월]\s?(?:(?P<day>[0-9]{1,2})\s?[日일])?" + _CLOCK
)
_QUARTER_WORD = r"(?:[QTKqtk]|quarter|qtr|quartal|trimestre|trim|kwartał|kv|кв)\.?"
_WEEK_WORD = r"(?:W|WK|KW|week|woche|semana|semaine|settimana|sem|S(?=[0-9]{2})|v|uge|uke)\.?"
_YEAR = r"(?P<year>[0-9]{4}|(?<![0-9])[0-9]{2})"
_BETWEEN = r"[\s/'.,:-]*(?:of\s|de\s|del\s)?"
_NUMBERED = (  # parts of a year: kind, the word for it, its number, and the year behind a number that comes first
    ("quarter", _QUARTER_WORD, "(?P<number>[1-4])", _YEAR),
    ("half", r"(?:H|S|HY|semestre|halbjahr)", "(?P<number>[12])", _YEAR),
    ("week", _WEEK_WORD, "(?P<number>[0-9]{1,2})", "(?P<year>[0-9]{4})"),  # 5W30 is no week
)
_PERIODS = {
    kind: (
        re.compile(rf"(?P<year>[0-9]{{4}})[\s/:.-]*{word}\s*{number}", re.IGNORECASE),
        re.compile(rf"{word}\s*{number}(?:[\s/'.,:-]+(?:of\s|de\s)?{_YEAR}|(?P<year2>[0-9]{{4}}))", re.IGNORECASE),
        re.compile(rf"{number}\s?(?:\.|st|nd|rd|th|er|º|°|ème|e)?\s?{word}{_BETWEEN}{year}", re.IGNORECASE),
    )
    for kind, word, number, year in _NUMBERED
}
_DIGITS = re.compile(r"[0-9]{4}|[0-9]{6}|[0-9]{8}|[0-9]{10}|[0-9]{12,14}|[0-9]{16}|[0-9]{19}|[0-9]{10}\.[0-9]+")
_PER_SECOND = {10: 1, 13: 1_000, 16: 1_000_000, 19: 1_000_000_000}  # of Unix times, by their digits
_UTC_WORD = re.compile(r"\s*(?:UTC|GMT|Z)$")
_ZONE_WORD = re.compile(r"\s+([A-Z]{3,4})$")
# Hours from UTC of the abbreviations that mean one zone alone.
_ZONES = {
    "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9,
    "KST": 9, "AEST": 10, "AEDT": 11, "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "UTC": 0, "GMT": 0,
}  # fmt: skip
_ASCII_DIGITS = "0123456789"
_MIDNIGHT = re.compile(r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ]24:00(?::00)?")
_EXCEL_EPOCH = dt.datetime(1899, 12, 30)  # noqa: DTZ001 (a clock without a zone)
EXCEL_DAYS = (20_000, 80_000)  # 1954 to 2119

Parser = Callable[[str], Moment]  # raises ValueError or OverflowError for what it does not read


def month_of(name: str) -> int | None:
    """The month that a name or its abbreviation means, in one of the languages above."""
    text = name.strip().lower().rstrip(".")
    if not text.isalpha() or len(text) < 3:
        return None
    return _MONTHS.get(text[:4]) or _MONTHS.get(text[:3])


def read_iso(text: str) -> Moment:
    """A time in ISO 8601, also with 24:00 for the end of a day."""
    text = text.strip()
    if text.isdigit():
        raise ValueError("digits alone are read by their number")
    if text[-1:] in _ASCII_DIGITS and "24:00" not in text:  # what most files hold
        return parse_moment(text)
    midnight = _MIDNIGHT.fullmatch(text)
    if midnight:
        start = parse_moment(midnight["day"])
        return replace(start, clock=start.clock + dt.timedelta(days=1), precision="s")
    word = _UTC_WORD.search(text)
    if word and len(text) > 11:
        return parse_moment(text[: word.start()] + "Z")
    zone = _ZONE_WORD.search(text)
    if zone and zone[1] in _ZONES:
        return replace(parse_moment(text[: zone.start()]), offset=dt.timedelta(hours=_ZONES[zone[1]]))
    return parse_moment(text)


def read_digits(text: str) -> Moment:
    """A year, 202401, 20240131, 20240131235959, or a Unix time in seconds or thousandths, millionths … of them."""
    text = text.strip().removesuffix(".0")
    if not _DIGITS.fullmatch(text):
        raise ValueError("is no date of digits")
    if len(text) == 10 and text.startswith(("19", "20")):
        return Moment(
            _clock(int(text[:4]), int(text[4:6]), int(text[6:8])).replace(hour=int(text[8:])), None, None, "s"
        )
    if len(text) in _PER_SECOND or "." in text:
        time = dt.datetime.fromtimestamp(float(text) / _PER_SECOND.get(len(text.partition(".")[0]), 1), dt.UTC)
        if not 1971 <= time.year <= 2100:
            raise ValueError("is no likely Unix time")
        return Moment(time.replace(tzinfo=None), dt.timedelta(0), None, "s", is_utc=True)
    year = _likely_year(text[:4])
    month, day = int(text[4:6] or 1), int(text[6:8] or 1)
    if len(text) > 8:
        hour, minute, second = int(text[8:10]), int(text[10:12]), int(text[12:14] or 0)
        return Moment(_clock(year, month, day).replace(hour=hour, minute=minute, second=second), None, None, "s")
    return Moment(_clock(year, month, day), None, None, {4: "Y", 6: "M", 8: "D"}[len(text)])


def read_week_digits(text: str) -> Moment:
    """202451: a year and a week of it by ISO 8601."""
    text = text.strip()
    if len(text) != 6 or not text.isdigit():
        raise ValueError("is no week in digits")
    return _week(_likely_year(text[:4]), int(text[4:]))


def read_decimal_years(text: str) -> Moment:
    """A year with a fraction of twelfths, as R writes the times of a series: 1949.08333 is February."""
    year = float(text)
    if not 1600 <= year <= 2200:
        raise ValueError("is no likely year")
    months = round(year * 12)
    if abs(year * 12 - months) > 0.02:
        raise ValueError("is no month of a year")
    return Moment(_clock(months // 12, months % 12 + 1, 1), None, None, "M")


def read_words(text: str) -> Moment:
    """Names of months, quarters, half years, weeks, East Asian dates, and a month of a year in digits."""
    text = text.strip()
    of_year = _MONTH_OF_YEAR.fullmatch(text)
    if of_year:
        return Moment(
            _clock(int(of_year["c"] or of_year["year"]), int(of_year["a"] or of_year["month"]), 1), None, None, "M"
        )
    match = _EAST_ASIAN.fullmatch(text)
    if match:
        precision = "D" if match["day"] else "M"
        return _with_clock(match, int(match["year"]), int(match["month"]), int(match["day"] or 1), precision)
    match = next(
        (found for form in (_NAME_FIRST, _YEAR_LAST, _DAY_FIRST, _YEAR_FIRST) if (found := form.fullmatch(text))), None
    )
    month = month_of(match["name"]) if match else None
    if match is None or month is None:
        return _period(text)
    return _with_clock(match, _year(match["year"]), month, int(match["day"] or 1), "D" if match["day"] else "M")


def _period(text: str) -> Moment:
    """The first day of a quarter, half year or week."""
    for kind, forms in _PERIODS.items():
        for form in forms:
            match = form.fullmatch(text)
            if match:
                fields = match.groupdict()
                year, number = _year(fields["year"] or fields.get("year2") or ""), int(fields["number"])
                if kind == "week":
                    return _week(year, number)
                return Moment(_clock(year, (number - 1) * (3 if kind == "quarter" else 6) + 1, 1), None, None, "D")
    raise ValueError("is no date")


def read_excel_days(text: str) -> Moment:
    """Days since the end of 1899, as spreadsheets store times; a fraction is the time of day."""
    days = float(text.replace(",", "."))
    if not EXCEL_DAYS[0] <= days <= EXCEL_DAYS[1]:
        raise ValueError("is no likely day of a spreadsheet")
    clock = _EXCEL_EPOCH + dt.timedelta(seconds=round(days * 86_400))
    return Moment(clock, None, None, "D" if days == int(days) else "s")


def numeric_parser(order: DateOrder) -> Parser:
    """The parser of dates of three numbers in `order`."""

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
    clock = _clock(year, month, day)
    if match["hour"] is None:
        return Moment(clock, None, None, precision)
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("has no hour of a half day")
        hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
    if hour == 24 and minute == second == 0:
        return Moment(clock + dt.timedelta(days=1), None, None, "s")
    clock, zone = clock.replace(hour=hour, minute=minute, second=second), match["zone"]
    if not zone:
        return Moment(clock, None, None, "s")
    if zone in {"Z", "UTC", "GMT"}:
        return Moment(clock, dt.timedelta(0), None, "s", is_utc=True)
    if zone.isalpha():
        if zone not in _ZONES:
            raise ValueError("has a zone that is not known")
        return Moment(clock, dt.timedelta(hours=_ZONES[zone]), None, "s")
    zone = zone.removeprefix("UTC").removeprefix("GMT")
    offset = dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])) * (-1 if zone[0] == "-" else 1)
    return Moment(clock, offset, None, "s")


def _week(year: int, week: int) -> Moment:
    """The Monday of a week by ISO 8601."""
    return Moment(dt.datetime.fromisocalendar(year, week, 1), None, None, "D")


def _clock(year: int, month: int, day: int) -> dt.datetime:
    return dt.datetime(year, month, day)  # noqa: DTZ001 (a clock without a zone)


def _likely_year(digits: str) -> int:
    year = int(digits)
    if not 1600 <= year <= 2200:
        raise ValueError("is no likely year")
    return year


def _year(digits: str) -> int:
    """A year of two digits is one of 1970 to 2069, as POSIX (strptime, %y) nearly has it."""
    year = int(digits)
    return year if len(digits) == 4 else year + (2000 if year < 70 else 1900)
