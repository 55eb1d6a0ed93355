"""Running statistics: they forget as they say, resume where they were, and keep score of the bands."""

from __future__ import annotations

import math

import numpy as np
import torch

from training.networks.statistics import ABOVE, BELOW, COLUMNS, SCORE_W, WIDTH, Statistics, running


def test_running_sums_forget_exponentially_over_observed_values_only() -> None:
    rng = np.random.default_rng(0)
    observed = rng.random(700) < 0.7
    values = np.where(observed, rng.normal(size=(2, 700)), 0)
    expected, total = [], np.array([2.5, 0.0])
    for value, is_observed in zip(values.T, observed, strict=True):
        total = math.exp(-1 / 16) * total + value if is_observed else total
        expected.append(total)
    counts = torch.from_numpy(observed.astype(float).cumsum())[None]
    carry = torch.tensor([[2.5, 0.0]], dtype=torch.float64)
    sums = running(torch.from_numpy(values)[None], counts, carry, 16.0)
    np.testing.assert_allclose(sums[0].T.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_the_score_of_the_bands_is_the_share_that_missed() -> None:
    surprise = torch.tensor([[-2.0, 0.0, 0.5, 3.0, 9.0]])
    scored = torch.tensor([[True, True, True, True, False]])
    bands = torch.tensor([-1.0, 0.0, 1.0]).expand(1, 5, 3)
    start = torch.zeros(1, COLUMNS, dtype=torch.float64)
    scores = Statistics().score(surprise, scored, bands, torch.ones_like(scored), start)[0, 3]
    below, above, weight = (scores[column - BELOW] for column in (BELOW, ABOVE, SCORE_W))
    forget = math.exp(-1 / 64)
    assert math.isclose(weight, 1 + forget + forget**2 + forget**3)
    assert math.isclose(below, forget**3)
    assert math.isclose(above, 1.0)
    assert math.isclose(scores[WIDTH - BELOW] / weight, 2.0)


def test_scale_is_never_zero() -> None:
    statistics = torch.zeros(3, COLUMNS, dtype=torch.float64)
    statistics[1, 2] = -7.0  # the last value
    assert Statistics().scale(statistics).tolist() == [1.0, 7.0, 1.0]
