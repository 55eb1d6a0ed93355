"""When the values of a series are from: `start` and `freq`, or `timestamps`, and times back to text.

Values are put on a grid of equal steps (of the clock, of weekdays or of months): where a time is left out, the value is
missing. Steps of days and longer follow the clock on the wall, shorter ones count the seconds in between: an hourly
series has 23 values on the day on which clocks go forward, a daily one still one. A zone is a distance from UTC
(`+02:00`) or, as RFC 9557 writes it, also a name (`2024-03-31T00:00+01:00[Europe/Berlin]`).
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from service.codec.frequency import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    WEEK,
    Day,
    Frequency,
    Grid,
    Steps,
    Times,
    common_step,
    days_of_month,
    grid_from,
    of_microseconds,
    of_months,
    parse_frequency,
    weekdays,
)
from service.contract.errors import FieldError
from service.contract.types import Floats

ROUNDED, OFF_START = "timestamps_rounded", "frequency_not_followed"  # warnings
SENTENCES = {
    ROUNDED: "the timestamps are not evenly spaced: each value was put on the nearest step",
    OFF_START: "the timestamps stand on other days than the frequency says: the forecast goes on on theirs",
}
MAX_TEXT = 64  # characters of a time
_COMPARED = 1024  # newest values that are looked at for a season
_MIN_FILLED = 0.4  # of the steps between the first and the last time: with fewer the spacing was guessed wrongly
_MIN_YEAR, _MAX_YEAR = np.datetime64("0001-01-01", "us"), np.datetime64("10000-01-01", "us")
_LONGEST = {"time": 10_000 * 366 * DAY, "weekday": 10_000 * 366, "month": 10_000 * 12}  # that all steps are together
_MIDNIGHT = dt.time()
_ZONE_NAME = re.compile(r"(.*)\[!?([A-Za-z0-9_+/-]+)\]")
_SHORTEST_DATE = 8  # characters of a whole date: 20240131
_REDUCED = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")
_NICE = (
    *(SECOND * count for count in (1, 2, 5, 10, 15, 20, 30)),
    *(MINUTE * count for count in (1, 2, 5, 10, 15, 20, 30)),
    *(HOUR * count for count in (1, 2, 3, 4, 6, 8, 12)),
    *(DAY, WEEK),
)


class Moment(Struct, frozen=True, gc=False):
    """A time as it was written."""

    clock: dt.datetime  # of the wall, without a zone
    offset: dt.timedelta | None  # from UTC
    zone: str | None  # by name
    precision: str  # "Y", "M", "D" or "s"
    is_utc: bool = False  # written as Z


class UnknownZone(ValueError):
    """There is no time zone of that name."""


class Fault(Exception):
    """What is wrong with the times of one series; `index` is that of the time, None where it is about all of them."""

    def __init__(self, detail: str, field: str = "timestamps", index: int | None = None, code: str = "out_of_range"):
        super().__init__(detail)
        self.detail, self.field, self.index, self.code = detail, field, index, code

    def at(self, pointer: str) -> FieldError:
        """The same as an error of the request, where `pointer` is that of the series."""
        row = "" if self.index is None else f"/{self.index}"
        return FieldError(f"{pointer}/{self.field}{row}", self.code, self.detail)


class _RowNames:
    """What errors call the rows of a series: by their number in it, or by the lines of a file."""

    def __init__(self, lines: Sequence[int] | None) -> None:
        self._lines = lines

    def __call__(self, index: int) -> str:
        return f"row {index + 1}" if self._lines is None else f"line {self._lines[index]}"


class Timeline(Struct, frozen=True, eq=False):
    """The grid of a series, and how its times are written."""

    grid: Grid
    length: int  # steps of the series, those without a value included
    moment: Moment
    precision: str
    warnings: list[str]

    @property
    def season(self) -> int:
        """The season that the frequency suggests."""
        return self.grid.frequency.season

    def texts(self, first: int, count: int) -> list[str]:
        """The times of `count` steps from step `first` on."""
        return self.texts_at(np.arange(first, first + count, dtype=np.int64))

    def texts_at(self, steps: Steps) -> list[str]:
        """The times of `steps`."""
        if not len(steps):
            return []
        times = self.grid.at(steps)
        zone = _zone_of(self.moment)
        if zone is None:
            return _texts(times, self.precision)
        utc = None if self.grid.frequency.is_of_days else dt.UTC
        suffix = f"[{self.moment.zone}]" if self.moment.zone else ""
        texts = []
        for clock in times.tolist():
            time = clock.replace(tzinfo=utc or zone).astimezone(zone)
            text = time.isoformat()
            texts.append((text[:-6] + "Z" if self.moment.is_utc else text) + suffix)
        return texts


class Placed(NamedTuple):
    """A series on its grid."""

    timeline: Timeline
    steps: Steps | None  # of the values; None where they stand without a gap


def from_start(start: str, freq: str, length: int) -> Placed:
    """`length` values from `start` on, a step of `freq` apart; raises `Fault`."""
    frequency = read_frequency(freq)
    moment = _moment(start, "start", None)
    utc = _in_utc(np.array([moment.clock], "M8[us]"), [moment])
    _check_years(utc, "start")
    times = np.array([moment.clock], "M8[us]") if frequency.is_of_days else utc
    try:
        grid, elsewhere = grid_from(frequency, times)
    except ValueError as error:
        raise Fault(str(error), "start") from error
    warnings = [OFF_START] if elsewhere else []
    return Placed(Timeline(grid, length, moment, moment.precision, warnings), None)


def from_timestamps(timestamps: Sequence[str], freq: str | None, max_length: int) -> Placed:
    """Values at `timestamps` in ascending order, `freq` apart or as they say themselves; raises `Fault`.

    `max_length` bounds the steps between the first and the last of them.
    """
    return place_moments(
        [_moment(text, "timestamps", index) for index, text in enumerate(timestamps)], freq, max_length
    )


def place_moments(
    moments: Sequence[Moment], freq: str | None, max_length: int, lines: Sequence[int] | None = None
) -> Placed:
    """`from_timestamps` for times that have been read; `lines` of a file, where errors should name those."""
    names = _RowNames(lines)
    _check_zones(moments)
    clock = np.array([moment.clock for moment in moments], "M8[us]")
    utc = _in_utc(clock, moments)
    _check_order(utc, moments[0], names)
    _check_years(utc, "timestamps")
    frequency = read_frequency(freq) if freq is not None else _spacing(clock, utc)
    times = clock if frequency.is_of_days else utc
    if times is not utc:
        _check_order(times, moments[0], names)
    try:
        grid, elsewhere = grid_from(frequency, times)
    except ValueError as error:
        raise Fault(str(error), index=0) from error
    steps, exact = grid.steps_to(times)
    if steps[-1] >= max_length:
        worst = int(np.diff(steps).argmax()) + 1
        detail = (
            f"the step is {frequency.name}, and {int(steps[-1]) + 1} of them are more than the {max_length} allowed"
        )
        raise Fault(f"{detail}: the widest gap ends here", index=worst, code="series_too_long")
    warnings = [OFF_START] if elsewhere else []
    if not exact.all():
        _check_rounding(steps, exact, frequency, names, is_stated=freq is not None)
        warnings.append(ROUNDED)
    last = moments[-1]
    finest = max((moment.precision for moment in moments), key="YMDs".index)
    timeline = Timeline(grid, int(steps[-1]) + 1, last, finest, warnings)
    return Placed(timeline, None if len(steps) == timeline.length else steps)


def spread(target: Sequence[float | None], placed: Placed) -> list[float | None]:
    """`target` with a missing value at each step that has no time."""
    if placed.steps is None:
        return list(target)
    values: list[float | None] = [None] * placed.timeline.length
    for step, value in zip(placed.steps.tolist(), target, strict=True):
        values[step] = value
    return values


def check_end(timeline: Timeline, horizon: int) -> None:
    """Raise `Fault` where the forecast would go beyond the year 9999, after which ISO 8601 has no common form."""
    frequency, steps = timeline.grid.frequency, timeline.length + horizon
    latest = _MAX_YEAR if timeline.moment.offset is None else _MAX_YEAR - np.timedelta64(1, "D")  # in any zone
    is_beyond = frequency.count * steps > _LONGEST[frequency.unit]  # asked first: such times are more than numpy has
    if is_beyond or timeline.grid.at(np.array([steps], np.int64))[0] >= latest:
        raise Fault("with this step the forecast goes beyond the year 9999", "freq")


@np.errstate(over="ignore", invalid="ignore")
def is_likely(values: Floats, season: int) -> bool:
    """Whether `season`, which the name of a frequency suggests, is to be stated to a network: values show no other.

    Stated where it cannot be seen it gains more than it harms. Another one shows where values are nearer to those some
    other number of steps earlier, two to forty, than to those a `season` earlier, by a fifth or more, and nearer than
    to those a step more or less away. A curve so smooth that it moves `season` times as far in a season has none.
    """
    newest = values[-_COMPARED:]
    if season < 2 or len(newest) <= season + 1 or np.isfinite(newest).sum() < 2:
        return False
    if comes_back(newest, season):
        return True
    seasonal = _mean_change(newest, season)
    longest = min(40, len(newest) // 2)
    changes = [_mean_change(newest, lag) for lag in range(1, longest + 2)]
    known = np.array([np.inf if change is None else change for change in changes])
    inner = known[1:-1]
    other = (inner < known[:-2]) & (inner < known[2:]) & (np.arange(2, longest + 1) % season > 0)
    if seasonal is None or seasonal > 0.6 * season * known[0]:
        return False
    return not bool((other & (inner < 0.8 * seasonal)).any())


@np.errstate(over="ignore", invalid="ignore")
def comes_back(values: Floats, season: int) -> bool:
    """Whether values are nearer to those one `season` earlier than to others within it, by a fifth or more.

    Others are those just before, or those a quarter to three quarters of a season earlier: a temperature hardly changes
    in an hour.
    """
    if season < 2 or len(values) < 2 * season + 1:
        return False
    seasonal, naive = _mean_change(values, season), _mean_change(values, 1)
    if seasonal is None or naive is None:
        return False
    parts = (season // 4, season // 2, 3 * season // 4) if season > 7 else ()
    within = [change for lag in parts if (change := _mean_change(values, lag)) is not None]
    return seasonal < 0.8 * max(naive, sum(within) / max(1, len(within)))


def parse_moment(text: str) -> Moment:
    """A time in ISO 8601, also a month or a year alone, with a zone by RFC 9557; raises `ValueError`."""
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise ValueError("is too long for a time")
    named = _ZONE_NAME.fullmatch(text) if text.endswith("]") else None
    text, zone = (named[1], named[2]) if named else (text, None)
    reduced = _REDUCED.fullmatch(text) if len(text) < _SHORTEST_DATE else None
    if reduced:
        return Moment(dt.datetime(int(reduced[1]), int(reduced[2] or 1), 1), None, zone, "M" if reduced[2] else "Y")  # noqa: DTZ001 (a clock without a zone)
    time = dt.datetime.fromisoformat(text)
    offset, clock = (None, time) if time.tzinfo is None else (time.utcoffset(), time.replace(tzinfo=None))
    precision = "s" if len(text) > 10 or time.time() != _MIDNIGHT else "D"
    if zone is not None and offset is None:
        offset = clock.replace(tzinfo=_named_zone(zone)).utcoffset()
    return Moment(clock, offset, zone, precision, text.endswith(("Z", "z")))


def _moment(text: str, field: str, index: int | None) -> Moment:
    try:
        return parse_moment(text)
    except UnknownZone as error:
        raise Fault("names a zone that is not known", field, index) from error
    except ValueError as error:
        detail = "is no time in ISO 8601, such as 2024-01-31 or 2024-01-31T13:00:00+01:00"
        raise Fault(detail, field, index, "wrong_type") from error


def read_frequency(name: str) -> Frequency:
    """`parse_frequency`; raises `Fault`."""
    try:
        return parse_frequency(name)
    except ValueError as error:
        raise Fault(str(error), "freq") from error


def _named_zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of that name; raises `UnknownZone`."""
    try:
        return zoneinfo.ZoneInfo(name)
    # ValueError and OSError: of a name that is a folder, or leads out of the folder of zones.
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZone(name) from error


