"""The forecasting tutorial's sine mixture, and the smallest errors that any forecaster of it can have.

Every generator takes its random numbers from its argument `rng`, so that a seed names a data set.
"""

from __future__ import annotations

import numpy as np

from training.data.arrays import Floats

TUTORIAL_STEP = 1 / 50  # spacing of linspace(0, 1, 51): 50 values to read and the 51st to predict
NOISE_VARIANCE = 0.1**2 / 12  # of noise uniform in -0.05..0.05, 8.33e-4: no forecast's squared error is smaller

# (values read, steps ahead) -> smallest possible mean squared error: that of the posterior mean when the generator is
# known and its parameters are not, computed once from the prior.
BAYES_ERRORS = {(20, 1): 1.21e-3, (50, 1): 8.92e-4, (50, 10): 9.39e-4, (200, 1): 8.37e-4}
# Values read -> the same for the next value, less the noise.
BAYES_EXCESS = {1: 1.92e-2, 5: 2.84e-3, 10: 1.41e-3, 20: 3.8e-4, 30: 1.7e-4, 50: 5.9e-5, 100: 1.5e-5, 200: 4e-6}


def sine_mixture(n_series: int, n_steps: int, rng: np.random.Generator, *, step: float = TUTORIAL_STEP) -> Floats:
    """The series of the forecasting tutorial: two sine waves and uniform noise.

    x(t) = 0.5 sin((t - a) u) + 0.2 sin((t - b) v) + e, with a and b uniform in 0..1, angular frequencies u uniform in
    10..20 and v in 20..40, and e uniform in -0.05..0.05.

    The times are 0, step, 2 step, …; with the default `step` and 51 values they are the tutorial's linspace(0, 1, 51),
    and a longer series is the same process going on. Returns (n_series, n_steps) float64.
    """
    offset_slow, offset_fast, draw_slow, draw_fast = rng.random((4, n_series, 1))
    time = np.arange(n_steps) * step  # (n_steps,)
    series = 0.5 * np.sin((time - offset_slow) * (10 + 10 * draw_slow))
    series += 0.2 * np.sin((time - offset_fast) * (20 + 20 * draw_fast))
    series += 0.1 * (rng.random((n_series, n_steps)) - 0.5)
    return np.asarray(series, dtype=np.float64)
