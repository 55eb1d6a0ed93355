"""The hour that comes twice: which rows are of its second coming, and what is read for it."""

from __future__ import annotations

import datetime as dt

import pytest

from service.codec.tables.clock_changes import joined_hours, second_hours


def clocks(*texts: str, day: str = "2024-10-27") -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(f"{day} {text}") for text in texts]


@pytest.mark.parametrize(
    ("times", "positions"),
    [
        (clocks("01:00", "02:00", "02:00", "03:00"), [2]),
        (clocks("01:30", "02:00", "02:30", "02:00", "02:30", "03:00"), [3, 4]),
        (clocks("00:30", "01:00", "01:00", "02:00", day="2024-11-03"), [2]),
        (clocks("01:00", "02:00", "02:00", "03:00", day="2024-10-28"), []),  # a Monday
        (clocks("11:00", "12:00", "12:00", "13:00"), []),
        (clocks("02:00", "02:00", "03:00"), []),  # nothing before it tells how long a step is
        (clocks("01:30", "02:00", "02:30", "02:00", "03:00"), []),  # half an hour is lost
        ([*clocks("00:00", day="2024-10-26"), *clocks("00:00", "00:00")], []),  # days
    ],
)
def test_rows_of_the_second_hour(times: list[dt.datetime], positions: list[int]) -> None:
    assert second_hours(times) == positions


def test_both_hours_are_read_as_one() -> None:
    assert joined_hours([1.0, 2.0, None, 4.0, 6.0, 7.0], [3, 4]) == [1.0, 3.0, 6.0, 7.0]
    assert joined_hours([1.0, None, None, 2.0], [2]) == [1.0, None, 2.0]


class Counted(dt.datetime):
    """A time that counts how often it is compared."""

    comparisons = 0

    def __ge__(self, other: dt.date) -> bool:
        Counted.comparisons += 1
        return super().__ge__(other)  # type: ignore[operator]

    def __le__(self, other: dt.date) -> bool:
        Counted.comparisons += 1
        return super().__le__(other)  # type: ignore[operator]

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return super().__eq__(other)

    __hash__ = dt.datetime.__hash__


@pytest.mark.parametrize("minutes", [[0], [0, 1], [59, 58, 57, 1], [30, 30, 30, 10]])
def test_times_over_and_over_are_compared_a_few_times_each(minutes: list[int]) -> None:
    """A table of one time took 40 seconds for 250 kB: each row was compared with up to 3600 before it."""
    many = [Counted(2024, 10, 27, 2, minute) for _ in range(1000) for minute in minutes]
    Counted.comparisons = 0
    second_hours(many)
    assert Counted.comparisons < 10 * len(many)


def test_an_hour_that_comes_many_times_is_listed_once() -> None:
    times = [*clocks("01:59"), *clocks("02:00", "02:01") * 400]
    positions = second_hours(times)
    assert positions == sorted(set(positions))
