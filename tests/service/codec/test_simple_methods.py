from __future__ import annotations

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


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_they_never_fail_and_quantiles_ascend(name: str, count: int) -> None:
    values = np.arange(count, dtype=float)
    result = quantiles(METHODS[name](values, 4, 3), np.array([0.1, 0.5, 0.9]))
    assert np.isfinite(result).all()
    assert (np.diff(result, axis=0) >= 0).all()


def test_gaps_are_filled() -> None:
    assert filled(np.array([np.nan, 1, np.nan, 3])).tolist() == [1, 1, 3]
