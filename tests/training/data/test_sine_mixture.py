"""training.data.sine_mixture: shape, seed, range, and the variances that follow from the definition."""

from __future__ import annotations

import numpy as np
from scipy.optimize import curve_fit

from training.data.sine_mixture import sine_mixture


def _two_waves(time: np.ndarray, a: float, u: float, b: float, v: float) -> np.ndarray:
    return 0.5 * np.sin((time - a) * u) + 0.2 * np.sin((time - b) * v)


def test_sine_mixture_is_a_function_of_its_seed() -> None:
    series = sine_mixture(7, 51, np.random.default_rng(3))
    assert series.shape == (7, 51)
    assert series.dtype == np.float64
    np.testing.assert_array_equal(series, sine_mixture(7, 51, np.random.default_rng(3)))
    assert not np.array_equal(series, sine_mixture(7, 51, np.random.default_rng(4)))


def test_sine_mixture_stays_in_its_range_and_has_its_variance() -> None:
    series = sine_mixture(20_000, 51, np.random.default_rng(0))
    assert np.abs(series).max() <= 0.5 + 0.2 + 0.05
    expected = 0.5**2 / 2 + 0.2**2 / 2 + 0.1**2 / 12  # two waves of random phase and the noise
    assert abs(series.var() - expected) < 0.03 * expected


def test_sine_mixture_times_are_fifty_to_the_unit_at_any_length() -> None:
    # The draws of offsets and frequencies come first at any length, so two lengths differ by noise alone.
    short = sine_mixture(1000, 51, np.random.default_rng(5))
    long = sine_mixture(1000, 200, np.random.default_rng(5))
    difference = short - long[:, :51]
    assert np.abs(difference).max() <= 0.1
    assert abs(difference.var() - 2 * 0.1**2 / 12) < 1e-4


def test_sine_mixture_leaves_only_the_uniform_noise_when_its_waves_are_fitted() -> None:
    rng = np.random.default_rng(11)
    draws = np.random.default_rng(11).random((4, 8, 1))[:, :, 0]  # what the generator draws first
    time = np.arange(200) / 50
    residuals = []
    for series, (a, b, u, v) in zip(sine_mixture(8, 200, rng), draws.T, strict=True):
        start = (a, 10 + 10 * u, b, 20 + 20 * v)
        fitted, _ = curve_fit(_two_waves, time, series, p0=start)
        np.testing.assert_allclose(fitted, start, atol=0.15)
        residuals.append(series - _two_waves(time, *start))
    assert abs(np.var(residuals) - 0.1**2 / 12) < 1e-4
    assert np.abs(residuals).max() <= 0.05 + 1e-12
