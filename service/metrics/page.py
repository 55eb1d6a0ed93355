"""The metrics of the service and the page `/metrics` that shows them; labels never carry ids.

Every number that a process counts has its slot in `service.metrics.store`; `Metrics.render` adds up the slots of all
processes and writes the page, with prometheus_client's own types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, KeysView, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.metrics.store import Counter, CounterStore, Histogram

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# From one call of a tiny model to the longest deadline that is reasonable.
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
OBSERVATIONS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)

IntervalOutcome = Literal["below", "inside", "above"]  # where a new value fell, seen from its predicted interval
INTERVAL_OUTCOMES: tuple[IntervalOutcome, ...] = ("below", "inside", "above")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueState:
    """The load of a model's queue at this moment."""

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
    """The part of the page that is read at each scrape, and costs nothing in between."""

    queues: Iterable[QueueState]
    models: Iterable[ModelState]
    restarts: int
    queued_work_seconds: float  # how long the work of all queues is expected to take


class RequestReport(Protocol):
    """How long a request waited for its batch, and was computed."""

    @property
    def queue_seconds(self) -> float: ...
    @property
    def compute_seconds(self) -> float: ...


class PaddingReport(Protocol):
    """Steps of rows that were computed; `real` of them read an observation."""

    @property
    def real(self) -> int: ...
    @property
    def computed(self) -> int: ...


