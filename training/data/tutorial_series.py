"""The data set of the forecasting tutorial: 10,000 seeded series, the same for every model and every run.

The tutorial's series have 51 values, 50 to read and one to predict; here each goes on to 210, so that the same series
also test longer contexts and more steps ahead.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from training.data.arrays import Floats
from training.data.sine_mixture import sine_mixture

SEED = 42
STEPS = 210
WINDOW = 50
TRAIN, VALIDATION, TEST = 7000, 2000, 1000

GENERATOR = f"sine_mixture({TRAIN + VALIDATION + TEST}, {STEPS}, default_rng({SEED}))"


@dataclass(frozen=True, eq=False)
class TutorialSeries:
    """The three splits, each (N, 210) float64."""

    train: Floats
    validation: Floats
    test: Floats


@functools.cache
def tutorial_series() -> TutorialSeries:
    """The set: 7,000 / 2,000 / 1,000 series in the order they were generated. Generated once in a process."""
    series = sine_mixture(TRAIN + VALIDATION + TEST, STEPS, np.random.default_rng(SEED))
    return TutorialSeries(*np.split(series, [TRAIN, TRAIN + VALIDATION]))
