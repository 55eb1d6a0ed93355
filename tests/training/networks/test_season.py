"""Seasons that are there are found, and noise has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.networks.season import find_season


@pytest.mark.parametrize("season", [4, 7, 12, 24, 52])
def test_a_clear_season_is_found_under_trend_and_noise(season: int) -> None:
    rng = np.random.default_rng(season)
    time = np.arange(8 * season)
    series = 3 * np.sin(2 * np.pi * time / season) + np.cos(4 * np.pi * time / season) + 0.05 * time
    memory = np.full((1, 1024), np.nan)
    memory[0, -len(time) :] = series + 0.4 * rng.normal(size=len(time))
    seasons, _ = find_season(torch.from_numpy(memory), torch.ones(1).double(), torch.from_numpy(memory[:, -1]))
    assert abs(int(seasons) - season) <= 0.04 * season  # the peak of a long season is flat


def test_noise_and_walks_have_no_season() -> None:
    rng = np.random.default_rng(0)
    memory = np.full((40, 1024), np.nan)
    memory[:20, -120:] = rng.normal(size=(20, 120))
    memory[20:, -120:] = rng.normal(size=(20, 120)).cumsum(1)
    seasons, _ = find_season(torch.from_numpy(memory), torch.ones(40).double(), torch.from_numpy(memory[:, -1]))
    assert (seasons == 1).sum() >= 36  # significance is not certainty
