from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.timeline import (
    Fault,
    check_end,
    comes_back,
    from_start,
    from_timestamps,
    is_likely,
    parse_moment,
    spread,
)

LIMIT = 1000


def following(*timestamps: str, freq: str | None = None) -> tuple[str, list[str], list[int] | None]:
    """The frequency that was found, the next two times, and the steps of the values."""
    timeline, steps = from_timestamps(timestamps, freq, LIMIT)
    return timeline.grid.frequency.name, timeline.texts(timeline.length, 2), None if steps is None else steps.tolist()


def fault(*timestamps: str, freq: str | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        from_timestamps(timestamps, freq, LIMIT)
    return caught.value


@pytest.mark.parametrize(
    ("timestamps", "name", "after"),
    [
        ("2024-01-01 2024-01-02 2024-01-03", "D", "2024-01-04 2024-01-05"),
        ("2024-01-31 2024-02-29 2024-03-31", "ME", "2024-04-30 2024-05-31"),
        ("2024-01-30 2024-02-29 2024-03-30", "MS", "2024-04-30 2024-05-30"),
        ("2024-01-31 2024-02-29 2024-03-29", "BME", "2024-04-30 2024-05-31"),
        ("2024-01-01 2024-04-01", "QS", "2024-07-01 2024-10-01"),
        ("2020 2021 2022", "YS", "2023 2024"),
        ("2024-01 2024-02", "MS", "2024-03 2024-04"),
        ("2024-01-05 2024-01-08 2024-01-09", "B", "2024-01-10 2024-01-11"),
        ("2024-01-07 2024-01-14", "W", "2024-01-21 2024-01-28"),
        ("20240101T0000 20240101T0015", "15min", "2024-01-01T00:30:00 2024-01-01T00:45:00"),
        ("2024-01-01T00:00Z 2024-01-01T01:00Z", "h", "2024-01-01T02:00:00Z 2024-01-01T03:00:00Z"),
        ("2024-W01-1 2024-W02-1", "W", "2024-01-15 2024-01-22"),
        ("2024-01-01T00:00:00.5 2024-01-01T00:00:01", "500ms", "2024-01-01T00:00:01.500000 2024-01-01T00:00:02.000000"),
    ],
)
def test_the_step_is_found(timestamps: str, name: str, after: str) -> None:
    assert following(*timestamps.split()) == (name, after.split(), None)


@pytest.mark.parametrize(
    ("timestamps", "name", "steps"),
    [
        ("2024-01-01 2024-01-02 2024-01-05", "D", [0, 1, 4]),
        ("2024-01-31 2024-02-29 2024-05-31", "ME", [0, 1, 4]),
        ("2024-01-04 2024-01-05 2024-01-09", "B", [0, 1, 3]),
        ("2020 2021 2023", "YS", [0, 1, 3]),
    ],
)
def test_a_time_left_out_is_a_missing_value(timestamps: str, name: str, steps: list[int]) -> None:
    placed = from_timestamps(timestamps.split(), None, LIMIT)
    assert (placed.timeline.grid.frequency.name, placed.steps is not None and placed.steps.tolist()) == (name, steps)
    whole = spread([1.0, 2.0, 3.0], placed)
    assert [step for step, value in enumerate(whole) if value is not None] == steps


# --- zones and clocks that change ------------------------------------------------------------------------------------


def test_hours_are_counted_in_utc_where_clocks_go_forward() -> None:
    name, after, steps = following("2024-03-31T00:00+01:00", "2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00")
    assert (name, after, steps) == ("h", ["2024-03-31T04:00:00+02:00", "2024-03-31T05:00:00+02:00"], None)


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    texts = ("2024-10-27T01:00+02:00", "2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00")
    assert following(*texts)[1][0] == "2024-10-27T03:00:00+01:00"


def test_days_are_counted_on_the_wall() -> None:
    texts = ("2024-03-30T00:00+01:00", "2024-03-31T00:00+01:00", "2024-04-01T00:00+02:00")
    assert following(*texts) == ("D", ["2024-04-02T00:00:00+02:00", "2024-04-03T00:00:00+02:00"], None)


@pytest.mark.parametrize(
    ("start", "freq", "after"),
    [
        ("2024-03-31T00:00+01:00[Europe/Berlin]", "h", "2024-03-31T03:00:00+02:00[Europe/Berlin]"),
        ("2024-03-31T00:00[Europe/Berlin]", "h", "2024-03-31T03:00:00+02:00[Europe/Berlin]"),
        ("2024-03-30T00:00+01:00[Europe/Berlin]", "D", "2024-04-01T00:00:00+02:00[Europe/Berlin]"),
        ("2024-03-31T00:00", "h", "2024-03-31T02:00:00"),
    ],
)
def test_a_named_zone_knows_when_clocks_change(start: str, freq: str, after: str) -> None:
    assert from_start(start, freq, 2).timeline.texts(2, 1) == [after]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamps", "index", "words"),
    [
        ("2024-01-01 2024-01-02 2024-01-02", 2, "row 3 has the time of row 2 once more"),
        ("2024-01-01 2024-01-03 2024-01-02", 2, "row 3 is earlier than row 2"),
        ("2024-01-01 2024-01-02 2024-01-03 2024-01-01", 3, "row 4 has the time of row 1 once more"),
        ("2024-10-27T02:00 2024-10-27T02:00", 1, "clock was set back"),
        ("2024-01-01T00:00Z 2024-01-01T01:00", 1, "has no zone"),
        ("2024-01-01 2024-01-02T00:00Z", 1, "has a zone"),
        ("2024-01-01 monday", 1, "no time in ISO 8601"),
        ("2024-01-01 2024-02-30", 1, "no time in ISO 8601"),
        ("2024-01-01T00:00[Europe/Nowhere]", 0, "zone that is not known"),
        ("2024-01-01T00:00[../../etc/passwd]", 0, "ISO 8601"),
        ("2024-01-01T00:00[Europe]", 0, "zone that is not known"),
        ("now", 0, "ISO 8601"),
        ("1" * 100, 0, "ISO 8601"),
        ("2024-01-01 2024-01-20 2024-01-22 2024-03-11", 2, "fall on one step"),
    ],
)
def test_a_fault_names_its_row(timestamps: str, index: int, words: str) -> None:
    error = fault(*timestamps.split())
    assert error.index == index
    assert words in error.detail
    assert error.at("#/inputs/0").pointer == f"#/inputs/0/timestamps/{index}"


