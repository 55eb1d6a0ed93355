"""What separates the cells of a line: stated, or found by looking at some lines."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence

from service.codec.tables.numerals import is_missing, looks_like_number
from service.codec.tables.types import bad_table

WIDE_BLANKS = "  "  # two blanks and more, between cells that may hold single ones
DELIMITERS = {";": "semicolon", "\t": "tab", "|": "pipe", ",": "comma", " ": "space", WIDE_BLANKS: "spaces"}
_WIDE = re.compile(r"\s{2,}|\t")
_DIGITS = re.compile(r"[+-]?[0-9]+")
_INTEGER = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+)")  # also with points between thousands
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+(,[0-9]+)?")


def stated_delimiter(name: str) -> str:
    """The character that a name or a character means; raises `InvalidRequest`."""
    characters = {word: character for character, word in DELIMITERS.items()}
    delimiter = characters.get(name.strip().lower(), name) if len(name) > 1 else name
    if delimiter == WIDE_BLANKS:
        return delimiter
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise bad_table("delimiter is one character, or one of " + ", ".join(DELIMITERS.values()), "#/delimiter")
    return delimiter


def find_delimiter(sample: Sequence[str]) -> tuple[str | None, str | None]:
    """The character that cuts the lines into the same number of cells, and a note where two readings are possible.

    A comma comes last but one, since it may be part of numbers; blanks last, since they may be part of names.
    """
    words = [word for line in sample for word in line.split()]
    if len(words) > len(sample) and _are_decimals(words):
        return " ", f"{words[0]} was read as a number with a decimal comma; delimiter=, and decimal=. cut it in two"
    if 2 * sum(map(_is_one_number, sample)) >= len(sample):
        return None, None
    for delimiter in (";", "\t", "|", ","):
        widths = Counter(_widths(sample, delimiter))
        width, count = widths.most_common(1)[0]
        wide = sum(number for size, number in widths.items() if size > 1)
        share = max(count / widths.total(), _share_below_title(sample, delimiter, width))
        is_regular = width > 1 and share >= 0.7
        if is_regular or (delimiter != "," and wide == widths.total() > 1):
            return _comma_or_decimals(sample) if delimiter == "," and width == 2 else (delimiter, None)
    return _blanks(sample) or _list_delimiter(sample)


def _is_one_number(line: str) -> bool:
    """Whether a line is a number with its unit, or with blanks between thousands."""
    return looks_like_number(line) and bool(line.strip().strip("0123456789+-.,eE"))


def split_at_blanks(line: str, delimiter: str) -> list[str]:
    """The cells of a line between blanks: single ones, outside of quotes, or (`WIDE_BLANKS`) two and more."""
    if delimiter == WIDE_BLANKS:
        return _WIDE.split(line.strip())
    reader = csv.reader([line.replace("\t", " ")], delimiter=" ", skipinitialspace=True)
    return [cell for cell in next(reader, []) if cell]


def _blanks(sample: Sequence[str]) -> tuple[str, None] | None:
    """Blanks as the delimiter, where all lines have as many cells; the names may lack that of the numbers of rows."""
    widths = {blanks: [len(split_at_blanks(line, blanks)) for line in sample] for blanks in (" ", WIDE_BLANKS)}
    for has_short_names in (False, True):
        for blanks, sizes in widths.items():
            below = set(sizes[1:]) if has_short_names else set(sizes)
            if len(below) == 1 and (width := below.pop()) > 1 and (not has_short_names or sizes[0] == width - 1):
                return blanks, None
    return None


def _list_delimiter(sample: Sequence[str]) -> tuple[str | None, str | None]:
    """What separates the numbers of a list, or of lines of lists: nothing, commas or blanks."""
    lines = [line.strip() for line in sample]
    is_list = all(
        looks_like_number(word) or is_missing(word) for line in lines for word in line.replace(",", " ").split()
    )
    if is_list and len(lines) > 1 and all(_DECIMAL_COMMA.fullmatch(line) for line in lines):
        return None, None
    if is_list and any("," in line or " " in line for line in lines):
        return ("," if any("," in line for line in lines) else " "), None
    return None, None


def _are_decimals(words: Sequence[str]) -> bool:
    """Whether blanks separate numbers with a decimal comma (`5,5 6,25 7`): nearly all have one."""
    marked = sum("," in word for word in words)
    return 2 * marked > len(words) and all(_DECIMAL_COMMA.fullmatch(word) for word in words)


def _widths(sample: Sequence[str], delimiter: str) -> list[int]:
    """The number of cells of each row."""
    try:
        return [len(cells) for cells in csv.reader(sample, delimiter=delimiter, skipinitialspace=True)]
    except csv.Error:  # a cell that is too long: the whole of a long line, where another character separates
        return [line.count(delimiter) + 1 for line in sample]


def _share_below_title(sample: Sequence[str], delimiter: str, width: int) -> float:
    """The share of lines of `width` cells from the first such line on: a title and remarks stand above a table."""
    sizes = _widths(sample, delimiter)
    below = sizes[sizes.index(width) :]
    return below.count(width) / len(below) if len(below) > 2 else 0.0


def _comma_or_decimals(sample: Sequence[str]) -> tuple[str | None, str | None]:
    """Lines such as `12,5`: two columns, or numbers with a decimal comma."""
    pairs = [line.strip().split(",") for line in sample]
    integer = _INTEGER if len(pairs[0]) == 1 else _DIGITS
    numbers = [pair for pair in pairs if len(pair) == 2 and integer.fullmatch(pair[0]) and pair[1].isdigit()]
    if len(numbers) < len(pairs) - 1 or (len(pairs[0]) == 2 and numbers and pairs[0] != numbers[0]):
        return ",", None  # a name or a date in one of the columns, or a header with two names
    has_zeros = any(len(pair[1]) > 1 and pair[1].startswith("0") for pair in numbers)
    if has_zeros or len(pairs[0]) == 1:
        return (
            None,
            f"lines such as {sample[-1].strip()} were read as numbers with a decimal comma; delimiter=, cuts them",
        )
    return (
        ",",
        f"lines such as {sample[-1].strip()} were read as two columns; decimal=, and delimiter=; read one number",
    )
