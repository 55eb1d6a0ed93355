"""Counts of answered requests and messages, by route, model and status."""

from __future__ import annotations

from service.metrics.page import Metrics
from service.metrics.store import Counter, Histogram


class RequestMetrics:
    """Records every answer; the label sets that occur are few, so their numbers are looked up once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def record(self, route: str, model: str, status: int, seconds: float) -> None:
        """A request was answered after `seconds`; `model` is empty where none was reached."""
        counter = self._counters.get((route, model, status))
        if counter is None:
            counter = self._counters[route, model, status] = self._metrics.requests.labels(route, model, str(status))
            self._histograms[route] = self._metrics.request_seconds.labels(route)
        counter.inc()
        self._histograms[route].observe(seconds)

    def connection_cut(self, reason: str) -> None:
        """A connection was ended because its client did not send or read in time."""
        self._metrics.connections_cut.labels(reason).inc()
