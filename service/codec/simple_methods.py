"""Simple ways to forecast, which a network should beat: as they are, with normal intervals of their own residuals.

Shapes: T values (NaN = missing), H steps, Q levels. Formulas are those of Hyndman and Athanasopoulos, Forecasting:
Principles and Practice (3rd edition), 5.2, 5.5 and 8.1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from service.contract.types import Floats

_ALPHAS = np.linspace(0.05, 1.0, 20)  # of simple exponential smoothing: the one with the least squared error is taken
_BLOCK, _BLOCKS = 64, 64  # steps that one product of matrices smooths, and such blocks at once


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
    levels, errors = _smoothed(values - pattern[np.arange(len(values)) % len(pattern)])
    best = int(errors.argmin())
    ahead = np.arange(1, horizon + 1)
    spread = float(np.sqrt(errors[best] / max(1, len(values) - 1)))
    deviation = spread * np.sqrt(1 + (ahead - 1) * _ALPHAS[best] ** 2)
    return Points(levels[best] + pattern[(len(values) + ahead - 1) % len(pattern)], deviation)


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


def _smoothed(values: Floats) -> tuple[Floats, Floats]:
    """For each of `_ALPHAS` (A,) the level behind the last of `values`, and the sum of the squared errors before it.

    A level is the one before it and a share of the error: within a block it is a sum of the level at its beginning and
    of the block's values, with weights that are the same for all blocks.
    """
    weights, decay = _weights()
    start, values = values[0], values - values[0]  # the first error is then zero, with any rounding
    level, errors = np.zeros(len(_ALPHAS)), np.zeros(len(_ALPHAS))
    for first in range(0, len(values), _BLOCK * _BLOCKS):
        chunk = values[first : first + _BLOCK * _BLOCKS]
        blocks = np.zeros(-(-len(chunk) // _BLOCK) * _BLOCK)
        blocks[: len(chunk)] = chunk
        within = (weights @ blocks.reshape(-1, _BLOCK).T).reshape(len(_ALPHAS), _BLOCK + 1, -1)
        begins = np.empty((len(_ALPHAS), within.shape[2]))
        for block in range(within.shape[2]):
            begins[:, block] = level
            level = decay[:, -1] * level + within[:, -1, block]
        within += decay[:, :, None] * begins[:, None, :]  # now the levels before each value, and behind the last
        earlier_levels = within[:, :-1].transpose(0, 2, 1).reshape(len(_ALPHAS), -1)
        errors += ((chunk - earlier_levels[:, : len(chunk)]) ** 2).sum(axis=1)
        if len(chunk) % _BLOCK:
            level = within[:, len(chunk) % _BLOCK, -1]
    return level + start, errors


@lru_cache(maxsize=1)
def _weights() -> tuple[Floats, Floats]:
    """Of the values of a block (A * (B + 1), B) and of the level before it (A, B + 1), for the levels within it."""
    steps = np.arange(_BLOCK + 1)
    decay = (1 - _ALPHAS[:, None]) ** steps
    distance = steps[:, None] - 1 - steps[:-1]
    shares = _ALPHAS[:, None, None] * (1 - _ALPHAS[:, None, None]) ** np.maximum(distance, 0)
    return np.where(distance >= 0, shares, 0.0).reshape(-1, _BLOCK), decay


def _pattern(values: Floats, season: int) -> Floats:
    """The mean distance of each phase of the season from the mean, zeros where there is no season."""
    if season < 2 or len(values) < 2 * season:
        return np.zeros(1)
    phase = np.arange(len(values)) % season
    means = np.bincount(phase, values) / np.bincount(phase)
    return np.asarray(means - means.mean())


def _spread(residuals: Floats) -> float:
    return float(np.sqrt((residuals**2).mean())) if len(residuals) else 0.0
