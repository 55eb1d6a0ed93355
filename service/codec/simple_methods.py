"""Simple ways to forecast, which a network should beat: as they are, with normal intervals of their own residuals.

Shapes: T values (NaN = missing), H steps, Q levels. Formulas are those of Hyndman and Athanasopoulos, Forecasting:
Principles and Practice (3rd edition), 5.2, 5.5 and 8.1.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from service.contract.types import Floats

_ALPHAS = np.linspace(0.05, 1.0, 20)  # of simple exponential smoothing: the one with the least squared error is taken


class Points(NamedTuple):
    """Forecasts and the standard deviations of their errors."""

    mean: Floats  # (H,)
    deviation: Floats  # (H,)


def naive(values: Floats, horizon: int, _season: int) -> Points:
    """The last value goes on."""
    steps = np.arange(1, horizon + 1)
    return Points(np.full(horizon, values[-1]), _spread(values[1:] - values[:-1]) * np.sqrt(steps))


def seasonal_naive(values: Floats, horizon: int, season: int) -> Points:
    """The last season goes on; without a season, or before two of them, the last value."""
    if season < 2 or len(values) <= season:
        return naive(values, horizon, season)
    steps = np.arange(horizon)
    spread = _spread(values[season:] - values[:-season])
    return Points(values[len(values) - season + steps % season], spread * np.sqrt(steps // season + 1))


def drift(values: Floats, horizon: int, _season: int) -> Points:
    """The line from the first value to the last goes on."""
    count = max(len(values) - 1, 1)
    slope = (values[-1] - values[0]) / count
    steps = np.arange(1, horizon + 1)
    return Points(values[-1] + slope * steps, _spread(np.diff(values) - slope) * np.sqrt(steps * (1 + steps / count)))


def exponential_smoothing(values: Floats, horizon: int, season: int) -> Points:
    """A level that follows the values, on top of the mean season where there is one and two of them are known."""
    pattern = _pattern(values, season)
    flat = values - pattern[np.arange(len(values)) % len(pattern)]
    level = np.full(len(_ALPHAS), flat[0])
    errors = np.zeros((len(flat), len(_ALPHAS)))
    for step, value in enumerate(flat):
        errors[step] = value - level
        level = level + _ALPHAS * errors[step]
    best = int((errors[1:] ** 2).sum(0).argmin()) if len(flat) > 1 else 0
    ahead = np.arange(1, horizon + 1)
    deviation = _spread(errors[1:, best]) * np.sqrt(1 + (ahead - 1) * _ALPHAS[best] ** 2)
    return Points(level[best] + pattern[(len(values) + ahead - 1) % len(pattern)], deviation)


METHODS: dict[str, Callable[[Floats, int, int], Points]] = {
    "naive": naive,
    "seasonal_naive": seasonal_naive,
    "drift": drift,
    "exponential_smoothing": exponential_smoothing,
}


def quantiles(points: Points, levels: Floats) -> Floats:
    """The normal quantiles (Q, H) of forecasts."""
    factors = np.array([NormalDist().inv_cdf(level) for level in levels.tolist()])
    return np.asarray(points.mean + factors[:, None] * points.deviation)


def filled(values: Floats) -> Floats:
    """`values` without those before the first one, and each missing one replaced by the one before it."""
    present = np.isfinite(values)
    first = int(present.argmax())
    last_present = np.maximum.accumulate(np.where(present, np.arange(len(values)), 0))
    return values[last_present[first:]]


def _pattern(values: Floats, season: int) -> Floats:
    """The mean distance of each phase of the season from the mean, zeros where there is no season."""
    if season < 2 or len(values) < 2 * season:
        return np.zeros(1)
    phase = np.arange(len(values)) % season
    means = np.array([values[phase == index].mean() for index in range(season)])
    return np.asarray(means - means.mean())


def _spread(residuals: Floats) -> float:
    return float(np.sqrt((residuals**2).mean())) if len(residuals) else 0.0
