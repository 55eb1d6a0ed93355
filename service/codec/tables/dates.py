"""How the dates of a column are written: ISO 8601, days and months in either order, names, quarters, Unix times."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct

from service.codec.tables.date_writings import (
    Parser,
    numeric_parser,
    read_decimal_years,
    read_digits,
    read_excel_days,
    read_iso,
    read_week_digits,
    read_words,
)
from service.codec.tables.types import DateOrder
from service.codec.timeline import Moment

_CLOCK_ALONE = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(\s*[AaPp]\.?[Mm]\.?)?")
_UNTIL = re.compile(
    r"\s+(?:-|–|—|to|bis|until|hasta|au|a)\s+|(?<=[0-9Z])(?:/|--|–)(?=[0-9]{4}-)|(?<=:[0-9]{2})[-–](?=[0-9])"
)
# A word and a number behind it (`sensor12`); with five or six digits it may be a week, as in W012024.
_NUMBERED_WORD = re.compile(r"[^\W\d]+(?:[0-9]{1,4}|[0-9]{7,})")
_MAY_BE_UNTIL = (re.compile(r"\s(?:-|to|bis|until|hasta|au|a)\s"), re.compile(r":[0-9]{2}-[0-9]"))
_DIGIT = re.compile(r"\d")
_LONGEST = 100  # characters of a date or a stretch of time in any writing
_SAMPLE_SIZE = 1000  # cells that are looked at where a few tell as much as all
_ORDERS: dict[DateOrder, Parser] = {
    "dmy": numeric_parser("dmy"),
    "mdy": numeric_parser("mdy"),
    "ymd": numeric_parser("ymd"),
}
_UNORDERED: tuple[Parser, ...] = (read_iso, read_digits, read_week_digits, read_decimal_years, read_words)


class DateFormat(Struct, frozen=True):
    """How the dates of a column are written."""

    parse: Parser
    order: DateOrder | None = None
    note: str | None = None

    def read(self, text: str) -> Moment:
        """The time in a cell; raises `ValueError` or `OverflowError` for what is none."""
        if len(text) > _LONGEST:
            raise ValueError("is too long for a date")
        return self.parse(text)


def is_clock(text: str) -> bool:
    """Whether a cell is a time of day alone, or two of them between which its values were taken."""
    return ":" in text and len(text) <= _LONGEST and bool(_CLOCK_ALONE.fullmatch(start_of(text.strip())))


def looks_like_date(text: str) -> bool:
    """Whether a cell is a date in some writing; numbers count only where they can be nothing but a date of digits."""
    text = text.strip()
    if _is_number(text) and not text.isdigit():  # before what is slow, since most cells are numbers
        return False
    return len(text) <= _LONGEST and _DIGIT.search(text) is not None and _is_date(text)


def _is_number(text: str) -> bool:
    """Whether a text is of digits and marks alone: 1234.5 is a value, although it could be a month."""
    return text.replace(".", "", 1).replace(",", "", 1).isdigit()


@functools.lru_cache(maxsize=16_384)  # the same cells are asked again and again while the form of a table is looked for
def _is_date(text: str) -> bool:
    text = start_of(text)
    if text.isdigit():
        has_hour = len(text) == 10 and text.startswith(("19", "20"))
        return (len(text) in {8, 12, 14} or has_hour) and _succeeds(read_digits, text)
    if _is_number(text) or _NUMBERED_WORD.fullmatch(text):
        return False
    return any(_succeeds(parser, text) for parser in (read_iso, read_words, *_ORDERS.values()))


def start_of(text: str) -> str:
    """The beginning of a stretch of time (`01.01.2024 00:00 - 01.01.2024 01:00`); other texts as they are."""
    if not text[:1].isdigit() or len(text) > _LONGEST:
        return text
    ends = _UNTIL.split(text, maxsplit=1)
    if len(ends) < 2 or not ends[1][:1].isdigit():
        return text
    return ends[0]


def find_date_format(texts: Sequence[str], order: DateOrder | None, *, prefers_day_first: bool) -> DateFormat | None:
    """The writing in which all (or nearly all) of `texts` are dates, None where there is none.

    Days and months are distinguished by a number above 12, then by which order makes the dates ascend or descend.
    """
    cells = dict.fromkeys(texts)
    stretch = next((text for text in cells if start_of(text) != text), None) if _may_hold_until(cells) else None
    if stretch is None:
        return _format_of(texts, order, prefers_day_first=prefers_day_first)
    found = _format_of([start_of(text) for text in texts], order, prefers_day_first=prefers_day_first)
    if found is None:
        return None
    parse, note = found.parse, f"times such as '{stretch}' were read as what they begin with"
    return DateFormat(lambda text: parse(start_of(text)), found.order, f"{found.note}; {note}" if found.note else note)


def _may_hold_until(cells: Iterable[str]) -> bool:
    """Whether one of the cells may be a stretch of time: told for all at once, since there are many."""
    joined = "\n".join(cells)
    return any(mark in joined for mark in ("/", "--", "–", "—")) or any(form.search(joined) for form in _MAY_BE_UNTIL)


def find_excel_format(texts: Sequence[str]) -> DateFormat | None:
    """The format of a column of a spreadsheet's own numbers of days; None where a number is not a likely one."""
    if not texts or _share(read_excel_days, texts) < 1:
        return None
    day = read_excel_days(texts[0])
    note = f"numbers such as {texts[0]} were read as a spreadsheet's days ({day.clock:%Y-%m-%d})"
    return DateFormat(read_excel_days, None, f"{note}; time= (empty) leaves the column out")


