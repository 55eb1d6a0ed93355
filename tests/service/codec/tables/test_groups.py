"""Rows that belong to one series, and times that are put on their grid once for all series that have them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest

from service.codec.tables import groups
from service.codec.tables.groups import Group, groups_of
from service.codec.tables.reader import Limits, read_csv
from service.codec.tables.types import TableOptions
from service.codec.timeline import Moment, Placed, place_moments


def moments(*texts: str) -> list[Moment]:
    return [Moment(dt.datetime.fromisoformat(text), None, None, "s") for text in texts]


def test_groups_come_in_the_order_of_their_keys() -> None:
    found = groups_of(["b", "a", "b"], moments("2024-01-01", "2024-01-01", "2024-01-02"), 3)
    assert [(key, list(group.positions)) for key, group in found.items()] == [("b", [0, 2]), ("a", [1])]


def test_without_keys_all_rows_are_one_group() -> None:
    assert list(groups_of([], [], 3)[None].positions) == [0, 1, 2]


def test_newest_rows_first_are_turned() -> None:
    group = Group([4, 7], moments("2024-01-02", "2024-01-01"))
    assert (group.is_reversed, list(group.positions)) == (True, [7, 4])
    assert [moment.clock.day for moment in group.moments] == [1, 2]


def test_rows_of_a_second_hour_are_left_out() -> None:
    times = ["01:00", "02:00", "02:00", "03:00"]
    group = Group(range(4), moments(*(f"2024-10-27 {time}" for time in times)))
    assert (group.repeated, list(group.positions)) == ([2], [0, 1, 3])


DATES = [f"2024-01-{day:02}" for day in range(1, 31)]
WIDE = "date," + ",".join(f"s{column}" for column in range(40)) + "\n"
WIDE += "".join(date + ",1" * 40 + "\n" for date in DATES)
LONG = "id,date,value\n" + "".join(f"s{name},{date},1\n" for name in range(40) for date in DATES)
MONTHS = ",".join(f"{year}-{month:02}" for year in range(2000, 2004) for month in range(1, 13))
TURNED = f"country,{MONTHS}\n" + "".join(f"c{row}" + ",1" * 48 + "\n" for row in range(40))


@pytest.mark.parametrize("content", [WIDE, LONG, TURNED], ids=["wide", "long", "turned"])
def test_times_that_series_share_are_placed_once(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(times: Sequence[Moment], *arguments: Any) -> Placed:
        calls.append(len(times))
        return place_moments(times, *arguments)

    monkeypatch.setattr(groups, "place_moments", counted)
    table = read_csv(content.encode(), TableOptions(), Limits(1000))
    assert (len(table.inputs), len(calls)) == (40, 1)