def _zone_of(moment: Moment) -> dt.tzinfo | None:
    if moment.zone is not None:
        return _named_zone(moment.zone)
    return None if moment.offset is None else dt.timezone(moment.offset)


def _in_utc(clock: Times, moments: Sequence[Moment]) -> Times:
    """The times of `moments`, which are `clock` on the wall, in UTC; `clock` itself where they have no zone."""
    if moments[0].offset is None:
        return clock
    return np.asarray(clock - np.array([moment.offset for moment in moments], "m8[us]"))


def _check_years(utc: Times, field: str) -> None:
    """Raise `Fault` where ascending times begin or end in a year that Python has not, which a zone can make of them."""
    for index in (0, len(utc) - 1):
        if not _MIN_YEAR <= utc[index] < _MAX_YEAR:
            at = index if field == "timestamps" else None
            raise Fault("is not within the years 1 to 9999 of UTC", field, at)


def _check_zones(moments: Sequence[Moment]) -> None:
    first = moments[0]
    for index, moment in enumerate(moments):
        if (moment.offset is None) != (first.offset is None):
            zone = "has no zone" if moment.offset is None else "has a zone"
            raise Fault(f"{zone}, unlike the first one: state it for all or for none", index=index)
        if moment.zone != first.zone:
            raise Fault("names another zone than the first one", index=index)


