"""Small Excel workbooks for tests, written by hand: sheets of rows of cells as XML."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATION = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
STYLES = (
    f'<styleSheet {MAIN}><numFmts count="2"><numFmt numFmtId="164" formatCode="dd/mm/yyyy\\ hh:mm"/>'
    '<numFmt numFmtId="165" formatCode="0.00&quot; days&quot;"/></numFmts>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs></styleSheet>'
)
STRINGS = f"<sst {MAIN}><si><t>Date</t></si><si><r><t>Sa</t></r><r><t>les</t></r></si><si><t>Köln</t></si></sst>"
DAY, CLOCK, DAYS = 's="1"', 's="2"', 's="3"'


def row(number: int, *cells: str) -> str:
    return f'<row r="{number}">{"".join(cells)}</row>'


def number(place: str, value: object, style: str = "") -> str:
    return f'<c r="{place}" {style}><v>{value}</v></c>'


def shared(place: str, index: int) -> str:
    return f'<c r="{place}" t="s"><v>{index}</v></c>'


def inline(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def archive(
    sheets: Sequence[tuple[str, str]], *, settings: str = "", strings: str | bytes = STRINGS, state: str = ""
) -> bytes:
    """A workbook of sheets: their names, and the rows of each as XML; `state` is that of the first sheet."""
    names = "".join(
        f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}" {state if i == 1 else ""}/>'
        for i, (name, _) in enumerate(sheets, start=1)
    )
    targets = "".join(
        f'<Relationship Id="rId{i}" Target="worksheets/sheet{i}.xml"/>' for i in range(1, len(sheets) + 1)
    )
    parts: dict[str, str | bytes] = {
        "xl/workbook.xml": f"<workbook {MAIN} {RELATION}><workbookPr {settings}/><sheets>{names}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships>{targets}</Relationships>",
        "xl/styles.xml": STYLES,
        "xl/sharedStrings.xml": strings,
    }
    for i, (_, rows) in enumerate(sheets, start=1):
        parts[f"xl/worksheets/sheet{i}.xml"] = f"<worksheet {MAIN}><sheetData>{rows}</sheetData></worksheet>"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in parts.items():
            file.writestr(name, text)
    return content.getvalue()


SALES = (
    row(1, shared("A1", 0), shared("B1", 1))
    + row(2, number("A2", 45292, DAY), number("B2", 1.5))
    + row(3, number("A3", 45293, DAY))
    + row(4, number("A4", 45294, DAY), number("B4", "3E0"))
)
