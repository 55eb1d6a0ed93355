"""What the page `/metrics` shows; labels never carry ids.

Every number a process counts has its place in `service.metrics.store`; `Metrics.render` adds up what all processes have
there and writes the page, with prometheus_client's own types.
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

from service.metrics.store import Counter, CounterStore, Histogram, bury

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# From a single tiny model call to the longest deadline anyone should accept.
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
OBSERVATIONS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)

Place = Literal["below", "inside", "above"]
PLACES: tuple[Place, ...] = ("below", "inside", "above")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueState:
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

    lanes: Iterable[QueueState]
    models: Iterable[ModelState]
    restarts: int


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
    """Numbers of one meaning, told apart by their labels."""

    def __init__(
        self,
        kind: Literal["counter", "gauge", "histogram"],
        name: str,
        text: str,
        names: tuple[str, ...],
        make: Callable[[str, tuple[str, ...]], T],
        bounds: Sequence[float] = (),
    ) -> None:
        self.kind = kind
        self.name = f"ritmo_{name}"
        self._text = text
        self._names = names
        self._make = make
        self._bounds = bounds
        self._made: dict[tuple[str, ...], T] = {}
        if not names:
            self.labels()

    def labels(self, *values: str) -> T:
        """The number with these labels; who counts often keeps it."""
        made = self._made.get(values)
        if made is None:
            made = self._made[values] = self._make(self.name, values)
        return made

    def made(self) -> KeysView[tuple[str, ...]]:
        """The labels that have occurred in this process."""
        return self._made.keys()

    def page(self, rows: dict[tuple[str, ...], list[float]]) -> Metric:
        """As the page shows it."""
        if self.kind == "histogram":
            ends = [*map(floatToGoString, self._bounds), "+Inf"]
            histogram = HistogramMetricFamily(self.name, self._text, labels=self._names)
            for labels, (*buckets, total) in rows.items():
                histogram.add_metric(labels, list(zip(ends, accumulate(buckets), strict=True)), total)
            return histogram
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        single = kind(self.name, self._text, labels=self._names)
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
        self._truths = {where: metrics.truths.labels(model, where) for where in PLACES}

    def interval_outcome(self, where: Place) -> None:
        """A new value fell there, seen from the interval that was forecast for it; called by the event loop."""
        self._truths[where].inc()

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
    """All that `/metrics` shows. With a `folder` the process is one of several, and every page the sum over all."""

    def __init__(self, folder: Path | None = None) -> None:
        self._numbers = CounterStore(folder)
        self._families: list[MetricFamily[Counter] | MetricFamily[Histogram]] = []
        count, spread = self._count, self._spread
        self.requests = count("counter", "requests", "Requests answered", "route", "model", "code")  # the HTTP status
        self.request_seconds = spread("request_seconds", "From the first byte to the answer", SECONDS, "route")
        self.queue_seconds = spread("queue_seconds", "Waiting for the batch before", SECONDS)
        self.compute_seconds = spread("compute_seconds", "From batch start to the request's end", SECONDS)
        self.batch_seconds = spread("batch_seconds", "Inference thread's time for a batch", SECONDS)
        self.batch_items = spread("batch_items", "Series or digits in a batch", ITEMS)
        self.batch_observations = spread("batch_observations", "Observations in a batch", OBSERVATIONS)
        self.steps = count("counter", "steps", "Steps of rows computed: real observations and padding", "model", "kind")
        self.truths = count(
            "counter", "truths", "New values by where they fell from their 80 % interval, one in ten", "model", "place"
        )
        self.streams = count("gauge", "streams", "Live connections").labels()
        self._items = count("gauge", "queue_items", "Series or digits waiting or being computed", "model")
        self._observations = count("gauge", "queue_observations", "Their observations", "model")
        self._models = count(
            "gauge", "model_state", "Processes in which a version is in that state", "model", "version", "state"
        )
        self._restarts = count("counter", "worker_restarts", "Inference threads that died and were replaced").labels()
        self._state: Callable[[], EngineState] | None = None

    def lane(self, model: str) -> ModelMetrics:
        """The engine's metrics of `model`."""
        return ModelMetrics(self, model)

    def watch(self, state: Callable[[], EngineState]) -> None:
        """Show what `state()` says at every scrape."""
        self._state = state

    def refresh(self) -> None:
        """Look at the engine; where there are several processes each does so every second, for whoever is scraped."""
        if self._state is None:
            return
        state = self._state()
        lanes = list(state.lanes)
        _show(self._items, {(lane.model,): lane.items for lane in lanes})
        _show(self._observations, {(lane.model,): lane.observations for lane in lanes})
        _show(self._models, {(m.model, str(m.version), m.state): 1 for m in state.models})
        self._restarts.set(state.restarts)

    def render(self, replaced: int | None = None) -> bytes:
        """The page, in the text format of `CONTENT_TYPE`; `replaced`: how many processes died and were replaced."""
        self.refresh()
        page = CollectorRegistry()
        page.register(self)
        if replaced is not None:
            page.register(_Replaced(replaced))
        return generate_latest(page)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for: every family, its numbers added up."""
        gauges = {family.name for family in self._families if family.kind == "gauge"}
        sums: dict[str, dict[tuple[str, ...], list[float]]] = {family.name: {} for family in self._families}
        for name, labels, lives, numbers in self._numbers.rows():
            if name in gauges and (not lives or math.isnan(numbers[0])):
                continue
            before = sums[name].get(labels, [0.0] * len(numbers))
            sums[name][labels] = [one + other for one, other in zip(before, numbers, strict=True)]
        for family in self._families:
            yield family.page(sums[family.name])

    def _count(self, kind: Literal["counter", "gauge"], name: str, text: str, *labels: str) -> MetricFamily[Counter]:
        family = MetricFamily(kind, name, text, labels, lambda of, values: Counter(self._numbers, of, values))
        self._families.append(family)
        return family

    def _spread(self, name: str, text: str, bounds: Sequence[float], label: str = "model") -> MetricFamily[Histogram]:
        def make(of: str, values: tuple[str, ...]) -> Histogram:
            return Histogram(self._numbers, of, values, bounds)

        family = MetricFamily("histogram", name, text, (label,), make, bounds)
        self._families.append(family)
        return family


def _show(gauge: MetricFamily[Counter], values: dict[tuple[str, ...], int]) -> None:
    """Set `gauge`; what it showed before and has no value now is shown no more."""
    for labels in gauge.made() - values.keys():
        gauge.labels(*labels).set(math.nan)
    for labels, value in values.items():
        gauge.labels(*labels).set(value)


class _Replaced(Collector):
    def __init__(self, count: int) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        replaced = CounterMetricFamily("ritmo_process_restarts", "Serving processes that died and were replaced")
        replaced.add_metric([], self._count)
        yield replaced


def forget(folder: Path, pid: int) -> None:
    """A process has died: its gauges are no more; its counters stay."""
    bury(folder, pid)
