"""Tables whose rows and columns are both times."""

from __future__ import annotations

import pytest

from service.codec.tables import grids
from service.codec.tables.grids import unrolled_grid
from service.codec.tables.rows import Row, Rows

HOURS = ["date", *(f"{hour:02}:00" for hour in range(24))]


def table(*rows: list[str]) -> Rows:
    return Rows([Row(line, cells) for line, cells in enumerate(rows, start=1)], "utf-8", ",", [])


def values(grid: Rows | None) -> list[list[str]]:
    assert grid is not None
    return [row.cells for row in grid.rows[1:]]


def test_years_of_months_either_way() -> None:
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    years = table(["year", *months], ["2023", *map(str, range(12))], ["2024", "12", *[""] * 11])
    rows = [[name, str(number), "" if number else "12"] for number, name in enumerate(months)]
    columns = table(["month", "2023", "2024"], *rows)
    expected = [*([f"2023-{i + 1:02}", str(i)] for i in range(12)), ["2024-01", "12"]]
    assert values(unrolled_grid(years)) == values(unrolled_grid(columns)) == expected


def test_years_of_quarters() -> None:
    grid = table(["", "Q1", "Q2", "Q3", "Q4"], ["2023", "1", "2", "3", "4"], ["2024", "5", "", "", ""])
    assert values(unrolled_grid(grid))[3:] == [["2023Q4", "4"], ["2024Q1", "5"]]


@pytest.mark.parametrize("names", [HOURS[1:], [f"H{hour}" for hour in range(1, 25)], [*map(str, range(24))]])
def test_days_of_hours(names: list[str]) -> None:
    grid = table(["date", *names], ["2024-01-01", *map(str, range(24))], ["2024-01-02", "24", *[""] * 23])
    assert values(unrolled_grid(grid))[-2:] == [["2024-01-01 23:00", "23"], ["2024-01-02 00:00", "24"]]


def test_a_cell_keeps_its_place_in_the_file() -> None:
    grid = unrolled_grid(table(HOURS, ["2024-01-01", *map(str, range(24))]))
    assert grid is not None
    assert grid.rows[3].positions == ((2, 2, 1), (2, 2, 4))


@pytest.mark.parametrize(
    "rows",
    [
        (["date", "a", "b"], ["2024-01-01", "1", "2"]),
        (["year", "Jan", "Feb"], ["2024", "1", "2"]),
        (["date", *map(str, range(1, 20))], ["2024-01-01", *map(str, range(19))]),
    ],
)
def test_other_tables_stay(rows: tuple[list[str], ...]) -> None:
    assert unrolled_grid(table(*rows)) is None


def test_the_dates_of_a_table_without_hours_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def is_date(text: str) -> bool:
        looked_at.append(text)
        return True

    monkeypatch.setattr(grids, "looks_like_date", is_date)
    rows = [Row(1, ["date", "value"]), *(Row(2, [f"2024-01-{day:02}", "1"]) for day in range(1, 31))]
    assert (unrolled_grid(Rows(rows, "utf-8", ",", [])), looked_at) == (None, [])