def test_a_gap_beyond_the_limit_is_named_by_its_end() -> None:
    error = fault("2024-01-01", "2024-01-02", "2224-01-02", freq="D")
    assert (error.code, error.index) == ("series_too_long", 2)


def test_one_time_needs_a_frequency() -> None:
    assert fault("2024-01-01").field == "freq"
    assert following("2024-01-01", freq="D")[1] == ["2024-01-02", "2024-01-03"]


def test_weekends_are_refused_on_a_series_of_weekdays() -> None:
    with pytest.raises(Fault, match="weekend"):
        from_start("2024-01-06", "B", 3)


@pytest.mark.parametrize("freq", ["1000000W", "1000000B", "1000000YS", "1000000BME", "1000000s", "P1000000D", "h"])
@pytest.mark.parametrize(
    "start", ["0001-01-01", "2024-02-29", "9999-12-31T20:00:00+05:00", "9999-12-30T23:00[Asia/Tokyo]"]
)
@pytest.mark.parametrize(("length", "horizon"), [(1, 1), (100_000, 1), (1, 1_000_000), (100_000, 1_000_000)])
def test_times_that_no_calendar_has_are_refused(freq: str, start: str, length: int, horizon: int) -> None:
    """They overflowed: the answer had times such as -144066-12-21, or there was none."""
    try:
        timeline, _ = from_start(start, freq, length)
        check_end(timeline, horizon)
    except Fault as caught:
        assert "9999" in caught.detail or "weekend" in caught.detail  # noqa: PT017 (the others are answered)
    else:
        times = [timeline.texts(step, 1)[0] for step in (0, length, length + horizon - 1)]
        assert times == sorted(times)
        assert times[0][:10] == start[:10]


@pytest.mark.parametrize(
    "timestamps",
    ["0001-01-01T00:00+14:00 0001-01-01T01:00+14:00", "9999-12-31T22:00-05:00 9999-12-31T23:00-05:00"],
)
def test_years_that_only_a_zone_makes_are_refused(timestamps: str) -> None:
    assert fault(*timestamps.split()).detail == "is not within the years 1 to 9999 of UTC"
    with pytest.raises(Fault, match="of UTC") as caught:
        from_start(timestamps.split(maxsplit=1)[0], "h", 2)
    assert caught.value.field == "start"


