"""What the calls of one network cost: fitted to the calls of its warm-up, and corrected by every later one.

Calls are noted where they are made, in a queue that any thread may fill, and looked at when a price is next needed.

A call of some rows and steps takes about `call + steps * stride + rows * (row + steps * step)` seconds. The four
numbers differ by model, by kind of call (a step of `history` costs `forecaster` fifty of `step`) and by machine, so
none of them is written down here. They bound how long one call lasts, and say what a request will cost before it is
computed. Until they are fitted a guess stands for them, so that what is small comes before what is large from the
first request on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of a horizon's or a history's step, for each quantile level: 99 levels cost as much again as two thirds of a step.
LEVEL_COST = 1 / 150
_CORRECTION = 1.02  # of a price by one call: about the median of many, since a slow call says more about the machine
_TYPICAL_ROWS = 32  # of a call under load
_TELLING = 0.001  # seconds of a call that is long enough to correct a price
_MEASURED_EVERY = 8  # calls, once the prices are fitted: to ask for the time of a thread costs a system call
# Seconds before the fit: no item is so light that the event loop computes it, and no call that answers every step has
# so many rows that others wait for long.
_FIRST_ROW, _FIRST_STEP, _FIRST_ANSWER = 4e-4, 1e-6, 1e-4
_MAX_SAMPLES, _MAX_CALLS = 16_384, 4096  # calls that are remembered until the fit, and until the next correction

Call = tuple[str, float, int, int, int, float]  # method, rows, steps read, steps ahead, quantile levels, seconds


def steps_with_levels(steps: int, levels: int) -> float:
    """Steps of a read-out with so many quantile levels, in steps with none."""
    return steps * (1 + LEVEL_COST * levels)


@dataclass(slots=True)
class CallPrice:
    """The price of one method, in seconds."""

    call: float = 0.0
    stride: float = 0.0  # of one step, however many rows take it
    row: float = 0.0
    step: float = 0.0  # of one row
    factor: float = 1.0  # by which calls have since differed from what was fitted

    def seconds(self, rows: float, steps: float) -> float:
        """What a call of `rows` rows and `steps` steps takes."""
        return self.factor * (self.call + steps * self.stride + rows * (self.row + steps * self.step))

    def share(self, rows: float, row_steps: float) -> float:
        """What `rows` rows of `row_steps` steps together cost in calls that they share with others."""
        row = self.row + self.call / _TYPICAL_ROWS
        step = self.step + self.stride / _TYPICAL_ROWS
        return self.factor * (rows * row + row_steps * step)

    def correct(self, seconds: float, expected: float) -> None:
        """A call took `seconds` where `expected` were."""
        self.factor = self.factor * _CORRECTION if seconds > expected else self.factor / _CORRECTION


class CallPrices:
    """The prices of the three kinds of calls; `calls` may be noted by several threads, one uses the rest."""

    def __init__(self) -> None:
        self.step = CallPrice(step=_FIRST_STEP)  # reading observations
        self.stepwise = CallPrice(step=_FIRST_ANSWER)  # reading with an answer after each: `history`, `trace`
        self.readout = CallPrice(row=_FIRST_ROW)  # answers from a state: `forecast`, `read`
        self._by_method = {
            "step": self.step,
            "history": self.stepwise,
            "trace": self.stepwise,
            "service_forecast": self.readout,
            "read": self.readout,
        }
        self.calls: deque[Call] = deque(maxlen=_MAX_SAMPLES)  # since the fit, or the last correction
        self.of_kinds: dict[Hashable, tuple[float, float]] = {}  # what `estimate` made of the prices as they are
        self.measured_every = 1  # calls: each one until the fit, and then some

    @property
    def is_fitted(self) -> bool:
        """Whether the prices are more than a guess."""
        return self.measured_every > 1

    def correct(self) -> None:
        """Correct the prices by the calls that were noted; nothing happens before the fit."""
        self.of_kinds.clear()
        while self.is_fitted and self.calls:
            method, rows, steps, ahead, levels, seconds = self.calls.popleft()
            if seconds <= _TELLING:
                continue
            ahead_steps = steps_with_levels(ahead, levels)
            if method == "service_finish":
                expected = self.step.seconds(rows, steps) + self.readout.seconds(rows, ahead_steps)
                self.step.correct(seconds, expected)
                self.readout.correct(seconds, expected)
            else:
                price = self._by_method[method]
                price.correct(seconds, price.seconds(rows, steps + ahead_steps))

    def fit(self) -> None:
        """Fit the prices to the calls that were noted so far."""
        calls, self.calls = self.calls, deque(maxlen=_MAX_CALLS)
        self.measured_every = _MEASURED_EVERY
        self.of_kinds.clear()
        for method, price in self._by_method.items():
            samples = [
                (rows, steps + steps_with_levels(ahead, levels), seconds)
                for name, rows, steps, ahead, levels, seconds in calls
                if name == method
            ]
            if samples:
                price.call, price.stride, price.row, price.step = _fit(np.array(samples))


def _fit(samples: NDArray[np.float64]) -> list[float]:
    """Call, stride, row and step (none below 0) fitted to `samples` (N, 3): rows, steps, seconds.

    Of several calls of one shape the fastest counts. The weights are between those of absolute and of relative errors.
    """
    fastest: dict[tuple[float, float], float] = {}
    for rows, steps, seconds in samples.tolist():
        fastest[rows, steps] = min(seconds, fastest.get((rows, steps), seconds))
    rows, steps = np.array(list(fastest)).T
    seconds = np.maximum(list(fastest.values()), 1e-9)
    terms = np.stack((np.ones(len(rows)), steps, rows, rows * steps), axis=1) / np.sqrt(seconds)[:, None]
    kept = [0, 1, 2, 3]
    prices = np.zeros(4)
    while kept:
        prices[:] = 0.0
        prices[kept] = np.linalg.lstsq(terms[:, kept], np.sqrt(seconds), rcond=None)[0]
        if (prices >= 0).all():
            break
        kept.remove(int(prices.argmin()))
    fitted: list[float] = prices.tolist()
    return fitted
