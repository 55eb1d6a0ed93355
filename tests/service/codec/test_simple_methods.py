from __future__ import annotations

import time

import numpy as np
import pytest

from service.codec.simple_methods import METHODS, drift, exponential_smoothing, filled, naive, quantiles, seasonal_naive


def test_the_methods() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 6])
    assert naive(values, 3, 1).mean.tolist() == [6, 6, 6]
    assert drift(values, 3, 1).mean.tolist() == [7, 8, 9]
    assert seasonal_naive(values, 5, 3).mean.tolist() == [4, 5, 6, 4, 5]
    assert seasonal_naive(values, 2, 10).mean.tolist() == [6, 6]


def test_smoothing_follows_level_and_season() -> None:
    rng = np.random.default_rng(0)
    flat = 10 + rng.normal(0, 1, 200)
    assert exponential_smoothing(flat, 1, 1).mean[0] == pytest.approx(10, abs=0.5)
    seasonal = np.tile([0.0, 5, 10, 5], 20)
    np.testing.assert_allclose(exponential_smoothing(seasonal, 4, 4).mean, [0, 5, 10, 5], atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 4096, 4097, 9000])
def test_smoothing_in_blocks_is_smoothing(count: int) -> None:
    values = 10 + np.random.default_rng(count).normal(0, 1, count).cumsum() / 9
    alphas = np.linspace(0.05, 1.0, 20)
    level, errors = np.full(20, values[0]), np.zeros(20)
    for value in values:
        errors += (value - level) ** 2
        level = level + alphas * (value - level)
    points, best = exponential_smoothing(values, 3, 1), int(errors.argmin())
    np.testing.assert_allclose(points.mean, level[best])
    spread = np.sqrt(errors[best] / max(1, count - 1))
    np.testing.assert_allclose(points.deviation, spread * np.sqrt(1 + np.arange(3) * alphas[best] ** 2), atol=1e-12)


def test_a_long_season_does_not_take_the_square_of_its_length() -> None:
    values = np.random.default_rng(0).normal(0, 1, 100_000)
    start = time.process_time()
    exponential_smoothing(values, 1, 49_999)
    assert time.process_time() - start < 0.5  # one look at all values for each of the season: 3 s


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_they_never_fail_and_quantiles_ascend(name: str, count: int) -> None:
    values = np.arange(count, dtype=float)
    result = quantiles(METHODS[name](values, 4, 3), np.array([0.1, 0.5, 0.9]))
    assert np.isfinite(result).all()
    assert (np.diff(result, axis=0) >= 0).all()


def test_gaps_are_filled() -> None:
    assert filled(np.array([np.nan, 1, np.nan, 3])).tolist() == [1, 1, 3]
