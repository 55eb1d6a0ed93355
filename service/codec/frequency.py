"""Frequencies: how far apart the values of a series are, and the calendar's arithmetic of such steps.

Names are those of pandas, before and after release 2.2 (`M` and `ME`, `H` and `h`), multiples and sums of fixed units
(`15min`, `1h30min`), ISO 8601 durations (`PT15M`, `P1M`) and words (`daily`). Times are numpy's `datetime64[us]` on a
clock without a zone; numpy also counts months and weekdays, so that serving needs no pandas.
"""

from __future__ import annotations

import difflib
import re
from math import gcd
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Times = NDArray[np.datetime64]  # (T,) datetime64[us]
Steps = NDArray[np.int64]

MICROSECOND, SECOND, MINUTE, HOUR = 1, 1_000_000, 60_000_000, 3_600_000_000
DAY = 24 * HOUR
WEEK = 7 * DAY
_CALENDAR_SEASONS = {DAY: 7, WEEK: 52}  # step -> values in a week, in a year
MAX_NAME = 32  # characters of a name that is read
_MAX_MULTIPLE = 1_000_000
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")

Unit = Literal["time", "weekday", "month"]
Day = Literal["first", "last", "first weekday", "last weekday", "same"]

_UNITS = {  # name -> microseconds; the upper case ones are pandas' of before 2.2
    "us": MICROSECOND,
    "U": MICROSECOND,
    "ms": 1000,
    "L": 1000,
    "s": SECOND,
    "S": SECOND,
    "min": MINUTE,
    "T": MINUTE,
    "h": HOUR,
    "H": HOUR,
    "D": DAY,
}
_WEEKDAY_NAMES = ("B", "C")
_OF_MONTHS: dict[str, tuple[int, Day]] = {  # name -> months, and the day of the month; anchors (`QS-JAN`) come after it
    "MS": (1, "first"),
    "BMS": (1, "first weekday"),
    "ME": (1, "last"),
    "M": (1, "last"),
    "BME": (1, "last weekday"),
    "BM": (1, "last weekday"),
    "QS": (3, "first"),
    "BQS": (3, "first weekday"),
    "QE": (3, "last"),
    "Q": (3, "last"),
    "BQE": (3, "last weekday"),
    "BQ": (3, "last weekday"),
    "YS": (12, "first"),
    "AS": (12, "first"),
    "BYS": (12, "first weekday"),
    "BAS": (12, "first weekday"),
    "YE": (12, "last"),
    "Y": (12, "last"),
    "A": (12, "last"),
    "BYE": (12, "last weekday"),
    "BY": (12, "last weekday"),
    "BA": (12, "last weekday"),
}
_CANONICAL = {"M": "ME", "BM": "BME", "Q": "QE", "BQ": "BQE", "AS": "YS", "BAS": "BYS", "Y": "YE", "A": "YE"}
_CANONICAL |= {"BA": "BYE", "BY": "BYE"}
_WORDS = {
    "secondly": "s",
    "second": "s",
    "minutely": "min",
    "minute": "min",
    "hourly": "h",
    "hour": "h",
    "daily": "D",
    "day": "D",
    "weekly": "W",
    "week": "W",
    "monthly": "M",
    "month": "M",
    "quarterly": "Q",
    "quarter": "Q",
    "yearly": "Y",
    "year": "Y",
    "annual": "Y",
    "annually": "Y",
}
_PART = re.compile(r"(?P<count>[0-9]*)(?P<name>[A-Za-z]+)(-(?P<anchor>[A-Z]{3}))?")
_ISO = re.compile(
    r"P(?=[0-9T])(?:(?P<Y>[0-9]+)Y)?(?:(?P<M>[0-9]+)M)?(?:(?P<W>[0-9]+)W)?(?:(?P<D>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<h>[0-9]+)H)?(?:(?P<min>[0-9]+)M)?(?:(?P<s>[0-9]+)S)?)?"
)
EXAMPLES = "such as 'h', '15min', 'D', 'B', 'W-SUN', 'MS', 'ME', 'QS' or 'YS'"


class Frequency(Struct, frozen=True):
    """A step from one value to the next: `count` microseconds, weekdays (Monday to Friday) or months.

    `anchor` is where the name says that steps end: 0..6 from Monday for weeks, 1..12 for quarters and years. A name
    that is `loose` (`W`, `M`, `Q`, `Y` and words) says only how long a step is, as those of periods do.
    """

    name: str
    unit: Unit
    count: int
    day: Day = "same"
    anchor: int | None = None
    loose: bool = False

    @property
    def is_of_days(self) -> bool:
        """Whether steps follow the clock on the wall; others are so many seconds long."""
        return self.unit != "time" or self.count % DAY == 0

    @property
    def season(self) -> int:
        """The values in a day, week or year that one expects to be a season; 1 where one expects none."""
        if self.unit == "weekday":
            return 5 if self.count == 1 else 1
        if self.unit == "month":
            return 12 // self.count if self.count < 12 and 12 % self.count == 0 else 1
        if self.count in _CALENDAR_SEASONS:
            return _CALENDAR_SEASONS[self.count]
        cycle = DAY if self.count >= MINUTE else HOUR if self.count >= SECOND else SECOND
        return cycle // self.count if self.count < cycle and cycle % self.count == 0 else 1


