"""Scores of forecasts and of classifications: pure functions over numpy arrays.

Shapes: N series, H steps ahead, Q quantile levels, C classes. A score is a mean over all entries unless its docstring
says otherwise. Definitions: Hyndman and Koehler (2006) for MASE, the M4 competition for sMAPE, Koenker and Bassett
(1978) for the pinball loss, Guo et al. (2017) for the calibration error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.contract.types import Floats


def mse(actual: ArrayLike, forecast: ArrayLike) -> float:
    """Mean squared error of arrays of one shape."""
    difference = _floats(actual) - _floats(forecast)
    return float(np.mean(difference**2))


def mae(actual: ArrayLike, forecast: ArrayLike) -> float:
    """Mean absolute error of arrays of one shape."""
    return float(np.mean(np.abs(_floats(actual) - _floats(forecast))))


def smape(actual: ArrayLike, forecast: ArrayLike) -> float:
    """Symmetric mean absolute percentage error, 0..200; a step where both are 0 counts as no error."""
    a, f = _floats(actual), _floats(forecast)
    size = np.abs(a) + np.abs(f)
    ratio = np.divide(2 * np.abs(a - f), size, out=np.zeros_like(size), where=size > 0)
    return float(100 * np.mean(ratio))


def seasonal_error(past: ArrayLike, season: int) -> float:
    """What MASE divides by: mean absolute change over `season` steps of one series (T,); pairs with a NaN are left out.

    NaN where there is no such pair.
    """
    values = _floats(past)
    change = np.abs(values[season:] - values[:-season])
    change = change[np.isfinite(change)]
    return float(np.mean(change)) if change.size else float("nan")


def mase(actual: ArrayLike, forecast: ArrayLike, past: ArrayLike, season: int = 1) -> float:
    """Mean absolute scaled error of one series: actual, forecast (H,), past (T,). NaN where the past never changed."""
    scale = seasonal_error(past, season)
    return mae(actual, forecast) / scale if scale > 0 else float("nan")


def pinball(actual: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> Floats:
    """Quantile loss of every entry: actual (…), quantiles (…, Q), levels (Q,) -> (…, Q), not averaged."""
    difference = _floats(actual)[..., None] - _floats(quantiles)
    q = _floats(levels)
    return np.maximum(q * difference, (q - 1) * difference)


def wql(actual: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> float:
    """Weighted quantile loss: twice the pinball loss summed over all steps, over the summed |actual|, mean over levels.

    actual (…), quantiles (…, Q). Steps with a NaN as actual value are left out. NaN where all others are 0.
    """
    a = _floats(actual)
    observed = np.isfinite(a)
    loss = 2 * pinball(a[observed], _floats(quantiles)[observed], levels).sum(axis=0)  # (Q,)
    size = float(np.abs(a[observed]).sum())
    return float(np.mean(loss)) / size if size > 0 else float("nan")


def coverage(actual: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of the values that lie in their interval, ends included."""
    a = _floats(actual)
    return float(np.mean((a >= _floats(low)) & (a <= _floats(high))))


def accuracy(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Share of rows (N, C) with the label's probability as the largest; the first one wins a tie."""
    return float(np.mean(np.argmax(_floats(probabilities), axis=1) == np.asarray(labels)))


def calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error (ECE): |accuracy - mean score| over `bins` equal ranges, weighted by size.

    probabilities (N, C); a score on the edge of two ranges belongs to the lower one.
    """
    p = _floats(probabilities)
    score, hit = p.max(axis=1), p.argmax(axis=1) == np.asarray(labels)
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, score, side="left") - 1, 0, bins - 1)
    gap = np.bincount(index, weights=hit - score, minlength=bins)
    return float(np.abs(gap).sum() / len(score))


def confusion(labels: ArrayLike, probabilities: ArrayLike) -> NDArray[np.int64]:
    """Counts (C, C): row = label, column = answer."""
    p = _floats(probabilities)
    table = np.zeros((p.shape[1], p.shape[1]), dtype=np.int64)
    np.add.at(table, (np.asarray(labels), p.argmax(axis=1)), 1)
    return table


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)
