"""training.data.priors: finite, seeded, of the stated kind, and the sine mixture the same as the tutorial's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data.sine_mixture import sine_mixture
from training.data.priors import PRIORS, _Random, disturb, mixture, sines

CPU = torch.device("cpu")


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_is_finite_seeded_and_varied(name: str) -> None:
    prior, share = PRIORS[name]
    values, season = prior(40, 150, _generator(), CPU)
    repeated, _ = prior(40, 150, _generator(), CPU)
    reseeded, _ = prior(40, 150, _generator(1), CPU)
    assert values.shape == (40, 150)
    assert values.dtype == torch.float64
    assert season.shape == (40,)
    assert torch.isfinite(values).all()
    assert torch.equal(values, repeated)
    assert not torch.equal(values, reseeded)
    assert (values.std(1) > 0).double().mean() > 0.8
    assert 0 < share < 1


def test_the_sine_mixture_is_the_tutorials() -> None:
    ours, season = sines(20_000, 51, _generator(), CPU)
    tutorials = sine_mixture(20_000, 51, np.random.default_rng(0))
    assert (season == 0).all()
    assert ours.abs().max() <= 0.75
    for lag in (0, 1, 5, 20):
        mine = float((ours[:, : 51 - lag] * ours[:, lag:]).mean())
        theirs = float((tutorials[:, : 51 - lag] * tutorials[:, lag:]).mean())
        assert mine == pytest.approx(theirs, abs=4e-3)


def test_a_stated_season_is_the_one_in_the_series() -> None:
    values, season = PRIORS["seasonal"][0](300, 400, _generator(), CPU)
    stated = (season > 2) & (season < 60)
    assert stated.sum() > 100
    gain = []
    for row, period in zip(values[stated], season[stated].tolist(), strict=True):
        change = row[1:] - row[:-1]
        at_season = torch.corrcoef(torch.stack([change[period:], change[:-period]]))[0, 1]
        half = max(1, round(period * 0.4))
        at_lag = torch.corrcoef(torch.stack([change[half:], change[:-half]]))[0, 1]
        gain.append(float(at_season - at_lag))
    assert np.median(gain) > 0.05


def test_counts_are_whole_and_not_negative() -> None:
    values, _ = PRIORS["counts"][0](50, 100, _generator(), CPU)
    assert torch.equal(values, values.round())
    assert (values >= 0).all()
    assert (values == 0).double().mean() > 0.1


def test_the_mixture_has_every_prior_and_exactly_the_rows_asked_for() -> None:
    values, season = mixture(57, 90, _generator(), CPU)
    assert values.shape == (57, 90)
    assert len(season) == 57
    assert torch.isfinite(values).all()


def test_disturbances_leave_most_rows_alone() -> None:
    clean = torch.randn(500, 100, dtype=torch.float64)
    changed = (disturb(clean, _Random(_generator(), CPU)) != clean).any(1).double().mean()
    assert 0.2 < changed < 0.5
