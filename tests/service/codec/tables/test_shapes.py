from __future__ import annotations

from service.codec.tables.rows import Rows, read_rows
from service.codec.tables.shapes import reshaped


def shape(text: str) -> Rows:
    return reshaped(read_rows(text.encode(), None))


def test_rows_that_are_series_are_turned_and_keep_their_places() -> None:
    table = shape("item,kind,2024-01,2024-02,2024-03\na,x,1,2,3\nb,x,4,5,6\n")
    assert [row.cells for row in table.rows] == [
        ["time", "a", "b"],
        ["2024-01", "1", "4"],
        ["2024-02", "2", "5"],
        ["2024-03", "3", "6"],
    ]
    assert table.rows[2].positions == [(1, 1, 4), (2, 2, 4), (3, 3, 4)]
    assert table.is_turned


def test_years_of_months_are_one_column() -> None:
    table = shape("año;ene;feb;mar;abr;may;jun\n2023;1;2;3;4;5;6\n2024;7;8;;;;\n")
    assert [row.cells for row in table.rows[-2:]] == [["2024-01", "7"], ["2024-02", "8"]]
    assert len(table.rows) == 9


def test_other_tables_stay_as_they_are() -> None:
    for text in ("id,date,y\na,2024-01-01,1\n", "a,b,c\n1,2,3\n4,5,6\n", "x1,x2,x3,x4\n1,2,3,4\n5,6,7,8\n", "1\n2\n"):
        table = shape(text)
        assert (table.rows, table.is_turned) == (read_rows(text.encode(), None).rows, False)
