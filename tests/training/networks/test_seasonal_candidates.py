"""training.networks.seasonal_candidates: what a caller states about seasons, and which ones are used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.networks.season import find_season
from training.networks.seasonal_candidates import (
    NO_FLOOR,
    SECOND,
    choose_seasons,
    longer_season,
    stated_seasons,
    usable_seasons,
)

WIDTH = 1024


def chosen(series: np.ndarray, stated: int) -> tuple[int, int]:
    """Season and longer season."""
    memory = np.full(WIDTH, np.nan)
    memory[-len(series) :] = series[-WIDTH:]
    detected, acf = find_season(torch.from_numpy(memory)[None])
    steps = torch.tensor([float(len(series))])
    usable, second, _ = usable_seasons(torch.tensor([stated]), steps, WIDTH // 2)
    season, longer, strength = choose_seasons(usable, second, detected, acf, steps)
    assert strength.shape == (1, 1)
    return int(season), int(longer)


def days(count: int) -> np.ndarray:
    """A week in a year."""
    time = np.arange(count)
    noise = np.random.default_rng(0).normal(size=count)
    return 100 * (1 + 0.3 * np.sin(2 * np.pi * time / 7)) * (1 + 0.3 * np.sin(2 * np.pi * time / 365)) + 3 * noise


def test_one_number_holds_what_is_stated() -> None:
    season, second, may_floor = stated_seasons(torch.tensor([0, 7, 7 + 365 * SECOND, 12 + NO_FLOOR]))
    assert season.tolist() == [0, 7, 7, 12]
    assert second.tolist() == [0, 0, 365, 0]
    assert may_floor.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("stated", "used"),
    [
        (7, (7, 7)),
        (365, (7, 364)),
        (7 + 365 * SECOND, (7, 364)),
        (24 + 30 * SECOND, (24, 30)),
        (365 + NO_FLOOR, (7, 364)),
    ],
)
def test_a_year_does_not_hide_the_week(stated: int, used: tuple[int, int]) -> None:
    season, longer = chosen(days(1100), stated)
    assert season == used[0]
    assert longer == used[1] or stated == 7


@pytest.mark.parametrize("stated", [600, 512 + 600 * SECOND])
def test_seasons_that_cannot_be_used_are_as_none(stated: int) -> None:
    series = np.tile([5.0, 1.0, 4.0, 2.0, 8.0, 0.0, 3.0], 20)
    assert chosen(series, stated)[0] == 7


def test_a_longer_season_that_does_not_fit_is_never_better() -> None:
    acf = torch.full((1, 65), -1.2)
    season = torch.tensor([40])
    assert int(longer_season(season, acf, torch.tensor([128.0]))[0]) == 40
