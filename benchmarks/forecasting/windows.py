"""Which windows are forecast: whole held-out files and the official test parts, a fixed sample of each for the peers.

The sample is an even spread over a file's windows, the same for every method, and so is the cap on the context: what
AutoARIMA costs on a long series with a long season decides both. `all` parts go to this service and the naive forecasts
alone, uncut.
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

OFFICIAL = ("m4_hourly", "m4_weekly", "hospital")  # complete groups with their official test parts
FILES = (*real_series.HELD_OUT, "m4_hourly", "m4_weekly")
LEVELS = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
MOST = 40  # windows of a file in the sample
MOST_LONG = 20  # of one whose season is longer than a year of months
LONGEST = 512  # last values of a context in the sample
UNCUT = 4096  # in the `all` part: what the service's own model looks at


@dataclass(frozen=True)
class Part:
    """Windows of one file, and how much of each context the methods see; scores take the whole of it."""

    file: str
    windows: list[Window]
    longest: int
    key: str  # names these questions: other data, another choice or another cap is another key

    @property
    def contexts(self) -> list[Floats]:
        return [window.context[-self.longest :] for window in self.windows]


def sample(file: real_series.SeriesFile) -> Part:
    """The windows that all methods forecast."""
    windows = file.windows()
    most = min(len(windows), MOST if max(file.seasons) <= 12 else MOST_LONG)
    chosen = [int(i) for i in np.linspace(0, len(windows) - 1, most)]
    return _part(file, windows, chosen, LONGEST)


def everything(file: real_series.SeriesFile) -> Part:
    """All windows of a file."""
    windows = file.windows()
    return _part(file, windows, range(len(windows)), UNCUT)


def _part(file: real_series.SeriesFile, windows: Sequence[Window], chosen: Sequence[int], longest: int) -> Part:
    named = json.dumps([file.digest, list(chosen), longest, LEVELS])
    key = hashlib.sha256(named.encode()).hexdigest()[:12]
    return Part(file.name, [windows[i] for i in chosen], longest, key)


def filled(context: Floats, season: int) -> Floats:
    """`context` without missing values, for methods that take none: the value a season before, else a straight line."""
    values = context.copy()
    for t in np.flatnonzero(np.isnan(values)):
        if t >= season:
            values[t] = values[t - season]
    known = np.isfinite(values)
    index = np.arange(len(values))
    return values if known.all() else np.interp(index, index[known], values[known])
