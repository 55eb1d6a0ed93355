"""The bytes of a CSV file to rows of text cells, each with the line on which it begins."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from service.codec.tables.dates import looks_like_date
from service.codec.tables.delimiters import WIDE_BLANKS, find_delimiter, split_at_blanks, stated_delimiter
from service.codec.tables.numerals import is_missing, looks_like_number, whole_number
from service.codec.tables.sql import find_statement, read_inserts
from service.codec.tables.types import bad_table, printable
from service.contract.errors import InvalidRequest

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Python's text codecs that are no charsets; that of punycode takes the square of a text's length.
_NO_CHARSETS = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem")
_LOOKED_AT = 200  # lines
csv.field_size_limit(100_000)  # characters
_MAX_WORD = 1000  # letters before or after one that is shown
_MAX_ROW = 1 << 20  # bytes of a row of a large file
_BOXES = str.maketrans("│┃║", "|||")
_RULE, _DRAWN_RULE = "-+=|: ", "─━═┌┐└┘├┤┬┴┼╭╮╰╯╞╪╡╔╗╚╝╠╣╦╩╬╟╢╤╧┏┓┗┛┣┫┳┻╋┠┨| "
_ROW_COUNT = re.compile(
    r"\|?\s*\(?[0-9]+ rows?(?: affected)?\)?\s*\|?|[0-9]+ rows? in set.*|\([0-9]+ (?:Zeilen|filas|lignes|righe)\)"
)
_COMMENT = re.compile(r"#(?![,;\t|]|[0-9]+[,;\t|]|$)|#$|//|(?:--|%|;)\s")
_LIST_BEGIN = re.compile(r"(?:\w+\s*(?:=|<-)\s*)?(?:[\w.]+\(\s*)?[\[(]?")
_NO_LIST = re.compile(r"[\[\](){}\"=<]")
_BINARY = {
    b"PK\x03\x04": "an Excel workbook of this size: save it as CSV",
    b"PAR1": "Parquet: say so in Content-Type",
}
_BINARY |= {
    b"\x1f\x8b": "compressed: unpack it first (gunzip)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"%PDF": "PDF",
}
_OTHER_TEXT = (
    (("{", "["), "JSON: say so in Content-Type (application/json)"),
    (("<!", "<html", "<?xml", "<table"), "HTML or XML"),
)
# Of Windows-1250, where Windows-1252 has a sign that stands in no word: ż, ł and ą within one, ż behind a letter.
_POLISH = re.compile(rb"[A-Za-z][\xb3\xb9\xbf][A-Za-z\x80-\xff]|[a-z]\xbf|\sz\xb3(?![A-Za-z])")
_FOREIGN = re.compile(r"[^\W\d_\x00-\x7f]")  # alone: with the letters before it, it takes the square of their number
_LETTERS = re.compile(r"[^\W\d_]*")
_FORMULA = re.compile(r'\A\s*="(.*)"\s*\Z', re.DOTALL)  # of spreadsheets, so that 00123 stays as it is
_WIDE_TEXT = (("utf-16-le", 1), ("utf-16-be", 0))  # and where the high bytes of its ASCII characters stand, which are 0


class Row(Struct, frozen=True, gc=False):
    """One row of a table; `line` counts from 1. `positions` are line, row and column of its cells in the file."""

    line: int
    cells: list[str]
    positions: Sequence[tuple[int, int, int]] | None = None  # of a table that was turned


class Rows(Struct, frozen=True, eq=False):
    """All rows that hold something, and how they were separated."""

    rows: list[Row]
    encoding: str
    delimiter: str | None
    notes: list[str]
    is_turned: bool = False  # every column but that of times is a series
    quote: str = '"'
    is_sql: bool = False


def read_rows(content: bytes, delimiter: str | None, encoding: str | None = None) -> Rows:
    """The rows of `content`, apart from blank lines, comments and what stands above the table.

    Raises `InvalidRequest` (`bad_table`) for what is no table of text.
    """
    text, encoding, encoding_note = _decode(content, encoding)
    if find_statement(text):
        inserted, notes = read_inserts(text)
        rows = [Row(line, cells) for line, cells in inserted]
        return Rows(rows, encoding, ",", [*filter(None, [encoding_note]), *notes], is_sql=True)
    text = _unwrapped(text)
    for starts, kind in _OTHER_TEXT:
        if text.lstrip()[:6].lower().startswith(starts):
            raise bad_table(f"this is no CSV: the content is {kind}")
    lines = text.splitlines()
    if lines and lines[0].lower().startswith("sep=") and len(lines[0]) == 5:  # Excel's own hint
        delimiter, text = delimiter or lines[0][4], "\n" + text.partition("\n")[2]
        lines[0] = ""
    sample = [line for line in lines[:_LOOKED_AT] if line.strip() and not _is_remark([line], line.strip())]
    if not sample:
        raise bad_table("the table is empty")
    note = None
    if delimiter is None:
        try:
            delimiter, note = find_delimiter(sample)
        except csv.Error as error:
            raise bad_table(f"one of the first {_LOOKED_AT} lines: {error}") from error
    else:
        delimiter = stated_delimiter(delimiter)
    quote = _quote(sample)
    rows, comments = _split(text, delimiter, quote)
    if not rows:
        raise bad_table("the table is empty")
    rows, notes = without_preamble(rows)
    rows = _with_commented_names(rows, lines, delimiter, quote)
    notes += _comment_notes([comment for comment in comments if comment.line != rows[0].line])
    return Rows(rows, encoding, delimiter, [*filter(None, (encoding_note, note)), *notes], quote=quote)


def row_parts(file: BinaryIO, delimiter: str | None, encoding: str | None, part_bytes: int) -> Iterator[Rows]:
    """The rows of a large file, about `part_bytes` of it at a time; names of columns are in the first part alone.

    Raises `InvalidRequest`.
    """
    first = read_rows(_up_to_row(file, part_bytes), delimiter, encoding)
    if first.encoding.startswith("utf-16"):
        raise bad_table("a table of this size is not read in UTF-16: write it in UTF-8")
    if first.is_sql:
        raise bad_table("a table of this size is not read from SQL: export it as CSV")
    yield first
    file.seek(0)
    line = _up_to_row(file, part_bytes).count(b"\n")
    while content := _up_to_row(file, part_bytes):
        text = content.decode(first.encoding.replace("windows-", "cp"), "replace")
        rows, comments = (
            [replace(row, line=row.line + line) for row in found]
            for found in _split(text, first.delimiter, first.quote)
        )
        yield replace(first, rows=rows, notes=_comment_notes(comments))
        line += content.count(b"\n")


def _up_to_row(file: BinaryIO, size: int) -> bytes:
    """The next `size` bytes of a file up to the end of a row: a line that ends outside of quotes."""
    pieces = [file.read(size), file.readline(_MAX_ROW)]
    n_bytes, n_quotes = sum(map(len, pieces)), sum(piece.count(b'"') for piece in pieces)
    while n_quotes % 2 and (line := file.readline(_MAX_ROW)):
        if n_bytes > size + _MAX_ROW:
            raise bad_table("a quoted cell has no end")
        pieces.append(line)
        n_bytes, n_quotes = n_bytes + len(line), n_quotes + line.count(b'"')
    return b"".join(pieces)


def _decode(content: bytes, stated: str | None) -> tuple[str, str, str | None]:
    """The text of a file, its encoding, and a note where that is a guess.

    It is the stated one, else that of the byte order mark, else UTF-16 where every other byte is zero, else UTF-8, else
    Windows-1252, or what the letters of its words say.
    """
    for magic, kind in _BINARY.items():
        if content.startswith(magic):
            raise bad_table(f"this is no CSV: the content is {kind}")
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(encoding), encoding, None
            except UnicodeDecodeError as error:
                raise bad_table(f"byte {error.start} is no {encoding}, which the byte order mark says") from error
    if stated is not None:
        return _decode_as(content, stated), stated.lower(), None
    head = content[: min(len(content), 4096) // 2 * 2]
    for encoding, first in _WIDE_TEXT:
        if len(head) > 3 and head[first::2].count(0) > 0.8 * len(head) / 2 and 0 not in head[1 - first :: 2]:
            return _decode_as(content, encoding), encoding, None
    if b"\x00" in head:
        raise bad_table("this is no CSV: the content is binary")
    try:
        return content.decode("utf-8"), "utf-8", None
    except UnicodeDecodeError:
        name = _likely_encoding(content)
        text = content.decode(name, "replace")
        word = _foreign_word(text)
        name = name.replace("cp", "windows-")
        if not word:
            return text, name, None
        note = f"letters such as in '{printable(word)}' were read as {name}; encoding= says otherwise"
        return text, name, note


def _foreign_word(text: str) -> str:
    """The first word with a letter that is not of ASCII; empty where there is none."""
    found = _FOREIGN.search(text)
    if found is None:
        return ""
    before = _LETTERS.match(text[: found.start()][: -_MAX_WORD - 1 : -1])
    after = _LETTERS.match(text, found.start(), found.start() + _MAX_WORD)
    return f"{before[0][::-1] if before else ''}{after[0] if after else ''}"


def _likely_encoding(content: bytes) -> str:
    """The encoding of text that is no UTF-8: one of another script where words hold nothing but bytes above 127."""
    words = re.findall(rb"[A-Za-z\x80-\xff]{3,}", content[:65_536])
    if _POLISH.search(content[:65_536]):
        return "cp1250"
    foreign = [word for word in words if min(word) > 127]
    if 2 * len(foreign) < len([word for word in words if max(word) > 127]) or not foreign:
        return "cp1252"
    letters = b"".join(foreign)
    if sum(byte >= 0xE0 for byte in letters) > 0.5 * len(letters):  # small letters of Cyrillic
        return "cp1251"
    names = ("shift_jis", "gb18030") if any(0x81 <= byte <= 0x9F for byte in letters) else ("gb18030",)
    return next((name for name in names if _is_encoded(letters, name)), "cp1252")


def _is_encoded(letters: bytes, encoding: str) -> bool:
    try:
        return all(character >= "\u3040" for character in letters.decode(encoding))
    except UnicodeDecodeError:
        return False


def _decode_as(content: bytes, encoding: str) -> str:
    """The text of `content` in an encoding that was stated."""
    try:
        codec = codecs.lookup(encoding)
        if not codec._is_text_encoding or codec.name in _NO_CHARSETS:
            raise LookupError(encoding)
        return content.decode(encoding)
    except (LookupError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise bad_table(f"byte {error.start} is no {encoding}, which was stated", "#/encoding") from error
        raise bad_table("encoding is a name such as utf-8, windows-1251 or gb18030", "#/encoding") from error


def _unwrapped(text: str) -> str:
    """`text` with the lines of drawn boxes as pipes, or the list of a program (`c(1, 2)`, `x = [1, 2]`) bare."""
    if text.lstrip()[:1] in "┌╭╔┏├│┃║":
        return text.translate(_BOXES)
    if text.rstrip().rstrip(";").endswith(("]", ")")) and "\n" not in text.strip()[:2]:
        inner = _list_in(text)
        words = re.split(r"[,\s]+", inner) if inner and not _NO_LIST.search(inner) else []
        if words and all(looks_like_number(word) or is_missing(word) for word in words):
            return " ".join(inner.split())
    return text


def _list_in(text: str) -> str:
    """What stands between the brackets of the only list in `text`. A single pattern for it would take the cube of the
    number of blanks."""
    text = text.strip().removesuffix(";").rstrip()
    begin = _LIST_BEGIN.match(text)
    inner = text[begin.end() if begin else 0 :].removesuffix(")").removesuffix("]")
    return inner.rstrip().removesuffix(",").strip()


def _quote(sample: Sequence[str]) -> str:
    """The character around cells: apostrophes where they stand around the first cell of all lines."""
    quoted = all(re.match(r"'[^']*'(?!\w)", line) for line in sample) and not any('"' in line for line in sample)
    return "'" if quoted else '"'


def _split(text: str, delimiter: str | None, quote: str) -> tuple[list[Row], list[Row]]:
    """The rows of `text` without blank lines, and its comments.

    A quote within a quoted cell is doubled (RFC 4180) or, where that gives no table, preceded by a backslash.
    """
    try:
        return _parsed(text, delimiter, {"quotechar": quote})
    except InvalidRequest:
        if "\\" + quote not in text:
            raise
        return _parsed(text, delimiter, {"quotechar": quote, "escapechar": "\\", "doublequote": False})


def _parsed(text: str, delimiter: str | None, dialect: dict[str, Any]) -> tuple[list[Row], list[Row]]:
    rows, comments = [], []
    has_formulas = '="' in text
    for line, cells in _lines(text, delimiter, dialect):
        text = " ".join(cells).strip()
        if not text:
            continue
        if not _is_remark(cells, text):
            rows.append(Row(line, [_FORMULA.sub(r"\1", cell) for cell in cells] if has_formulas else cells))
        elif _is_comment(cells) and any(map(str.isalnum, "".join(cells))):
            comments.append(Row(line, cells))
    if delimiter in {" ", WIDE_BLANKS} and rows and {len(row.cells) for row in rows[1:]} == {len(rows[0].cells) + 1}:
        rows[0] = Row(rows[0].line, ["", *rows[0].cells])  # numbers of rows have no name in R, and in pandas
    return rows, comments


def _comment_notes(comments: Sequence[Row]) -> list[str]:
    """What to say about comments."""
    return [f"left out as comments: {named_lines(comments)}"] if comments else []


def named_lines(rows: Sequence[Row]) -> str:
    """The lines of `rows`, and what is in the first of them: `lines 1, 2, 4 ('# of station 7' …)`."""
    numbers = ", ".join(str(row.line) for row in rows[:5]) + (" …" if len(rows) > 5 else "")
    text = printable(" ".join(cell.strip() for cell in rows[0].cells if cell.strip()))
    return f"line {numbers} ('{text}')" if len(rows) == 1 else f"lines {numbers} ('{text}' …)"


def _lines(text: str, delimiter: str | None, dialect: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, and the line on which it begins."""
    if delimiter in {" ", WIDE_BLANKS}:
        yield from ((number, split_at_blanks(line, delimiter)) for number, line in enumerate(text.splitlines(), 1))
        return
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter or "\x1f", skipinitialspace=True, strict=True, **dialect
    )
    line = 1
    try:
        for cells in reader:
            first_line, line = line, reader.line_num + 1
            yield first_line, cells
    except csv.Error as error:
        raise bad_table(f"line {line}: {error}", f"#row={line}") from error


