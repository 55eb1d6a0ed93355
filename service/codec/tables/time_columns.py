"""The columns that together say when a row is from: a date, a date and a time of day, a year and a month …"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from service.codec.tables.date_writings import month_of
from service.codec.tables.dates import start_of
from service.codec.tables.numerals import whole_number
from service.codec.tables.types import Column, printable

_TIME_WORDS = """
date time datetime timestamp ts ds t step day month year week quarter period when time_stamp date_time index_date
yearweek year_week yearmonth year_month yyyymm yyyyww yyyymmdd isoweek day_index time_utc date_utc datetime_utc
time_period nth_day nth_week nth_month nth_hour periode
observation_date order_date orderdate sale_date transaction_date period_end period_start interval_start utc_time _time
fecha hora dia día mes año ano semana trimestre periodo período fecha_hora marca_de_tiempo datum zeit zeitstempel
zeitpunkt tag monat jahr woche quartal uhrzeit kw kalenderwoche date_heure jour mois annee année semaine heure data ora
giorno mese anno settimana datahora data_hora mês tijd maand week jaar data_ora rok miesiąc tydzień дата время месяц год
день неделя период tarih 日期 时间 日付 年月 날짜
"""
TIME_NAMES = frozenset(_TIME_WORDS.split())
_PART_WORDS = {  # of a time, in columns of their own
    "year": "year yr yyyy calendar_year año ano jahr annee année anno jaar rok год 年",
    "month": "month mon mth mm mes mês monat mois mese maand miesiąc месяц 月",
    "day": "day dd dia día tag jour giorno dag dzień день day_of_month 日",
    "quarter": "quarter qtr q trimestre quartal kwartaal kwartał квартал",
    "week": "week wk kw weeknum week_number isoweek week_of_year kalenderwoche semana semaine неделя",
    "hour": "hour hr hh stunde hora heure ora uur hour_of_day hour_ending he hour_beginning godzina час",
    "minute": "minute min mi minuto",
}
_PARTS = {part: frozenset(words.split()) for part, words in _PART_WORDS.items()}
_PART_NAMES = frozenset().union(*_PARTS.values())
_BESIDE_PARTS = frozenset({"name", "number", "no", "num", "calendar", "of", "the", "date", "nr", "short", "long"})
_RANGES = {
    "year": (1600, 2200), "month": (1, 12), "day": (1, 31), "quarter": (1, 4), "week": (1, 53), "hour": (0, 24),
    "minute": (0, 59),
}  # fmt: skip
_COMBINATIONS = (
    ("year", "month", "day", "hour", "minute"),
    ("year", "month", "day", "hour"),
    ("year", "month", "day"),
    ("year", "month"),
    ("year", "quarter"),
    ("year", "week"),
)
_NUMBER_AT_END = re.compile(r"(?P<word>\D*?)\s*(?P<number>[0-9]{1,9})")
_NO_CLOCK = re.compile(r"[T ](?:0?0:00(?::00(?:\.0+)?)?|12:00(?::00)?\s?[Aa][Mm])$")
_UNIX_NAME = re.compile(r"epoch|unix|time|zeit|hora|heure|date|(?:^|_)(?:ts|ms)(?:$|_)")
_UNIX_TIME = re.compile(r"1[0-9]{9}(?:\.[0-9]+|[0-9]{3}|[0-9]{6}|[0-9]{9})?")  # seconds, milliseconds, …: 2001 to 2033
_LONGEST_NAME = 100  # characters of the name of a step: the pattern takes the square of its blanks
_QUARTER = re.compile(r"\D*([1-4])\D*")

Text = Callable[[Column], str]  # of a cell of one row


def parts_of(columns: Sequence[Column]) -> dict[str, Column]:
    """The first column of each part of a time, by its name and by what is in it."""
    found: dict[str, Column] = {}
    named = [(column, names) for column in columns if (names := _part_names(column))]
    for part, names_of_part in _PARTS.items():
        for column, names in named:
            if part not in found and names & names_of_part and _fits(part, column):
                found[part] = column
    return found or _unnamed_parts(columns)


def _part_names(column: Column) -> frozenset[str]:
    """The names of parts that a column has: its own, or the word in it next to `name` or `number` (`Month Name`)."""
    words = [word for word in column.key.split("_") if word not in _BESIDE_PARTS]
    return _PART_NAMES & {column.key, *(words if len(words) == 1 else ())}


def _unnamed_parts(columns: Sequence[Column]) -> dict[str, Column]:
    """The year and the month, and perhaps the day, in the first columns of a table without names."""
    if len(columns) < 2 or any(column.name for column in columns) or not _fits("year", columns[0]):
        return {}
    years = [_integer(cell) for cell in columns[0].sample if cell]
    months = [cell for cell in columns[1].sample if cell]
    if years != sorted(years) or not _fits("month", columns[1]) or (years[0] == years[-1] and len(set(months)) == 1):
        return {}
    has_days = len(columns) > 3 and _fits("day", columns[2]) and not _ascend(months)
    return dict(zip(("year", "month", "day") if has_days else ("year", "month"), columns, strict=False))


def _ascend(months: Sequence[str]) -> bool:
    """Whether months follow one another, as those of a monthly series do."""
    numbers = [month_of(month) or _integer(month) for month in months]
    return all((b - a) % 12 == 1 for a, b in pairwise(numbers))


def _fits(part: str, column: Column) -> bool:
    cells = [cell for cell in column.sample if cell]
    if part == "month" and column.kind == "text":
        return all(month_of(cell) for cell in cells)
    if part == "quarter" and column.kind == "text":
        return all(_QUARTER.fullmatch(cell) for cell in cells)
    low, high = _RANGES[part]
    return bool(cells) and all(low <= _integer(cell) <= high for cell in cells)


def choose_times(columns: Sequence[Column], notes: list[str]) -> list[Column]:
    """The columns of a time: dates first, with a time of day or an hour next to them; then parts of dates; then names.

    What could be chosen otherwise is added to `notes`.
    """
    usual = [column for column in columns if column.key in TIME_NAMES]
    dates = [column for column in usual if column.kind == "date"] or [
        column for column in columns if column.kind == "date"
    ]
    parts = parts_of(columns)
    dates = [column for column in dates if len(set(column.sample)) > 1] or dates  # not when a file was written
    if dates:
        if len(dates) > 1:
            notes.append(f"times are those of '{printable(dates[0].name)}'; time= names another column")
        return [dates[0], *_clock_beside(dates[0], columns, parts)]
    for names in _COMBINATIONS:
        if all(name in parts for name in names) and len(columns) > len(names):
            return [parts[name] for name in names]
    numbers = [column for column in usual if column.kind == "number" and len(columns) > 1]
    numbers = _unix_times(columns, notes) or numbers
    return numbers[:1] or [column for column in usual if column.kind == "text" and len(columns) > 1][:1]


def _unix_times(columns: Sequence[Column], notes: list[str]) -> list[Column]:
    """The first column that has no name, or one with `epoch`, `time` … in it, and holds nothing but Unix times."""
    for column in columns if len(columns) > 1 else ():
        cells = [cell for cell in column.sample if cell]
        is_named = not column.name or _UNIX_NAME.search(column.key)
        if is_named and cells and all(map(_UNIX_TIME.fullmatch, cells)):
            if column.key not in TIME_NAMES:
                notes.append(f"'{printable(column.label)}' was read as Unix times; time= (empty) reads it as values")
            return [column]
    return []


def _clock_beside(date: Column, columns: Sequence[Column], parts: dict[str, Column]) -> list[Column]:
    """The column of the time of day, or of the hour, that goes with the column of dates."""
    clocks = [column for column in columns if column.kind == "clock"]
    has_no_clock = all(_NO_CLOCK.search(cell) or ":" not in cell for cell in date.sample)
    if clocks and has_no_clock:  # else it is how long something took
        return clocks[:1]
    return [parts["hour"]] if "hour" in parts and has_no_clock else []


def time_reader(columns: Sequence[Column], notes: list[str]) -> Callable[[Text], str]:
    """What makes of the cells of a row the text of its time."""
    first = columns[0]
    if len(columns) == 1:
        return lambda text: text(first)
    if columns[1].kind == "clock":
        return lambda text: f"{_NO_CLOCK.sub('', text(first))} {start_of(text(columns[1]))}"
    roles = {part: column for part, column in parts_of(columns).items() if column in columns}
    hour = roles.get("hour")
    shift = 1 if hour is not None and _ends_with_hour(hour) else 0
    if shift:
        notes.append("hours were read as those that end then: hour 1 begins at midnight")
    if first is not roles.get("year"):
        return lambda text: f"{_NO_CLOCK.sub('', text(first))} {_integer(text(columns[1])) - shift:02}:00"
    return lambda text: _joined(roles, columns, text, shift)


def _joined(roles: dict[str, Column], columns: Sequence[Column], text: Text, shift: int) -> str:
    """The parts of a time in columns of their own, in ISO 8601."""
    year = text(columns[0]).removesuffix(".0")
    if "quarter" in roles:
        match = _QUARTER.fullmatch(text(roles["quarter"]))
        return f"{year}Q{match[1]}" if match else f"{year} {text(roles['quarter'])}"
    if "week" in roles:
        return f"{year}-W{_integer(text(roles['week'])):02}"
    month = text(roles["month"])
    parts = [f"{year}-{month_of(month) or _integer(month):02}"]
    if "day" in roles:
        parts.append(f"-{_integer(text(roles['day'])):02}")
    if "hour" in roles:
        minute = _integer(text(roles["minute"])) if "minute" in roles else 0
        parts.append(f" {_integer(text(roles['hour'])) - shift:02}:{minute:02}")
    return "".join(parts)


def _integer(text: str) -> int:
    """A part of a time; -1, which no time has, for what is no number."""
    number = whole_number(text.removesuffix(".0"))
    return -1 if number is None else number


def _ends_with_hour(hour: Column) -> bool:
    return hour.key in {"hour_ending", "he"} or ("24" in hour.sample and "0" not in hour.sample)


def step_numbers(texts: Sequence[str]) -> list[int] | None:
    """The numbers of steps in `texts` (`3`, `Week 3`, `P03`), None where they are none or of several kinds."""
    if any(len(text) > _LONGEST_NAME for text in texts):
        return None
    matches = [_NUMBER_AT_END.fullmatch(text.strip()) for text in texts]
    if not all(matches) or len({match["word"] for match in matches if match}) != 1:
        return None
    return [int(match["number"]) for match in matches if match]
