"""Workbooks as Excel and the programs that write its format make them."""

from __future__ import annotations

import io
import zipfile

import pytest

from service.codec.tables import workbook
from service.codec.tables.reader import Limits, read_csv
from service.codec.tables.types import Table, TableOptions
from service.contract.errors import InvalidRequest
from tests.workbooks import CLOCK, DAY, DAYS, MAIN, SALES, archive, inline, number, row, shared


def read(content: bytes) -> Table:
    return read_csv(content, TableOptions(), Limits(1000))


def refusal(content: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(content)
    return caught.value


def first_ahead(table: Table) -> str | None:
    timeline = table.timelines[0]
    return timeline.texts(timeline.length, 1)[0] if timeline else None


def test_a_sheet_of_dates_and_numbers() -> None:
    table = read(archive([("Sheet1", SALES)]))
    assert [(entry.item_id, entry.target) for entry in table.inputs] == [("Sales", [1.5, None, 3.0])]
    assert first_ahead(table) == "2024-01-04"
    assert table.reading.format == "xlsx"


def test_days_counted_from_1904() -> None:
    table = read(archive([("Sheet1", SALES)], settings='date1904="1"'))
    assert first_ahead(table) == "2028-01-05"


def test_times_of_day_and_formats_of_ones_own() -> None:
    rows = row(1, shared("A1", 0), inline("B1", "wait"))
    for hour in range(3):
        rows += row(
            2 + hour, number(f"A{2 + hour}", 45292 + hour / 24, CLOCK), number(f"B{2 + hour}", hour + 0.5, DAYS)
        )
    table = read(archive([("Sheet1", rows)]))
    assert table.inputs[0].target == [0.5, 1.5, 2.5]
    assert first_ahead(table) == "2024-01-01T03:00:00"


def test_a_title_and_empty_columns_before_the_table() -> None:
    rows = row(2, inline("B2", "Report")) + SALES.replace('r="A', 'r="C').replace('r="B', 'r="D')
    table = read(archive([("Sheet1", rows)]))
    assert [(entry.item_id, entry.target) for entry in table.inputs] == [("Sales", [1.5, None, 3.0])]


def test_of_several_sheets_the_first_visible_one_with_values() -> None:
    sheets = [("Hidden", SALES), ("Cover", row(1, inline("A1", "Hello"))), ("Data", SALES), ("More", SALES)]
    table = read(archive(sheets, state='state="hidden"'))
    assert "sheet 'Data' was read; not read: Cover, More" in table.reading.notes[0]


def test_a_fault_names_the_row_and_the_column_of_the_sheet() -> None:
    rows = SALES + "".join(row(n, number(f"A{n}", 45290 + n, DAY), number(f"B{n}", n)) for n in range(5, 12))
    error = refusal(archive([("Sheet1", rows + row(12, number("A12", 45302, DAY), shared("B12", 2)))]))
    assert "line 12, column 2 (Sales), 'Köln' is no number" in error.detail


ENTITIES = (
    f'<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY a "Date">]><sst {MAIN}>'
    "<si><t>&a;</t></si><si><t>Sales</t></si></sst>"
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and nothing else", "save it as CSV"),
        (archive([("Sheet1", SALES)])[:500], "save it as CSV"),
        (archive([("Sheet1", "")]), "no sheet with values"),
        (archive([("Sheet1", "<row><c")]), "save it as CSV"),
        (archive([("Sheet1", SALES)], strings='<!DOCTYPE x [<!ENTITY a "b">]><sst/>'), "save it as CSV"),
        (archive([("Sheet1", SALES)], strings=ENTITIES.encode("utf-16")), "save it as CSV"),
        (archive([("Sheet1", SALES)], strings="<sst/>"), "save it as CSV"),
        (archive([("Sheet1", row(1, number("A1", "1e99", DAY), number("B1", 1)))]), "save it as CSV"),
    ],
)
def test_what_is_no_workbook(content: bytes, words: str) -> None:
    error = refusal(content)
    assert (error.code, words in error.detail) == ("bad_table", True)


def test_another_archive_is_told() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("sales.csv", "a\n1\n2\n")
    assert "no Excel workbook" in refusal(content.getvalue()).detail


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_BYTES", 1 << 16)
    bomb = archive([("Sheet1", SALES)], strings=f"<sst>{' ' * (1 << 17)}</sst>")
    assert (refusal(bomb).code, "MiB unpacked" in refusal(bomb).detail) == ("too_many_items", True)
    monkeypatch.setattr(workbook, "MAX_CELLS", 4)
    assert "at most 4 cells" in refusal(archive([("Sheet1", SALES)])).detail


def test_letters_of_a_column_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    column_of = workbook._column

    def column(letters: str, following: int) -> int:
        counted.append(letters)
        return column_of(letters, following)

    monkeypatch.setattr(workbook, "_column", column)
    rows = "".join(row(line, number(f"A{line}", line), number(f"B{line}", 2 * line)) for line in range(1, 50))
    assert len(read(archive([("Sheet", rows)])).inputs) == 2
    assert sorted(counted) == ["A", "B"]


def test_cells_without_letters_follow_one_another() -> None:
    rows = "".join(row(line, number("1", line), number("b1", 7), number("", 2 * line)) for line in range(1, 5))
    assert [list(entry.target) for entry in read(archive([("Sheet", rows)])).inputs][1:] == [[7] * 4, [2, 4, 6, 8]]


def test_only_the_beginning_of_a_long_format_is_looked_at() -> None:
    assert workbook._is_date_code("[" * 10 + "yyyy")
    assert not workbook._is_date_code("[" * 1_000_000 + "yyyy")


def test_a_small_archive_has_no_large_part() -> None:
    """16 kB of `<c/>` took 5 s."""
    with pytest.raises(InvalidRequest, match="MiB unpacked"):
        read(archive([("Sheet", f"<row>{'<c/>' * 2_000_000}</row>")]))
    zeros = "".join(row(line, number(f"A{line}", 0), number(f"B{line}", 1)) for line in range(1, 50_000))
    assert len(workbook.read_workbook(archive([("Sheet", zeros)])).rows) == 49_999


def test_cells_that_are_far_apart_are_not_filled_up() -> None:
    rows = "".join(row(line, number(f"XFD{line}", line)) for line in range(1, 60))
    with pytest.raises(InvalidRequest, match="a sheet has at most"):
        read(archive([("Sheet", rows)]))


def test_texts_within_texts_without_end_are_no_workbook() -> None:
    strings = f"<sst><si>{'<r>' * 5000}<t>a</t>{'</r>' * 5000}</si></sst>"
    with pytest.raises(InvalidRequest, match="no Excel workbook"):
        read(archive([("Sheet", row(1, shared("A1", 0)))], strings=strings))


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_parts_that_no_spreadsheet_packs_so_are_not_unpacked(method: int) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive([("a", SALES)]))) as given, zipfile.ZipFile(packed, "w", method) as file:
        for name in given.namelist():
            file.writestr(name, given.read(name))
    with pytest.raises(InvalidRequest, match="no Excel workbook that can be read"):
        read(packed.getvalue())


def test_an_encrypted_part_is_none_that_can_be_read() -> None:
    content = bytearray(archive([("a", SALES)]))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of the first part
    with pytest.raises(InvalidRequest, match="no Excel workbook that can be read"):
        read(bytes(content))