def _is_remark(cells: Sequence[str], text: str) -> bool:
    """Whether a row, with `text` in all its cells, is a comment, or what databases print around a table.

    That is a line of dashes, or a number of rows.
    """
    if text[0].isalnum() and "row" not in text:  # what most rows are
        return False
    return bool(_is_comment(cells) or _is_rule(text) or _ROW_COUNT.fullmatch(text))


def _is_rule(text: str) -> bool:
    """Whether a line is drawn: of dashes, two of them side by side, or of signs that draw boxes."""
    return ("--" in text and not text.strip(_RULE)) or (bool(text) and not text.strip(_DRAWN_RULE))


def _is_comment(cells: Sequence[str]) -> bool:
    first = cells[0].strip()
    return bool(_COMMENT.match(first) and (len(cells) == 1 or not (first == "#" or first[1:].isdigit())))


def _with_commented_names(rows: list[Row], lines: Sequence[str], delimiter: str | None, quote: str) -> list[Row]:
    """`rows` below the names of the columns, where these stand in the comment right above the first value."""
    number = rows[0].line - 1 if rows else 0
    if number < 1 or number > len(lines) or not holds_values(rows[0]):
        return rows
    names = lines[number - 1].lstrip("#%/;- ")
    if names == lines[number - 1] or not names:
        return rows
    cells = next((cells for _, cells in _lines(names, delimiter, {"quotechar": quote})), [])
    row = Row(number, cells)
    return [row, *rows] if len(cells) == len(rows[0].cells) and not holds_values(row) else rows


