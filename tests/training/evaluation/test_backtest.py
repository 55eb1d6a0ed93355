"""The backtest: relative scores of forecasts that are known to be good, bad or the seasonal naive one itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from service.contract.types import Floats
from training.data.real_series import SeriesFile
from training.evaluation.backtest import LEVELS, geometric_means, score_file, seasonal_naive


def _file() -> SeriesFile:
    rng = np.random.default_rng(0)
    season = np.tile([5.0, 9.0, 2.0, 4.0], 30)
    series = [100 + season + rng.normal(size=120).cumsum() * 0.3 for _ in range(10)]
    return SeriesFile("made", "0" * 64, series, [4] * 10, [4] * 10, [8] * 10, [(k, 112) for k in range(10)])


def _naive(contexts: Sequence[Floats], seasons: Sequence[int], horizon: int) -> Floats:
    points = [seasonal_naive(c, s, horizon) for c, s in zip(contexts, seasons, strict=True)]
    return np.repeat(np.stack(points)[:, :, None], len(LEVELS), 2)


def test_the_seasonal_naive_forecast_scores_one() -> None:
    row = score_file(_file(), _naive)
    assert row.windows == 10
    assert row.relative_mase == pytest.approx(1)
    assert row.relative_wql == pytest.approx(1)


def test_a_better_forecast_scores_below_one_and_covers() -> None:
    def spread(contexts: Sequence[Floats], seasons: Sequence[int], horizon: int) -> Floats:
        middle = _naive(contexts, seasons, horizon)
        return middle + np.linspace(-1.2, 1.2, len(LEVELS)) * np.sqrt(np.arange(1, horizon + 1) / 2)[None, :, None]

    row = score_file(_file(), spread)
    assert row.relative_mase == pytest.approx(1)
    assert row.relative_wql < 0.95
    assert 0.6 < row.coverage80 < 0.99


def test_a_worse_forecast_scores_above_one() -> None:
    row = score_file(_file(), lambda c, s, h: _naive(c, s, h) + 10)
    assert row.relative_mase > 3
    assert geometric_means([row, row])["mase"] == pytest.approx(row.relative_mase)


def test_fewer_windows_may_be_scored() -> None:
    assert score_file(_file(), _naive, max_windows=3).windows == 3


def test_missing_values_are_taken_from_a_season_before() -> None:
    context = np.array([1.0, 2, 3, 4, np.nan, 6, 7, np.nan])
    assert seasonal_naive(context, 4, 6).tolist() == [1, 6, 7, 4, 1, 6]
    assert seasonal_naive(np.array([3.0, 4.0]), 12, 3).tolist() == [4, 4, 4]
