"""Numbers as people write them: decimal point or comma, thousands separated or not, currencies, words for missing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

_MISSING_WORDS = """
na n/a n.a. n/d n.d. nd s/d s.d. k.a. nan null none nil undefined missing unknown unavailable nat <na> (null) [null]
<null> - -- --- – — ? . .. … : * \\n #n/a #nv #n/d #¡n/d! #na! #div/0! #¡div/0! #value! #wert! #valor! #¡valor!
#valeur! #ref! #¡ref! #bezug! #num! #zahl! #¡num! #nombre! #nom? #name? #¿nombre? #null! #nul! #¡nulo! #spill! #calc!
n.v.
"""
_MISSING_PHRASES = ("", "k. a.", "no data", "sin dato", "sin datos", "keine daten", "#getting_data")
MISSING = frozenset([*_MISSING_PHRASES, *_MISSING_WORDS.split()])
# What may stand before or after a number. A list, since any other word makes the cell a name ("Store 1", "5W30").
_CURRENCIES = """
US$ R$ A$ C$ NZ$ HK$ S/ $ € £ ¥ ₹ ₩ ₽ ₺ ₴ ₦ ₱ ₪ ฿ ₫ Rs. Rs kr. kr zł Kč Ft lei лв руб. руб 元 円 Fr.
USD EUR GBP JPY CNY INR CHF SEK NOK DKK PLN CZK HUF RON BRL MXN ARS CLP COP PEN CAD AUD NZD ZAR TRY RUB KRW
"""
_UNITS = """
% %RH °C °F ° ℃ kWh MWh GWh Wh kW MW GW mV kV mA Hz kHz MHz GHz rpm dB dBm lx lux km/h mph m/s kn km m cm mm µm mi ft
ha km² m² m2 m³ m3 m³/h l/s l/min L ml mL hl gal bbl kg mg µg t lb lbs oz bar mbar hPa kPa MPa Pa psi ppm ppb µg/m³
ug/m3 kB KB MB GB TB KiB MiB GiB h hr hrs min mins s sec ms days Tage días pcs pc. units unit St. Stk. Stück ud. uds.
x pts bps items orders users visits
"""
_FACTORS = {"k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "Mn": 1e6, "mln": 1e6, "bn": 1e9, "Bn": 1e9, "B": 1e9}
_FACTORS |= {"Mil": 1e6, "Bil": 1e9}  # of Grafana
_FACTORS |= {"Tsd": 1e3, "Tsd.": 1e3, "mil": 1e3, "Mio": 1e6, "Mio.": 1e6, "Mill.": 1e6, "Mrd": 1e9, "Mrd.": 1e9}
_SAME_UNIT = {"EUR": "€", "USD": "$", "US$": "$", "GBP": "£", "lbs": "lb"}
_SAME_UNIT |= {"hrs": "h", "hr": "h", "sec": "s", "mins": "min"}


def _choice(words: str | Iterable[str]) -> str:
    names = words.split() if isinstance(words, str) else words
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


_AROUND = re.compile(
    rf"(?P<minus>[+-]?)(?:\s*(?P<before>{_choice(_CURRENCIES)}))?\s*(?P<number>[+-]?[.,]?[0-9](?:.*[0-9])?[.,]?-?)"
    rf"(?:\s*(?P<unit>{_choice(_CURRENCIES + _UNITS)})|\s+(?P<kelvin>K)"
    rf"|\s*(?P<factor>{_choice(_FACTORS)})\s*(?P<currency>{_choice(_CURRENCIES)})?)?"
)
_MAX_LENGTH = 80  # of a number with its unit
_SPACE = "[ \u00a0\u202f\u2009'\u2019]"  # between thousands
_SPACED = re.compile(rf"[+-]?[0-9]{{1,3}}(?:{_SPACE}[0-9]{{3}})+(?:[.,][0-9]+)?-?")
_SPACES = re.compile(_SPACE)
_WHOLE_PRICE = re.compile(r"(?<=[0-9])[.,](?:-{1,2}|–|—)(?=\s|$)")  # 5,- and 5.– have no cents
_DASHES = frozenset("-–—")
_SHAPE = re.compile(r"[+-]?(?=[.,]?[0-9])(?P<whole>[0-9]*(?:[.,][0-9]+)*)[.,]?(?:[eE][+-]?[0-9]{1,4})?")
_GROUPS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:[.,][0-9]{3})+")
_USUAL = re.compile(r"(?:[+-]?[0-9]{1,7}(?:\.[0-9]*)?)?")
_SMALL = re.compile(r"[+-]?[0-9]{1,2}(?![0-9])")
_MOST_DIGITS = 18
_SAMPLE_SIZE = 2000  # cells that are looked at for the decimal mark


KELVIN = "K"


class NumberFormat(Struct, frozen=True):
    """The marks of numbers, and what else they could be."""

    decimal: str = "."
    thousands: str | None = None
    note: str | None = None
    missing: frozenset[str] = frozenset()  # further words for a value that is missing, in small letters
    k_is_thousand: bool = False  # "1.5 K" is 1500, not a temperature

    def parse_plain(self, texts: Sequence[str]) -> list[float | None] | None:
        """The numbers in `texts` where each is written as in most files, without anything around it; else None."""
        if self.decimal != "." or self.missing:
            return None
        try:
            values = list(map(float, texts))
        except ValueError:
            return None
        return list(values) if all(map(math.isfinite, values)) and "_" not in "".join(texts) else None

    def parse(self, text: str) -> float | None:
        """The number in `text`, None where it is missing; raises `ValueError` for anything else."""
        if not text:
            return None
        if self.missing and text.strip().lower() in self.missing:
            return None
        try:
            if self.decimal == "." and "_" not in text:
                value = float(text)  # what most files hold
                if value - value == 0:
                    return value
        except ValueError:
            pass
        if is_missing(text):
            return None
        plain, factor, unit = _plain(text)
        if unit == KELVIN and self.k_is_thousand:
            factor *= 1000
        if self.thousands:
            plain = plain.replace(self.thousands, "")
        plain = plain.replace(self.decimal, ".") if self.decimal != "." else plain
        if not _SHAPE.fullmatch(plain) or "," in plain or plain.count(".") > 1:
            raise ValueError("is no number")
        value = factor * float(plain)
        if value - value != 0:
            raise ValueError("is no finite number")
        return value


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return not text or text.strip().lower() in MISSING


def looks_like_number(text: str) -> bool:
    """Whether a cell holds a number in some writing."""
    return bool(_SHAPE.fullmatch(text) or _SHAPE.fullmatch(_plain(text)[0]))


def are_usual_numbers(cells: Iterable[str]) -> bool:
    """Whether each cell is empty or a number that is written as in most files and could be no date."""
    return all(map(_USUAL.fullmatch, cells))


def whole_number(text: str) -> int | None:
    """The number that a text of digits is; None for other texts, and for a number beyond the counts of a table.

    `int()` takes no more than 4,300 digits, and none of what else `str.isdigit` takes for a digit (`²`).
    """
    return int(text) if len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit() else None


def numbers_in(text: str) -> list[str]:
    """The cells of a list that stand in one: a number with its unit, or several between blanks."""
    return [text] if looks_like_number(text) else text.split()


def unit_of(text: str) -> str | None:
    """The currency, unit or per cent sign next to a number; several names of one unit are the same."""
    return _plain(text)[2]


def counts_thousands(cells: Sequence[str]) -> bool:
    """Whether the K after numbers means thousands, not kelvins: others have none, or they are too small."""
    if not any(cell.endswith(KELVIN) for cell in cells):
        return False
    present = [cell for cell in cells if not is_missing(cell)]
    if any(_SMALL.match(cell.strip()) for cell in present if cell.endswith(KELVIN)):
        return True
    return {unit_of(cell) for cell in present} - {KELVIN} == {None}


def find_number_format(cells: Sequence[str], delimiter: str | None, decimal: str | None) -> NumberFormat:
    """The marks of the numbers in `cells`; `decimal` where it is stated."""
    found = _format_of(_with_marks(cells), delimiter, decimal)
    factors = ((cell, abs(_plain(cell)[1])) for cell in cells[:_SAMPLE_SIZE])
    example, factor = next(((cell, factor) for cell, factor in factors if factor != 1), ("", 1.0))
    if not example:
        return found
    note = f"numbers such as {example.strip()} were multiplied by {factor:.15g}"
    if factor < 1:
        note = f"values such as {example.strip()} were read as half of that"
    return replace(found, note=f"{found.note}; {note}" if found.note else note)


def _format_of(texts: list[str], delimiter: str | None, decimal: str | None) -> NumberFormat:
    marked = [text for text in texts if "." in text or "," in text]
    if decimal is not None:
        alternative = "," if decimal == "." else "."
        return NumberFormat(decimal, alternative if any(alternative in text for text in marked) else None)
    for text in marked:
        if "." in text and "," in text:
            last = "." if text.rindex(".") > text.rindex(",") else ","
            return NumberFormat(last, "," if last == "." else ".")
    mark = "," if any("," in text for text in marked) else "."
    with_mark = [text for text in marked if mark in text]
    if any(text.count(mark) > 1 for text in with_mark):
        return NumberFormat("," if mark == "." else ".", mark)
    if not with_mark or any(not _GROUPS.fullmatch(text) for text in with_mark):
        return NumberFormat(mark, "." if mark == "," and any("." in text for text in marked) else None)
    return _two_way(texts, mark, delimiter)


def _two_way(texts: list[str], mark: str, delimiter: str | None) -> NumberFormat:
    """Every mark has three digits behind it (1.234): thousands or decimals, by the other numbers."""
    large = any(mark not in text and len(text.lstrip("+-")) > 3 for text in texts)
    small = any(mark not in text for text in texts)
    is_thousands = not large and ((mark == "," and delimiter != ";") or (small and delimiter not in {",", None}))
    example = next(text for text in texts if mark in text)
    alternative = "," if mark == "." else "."
    if is_thousands:
        meaning, stated = f"{example.replace(mark, '')} (thousands are separated)", mark
    else:
        meaning, stated = f"{example.replace(mark, '.')} (a decimal {'comma' if mark == ',' else 'point'})", alternative
    note = f"numbers such as {example} were read as {meaning}; decimal={stated} reads them otherwise"
    return NumberFormat(alternative, mark, note) if is_thousands else NumberFormat(mark, None, note)


def _with_marks(cells: Iterable[str]) -> list[str]:
    """The first numbers of `cells` that tell something, without what stands around them."""
    texts: list[str] = []
    for cell in cells:
        if not is_missing(cell):
            plain = _plain(cell)[0]
            if _SHAPE.fullmatch(plain) and "e" not in plain.lower():
                texts.append(plain)
        if len(texts) >= _SAMPLE_SIZE:
            break
    return texts


def _plain(text: str) -> tuple[str, float, str | None]:
    """A number without what stands around it; what to multiply it by (-1 for `(12)`, 1000 for `1.2k`); its unit."""
    plain = text.strip().replace("\u2212", "-")
    if _SHAPE.fullmatch(plain):  # what most cells hold
        return plain, 1.0, None
    if not _DASHES.isdisjoint(plain):
        plain = _WHOLE_PRICE.sub("", plain)
    factor = 1.0
    if plain.startswith("<"):  # less than can be measured
        plain, factor = plain[1:].lstrip(), 0.5
    if plain.startswith("(") and plain.endswith(")"):
        plain, factor = plain[1:-1], -factor
    match = _AROUND.fullmatch(plain) if len(plain) <= _MAX_LENGTH else None
    if not match:
        return plain, factor, None
    number, minus = match["number"], match["minus"]
    if number.endswith("-"):
        number, factor = number[:-1], -factor
    if minus and match["before"]:
        factor = -factor if minus == "-" else factor
    else:
        number = minus + number
    unit = match["before"] or match["unit"] or match["kelvin"] or match["currency"]
    factor *= _FACTORS.get(match["factor"] or "", 1.0)
    number = _SPACES.sub("", number) if _SPACED.fullmatch(number) else number
    return number, factor, _SAME_UNIT.get(unit, unit) if unit else None
