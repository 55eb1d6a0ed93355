"""Prometheus objects of one process, in a registry of their own; labels never carry ids.

Every number a process counts is kept here and written by `Metrics.render`, for this process or added up over several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
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
    """All that `/metrics` shows.

    With a `folder` the process is one of several: prometheus_client keeps their values in files there (its multiprocess
    mode, chosen by `SHARED` in the environment before it is imported), and every page is the sum over all processes,
    the counters of those that have died included.
    """

    def __init__(self, folder: Path | None = None) -> None:
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
        self.queue_seconds = _histogram(registry, "queue_seconds", "Waiting for the batch before", SECONDS)
        self.compute_seconds = _histogram(registry, "compute_seconds", "From batch start to the request's end", SECONDS)
        self.batch_seconds = _histogram(registry, "batch_seconds", "Inference thread's time for a batch", SECONDS)
        self.batch_items = _histogram(registry, "batch_items", "Series or digits in a batch", ITEMS)
        self.batch_observations = _histogram(registry, "batch_observations", "Observations in a batch", OBSERVATIONS)
        self.steps = Counter(
            "ritmo_steps", "Steps of rows computed: real observations and padding", ("model", "kind"), registry=registry
        )
        self.streams = _gauge(registry, "streams", "Live connections")
        self._items = _gauge(registry, "queue_items", "Series or digits waiting or being computed", "model")
        self._observations = _gauge(registry, "queue_observations", "Their observations", "model")
        self._models = _gauge(
            registry, "model_state", "Processes in which a version is in that state", "model", "version", "state"
        )
        self._restarts = Counter(
            "ritmo_worker_restarts", "Inference threads that died and were replaced", registry=registry
        )
        self._folder = folder
        self._state: Callable[[], EngineState] | None = None
        self._restarts_seen = 0
        self._shown: dict[Gauge, set[tuple[str, ...]]] = {}

    def lane(self, model: str) -> LaneMetrics:
        """The engine's metrics of `model`."""
        return LaneMetrics(self, model)

    def watch(self, state: Callable[[], EngineState]) -> None:
        """Show what `state()` says at every scrape."""
        self._state = state

    def refresh(self) -> None:
        """Look at the engine; where there are several processes each does so every second, for whoever is scraped."""
        if self._state is None:
            return
        state = self._state()
        lanes = list(state.lanes)
        self._show(self._items, {(lane.model,): lane.items for lane in lanes})
        self._show(self._observations, {(lane.model,): lane.observations for lane in lanes})
        self._show(self._models, {(m.model, str(m.version), m.state): 1 for m in state.models})
        self._restarts.inc(state.restarts - self._restarts_seen)
        self._restarts_seen = state.restarts

    def render(self, replaced: int | None = None) -> bytes:
        """The page, in the text format of `CONTENT_TYPE`; `replaced`: how many processes died and were replaced."""
        self.refresh()
        registry = self.registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))
        page = generate_latest(registry)
        if replaced is None:
            return page
        own = CollectorRegistry()
        own.register(_Replaced(replaced))
        return page + generate_latest(own)

    def _show(self, gauge: Gauge, values: dict[tuple[str, ...], int]) -> None:
        """Set `gauge`; what it showed before and has no value now is 0, or gone where this is the only process."""
        gone = self._shown.get(gauge, set()) - values.keys()
        for labels in gone:
            if self._folder is None:
                gauge.remove(*labels)
            else:  # a value in a file stays there
                gauge.labels(*labels).set(0)
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
        self._shown[gauge] = set(values)


class _Replaced(Collector):
    def __init__(self, count: int) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        replaced = CounterMetricFamily("ritmo_process_restarts", "Serving processes that died and were replaced")
        replaced.add_metric([], self._count)
        yield replaced


def forget(folder: Path, pid: int) -> None:
    """A process has died: its gauges are no more; its counters stay."""
    mark_process_dead(pid, path=str(folder))


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"ritmo_{name}", text, labels, registry=registry, multiprocess_mode="livesum")


def _histogram(registry: CollectorRegistry, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"ritmo_{name}", text, ("model",), registry=registry, buckets=buckets)
