"""Synthetic series: the tutorial's sine mixture and, beside it, the other priors that forecasters are trained on.

Every generator takes its random numbers from the `rng` it is given, so that a seed names a data set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TUTORIAL_STEP = 1 / 50  # spacing of linspace(0, 1, 51): 50 values to read and the 51st to predict


def sine_mixture(n_series: int, n_steps: int, rng: np.random.Generator, *, step: float = TUTORIAL_STEP) -> Floats:
    """The series of the forecasting tutorial: two sine waves and uniform noise.

    x(t) = 0.5 sin((t - a) u) + 0.2 sin((t - b) v) + e, with a and b uniform in 0..1, angular frequencies u uniform in
    10..20 and v in 20..40, and e uniform in -0.05..0.05 (variance 8.33e-4: no forecast of the next value does better).

    The times are 0, step, 2 step, …; with the default `step` and 51 values they are the tutorial's linspace(0, 1, 51),
    and a longer series is the same process going on. Returns (n_series, n_steps) float64.
    """
    offset_slow, offset_fast, draw_slow, draw_fast = rng.random((4, n_series, 1))
    time = np.arange(n_steps) * step  # (n_steps,)
    series = 0.5 * np.sin((time - offset_slow) * (10 + 10 * draw_slow))
    series += 0.2 * np.sin((time - offset_fast) * (20 + 20 * draw_fast))
    series += 0.1 * (rng.random((n_series, n_steps)) - 0.5)
    return np.asarray(series, dtype=np.float64)
