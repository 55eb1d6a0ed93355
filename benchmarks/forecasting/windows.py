"""The evaluation windows: a fixed sample of each file for all methods, and all windows for this project's models.

The sample is an even spread over a file's windows, the same for every method, and so is the cap on the context: the
cost of AutoARIMA on a long series with a long season decides both. All windows of a file, with contexts of up to 4,096
values, are forecast by this service and by the seasonal naive forecast only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data import real_series
from training.data.real_series import Window

Floats = np.ndarray[Any, np.dtype[np.float64]]

FILES = (*real_series.HELD_OUT, "m4_hourly", "m4_weekly")
LEVELS = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
SAMPLE_WINDOWS = 40  # windows of a file in the sample
SAMPLE_WINDOWS_LONG_SEASON = 20  # the same for a file with a season of more than 12 steps
SAMPLE_CONTEXT = 512  # last values of a context in the sample
FULL_CONTEXT = 4096  # last values of a context when all windows are forecast: as far back as the forecaster looks


@dataclass(frozen=True)
class Part:
    """Windows of one file, and the number of values of each context that the methods see; scores use whole contexts."""

    file: str
    windows: list[Window]
    max_context: int
    key: str  # identifies the windows: another digest, choice, cap or set of levels gives another key

    @property
    def contexts(self) -> list[Floats]:
        """The capped contexts, one (n,) a window."""
        return [window.context[-self.max_context :] for window in self.windows]


def sample(file: real_series.SeriesFile) -> Part:
    """The windows that all methods forecast."""
    windows = file.windows()
    cap = SAMPLE_WINDOWS if max(file.seasons) <= 12 else SAMPLE_WINDOWS_LONG_SEASON
    indices = [int(i) for i in np.linspace(0, len(windows) - 1, min(len(windows), cap))]
    return _part(file, windows, indices, SAMPLE_CONTEXT)


def all_windows(file: real_series.SeriesFile) -> Part:
    """All windows of a file."""
    windows = file.windows()
    return _part(file, windows, range(len(windows)), FULL_CONTEXT)


def _part(file: real_series.SeriesFile, windows: Sequence[Window], indices: Sequence[int], max_context: int) -> Part:
    identity = json.dumps([file.digest, list(indices), max_context, LEVELS])
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return Part(file.name, [windows[i] for i in indices], max_context, key)


def filled(context: Floats, season: int) -> Floats:
    """`context` without missing values, for methods that need complete series: (n,) -> (n,).

    A missing value becomes the value one season earlier, or lies on a straight line where that is missing too.
    """
    values = context.copy()
    for t in np.flatnonzero(np.isnan(values)):
        if t >= season:
            values[t] = values[t - season]
    finite = np.isfinite(values)
    index = np.arange(len(values))
    return values if finite.all() else np.interp(index, index[finite], values[finite])