def _check_order(utc: Times, first: Moment, names: _RowNames) -> None:
    """Raise `Fault` at the first time that does not come after the one before it."""
    ascends = np.diff(utc) > np.timedelta64(0)
    if ascends.all():
        return
    index = int(np.argmin(ascends)) + 1
    row, time = names(index), _texts(utc[index : index + 1], "s")[0]
    if utc[index] == utc[index - 1]:
        detail = f"{row} has the time of {names(index - 1)} once more"
    elif bool((utc[:index] == utc[index]).any()):
        first_row = names(int(np.argmax(utc[:index] == utc[index])))
        detail = f"{row} has the time of {first_row} once more"
    else:
        detail = f"{row} is earlier than {names(index - 1)}: times must ascend"
    if first.offset is None and time.endswith(("00:00", "15:00", "30:00", "45:00")) and first.precision == "s":
        detail += "; where a clock was set back, state the distance from UTC (2024-10-27T02:00:00+01:00)"
    raise Fault(detail, index=index)


def _spacing(clock: Times, utc: Times) -> Frequency:
    """The step that ascending times say themselves; raises `Fault` where they say none."""
    if len(clock) < 2:
        raise Fault("one time alone does not say how far apart values are", "freq", code="missing_field")
    of_months = _spacing_in_months(clock)
    if of_months is not None:
        return of_months
    # By the clock on the wall where it gives whole days, which differ in seconds when clocks change.
    for times in (clock, utc):
        distances = np.diff(times).astype(np.int64)
        if distances.min() <= 0:  # of a clock that was set back
            continue
        step = common_step(distances)
        filled = len(times) * step / (int(distances.sum()) + step)
        if (times is utc or step % DAY == 0) and filled >= _MIN_FILLED:
            return _days_or_weekdays(times) if step == DAY else of_microseconds(step)
    return of_microseconds(_rough_step(np.diff(utc).astype(np.int64)))