class BatchReport(Protocol):
    """A batch that was computed, in `seconds`, and the requests it answered."""

    @property
    def items(self) -> int: ...
    @property
    def observations(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def padding(self) -> PaddingReport: ...
    @property
    def requests(self) -> Sequence[RequestReport]: ...


class MetricFamily(Generic[T]):
    """Numbers of one meaning, one for each set of labels."""

    def __init__(
        self,
        kind: Literal["counter", "gauge", "histogram"],
        name: str,
        text: str,
        label_names: tuple[str, ...],
        make: Callable[[str, tuple[str, ...]], T],
        bounds: Sequence[float] = (),
    ) -> None:
        self.kind = kind
        self.name = f"ritmo_{name}"
        self._text = text
        self._label_names = label_names
        self._make = make
        self._bounds = bounds
        self._children: dict[tuple[str, ...], T] = {}
        if not label_names:
            self.labels()

    def labels(self, *values: str) -> T:
        """The number with these labels; code that counts often keeps it."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._make(self.name, values)
        return child

    def label_sets(self) -> KeysView[tuple[str, ...]]:
        """The labels that have occurred in this process."""
        return self._children.keys()

    def samples(self, rows: dict[tuple[str, ...], list[float]]) -> Metric:
        """The family as the page shows it, from its `rows`."""
        if self.kind == "histogram":
            ends = [*map(floatToGoString, self._bounds), "+Inf"]
            histogram = HistogramMetricFamily(self.name, self._text, labels=self._label_names)
            for labels, (*buckets, total) in rows.items():
                histogram.add_metric(labels, list(zip(ends, accumulate(buckets), strict=True)), total)
            return histogram
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        single = kind(self.name, self._text, labels=self._label_names)
        for labels, (value,) in rows.items():
            single.add_metric(labels, value)
        return single


class ModelMetrics:
    """The engine's metrics of one model, its labels bound once."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._queue_seconds = metrics.queue_seconds.labels(model)
        self._compute_seconds = metrics.compute_seconds.labels(model)
        self._batch_items = metrics.batch_items.labels(model)
        self._batch_observations = metrics.batch_observations.labels(model)
        self._batch_seconds = metrics.batch_seconds.labels(model)
        self._real = metrics.steps.labels(model, "real")
        self._padding = metrics.steps.labels(model, "padding")
        self._interval_outcomes = {
            outcome: metrics.interval_outcomes.labels(model, outcome) for outcome in INTERVAL_OUTCOMES
        }

    def interval_outcome(self, outcome: IntervalOutcome) -> None:
        """Count a new value by where it fell, seen from the interval that was predicted for it."""
        self._interval_outcomes[outcome].inc()

    def batch(self, report: BatchReport) -> None:
        """A batch was computed and its requests answered; called by the holder of the scheduler's compute lock."""
        self._batch_items.observe(report.items)
        self._batch_observations.observe(report.observations)
        self._batch_seconds.observe(report.seconds)
        self._real.inc(report.padding.real)
        self._padding.inc(report.padding.computed - report.padding.real)
        for request in report.requests:
            self._queue_seconds.observe(request.queue_seconds)
            self._compute_seconds.observe(request.compute_seconds)


class Metrics(Collector):
    """All metrics. With a `folder` the process is one of several, and every page the sum over all of them."""

    def __init__(self, folder: Path | None = None) -> None:
        self._store = CounterStore(folder)
        self._families: list[MetricFamily[Counter] | MetricFamily[Histogram]] = []
        scalar, histogram = self._scalar, self._histogram
        self.requests = scalar("counter", "requests", "Requests answered", "route", "model", "code")  # the HTTP status
        self.request_seconds = histogram("request_seconds", "From the first byte to the answer", SECONDS, "route")
        self.queue_seconds = histogram("queue_seconds", "Waiting for the batch before", SECONDS)
        self.compute_seconds = histogram("compute_seconds", "From batch start to the request's end", SECONDS)
        self.batch_seconds = histogram("batch_seconds", "Inference thread's time for a batch", SECONDS)
        self.batch_items = histogram("batch_items", "Series or digits in a batch", ITEMS)
        self.batch_observations = histogram("batch_observations", "Observations in a batch", OBSERVATIONS)
        self.steps = scalar(
            "counter", "steps", "Steps of rows computed: real observations and padding", "model", "kind"
        )
        self.model_faults = scalar(
            "counter", "model_faults", "Requests that a model gave no sound answer", "model", "version"
        )
        self.interval_outcomes = scalar(
            "counter",
            "interval_outcomes",
            "New values by where they fell, seen from their 80 % interval, one in ten",
            "model",
            "outcome",
        )
        self.streams = scalar("gauge", "streams", "Live connections").labels()
        self.held_bytes = scalar("gauge", "held_bytes", "Bytes held for clients: sent, or not read by them").labels()
        self.connections_cut = scalar(
            "counter", "connections_cut", "Connections ended since the client did not send or read in time", "reason"
        )
        self._items = scalar("gauge", "queue_items", "Series or digits waiting or being computed", "model")
        self._observations = scalar("gauge", "queue_observations", "Their observations", "model")
        self._queued_work_seconds = scalar(
            "gauge", "queued_work_seconds", "Estimated seconds of work waiting or being computed, all processes"
        ).labels()
        self._models = scalar(
            "gauge", "model_state", "Processes in which a version is in that state", "model", "version", "state"
        )
        self._restarts = scalar(
            "counter", "inference_thread_restarts", "Inference threads that died and were replaced"
        ).labels()
        self._state: Callable[[], EngineState] | None = None
        self._read_held_bytes: Callable[[], int] | None = None

    def for_model(self, model: str) -> ModelMetrics:
        """The engine's metrics of `model`."""
        return ModelMetrics(self, model)

    def watch(self, state: Callable[[], EngineState]) -> None:
        """Show the result of `state()` as of every `refresh`."""
        self._state = state

    def watch_held_bytes(self, read: Callable[[], int]) -> None:
        """Show the result of `read()` as of every `refresh`."""
        self._read_held_bytes = read

    def refresh(self) -> None:
        """Read the engine's state; each of several processes does so every second, since any of them may be scraped."""
        if self._read_held_bytes is not None:
            self.held_bytes.set(self._read_held_bytes())
        if self._state is None:
            return
        state = self._state()
        queues = list(state.queues)
        _show(self._items, {(queue.model,): queue.items for queue in queues})
        _show(self._observations, {(queue.model,): queue.observations for queue in queues})
        _show(self._models, {(m.model, str(m.version), m.state): 1 for m in state.models})
        self._queued_work_seconds.set(state.queued_work_seconds)
        self._restarts.set(state.restarts)

    def render(self, process_restarts: int | None = None) -> bytes:
        """The page, in the text format of `CONTENT_TYPE`, as of the last `refresh`; safe in a thread.

        `process_restarts`: processes that died and were replaced.
        """
        page = CollectorRegistry()
        page.register(self)
        if process_restarts is not None:
            page.register(_ProcessRestarts(process_restarts))
        return generate_latest(page)

    def collect(self) -> Iterator[Metric]:
        """Every family, its numbers added up over the processes (prometheus_client's interface)."""
        gauges = {family.name for family in self._families if family.kind == "gauge"}
        sums: dict[str, dict[tuple[str, ...], list[float]]] = {family.name: {} for family in self._families}
        for name, labels, lives, numbers in self._store.rows():
            if name in gauges and (not lives or math.isnan(numbers[0])):
                continue
            totals = sums[name].get(labels, [0.0] * len(numbers))
            sums[name][labels] = [total + number for total, number in zip(totals, numbers, strict=True)]
        for family in self._families:
            yield family.samples(sums[family.name])

    def _scalar(self, kind: Literal["counter", "gauge"], name: str, text: str, *labels: str) -> MetricFamily[Counter]:
        family = MetricFamily(kind, name, text, labels, lambda of, values: Counter(self._store, of, values))
        self._families.append(family)
        return family

    def _histogram(
        self, name: str, text: str, bounds: Sequence[float], label: str = "model"
    ) -> MetricFamily[Histogram]:
        def make(of: str, values: tuple[str, ...]) -> Histogram:
            return Histogram(self._store, of, values, bounds)

        family = MetricFamily("histogram", name, text, (label,), make, bounds)
        self._families.append(family)
        return family


def _show(gauge: MetricFamily[Counter], values: dict[tuple[str, ...], int]) -> None:
    """Set `gauge`; label sets without a value are no longer shown."""
    for labels in gauge.label_sets() - values.keys():
        gauge.labels(*labels).set(math.nan)
    for labels, value in values.items():
        gauge.labels(*labels).set(value)


class _ProcessRestarts(Collector):
    def __init__(self, count: int) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        restarts = CounterMetricFamily("ritmo_process_restarts", "Serving processes that died and were replaced")
        restarts.add_metric([], self._count)
        yield restarts
