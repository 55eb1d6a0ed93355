"""How often the truth falls inside the intervals that were foretold for it, measured on series that go on.

A series that comes back with a state brings the truth about what that state foretold. One in `EVERY` of them asks the
same batch, beside its own forecast, for the next value's `LEVELS` from the old state, and counts where the new value
fell. In the long run a share of 0.8 falls inside; a model for which it does not is too sure, or not sure enough, of
these series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from service.contract.types import ForecastItem, Item, Result
from service.metrics.page import IntervalOutcome

EVERY = 10  # a question costs as much as a short update
LEVELS = np.array([0.1, 0.9])
NOTHING = np.empty(0)


class IntervalMonitor:
    """The sample of one model; `count` hears where each truth fell."""

    def __init__(self, count: Callable[[IntervalOutcome], None], every: int = EVERY) -> None:
        self._count = count
        self._every = every
        self._seen = 0

    def questions(self, items: Sequence[Item]) -> list[tuple[ForecastItem, float]]:
        """What to ask beside `items`, with the value that came."""
        asked: list[tuple[ForecastItem, float]] = []
        for item in items:
            if item.state is None or not isinstance(item, ForecastItem):
                continue
            self._seen += 1
            if self._seen % self._every == 0 and len(item.values) and np.isfinite(item.values[0]):
                asked.append((ForecastItem(NOTHING, 1, LEVELS, state=item.state), float(item.values[0])))
        return asked

    def compare(self, asked: Sequence[tuple[ForecastItem, float]], results: Sequence[Result]) -> None:
        """Count where the values fell between the quantiles of `results`."""
        for (_, value), result in zip(asked, results, strict=True):
            low, high = result.quantiles[:, 0]  # type: ignore[union-attr]
            self._count("below" if value < low else "above" if value > high else "inside")