def _days_or_weekdays(times: Times) -> Frequency:
    """Days of the week where days were left out at weekends, and at every weekend; else all days."""
    days = times.astype("M8[D]")
    if np.is_busday(days).all() and np.busday_count(days[0], days[-1]) < (days[-1] - days[0]).astype(np.int64):
        return weekdays()
    return of_microseconds(DAY)


def _spacing_in_months(clock: Times) -> Frequency | None:
    """Steps of months where all times are on the same day of a month, by one of the rules; None elsewhere."""
    months = np.diff(clock.astype("M8[M]")).astype(np.int64)
    same_time = clock.astype("M8[us]") - clock.astype("M8[D]").astype("M8[us]")
    if months.min() < 1 or (same_time != same_time[0]).any():
        return None
    count = common_step(months)
    rules: tuple[Day, ...] = ("first", "last", "first weekday", "last weekday")
    for day in rules:
        frequency = of_months(count, day)
        grid, elsewhere = grid_from(frequency, clock)
        if not elsewhere and grid.day_of_month == 0:
            return frequency
    day_of_month = days_of_month(clock)
    frequency = Frequency(of_months(count, "first").name, "month", count, "same", loose=True)
    grid = Grid(frequency, clock[0], int(day_of_month.max()))
    return frequency if grid.steps_to(clock)[1].all() else None


def _rough_step(distances: Steps) -> int:
    """The step of times that are not quite even: the median distance, or a round number within a twentieth of it."""
    median = int(np.sort(distances)[(len(distances) - 1) // 2])
    nearest = min(_NICE, key=lambda step: abs(step - median))
    return nearest if abs(nearest - median) <= median / 20 else max(median, 1)


def _check_rounding(
    steps: Steps, exact: np.ndarray, frequency: Frequency, names: _RowNames, *, is_stated: bool
) -> None:
    """Raise `Fault` where two times fall on one step, or where times are so uneven that a step is a bad guess."""
    shares_step = np.diff(steps) < 1
    hint = "" if is_stated else ": state freq, or send one value a step"
    if shares_step.any():
        index = int(np.argmax(shares_step)) + 1
        raise Fault(f"{names(index - 1)} and {names(index)} fall on one step of {frequency.name}{hint}", index=index)
    if not is_stated and len(steps) < _MIN_FILLED * (int(steps[-1]) + 1):
        index = int(np.argmin(exact))
        raise Fault(f"{names(index)} is on no step of {frequency.name}, the usual distance{hint}", index=index)


def _mean_change(values: Floats, lag: int) -> float | None:
    """The mean distance of changes over `lag` from their median, None where there is none to compare."""
    changes = values[lag:] - values[:-lag]
    changes = changes[np.isfinite(changes)]
    if not len(changes):
        return None
    return float(np.abs(changes - np.median(changes)).mean())


def _texts(times: Times, precision: str) -> list[str]:
    """Times of the wall in ISO 8601, with as much of them as `precision` says and their values need."""
    for unit, frame in (("Y", "M8[Y]"), ("M", "M8[M]"), ("D", "M8[D]")):
        if "YMDs".index(unit) >= "YMDs".index(precision) and bool(
            (times.astype(frame).astype("M8[us]") == times).all()
        ):
            return [str(text) for text in np.datetime_as_string(times, unit=unit)]  # type: ignore[call-overload]
    is_whole_seconds = bool((times.astype("M8[s]").astype("M8[us]") == times).all())
    return [str(text) for text in np.datetime_as_string(times, unit="s" if is_whole_seconds else "us")]
