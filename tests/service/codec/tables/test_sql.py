"""Tables in the SQL that databases write."""

from __future__ import annotations

import pytest

from service.codec.tables.sql import find_statement, read_inserts
from service.contract.errors import InvalidRequest

MYSQL = """-- MySQL dump
/*!40101 SET NAMES utf8mb4 */;
CREATE TABLE `sales` (
  `id` int NOT NULL,
  `day` date DEFAULT NULL,
  `n` decimal(10,2) DEFAULT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;
INSERT INTO `sales` VALUES (1,'2024-01-01',5.00),
(2,'a;\\'b',NULL);
"""


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("INSERT INTO a (x, y) VALUES ('O''Neil', -1.5), (NULL, 2);", [["x", "y"], ["O'Neil", "-1.5"], ["", "2"]]),
        ("insert into s.a values (1)\ninsert into s.a values (2)", [["1"], ["2"]]),
        ("INSERT [dbo].[a] ([x]) VALUES (CAST(N'2024-01-01' AS Date))\nGO\n", [["x"], ["2024-01-01"]]),
        ("Insert into A (X) values (to_date('2024-01-01','YYYY-MM-DD'));", [["X"], ["2024-01-01"]]),
        ("INSERT INTO a (x) VALUES (DATE '2024-01-01');", [["x"], ["2024-01-01"]]),
        ("CREATE TABLE a(x TEXT, y REAL);\nINSERT INTO a VALUES('k',5.0);", [["x", "y"], ["k", "5.0"]]),
        ("COPY p.a (x, y) FROM stdin;\n1\t\\N\n2\t3\n\\.\n\n--\n", [["x", "y"], ["1", ""], ["2", "3"]]),
        (MYSQL, [["id", "day", "n"], ["1", "2024-01-01", "5.00"], ["2", "a;'b", ""]]),
    ],
)
def test_rows_of_statements(text: str, cells: list[list[str]]) -> None:
    assert find_statement(text)
    assert [row for _, row in read_inserts(text)[0]] == cells


def test_lines_are_those_of_the_file() -> None:
    assert [line for line, _ in read_inserts(MYSQL)[0]] == [9, 9, 10]


def test_rows_of_other_tables_are_told() -> None:
    _, notes = read_inserts("INSERT INTO a VALUES (1);\nINSERT INTO b VALUES (2);\n")
    assert notes == ["the rows of the table a were read", "left out: those of b"]


def test_statements_without_rows_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no row of values into a"):
        read_inserts("INSERT INTO a (x) VALUES ;")


def test_tables_are_no_sql() -> None:
    assert not find_statement("date,insert into\n2024-01-01,5\n")


INSERTS = "INSERT INTO a VALUES (1,'x\nINSERT INTO a VALUES (9,9);\n');\nINSERT INTO a VALUES (2,'y');\n"


def test_a_statement_within_a_text_is_none() -> None:
    rows, _ = read_inserts(INSERTS)
    assert [cells[0] for _, cells in rows] == ["1", "2"]


def test_a_statement_within_the_rows_of_copy_is_none() -> None:
    rows, _ = read_inserts("COPY a FROM stdin;\n1\tx\nCOPY a FROM stdin;\n2\ty\n\\.\nCOPY a FROM stdin;\n3\tz\n\\.\n")
    assert [cells[0] for _, cells in rows] == ["1", "COPY a FROM stdin;", "2", "3"]


def test_a_row_that_is_not_closed_ends_where_the_next_statement_begins() -> None:
    rows, _ = read_inserts("INSERT INTO a VALUES (1,2\nINSERT INTO a VALUES (3,4);\nINSERT INTO a VALUES (5,6)\n")
    assert [cells for _, cells in rows] == [["3", "4"], ["5", "6"]]


def test_a_quote_without_an_end_ends_the_rows() -> None:
    rows, _ = read_inserts("INSERT INTO a VALUES (1,2),(3,'x\nINSERT INTO a VALUES (5,6)\n")
    assert [cells for _, cells in rows] == [["1", "2"]]


@pytest.mark.parametrize("values", ["()", "(,,)", "(), ()"])
def test_rows_without_a_value_are_none(values: str) -> None:
    with pytest.raises(InvalidRequest, match="no row of values"):
        read_inserts(f"INSERT INTO t VALUES {values};")
