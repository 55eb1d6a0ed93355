"""Workbooks of spreadsheets (Office Open XML, .xlsx) to rows of text, by the standard library alone.

ECMA-376: an archive of XML. The first visible sheet that holds something is read; numbers in a format of dates become
ISO 8601.
"""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree as ET  # nosec B405
from xml.etree.ElementTree import Element, ParseError  # nosec B405

from service.codec.tables.rows import Row, Rows, without_preamble
from service.codec.tables.types import bad_table, printable
from service.contract.errors import InvalidRequest

MAX_BYTES = 16 << 20  # of one part of the archive, unpacked
MAX_SHEET_BYTES = 64 << 20
# Of a small archive a part may have fewer: what is mostly repeated takes long to read for its size.
_UNPACKED, _RATIO = 4 << 20, 40  # bytes, and further ones for each byte of the archive
MAX_CELLS = 1_000_000
_FEW_CELLS, _CELLS_PER_FILLED = 100_000, 16  # cells, and further ones for each that is not empty
MAX_COLUMNS = 16_384
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may take any memory, and raise errors of their own
WORKBOOK_MAGIC = b"PK\x03\x04"
_NO_WORKBOOK = "this is no CSV: the content is a zip file, and no Excel workbook; unpack it first"
_EPOCHS = (dt.datetime(1899, 12, 30), dt.datetime(1904, 1, 1))  # noqa: DTZ001 (clocks without a zone)
_DATE_FORMATS = frozenset([*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)])  # built in
_NOT_OF_DATES = re.compile(r'"[^"]*"|\[[^][]*\]|\\.|_.|\*.')  # literal text, colours and conditions in a format
_LONGEST_CODE = 255  # characters of a format, as in Excel
_LETTERS = re.compile(r"[A-Z]+")
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_workbook(content: bytes) -> Rows:
    """The rows of the first sheet with values in a workbook; raises `InvalidRequest` (`bad_table`)."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _Workbook(archive, _UNPACKED + _RATIO * len(content)).rows()
    except (
        zipfile.BadZipFile,
        zlib.error,
        ParseError,
        LookupError,
        ValueError,
        OverflowError,
        EOFError,  # of a part that is cut
        RuntimeError,  # of one that is encrypted, or of texts nested without end
    ) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise bad_table("this is no Excel workbook that can be read: save it as CSV") from error


class _Workbook:
    """The parts of one archive."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        """`max_bytes`: of any part, unpacked."""
        self._archive = archive
        self._max_bytes = max_bytes
        if "xl/workbook.xml" not in archive.namelist():
            raise bad_table(_NO_WORKBOOK)
        root = self._part("xl/workbook.xml")
        settings = next(_children(root, "workbookPr"), None)
        self._epoch = _EPOCHS[settings is not None and settings.get("date1904") in {"1", "true"}]
        targets = {item.get("Id"): item.get("Target", "") for item in self._part("xl/_rels/workbook.xml.rels")}
        self._sheets = [
            (sheet.get("name", ""), _path(targets[sheet.get(_RELATION)]))
            for sheet in _children(root, "sheet")
            if sheet.get("state", "visible") == "visible"
        ]
        names = archive.namelist()
        self._strings = self._shared_strings() if "xl/sharedStrings.xml" in names else []
        self._is_date = self._date_styles() if "xl/styles.xml" in names else []

    def rows(self) -> Rows:
        """The rows of the first sheet that holds more than a cell."""
        for name, path in self._sheets:
            rows = list(self._sheet_rows(path))
            if sum(len(row.cells) for row in rows) > 1:
                unread = [printable(title) for title, _ in self._sheets if title != name]
                notes = [f"sheet '{printable(name)}' was read; not read: {', '.join(unread[:5])}"] if unread else []
                rows, left_out = without_preamble(rows)
                return Rows(rows, "utf-8", None, notes + left_out)
        raise bad_table("the workbook has no sheet with values")

    def _content(self, name: str, limit: int) -> bytes:
        """A part of the archive; what is too large, or has definitions of its own, is refused before it is parsed."""
        limit = min(limit, self._max_bytes)
        part = self._archive.getinfo(name)
        if part.compress_type not in _COMPRESSIONS:
            raise ValueError("the parts of a workbook are stored or deflated")
        with self._archive.open(part) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            detail = f"a part of a workbook may have {limit >> 20} MiB unpacked: save it as CSV"
            raise InvalidRequest(detail, code="too_many_items")
        if b"\0" in content or b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # in UTF-16, zeros part the letters
            raise ValueError("a workbook defines no entities")
        return content

    def _part(self, name: str) -> Element:
        return ET.fromstring(self._content(name, MAX_BYTES))  # noqa: S314  # nosec B314

    def _shared_strings(self) -> list[str]:
        return [_text_of(item) for item in self._part("xl/sharedStrings.xml") if _is(item, "si")]

    def _date_styles(self) -> list[bool]:
        """For each style of cells whether its numbers are times."""
        root = self._part("xl/styles.xml")
        codes = {int(item.get("numFmtId", 0)): item.get("formatCode", "") for item in _children(root, "numFmt")}
        styles = next(_children(root, "cellXfs"), None)
        identifiers = [int(item.get("numFmtId", 0)) for item in styles] if styles is not None else []
        return [
            _is_date_code(codes[identifier]) if identifier in codes else identifier in _DATE_FORMATS
            for identifier in identifiers
        ]

    def _sheet_rows(self, path: str) -> Iterator[Row]:
        n_cells = n_filled = number = 0
        columns: dict[str, int] = {}
        for _, row in ET.iterparse(io.BytesIO(self._content(path, MAX_SHEET_BYTES))):  # noqa: S314  # nosec B314
            if not row.tag.endswith("row") or not _is(row, "row"):
                continue
            number = int(row.get("r", number + 1))
            cells: list[str] = []
            for cell in row:
                text = self._cell_text(cell)
                letters = cell.get("r", "").rstrip("0123456789")
                column = columns.get(letters)
                if column is None:  # once for each column, not for each cell
                    column = _column(letters, len(cells))
                    if _LETTERS.match(letters):
                        columns[letters] = column
                if text == "" or column >= MAX_COLUMNS:
                    continue
                cells += [""] * (column - len(cells)) + [text]
            n_cells += len(cells)
            n_filled += len(cells) - cells.count("")
            limit = min(MAX_CELLS, _FEW_CELLS + _CELLS_PER_FILLED * n_filled)
            if n_cells > limit:
                raise InvalidRequest(f"a sheet has at most {limit} cells: save it as CSV", code="too_many_items")
            row.clear()
            if any(text.strip() for text in cells):
                yield Row(number, cells)

    def _cell_text(self, cell: Element) -> str:
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            return _text_of(cell)
        value = ""
        for child in cell:
            if child.tag.endswith("v") and _is(child, "v"):
                value = child.text or ""
                break
        if kind == "s":
            return self._strings[int(value)] if value else ""
        if kind != "n" or not value:
            return value
        style = int(cell.get("s", 0))
        is_date = style < len(self._is_date) and self._is_date[style]
        return self._time(float(value)) if is_date else value

    def _time(self, days: float) -> str:
        """A number of days as a time in ISO 8601; below one it is a time of day."""
        moment = self._epoch + dt.timedelta(seconds=round(days * 86_400))
        if 0 <= days < 1:
            return moment.strftime("%H:%M:%S")
        return moment.strftime("%Y-%m-%d" if days == int(days) else "%Y-%m-%d %H:%M:%S")


def _path(target: str) -> str:
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _is(element: Element, name: str) -> bool:
    """Whether an element has that name, in either namespace of the standard."""
    return element.tag.rpartition("}")[2] == name


def _children(root: Element, name: str) -> Iterator[Element]:
    return (element for element in root.iter() if _is(element, name))


def _text_of(item: Element) -> str:
    """The text of a string, without the readings next to East Asian characters."""
    parts: list[str] = []
    for child in item:
        if _is(child, "t"):
            parts.append(child.text or "")
        elif _is(child, "r") or _is(child, "is"):
            parts.append(_text_of(child))
    return "".join(parts)


def _column(reference: str, following: int) -> int:
    """The column of a cell such as `AB12`, counted from 0; the `following` one where there is no reference."""
    letters = _LETTERS.match(reference)
    if letters is None:
        return following
    number = 0
    for letter in letters[0][:4]:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _is_date_code(code: str) -> bool:
    plain = _NOT_OF_DATES.sub("", code[:_LONGEST_CODE].partition(";")[0]).lower()
    return any(letter in plain for letter in "ymdhs")
