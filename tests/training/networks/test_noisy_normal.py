"""Quantiles of a normal variable under even noise, against the integral that defines them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from training.networks.noisy_normal import NoisyNormal

LEVELS = (0.01, 0.1, 0.3, 0.5, 0.9, 0.99)
BOUND = 0.05
ROUNDING = 1e-3  # what the module's docstring states, in widths


def _quantiles(*spreads: float) -> np.ndarray:
    quantiles = NoisyNormal(LEVELS, BOUND)(torch.tensor([spreads], dtype=torch.float64))
    return quantiles[0].numpy()


@pytest.mark.parametrize("spread", [1e-5, 0.001, 0.004, 0.0077, 0.03, 0.05, 0.4, 3.0])
def test_the_distribution_function_at_a_quantile_is_its_level(spread: float) -> None:
    noise = (np.arange(20_000) + 0.5) / 20_000 * 2 * BOUND - BOUND
    for x, level in zip(_quantiles(spread)[0], LEVELS, strict=True):
        low, high = (
            norm.cdf((x + offset - noise) / spread).mean() for offset in (-1, 1) * np.array(ROUNDING * (spread + BOUND))
        )
        assert low <= level <= high


def test_without_spread_it_is_the_noise_and_with_much_of_it_the_normal() -> None:
    narrow, wide = _quantiles(0.0, 1e6)
    np.testing.assert_allclose(narrow, BOUND * (2 * np.array(LEVELS) - 1), atol=1e-15)
    np.testing.assert_allclose(wide, 1e6 * norm.ppf(LEVELS), rtol=1e-5, atol=1e-6)


def test_quantiles_ascend() -> None:
    spreads = np.geomspace(1e-12, 1e6, 500)
    assert (np.diff(_quantiles(*spreads), axis=1) > 0).all()
