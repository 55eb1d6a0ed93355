"""The log-probabilities of a reader as probabilities, and what is wrong with those that are none."""

from __future__ import annotations

import numpy as np

from service.backend.network import Array
from service.contract.types import Floats

SUM_TOLERANCE = 1e-3  # by which the probabilities of float32 logarithms may miss 1


def rows_until(logarithms: Array, confidence: float | None) -> int:
    """How many rows of log-probabilities (T, classes) to use: up to the first that is confident enough, or all."""
    if confidence is None:
        return len(logarithms)
    reached = np.exp(logarithms.max(axis=1).astype(np.float64)) >= confidence
    return int(reached.argmax()) + 1 if reached.any() else len(logarithms)


def probabilities_of(logarithms: Array) -> Floats:
    """Log-probabilities (…, classes) as float64 probabilities that sum to 1; NaN where they do not but for rounding."""
    with np.errstate(over="ignore", invalid="ignore"):  # a number that is not finite becomes a `ModelFault` later
        raw: Floats = np.exp(logarithms.astype(np.float64))
        sums = raw.sum(axis=-1, keepdims=True)
        normal: Floats = raw / sums
    unsound = np.abs(sums - 1.0) > SUM_TOLERANCE
    if unsound.any():
        normal[unsound[..., 0]] = np.nan
    return normal


def unsoundness(logarithms: Array) -> str:
    """What is wrong with log-probabilities (T, classes) that are not sound."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.exp(logarithms.astype(np.float64)).sum(axis=-1)
    if not np.isfinite(sums).all():
        return "its reading is not finite"
    return f"its probabilities sum to {sums[np.abs(sums - 1.0).argmax()]:.4g}, not to 1 (they are logarithms)"
