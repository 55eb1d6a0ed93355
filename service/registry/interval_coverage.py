"""How often new values fall inside the intervals that were forecast for them, measured on series that are updated.

An update brings a series' state and its next values, so the first of these can be compared with the interval that the
state forecasts. For one update in `PROBE_EVERY` a probe asks for that interval. It is a submission of its own, made
after the answer to the update and only while nothing else is to be computed, so that it can neither fail nor delay a
request. In the long run a share of 0.8 falls inside; another share shows a model that is too sure of these series, or
not sure enough.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from service.contract.types import BatchResult, ForecastItem, ForecastResult, Item

PROBE_EVERY = 10  # updates; a probe costs as much as a short one of them
LEVELS = np.array([0.1, 0.9])
NO_VALUES = np.empty(0)

Outcome = Literal["below", "inside", "above"]
Probe = tuple[ForecastItem, float]  # the item that forecasts the interval, and the value that came

log = logging.getLogger(__name__)


class IntervalMonitor:
    """The probes of one model: `submit` computes them or returns None while it is busy, `count` gets each outcome."""

    def __init__(
        self,
        submit: Callable[[Sequence[ForecastItem]], asyncio.Future[BatchResult] | None],
        count: Callable[[Outcome], None],
        interval: int = PROBE_EVERY,
    ) -> None:
        self.failures = 0
        self._submit = submit
        self._count = count
        self._interval = interval
        self._updates = 0  # since the last probe

    def probes(self, items: Sequence[Item]) -> list[Probe]:
        """The probes that the updates among `items` make due."""
        due: list[Probe] = []
        for item in items:
            if not isinstance(item, ForecastItem) or item.state is None or not len(item.values):
                continue
            self._updates += 1
            if self._updates >= self._interval and np.isfinite(item.values[0]):
                self._updates = 0
                due.append((ForecastItem(NO_VALUES, 1, LEVELS, state=item.state), float(item.values[0])))
        return due

    def record(self, probes: Sequence[Probe], results: Sequence[ForecastResult]) -> None:
        """Count on which side of the quantiles in `results` the values fell."""
        for (_, value), result in zip(probes, results, strict=True):
            low, high = result.quantiles[:, 0]
            self._count("below" if value < low else "above" if value > high else "inside")

    def submit_after(self, answer: asyncio.Future[BatchResult], probes: Sequence[Probe]) -> None:
        """Have `probes` computed after `answer`, and record their outcomes."""
        answer.add_done_callback(partial(self._submit_probes, probes))

    def _submit_probes(self, probes: Sequence[Probe], answer: asyncio.Future[BatchResult]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        results = self._submit([item for item, _ in probes])
        if results is None:
            self._updates = self._interval  # the next update makes a probe due, and perhaps at a quiet moment
        else:
            results.add_done_callback(partial(self._record_results, probes))

    def _record_results(self, probes: Sequence[Probe], results: asyncio.Future[BatchResult]) -> None:
        if results.cancelled():
            return
        error = results.exception()
        if error is None:
            self.record(probes, results.result().results)
            return
        self.failures += 1
        if self.failures == 1:  # a model that cannot answer probes fails every one of them
            log.warning("a probe of interval coverage failed: %r", error, extra=_fields(error))


def _fields(error: BaseException) -> dict[str, Any]:
    return dict(getattr(error, "log_fields", {}))
