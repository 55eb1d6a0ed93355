"""Numbers as people write them: decimal point or comma, thousands separated or not, currencies, words for missing."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

MISSING = frozenset(
    {
        "",
        "na",
        "n/a",
        "n.a.",
        "nan",
        "null",
        "none",
        "nil",
        "-",
        "--",
        "---",
        "–",
        "—",
        "?",
        ".",
        "..",
        "…",
        "#n/a",
        "#nv",
    }
    | {"#div/0!", "#value!", "#ref!", "#num!", "nd", "n.d.", "missing", "unknown", "unavailable", "<na>", "nat", "\\n"}
)
_AROUND = re.compile(r"^[€$£¥₹\s]+|[€$£¥₹%\s]+$|^(?:USD|EUR|GBP)\s|\s(?:USD|EUR|GBP)$")
_SPACES = re.compile(r"(?<=[0-9])[ \u00a0\u202f\u2009'\u2019](?=[0-9]{3}(?![0-9]))")
_SHAPE = re.compile(r"[+-]?(?=[.,]?[0-9])(?P<whole>[0-9]*(?:[.,][0-9]+)*)[.,]?(?:[eE][+-]?[0-9]{1,4})?")
_GROUPS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:[.,][0-9]{3})+")
_SAMPLE_SIZE = 2000  # cells that are looked at for the decimal mark


class NumberFormat(Struct, frozen=True):
    """The marks of numbers, and what else they could be."""

    decimal: str = "."
    thousands: str | None = None
    note: str | None = None

    def parse(self, text: str) -> float | None:
        """The number in `text`, None where it is missing; raises `ValueError` for anything else."""
        try:
            if self.decimal == "." and "_" not in text:
                value = float(text)  # what most files hold
                if value - value == 0:
                    return value
        except ValueError:
            pass
        if is_missing(text):
            return None
        plain, sign = _plain(text)
        if self.thousands:
            plain = plain.replace(self.thousands, "")
        plain = plain.replace(self.decimal, ".") if self.decimal != "." else plain
        if not _SHAPE.fullmatch(plain) or "," in plain or plain.count(".") > 1:
            raise ValueError("is no number")
        value = sign * float(plain)
        if value - value != 0:
            raise ValueError("is no finite number")
        return value


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.strip().lower() in MISSING


def looks_like_number(text: str) -> bool:
    """Whether a cell holds a number in some writing."""
    plain, _ = _plain(text)
    return bool(_SHAPE.fullmatch(plain))


def find_number_format(cells: Iterable[str], delimiter: str | None, decimal: str | None) -> NumberFormat:
    """The marks of the numbers in `cells`; `decimal` where it is stated."""
    texts = _with_marks(cells)
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
        return NumberFormat(mark)
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
            plain, _ = _plain(cell)
            if _SHAPE.fullmatch(plain) and "e" not in plain.lower():
                texts.append(plain)
        if len(texts) >= _SAMPLE_SIZE:
            break
    return texts


def _plain(text: str) -> tuple[str, int]:
    """A number without currency, per cent, blanks within and a minus of other kinds; and -1 for `(12)`."""
    plain = text.strip().replace("\u2212", "-")
    sign = 1
    if plain.startswith("(") and plain.endswith(")"):
        plain, sign = plain[1:-1], -1
    plain = _AROUND.sub("", plain)
    if plain.endswith("-"):
        plain, sign = plain[:-1], -sign
    return _SPACES.sub("", plain), sign