def test_an_hour_that_comes_twice_may_be_all_that_there_is() -> None:
    """Its clock on the wall stands still: that was a division by zero."""
    assert following("2024-10-27T02:30+02:00", "2024-10-27T02:30+01:00") == (
        "h",
        ["2024-10-27T03:30:00+01:00", "2024-10-27T04:30:00+01:00"],
        None,
    )


def test_days_are_not_counted_backwards() -> None:
    """Time goes on while the clock on the wall goes back a day."""
    twisted = ("2024-01-02T00:00+23:00", "2024-01-01T00:00-23:00")
    assert "times must ascend" in fault(*twisted, freq="D").detail
    assert following(*twisted)[0] == "22h"


def test_nothing_is_forecast_beyond_the_year_9999() -> None:
    timeline = from_start("9998", "Y", 1).timeline
    with pytest.raises(Fault, match="9999"):
        check_end(timeline, 1)


# --- sensors ---------------------------------------------------------------------------------------------------------


def test_uneven_times_are_put_on_the_nearest_step() -> None:
    texts = ("2024-01-01T00:00:03", "2024-01-01T00:05:02", "2024-01-01T00:10:04", "2024-01-01T00:20:02")
    placed = from_timestamps(texts, None, LIMIT)
    assert placed.timeline.warnings == ["timestamps_rounded"]
    assert placed.timeline.grid.frequency.name == "5min"
    assert placed.steps is not None
    assert placed.steps.tolist() == [0, 1, 2, 4]


def test_a_stated_frequency_decides() -> None:
    name, after, steps = following("2024-01-01", "2024-01-03", "2024-01-05", freq="D")
    assert (name, after, steps) == ("D", ["2024-01-06", "2024-01-07"], [0, 2, 4])


@given(st.integers(0, 30), st.integers(2, 20), st.sampled_from(["h", "D", "B", "W", "MS", "ME", "QS", "YE", "15min"]))
def test_what_a_grid_writes_it_reads_again(first: int, count: int, freq: str) -> None:
    timeline = from_start("2024-01-01", freq, 0).timeline
    texts = timeline.texts(first, count)
    again, steps = from_timestamps(texts, freq, LIMIT)
    assert steps is None
    assert again.texts(count, 3) == timeline.texts(first + count, 3)


@pytest.mark.parametrize("text", ["2024-01-01", "2024-01-01 12:30", "2024-01-01T12:30:15,5", "2024", "2024-05"])
def test_forms_of_iso_8601(text: str) -> None:
    assert parse_moment(text).clock.year == 2024


# --- the season that a frequency suggests ----------------------------------------------------------------------------


def test_a_suggested_season_must_be_seen_in_the_values() -> None:
    rng = np.random.default_rng(0)
    week = np.tile([0.0, 0, 1, 2, 3, 8, 9], 8) + rng.normal(0, 0.5, 56) + np.arange(56)
    assert comes_back(week, 7)
    assert not comes_back(week, 5)
    assert not comes_back(week[:14], 7)
    assert not comes_back(rng.normal(0, 1, 200), 7)
    assert not comes_back(rng.normal(0, 1, 200).cumsum(), 7)
    assert not comes_back(np.full(50, np.nan), 7)
    assert not comes_back(np.ones(50), 7)


def test_a_smooth_day_comes_back_though_neighbours_are_nearer() -> None:
    rng = np.random.default_rng(1)
    hour = np.arange(96)
    assert comes_back(12 + 6 * np.sin(2 * np.pi * hour / 24) + rng.normal(0, 0.3, 96), 24)
    assert not comes_back(rng.normal(0, 1, 96).cumsum(), 24)


def test_a_suggested_season_is_likely_unless_another_one_shows() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1, 60)
    assert is_likely(noise.cumsum(), 7)
    assert is_likely(noise[:12], 7)
    assert is_likely(np.tile([0.0, 1, 2], 20) + 0.1 * noise, 12)  # quarters of a year are in it
    assert not is_likely(np.tile([1.0, 2, 3], 20), 7)
    assert not is_likely(np.tile([*[0.0] * 9, 10.0], 6), 7)
    assert not is_likely(noise[:8], 7)
    assert not is_likely(100 * (1 - 0.9 ** np.arange(30.0)), 7)
    assert not is_likely(np.full(60, np.nan), 7)
    assert not is_likely(noise, 1)
