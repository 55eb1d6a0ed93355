"""Figures of a reader from its probabilities: pure functions over numpy arrays.

trace (N, T, 10) are probabilities after every row, answers (N, 10) those after the last, labels (N,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.evaluation import scores

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

LEVELS = (0.9, 0.99, 0.999)
BINS = 15


def by_row(trace: Floats, labels: Labels) -> Floats:
    """Accuracy after each row (T,)."""
    return np.asarray((trace.argmax(axis=2) == labels[:, None]).mean(axis=0))


def calibration_by_row(trace: Floats, labels: Labels) -> Floats:
    """Expected calibration error after each row (T,), 15 bins."""
    return np.array([scores.calibration_error(labels, trace[:, row], BINS) for row in range(trace.shape[1])])


def stopping(trace: Floats, labels: Labels, level: float) -> dict[str, float]:
    """Effect of `stop_at_confidence: level`: mean rows read, share that reaches the level, and accuracy of that share.

    A digit with a score below the level in every row is read to the end.
    """
    sure = trace.max(axis=2) >= level
    reached = sure.any(axis=1)
    stop = np.where(reached, sure.argmax(axis=1), trace.shape[1] - 1)
    right = trace[np.arange(len(trace)), stop].argmax(axis=1) == labels
    return {
        "rows": float(np.mean(stop + 1)),
        "reached": float(reached.mean()),
        "accuracy": float(right[reached].mean()) if reached.any() else 0.0,
    }


def reliability(answers: Floats, labels: Labels) -> list[tuple[float, float, int]]:
    """Mean score, accuracy and size of each of 15 ranges of the score that has any answer."""
    score, hit = answers.max(axis=1), answers.argmax(axis=1) == labels
    bins = np.clip(np.ceil(score * BINS).astype(int) - 1, 0, BINS - 1)
    return [
        (float(score[bins == bin_].mean()), float(hit[bins == bin_].mean()), int((bins == bin_).sum()))
        for bin_ in range(BINS)
        if (bins == bin_).any()
    ]


def doubted(answers: Floats, below: float) -> float:
    """The share of answers with a score below a level."""
    return float((answers.max(axis=1) < below).mean())