class Grid(Struct, frozen=True, eq=False):
    """The times at which values of a series stand: `start`, and a step of `frequency` after each."""

    frequency: Frequency
    start: np.datetime64
    day_of_month: int = 0  # of steps of months that come on the same day, or on the last of a shorter month

    def at(self, steps: Steps) -> Times:
        """The times `steps` after the start."""
        count = self.frequency.count
        if self.frequency.unit == "time":
            return np.asarray(self.start + count * steps)
        day = self.start.astype("M8[D]")
        time_of_day = self.start - day
        if self.frequency.unit == "weekday":
            days = np.busday_offset(day, count * steps)
        else:
            days = _days_of(self.start.astype("M8[M]") + count * steps, self.frequency.day, self.day_of_month)
        return np.asarray(days.astype("M8[us]") + time_of_day)

    def steps_to(self, times: Times) -> tuple[Steps, NDArray[np.bool_]]:
        """The step nearest to each of `times`, and which of them stand exactly there."""
        count = self.frequency.count
        if self.frequency.unit == "time":
            distance = (times - self.start).astype(np.int64)
        elif self.frequency.unit == "weekday":
            distance = np.busday_count(self.start.astype("M8[D]"), times.astype("M8[D]")).astype(np.int64)
        else:
            distance = (times.astype("M8[M]") - self.start.astype("M8[M]")).astype(np.int64)
        steps = np.floor_divide(2 * distance + count, 2 * count)
        return steps, self.at(steps) == times


def grid_from(frequency: Frequency, times: Times) -> tuple[Grid, bool]:
    """The grid of `frequency` on which the first of `times` stands, and whether its name says another day than theirs.

    Then the days of `times` are kept: values of the first of each month go on like that, also as `ME`. Raises
    `ValueError` where the first one is a weekend and steps are weekdays.
    """
    start = times[0]
    if frequency.unit == "weekday" and not np.is_busday(start.astype("M8[D]")):
        raise ValueError("is on a weekend, and the frequency is of weekdays")
    if frequency.unit == "time":
        elsewhere = frequency.anchor is not None and _weekday(start) != frequency.anchor
        return Grid(frequency, start), elsewhere
    if frequency.unit == "weekday":
        return Grid(frequency, start), False
    grid = Grid(frequency, start)
    month = int(start.astype("M8[M]").astype(np.int64)) % 12 + 1
    in_anchor = frequency.anchor is None or (month - frequency.anchor) % min(frequency.count, 12) == 0
    if bool((_days_of(times.astype("M8[M]"), frequency.day, 0) == times.astype("M8[D]")).all()):
        return grid, not in_anchor
    day = int(days_of_month(times).max())
    on_its_day = Frequency(frequency.name, "month", frequency.count, "same", frequency.anchor, frequency.loose)
    return Grid(on_its_day, start, day), not frequency.loose


def days_of_month(times: Times) -> Steps:
    """The day of the month of each of `times`, 1..31."""
    days: Steps = (times.astype("M8[D]") - times.astype("M8[M]").astype("M8[D]")).astype(np.int64)
    return days + 1


def _days_of(months: NDArray[np.datetime64], day: Day, day_of_month: int) -> NDArray[np.datetime64]:
    """The `day` of each of `months`."""
    first = months.astype("M8[D]")
    last = (months + 1).astype("M8[D]") - 1
    if day == "first":
        return first
    if day == "last":
        return last
    if day == "first weekday":
        return np.asarray(np.busday_offset(first, 0, roll="forward"))
    if day == "last weekday":
        return np.asarray(np.busday_offset(last, 0, roll="backward"))
    return np.asarray(np.minimum(first + (max(day_of_month, 1) - 1), last))


def _weekday(time: np.datetime64) -> int:
    return (int(time.astype("M8[D]").astype(np.int64)) + 3) % 7  # 1970-01-01 was a Thursday


# --- names -----------------------------------------------------------------------------------------------------------


