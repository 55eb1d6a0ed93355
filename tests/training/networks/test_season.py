"""Seasons that are there are found, whatever glitches stand beside them, and noise, lines and curves have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.networks.season import find_season

Floats = np.ndarray[Any, np.dtype[np.float64]]
WIDTH = 1024


def memory(*rows: Floats | Sequence[float]) -> Tensor:
    """The last values of each row as the forecaster remembers them."""
    remembered = np.full((len(rows), WIDTH), np.nan)
    for place, row in zip(remembered, rows, strict=True):
        place[WIDTH - len(row) :] = row
    return torch.from_numpy(remembered)


def seasons(*rows: Floats | Sequence[float]) -> list[int]:
    return [int(season) for season in find_season(memory(*rows))[0]]


def sine(season: int, periods: float, noise: float, rng: np.random.Generator) -> Floats:
    time = np.arange(int(season * periods))
    wave = np.sin(2 * np.pi * (time / season + rng.random()))
    return np.asarray(wave + noise * rng.normal(size=len(time)))


@pytest.mark.parametrize("season", [4, 7, 12, 24, 52])
def test_a_clear_season_is_found_under_trend_and_noise(season: int) -> None:
    rng = np.random.default_rng(season)
    time = np.arange(8 * season)
    series = 3 * np.sin(2 * np.pi * time / season) + np.cos(4 * np.pi * time / season) + 0.05 * time
    assert seasons(series + 0.4 * rng.normal(size=len(time))) == [season]


@pytest.mark.parametrize("season", [7, 12, 24, 48, 52])
def test_noise_does_not_move_a_flat_peak(season: int) -> None:
    rng = np.random.default_rng(season)
    found = seasons(*(sine(season, 12, 0.3, rng) for _ in range(40)))
    assert np.mean([one == season for one in found]) >= 0.9


@pytest.mark.parametrize("size", [10.0, 1e3, 1e6, -1e5])
def test_a_glitch_does_not_hide_the_season(size: float) -> None:
    rng = np.random.default_rng(3)
    rows = [sine(24, 10, 0.06, rng) for _ in range(20)]
    for row in rows:
        row[rng.integers(len(row))] += size
    assert np.mean([one == 24 for one in seasons(*rows)]) >= 0.9


def test_events_are_no_glitches() -> None:
    rng = np.random.default_rng(4)
    month = np.arange(600) % 30 == 29
    assert seasons(100.0 * month + rng.normal(size=600), 100.0 * month) == [30, 30]


@pytest.mark.parametrize("period", [2, 3, 7, 60, 400])
def test_an_exact_repeat_is_found_in_little_more_than_two_periods(period: int) -> None:
    pattern = np.random.default_rng(period).normal(size=period)
    assert seasons(np.resize(pattern, max(2 * period, 5)), 1e6 + 1e-3 * np.resize(pattern, max(5, 2 * period))) == [
        period,
        period,
    ]


@pytest.mark.parametrize("season", [12, 24])
def test_a_day_or_a_year_shows_before_its_second_turn_ends(season: int) -> None:
    rng = np.random.default_rng(season)
    days = [sine(season, rng.uniform(1.55, 1.95), 0.1, rng) for _ in range(40)]
    days = [day + 0.5 * np.sin(4 * np.pi * np.arange(len(day)) / season) for day in days]
    assert np.mean([found == season for found in seasons(*days)]) >= 0.8
    other = [sine(int(0.8 * season), rng.uniform(1.55, 1.95), 0.1, rng) for _ in range(40)]
    assert seasons(*other).count(season) == 0


def test_a_day_of_five_minutes_shows_in_noise_before_its_second_turn_ends() -> None:
    rng = np.random.default_rng(8)
    days = [sine(288, rng.uniform(1.7, 1.95), 0.3, rng) for _ in range(40)]
    assert np.mean([found == 288 for found in seasons(*days)]) >= 0.7
    walks = rng.normal(size=(100, 520)).cumsum(1)
    assert seasons(*walks).count(288) <= 3


def test_noise_between_the_values_of_a_smooth_series_is_no_season() -> None:
    rng = np.random.default_rng(9)
    rows = [sine(400, 1.2, 0.1, rng) for _ in range(40)]
    assert sum(1 < found <= 4 for found in seasons(*rows)) <= 1


def test_a_month_with_a_peak_recurs_every_twelve_months_and_not_every_second_year() -> None:
    rng = np.random.default_rng(10)
    month = np.arange(36) % 12
    rows = [100 + 60.0 * (month == 11) + 20 * (month == 10) + rng.normal(0, 4, 36) for _ in range(20)]
    assert seasons(*rows).count(12) >= 18


def test_two_weeks_of_days_show_the_week() -> None:
    rng = np.random.default_rng(11)
    week = np.array([8200.0, 10400, 9100, 7600, 12000, 15000, 6000])
    assert seasons(*(np.tile(week, 2) + rng.normal(0, 300, 14) for _ in range(20))).count(7) >= 18


def test_few_values_of_a_walk_have_no_season_of_the_calendar() -> None:
    rng = np.random.default_rng(6)
    walks = [rng.normal(size=int(rng.integers(18, 100))).cumsum() for _ in range(300)]
    assert np.mean([found == 1 for found in seasons(*walks)]) >= 0.95


def test_noise_and_walks_have_no_season() -> None:
    noise = np.random.default_rng(0).normal(size=(40, 150))
    assert np.mean([one == 1 for one in seasons(*noise)]) >= 0.9
    assert np.mean([one == 1 for one in seasons(*noise.cumsum(1))]) >= 0.9


@pytest.mark.parametrize(
    "curve",
    [lambda i: i, lambda i: 1e6 + 7.3 * i, lambda i: -0.1 * i, lambda i: i**2, lambda i: 1.02**i, lambda i: 0 * i + 7],
)
def test_lines_curves_and_constants_have_no_season(curve: Callable[[Floats], Floats]) -> None:
    assert set(seasons(*(curve(np.arange(float(n))) for n in (5, 60, 200, 500, 1000)))) == {1}


def test_missing_values_hide_no_season() -> None:
    rng = np.random.default_rng(6)
    row = sine(12, 20, 0.1, rng)
    row[rng.random(len(row)) < 0.3] = np.nan
    row[60:90] = np.nan
    assert seasons(row) == [12]


def test_a_row_has_the_same_bits_beside_any_others() -> None:
    rng = np.random.default_rng(5)
    gaps = sine(7, 30, 0.2, rng)
    gaps[40:70] = np.nan
    rows: list[Floats | list[float]] = [
        sine(24, 6, 0.3, rng),
        gaps,
        [0.0, 1.0] * 4,
        [7.0] * 30,
        [42.0],
        rng.normal(size=900),
        [0.0] * 6 + [1.0],
    ]
    together, acf = find_season(memory(*rows))
    for first in range(len(rows)):
        for count in (1, 2, 3):
            some = [rows[(first + k) % len(rows)] for k in range(count)]
            season, alone = find_season(memory(*some))
            assert season[0] == together[first]
            assert torch.equal(alone[0], acf[first])


def days(kind: str, count: int, seed: int) -> Floats:
    """Days with busy weekends, on something that moves more than they do."""
    rng = np.random.default_rng([seed, 7])
    time = np.arange(count) + rng.integers(365)
    slow = {
        "a year": 10 * np.sin(2 * np.pi * time / 365.25),
        "a walk": np.cumsum(rng.normal(0, 0.8, count)),
        "steps": 20 * np.cumsum((rng.random(count) < 0.004) * rng.choice([-1, 1], count)),
        "a month of another level": np.where(np.abs(time - time.mean()) < 15, -40.0, 0.0),
        "campaigns": 30.0 * (np.convolve(rng.random(count) < 0.01, np.ones(5))[:count] > 0),
    }
    return np.asarray(50 + 8 * np.isin(time % 7, [5, 6]) + slow[kind] + rng.normal(0, 3, count))


@pytest.mark.parametrize("kind", ["a year", "a walk", "steps", "a month of another level", "campaigns"])
@pytest.mark.parametrize("count", [300, 500, 700])
def test_a_week_shows_whatever_moves_slowly_beneath_it(kind: str, count: int) -> None:
    found = seasons(*(days(kind, count, seed) for seed in range(30)))
    assert np.mean([one > 1 and one % 7 == 0 for one in found]) >= 0.85  # two years of days may be taken for one season
    assert kind == "a year" or np.mean([one == 7 for one in found]) >= 0.8


def test_a_year_of_days_of_which_two_were_seen_is_whole_weeks() -> None:
    found = seasons(*(days("a year", 1000, seed) for seed in range(30)))
    assert np.mean([one % 7 == 0 and abs(one - 364) <= 28 for one in found]) >= 0.9


@pytest.mark.parametrize("count", [600, 800, 1000])
def test_a_year_of_days_is_found_in_one_and_a_half_of_them(count: int) -> None:
    rows = []
    for seed in range(20):
        rng = np.random.default_rng([seed, count])
        time = np.arange(count) + rng.integers(365)
        rows.append(10 * np.sin(2 * np.pi * time / 365.25) + rng.normal(0, 3, count))
    assert np.mean([one == 365 for one in seasons(*rows)]) >= 0.9


@pytest.mark.parametrize("count", [300, 480, 960])
def test_a_day_shows_beside_an_outage(count: int) -> None:
    rows = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        row = 100 + 40 * np.sin(2 * np.pi * np.arange(count) / 24) + rng.normal(0, 8, count)
        start = int(rng.integers(count // 3, count - 60))
        row[start : start + 36] = 0.0
        rows.append(row)
    assert np.mean([one == 24 for one in seasons(*rows)]) >= 0.9


@pytest.mark.parametrize("turns", [2, 3])
def test_a_season_with_several_peaks_is_one(turns: int) -> None:
    rows = []
    for seed in range(20):
        rng = np.random.default_rng([seed, turns])
        time = np.arange(480)
        heights = np.array([10.0, 3.0, 6.0])[:turns]
        row = heights[time // 6 % turns] * np.sin(2 * np.pi * time / 6) + np.cumsum(rng.normal(0, 1, 480))
        rows.append(row)
    assert np.mean([one == 6 * turns for one in seasons(*rows)]) >= 0.9


@pytest.mark.parametrize("count", [60, 150, 400, 1000])
def test_walks_and_noise_have_no_season(count: int) -> None:
    rows = []
    for seed in range(40):
        rng = np.random.default_rng([seed, count])
        rows += [rng.normal(size=count), np.cumsum(rng.normal(size=count)), rng.poisson(0.4, count).astype(float)]
    assert np.mean([one > 1 for one in seasons(*rows)]) <= 0.1


@pytest.mark.parametrize("count", [500, 1000])
def test_a_ripple_does_not_hide_the_day(count: int) -> None:
    rows = []
    for seed in range(20):
        rng = np.random.default_rng([seed, count])
        time = np.arange(count) + rng.integers(288)
        day = 20 * np.clip(np.sin(2 * np.pi * time / 288), -0.3, None)
        rows.append(day + 4 * (time % 12 == 0) + rng.normal(0, 1, count))
    assert np.mean([0.97 < one / 288 < 1.03 for one in seasons(*rows)]) >= 0.9
