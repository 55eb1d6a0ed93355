"""Items and results of the engine, one object per series or digit: numpy only, no torch, no HTTP.

Shapes: T observations, H steps ahead, Q quantile levels, S state width (`manifest.state.width`). Structs, because
one is made in 0.1 us where a frozen dataclass takes 0.5; nothing in them can refer back to them, so they need no `gc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The smaller networks answer an item within both bounds in less than a millisecond.
SMALL_VALUES, SMALL_HORIZON = 128, 32


class PaddingStats(Struct):
    """Steps of rows that a batch computed: `real` of them read an observation, the others were padding."""

    real: int = 0
    computed: int = 0


class ForecastItem(Struct, frozen=True, eq=False, gc=False):
    """One series to forecast. With `state`, `values` are only the new observations and may be empty."""

    values: Floats  # (T,), NaN = missing, oldest first
    horizon: int  # H >= 1
    levels: Floats  # (Q,), ascending, strictly between 0 and 1
    season: int = 0  # observations per season; 0 = the model finds it; ignored with `state`
    history: bool = False
    state: Floats | None = None  # (S,)

    @property
    def length(self) -> int:
        """Number of observations to read, which the limits of the engine count."""
        return len(self.values)

    @property
    def is_small(self) -> bool:
        """Whether it takes little work compared with other items."""
        return len(self.values) <= SMALL_VALUES and self.horizon <= SMALL_HORIZON and not self.history


class ForecastResult(Struct, frozen=True, eq=False, gc=False):
    """The forecast of one series: finite numbers, quantiles non-decreasing in the level."""

    mean: Floats  # (H,)
    quantiles: Floats  # (Q, H)
    history: Floats | None  # (T, 1 + Q): one-step-ahead mean and quantiles; NaN before the first observed value
    season: int  # season length in use, 1 = none
    state: Floats  # (S,)


class DigitItem(Struct, frozen=True, eq=False, gc=False):
    """One digit to read, top row first. With `state`, `rows` holds only the new ones."""

    rows: NDArray[np.float32]  # (T, 28), ink 0..1
    trace: bool = False
    stop: float | None = None  # stop reading at the first row at which the best probability reaches this
    state: Floats | None = None  # (S,)

    @property
    def length(self) -> int:
        """Number of rows to read, which the limits of the engine count."""
        return len(self.rows)

    @property
    def is_small(self) -> bool:
        """Whether it takes little work: every digit does, unless an answer after each of its rows is needed."""
        return not self.trace and self.stop is None


class DigitResult(Struct, frozen=True, eq=False, gc=False):
    """Probabilities after the last row that was used; `state` belongs to that same row."""

    probabilities: Floats  # (10,), sum 1
    trace: Floats | None  # (rows_used, classes), after each row of this request
    rows_used: int  # rows of this request that were read
    state: Floats  # (S,)


Item = ForecastItem | DigitItem
Result = ForecastResult | DigitResult


class BatchResult(Struct, frozen=True, eq=False):
    """The results of one submission in its order, and how long it waited and was computed."""

    results: Sequence[Any]
    queue_seconds: float
    compute_seconds: float
