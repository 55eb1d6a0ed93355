"""Prometheus objects of one process, in a registry of their own; labels never carry ids.

Every number a process counts is kept here and written by `Metrics.render`, so that several processes can be added up
by whoever collects their pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# From a single tiny model call to the longest deadline anyone should accept.
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
OBSERVATIONS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class LaneState:
    """What a model's queue holds at this moment."""

    model: str
    items: int
    observations: int


@dataclass(frozen=True, slots=True)
class ModelState:
    """A version of a model, and whether it is `loading`, `ready` or `failed`."""

    model: str
    version: int
    state: str


@dataclass(frozen=True, slots=True)
class EngineState:
    """What is read when someone scrapes, and costs nothing in between."""

    lanes: Iterable[LaneState]
    models: Iterable[ModelState]
    restarts: int


class LaneMetrics:
    """The engine's metrics of one model, its labels bound once."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._queue_seconds = metrics.queue_seconds.labels(model)
        self._compute_seconds = metrics.compute_seconds.labels(model)
        self._batch_items = metrics.batch_items.labels(model)
        self._batch_observations = metrics.batch_observations.labels(model)
        self._batch_seconds = metrics.batch_seconds.labels(model)
        self._real = metrics.steps.labels(model, "real")
        self._padding = metrics.steps.labels(model, "padding")

    def request(self, queue_seconds: float, compute_seconds: float) -> None:
        """A submission was answered."""
        self._queue_seconds.observe(queue_seconds)
        self._compute_seconds.observe(compute_seconds)

    def batch(self, items: int, observations: int, seconds: float) -> None:
        """A batch was computed, in `seconds` of the inference thread."""
        self._batch_items.observe(items)
        self._batch_observations.observe(observations)
        self._batch_seconds.observe(seconds)

    def padding(self, real: int, computed: int) -> None:
        """Of `computed` steps of rows, `real` ones were observations that someone sent."""
        self._real.inc(real)
        self._padding.inc(computed - real)


class Metrics:
    """All that `/metrics` shows."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "ritmo_requests", "Requests answered", ("route", "model", "code"), registry=registry
        )  # code: the HTTP status
        self.request_seconds = Histogram(
            "ritmo_request_seconds",
            "From the request's first byte to the answer",
            ("route",),
            registry=registry,
            buckets=SECONDS,
        )
        self.streams = Gauge("ritmo_streams", "Live connections", registry=registry, multiprocess_mode="livesum")
        self.queue_seconds = _histogram(registry, "queue_seconds", "Waiting for the batch before", SECONDS)
        self.compute_seconds = _histogram(registry, "compute_seconds", "From batch start to the request's end", SECONDS)
        self.batch_seconds = _histogram(registry, "batch_seconds", "Inference thread's time for a batch", SECONDS)
        self.batch_items = _histogram(registry, "batch_items", "Series or digits in a batch", ITEMS)
        self.batch_observations = _histogram(registry, "batch_observations", "Observations in a batch", OBSERVATIONS)
        self.steps = Counter(
            "ritmo_steps", "Steps of rows computed: real observations and padding", ("model", "kind"), registry=registry
        )

    def lane(self, model: str) -> LaneMetrics:
        """The engine's metrics of `model`."""
        return LaneMetrics(self, model)

    def watch(self, state: Callable[[], EngineState]) -> None:
        """Show what `state()` says at every scrape."""
        self.registry.register(_Engine(state))

    def render(self) -> bytes:
        """The page, in the text format of `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class _Engine(Collector):
    def __init__(self, state: Callable[[], EngineState]) -> None:
        self._state = state

    def describe(self) -> Iterator[Metric]:
        """Nothing: asked at registration, when the engine may not have started."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        items = GaugeMetricFamily("ritmo_queue_items", "Series or digits waiting or being computed", labels=["model"])
        observations = GaugeMetricFamily("ritmo_queue_observations", "Their observations", labels=["model"])
        for lane in state.lanes:
            items.add_metric([lane.model], lane.items)
            observations.add_metric([lane.model], lane.observations)
        models = GaugeMetricFamily(
            "ritmo_model_state", "1 for the state a version is in", labels=["model", "version", "state"]
        )
        for model in state.models:
            models.add_metric([model.model, str(model.version), model.state], 1)
        restarts = CounterMetricFamily("ritmo_worker_restarts", "Inference threads that died and were replaced")
        restarts.add_metric([], state.restarts)
        yield from (items, observations, models, restarts)


def _histogram(registry: CollectorRegistry, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"ritmo_{name}", text, ("model",), registry=registry, buckets=buckets)