def parse_frequency(name: str) -> Frequency:
    """The frequency that `name` says; raises `ValueError`, worded for the caller of the service, for any other text."""
    text = name.strip()
    if not text or len(text) > MAX_NAME:
        raise ValueError(f"is no frequency: {EXAMPLES}")
    loose = text.lower() in _WORDS
    text = _WORDS.get(text.lower(), text)
    iso = _ISO.fullmatch(text)
    if iso:
        return _of_duration(iso)
    parts = list(_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError(f"is no frequency: {EXAMPLES}")
    if len(parts) == 1:
        return _of_name(parts[0], loose)
    total = 0
    for part in parts:
        if part["name"] not in _UNITS or part["anchor"]:
            raise ValueError("only seconds, minutes, hours and days can be added up")
        total += _multiple(part["count"]) * _UNITS[part["name"]]
    return of_microseconds(total)


def of_microseconds(microseconds: int) -> Frequency:
    """Steps of so many microseconds, with the name that pandas gives them."""
    if microseconds and microseconds % WEEK == 0:
        return Frequency(_named(microseconds // WEEK, "W"), "time", microseconds, loose=True)
    for unit in ("D", "h", "min", "s", "ms", "us"):
        if microseconds and microseconds % _UNITS[unit] == 0:
            return Frequency(_named(microseconds // _UNITS[unit], unit), "time", microseconds)
    raise ValueError("is no step: it has no length")


def of_months(count: int, day: Day) -> Frequency:
    """Steps of `count` months that come on `day`."""
    letters = {"first": "S", "last": "E", "first weekday": "S", "last weekday": "E", "same": "S"}[day]
    business = "B" if day.endswith("weekday") else ""
    unit, multiple = next((unit, count // size) for unit, size in (("Y", 12), ("Q", 3), ("M", 1)) if count % size == 0)
    return Frequency(_named(multiple, business + unit + letters), "month", count, day, loose=True)


def weekdays(count: int = 1) -> Frequency:
    """Steps of `count` days from Monday to Friday."""
    return Frequency(_named(count, "B"), "weekday", count)


def common_step(distances: Steps) -> int:
    """The largest step that divides all `distances`."""
    return gcd(*np.unique(distances).tolist())


def _of_name(part: re.Match[str], loose: bool) -> Frequency:
    """The frequency of one name with its multiple and anchor."""
    name, multiple, anchor = part["name"], _multiple(part["count"]), part["anchor"]
    if name == "W":
        return _of_weeks(multiple, anchor)
    if name in _OF_MONTHS:
        months, day = _OF_MONTHS[name]
        if anchor and (months == 1 or anchor not in _MONTHS):
            raise ValueError(f"has an anchor that is none: {EXAMPLES}")
        canonical = _CANONICAL.get(name, name)
        full = _named(multiple, canonical + (f"-{anchor}" if anchor else ""))
        month = _MONTHS.index(anchor) + 1 if anchor else None
        loose = loose or (name in {"M", "Q", "Y", "A"} and not anchor)
        return Frequency(full, "month", months * multiple, day, month, loose)
    if anchor is None and name in _WEEKDAY_NAMES:
        return weekdays(multiple)
    if anchor is None and name in _UNITS:
        return Frequency(_named(multiple, _new_name(name)), "time", _UNITS[name] * multiple)
    names = [*_UNITS, *_OF_MONTHS, *_WEEKDAY_NAMES, "W"]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise ValueError(f"is no frequency that is read here: {EXAMPLES}{hint}")


def _of_weeks(multiple: int, anchor: str | None) -> Frequency:
    if anchor is not None and anchor not in _WEEKDAYS:
        raise ValueError(f"has an anchor that is no day of the week: {EXAMPLES}")
    weekday = _WEEKDAYS.index(anchor) if anchor else None
    name = _named(multiple, f"W-{anchor}" if anchor else "W")
    return Frequency(name, "time", WEEK * multiple, anchor=weekday, loose=anchor is None)


def _of_duration(iso: re.Match[str]) -> Frequency:
    """The frequency of an ISO 8601 duration, either of years and months or of fixed units."""
    months = 12 * int(iso["Y"] or 0) + int(iso["M"] or 0)
    units = {"W": WEEK, "D": DAY, "h": HOUR, "min": MINUTE, "s": SECOND}
    total = sum(int(iso[unit] or 0) * size for unit, size in units.items())
    if months and total:
        raise ValueError("adds months to a fixed time: state one of both")
    if max(months, total // DAY) > _MAX_MULTIPLE:
        raise ValueError("is longer than what can be counted here")
    return of_months(months, "first") if months else of_microseconds(total)


def _multiple(digits: str) -> int:
    value = int(digits) if digits else 1
    if not 1 <= value <= _MAX_MULTIPLE:
        raise ValueError(f"has a multiple beyond 1 to {_MAX_MULTIPLE}")
    return value


def _named(multiple: int, name: str) -> str:
    return name if multiple == 1 else f"{multiple}{name}"


def _new_name(name: str) -> str:
    return {"U": "us", "L": "ms", "S": "s", "T": "min", "H": "h"}.get(name, name)
