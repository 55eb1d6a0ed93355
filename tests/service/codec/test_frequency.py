"""Steps beside what pandas makes of the same names, and names that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from service.codec.frequency import DAY, HOUR, Frequency, grid_from, parse_frequency

# start, frequency -> the next three times, as `pandas.date_range` of release 2.3.3 has them
PANDAS = [
    ("2024-01-01", "h", "2024-01-01T01:00:00 2024-01-01T02:00:00 2024-01-01T03:00:00"),
    ("2024-02-28", "D", "2024-02-29 2024-03-01 2024-03-02"),
    ("2023-02-28", "2D", "2023-03-02 2023-03-04 2023-03-06"),
    ("2024-01-05", "B", "2024-01-08 2024-01-09 2024-01-10"),
    ("2024-12-31", "3B", "2025-01-03 2025-01-08 2025-01-13"),
    ("2024-01-07", "W-SUN", "2024-01-14 2024-01-21 2024-01-28"),
    ("2024-01-01", "W-MON", "2024-01-08 2024-01-15 2024-01-22"),
    ("2024-01-03", "2W-WED", "2024-01-17 2024-01-31 2024-02-14"),
    ("2024-11-01", "MS", "2024-12-01 2025-01-01 2025-02-01"),
    ("2024-01-31", "ME", "2024-02-29 2024-03-31 2024-04-30"),
    ("2023-12-31", "2ME", "2024-02-29 2024-04-30 2024-06-30"),
    ("2024-01-01", "QS", "2024-04-01 2024-07-01 2024-10-01"),
    ("2024-02-01", "QS-FEB", "2024-05-01 2024-08-01 2024-11-01"),
    ("2024-03-31", "QE", "2024-06-30 2024-09-30 2024-12-31"),
    ("2024-04-30", "QE-JAN", "2024-07-31 2024-10-31 2025-01-31"),
    ("2023-01-01", "YS", "2024-01-01 2025-01-01 2026-01-01"),
    ("2023-04-01", "YS-APR", "2024-04-01 2025-04-01 2026-04-01"),
    ("2023-12-31", "YE", "2024-12-31 2025-12-31 2026-12-31"),
    ("2024-06-30", "YE-JUN", "2025-06-30 2026-06-30 2027-06-30"),
    ("2024-01-31", "BME", "2024-02-29 2024-03-29 2024-04-30"),
    ("2024-03-01", "BMS", "2024-04-01 2024-05-01 2024-06-03"),
    ("2024-03-29", "BQE", "2024-06-28 2024-09-30 2024-12-31"),
    ("2024-01-01", "BQS", "2024-04-01 2024-07-01 2024-10-01"),
    ("2024-12-31", "BYE", "2025-12-31 2026-12-31 2027-12-31"),
    ("2024-01-01", "BYS", "2025-01-01 2026-01-01 2027-01-01"),
    ("2024-01-01T05:30", "15min", "2024-01-01T05:45:00 2024-01-01T06:00:00 2024-01-01T06:15:00"),
    ("2024-01-01", "1h30min", "2024-01-01T01:30:00 2024-01-01T03:00:00 2024-01-01T04:30:00"),
    ("2024-01-01T23:59:59", "s", "2024-01-02 2024-01-02T00:00:01 2024-01-02T00:00:02"),
    ("2024-01-31T18:00", "ME", "2024-02-29T18:00:00 2024-03-31T18:00:00 2024-04-30T18:00:00"),
    ("2024-01-01", "250ms", "2024-01-01T00:00:00.250000 2024-01-01T00:00:00.500000 2024-01-01T00:00:00.750000"),
]
OLD_NAMES = {
    "H": "h", "T": "min", "S": "s", "L": "ms", "U": "us", "M": "ME", "BM": "BME", "Q": "QE", "Q-JAN": "QE-JAN",
    "A": "YE", "A-JUN": "YE-JUN", "Y": "YE", "AS": "YS", "AS-APR": "YS-APR", "BA": "BYE", "BQ": "BQE", "C": "B",
    "15T": "15min", "2H": "2h", "PT15M": "15min", "P1D": "D", "P1M": "MS", "P1Y6M": "6QS", "P2W": "2W",
    "daily": "D", "Weekly": "W", "monthly": "ME", "hourly": "h", "1D12h": "36h",
}  # fmt: skip


def times(*texts: str) -> np.ndarray:
    return np.array(texts, "M8[us]")


@pytest.mark.parametrize(("start", "name", "expected"), PANDAS)
def test_steps_are_those_of_pandas(start: str, name: str, expected: str) -> None:
    grid, elsewhere = grid_from(parse_frequency(name), times(start))
    following = grid.at(np.arange(1, 4))
    assert following.tolist() == times(*expected.split()).tolist()
    assert not elsewhere
    steps, exact = grid.steps_to(following)
    assert steps.tolist() == [1, 2, 3]
    assert exact.all()


@pytest.mark.parametrize(("name", "canonical"), OLD_NAMES.items())
def test_names_old_and_new(name: str, canonical: str) -> None:
    assert parse_frequency(name).name == canonical


@pytest.mark.parametrize(
    "name",
    ["", " ", "x", "SM", "bh", "WOM-2TUE", "0D", "-1D", "D-MON", "W-XYZ", "QS-FOO", "MS-JAN", "1h1ME", "15", "PT", "P",
     "P1M1D", "9999999999999D", "D" * 40, "P99999999999999999Y", "1.5h"],
)  # fmt: skip
def test_anything_else_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match=r"frequency|anchor|multiple|month|length|longer|added|step"):
        parse_frequency(name)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(ValueError, match="did you mean 'BQS'"):
        parse_frequency("BQSS")


@pytest.mark.parametrize(
    ("name", "season"),
    [("h", 24), ("15min", 96), ("7min", 1), ("D", 7), ("B", 5), ("2B", 1), ("W", 52), ("W-MON", 52), ("2W", 1),
     ("MS", 12), ("2ME", 6), ("QS", 4), ("YE", 1), ("s", 3600), ("ms", 1000), ("5MS", 1), ("2D", 1), ("6h", 4)],
)  # fmt: skip
def test_the_season_that_a_frequency_suggests(name: str, season: int) -> None:
    assert parse_frequency(name).season == season


@pytest.mark.parametrize(
    ("start", "name", "second"),
    [("2024-01-01", "ME", "2024-02-01"), ("2024-01-30", "MS", "2024-02-29"), ("2024-01-02", "W-SUN", "2024-01-09"),
     ("2024-02-15", "QS", "2024-05-15"), ("2024-06-15", "YE", "2025-06-15")],
)  # fmt: skip
def test_days_that_the_name_does_not_say_are_kept(start: str, name: str, second: str) -> None:
    grid, elsewhere = grid_from(parse_frequency(name), times(start))
    assert (grid.at(np.array([1])).tolist(), elsewhere) == (times(second).tolist(), True)


def test_the_old_name_of_a_period_says_no_day() -> None:
    _, elsewhere = grid_from(parse_frequency("M"), times("2024-01-01"))
    assert not elsewhere


def test_a_series_of_weekdays_begins_on_one() -> None:
    with pytest.raises(ValueError, match="weekend"):
        grid_from(parse_frequency("B"), times("2024-01-06"))


def test_steps_are_rounded_to_the_nearest() -> None:
    grid, _ = grid_from(Frequency("h", "time", HOUR), times("2024-01-01"))
    steps, exact = grid.steps_to(times("2024-01-01T00:29", "2024-01-01T00:31", "2024-01-01T02:00"))
    assert (steps.tolist(), exact.tolist()) == ([0, 1, 2], [False, False, True])
    assert parse_frequency("24h").count == DAY