def without_preamble(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """`rows` from the first one that is as wide as most are, and a note on what is above it: titles, remarks.

    Columns at the end that hold nothing are cut off: some programs end each line, or some lines, with a delimiter.
    """
    width = max((filled(row) for row in rows), default=0)
    rows = [replace(row, cells=row.cells[:width]) if len(row.cells) > width else row for row in rows]
    width = Counter(len(row.cells) for row in rows).most_common(1)[0][0] if rows else 0
    first = next((index for index, row in enumerate(rows[:20]) if len(row.cells) >= width), 0) if width > 2 else 0
    while len(rows) > first + 1 < 20 and width > 1 and filled(rows[first]) == 1 and not holds_values(rows[first + 1]):
        first += 1
    return rows[first:], [f"left out above the table: {named_lines(rows[:first])}"] if first else []


def filled(row: Row) -> int:
    """The number of cells up to the last one that holds something."""
    cells = row.cells
    count = len(cells)
    while count and not cells[count - 1].strip():
        count -= 1
    return count


def holds_values(row: Row) -> bool:
    """Whether a row has a number or a date, so that it is none of names."""
    return any(looks_like_number(cell) or looks_like_date(cell) for cell in row.cells)


def is_year(cell: str) -> bool:
    """Whether a cell is a year."""
    text = cell.strip()
    return len(text) == 4 and 1600 <= (whole_number(text) or 0) <= 2200
