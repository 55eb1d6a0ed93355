"""The base of every relative score: the seasonal naive forecast with its own intervals, as published tables use it.

GIFT-Eval (arXiv:2410.10393) and the Chronos benchmarks (arXiv:2403.07815) divide MASE and WQL by those of
statsforecast's `SeasonalNaive`, its season being the lag of the MASE denominator. Its quantiles are normal: the spread
is the root mean square of the past's own seasonal naive errors, times the square root of the number of seasons ahead
(Hyndman and Athanasopoulos, Forecasting: Principles and Practice, section 5.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from benchmarks.forecasting.scoring import Forecasts
from benchmarks.forecasting.windows import LEVELS, Floats
from training.data.real_series import Window
from training.evaluation import backtest

SCORES = np.array([NormalDist().inv_cdf(level) for level in LEVELS])  # (11,) standard normal quantiles


def seasonal_naive(windows: Sequence[Window]) -> Forecasts:
    """The base's forecasts at the lag of MASE, each from the whole past of its window."""
    return Forecasts([quantiles(window.context, window.lag, len(window.future)) for window in windows])


def quantiles(context: Floats, lag: int, horizon: int) -> Floats:
    """Quantiles (horizon, 11) at `LEVELS` after `context` (n,), in which NaN marks missing values.

    A context of no more than `lag` values is forecast by its last value; without any error to measure, the quantiles
    are all equal to the point forecast.
    """
    lag = lag if len(context) > lag else 1
    point = backtest.seasonal_naive(context, lag, horizon)
    errors = context[lag:] - context[:-lag]
    errors = errors[np.isfinite(errors)]
    sigma = float(np.sqrt(np.mean(errors**2))) if errors.size else 0.0
    spread = sigma * np.sqrt(1 + np.arange(horizon) // lag)
    return np.asarray(point[:, None] + spread[:, None] * SCORES)