def _format_of(texts: Sequence[str], order: DateOrder | None, *, prefers_day_first: bool) -> DateFormat | None:
    cells = list(dict.fromkeys(texts))  # series often have the same times
    sample = cells[:: max(1, len(cells) // _SAMPLE_SIZE)]
    shares = {parser: _share(parser, sample) for parser in _UNORDERED if not (parser is read_iso and order)}
    best_parser = max(shares, key=lambda parser: shares[parser])
    if shares[best_parser] >= 0.8:
        return DateFormat(best_parser)
    if order is not None:
        return DateFormat(_ORDERS[order], order) if _share(_ORDERS[order], cells) > 0 else None
    readable: list[DateOrder] = [name for name, parser in _ORDERS.items() if _reads_all(parser, cells)]
    if not readable:
        parts = {name: _share(parser, cells) for name, parser in _ORDERS.items()}
        best = max(_ORDERS, key=lambda name: parts[name])
        return DateFormat(_ORDERS[best], best) if parts[best] >= 0.8 else None
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
    likely = _without_odd_months(cells, candidates)
    chosen = preferred if preferred in likely else likely[0]
    if len(candidates) == 1:
        return DateFormat(_ORDERS[chosen], chosen)
    words = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
    alternative = next(name for name in candidates if name != chosen)
    note = f"dates such as {cells[0]} were read as {words[chosen]}; date_order={alternative} reads them otherwise"
    return DateFormat(_ORDERS[chosen], chosen, note)


def _without_odd_months(cells: Sequence[str], orders: list[DateOrder]) -> list[DateOrder]:
    """`orders` without one that makes months of one day in their middle, where another makes days that follow."""
    clocks = {order: [_ORDERS[order](cell).clock for cell in dict.fromkeys(cells)] for order in orders}
    daily = [order for order in orders if all(abs(b - a) == dt.timedelta(1) for a, b in pairwise(clocks[order]))]
    odd = [order for order in orders if len({clock.day for clock in clocks[order]}) == 1 and clocks[order][0].day > 1]
    return [order for order in orders if order not in odd] if daily and len(clocks[orders[0]]) > 2 else orders


def _is_ordered(clocks: list[dt.datetime]) -> bool:
    return all(a <= b for a, b in pairwise(clocks)) or all(a >= b for a, b in pairwise(clocks))


def _share(parser: Parser, cells: Sequence[str]) -> float:
    return sum(_succeeds(parser, cell) for cell in cells) / len(cells) if cells else 0.0


def _reads_all(parser: Parser, cells: Sequence[str]) -> bool:
    """Whether a parser reads each of `cells`, of which there are some; it ends at the first that it does not read."""
    return bool(cells) and all(_succeeds(parser, cell) for cell in cells)


def _succeeds(parser: Parser, text: str) -> bool:
    if len(text) > _LONGEST:  # patterns take the square of a length, or more
        return False
    try:
        parser(text)
    except (ValueError, OverflowError):
        return False
    return True
