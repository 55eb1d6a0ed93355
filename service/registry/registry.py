"""What is loaded: every version found on disk as `loading`, `ready` or `failed` with the reason.

Models load one after the other beside the event loop, those that users get by default first; each is served from the
moment it has proved itself. The service is ready when all have been tried, something is there to be served, and every
default name that exists on disk has a ready version. One that failed keeps nobody from being ready but itself.
"""

from __future__ import annotations

import asyncio
import difflib
import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from service.backend.buckets import SHARE_ROWS
from service.backend.chunks import IsCancelled, PaddingStats
from service.backend.forecasting import IndexedResults
from service.backend.sharding import ComputeThreads
from service.backend.torchscript import LoadedModel, resolve_device, set_threads
from service.backend.torchscript import load as load_model
from service.batching.queue import BatchResult, Limits, ModelQueue
from service.batching.scheduler import Scheduler
from service.contract.errors import BrokenModel, RitmoError, Unavailable, UnknownModel
from service.contract.manifest import Manifest
from service.contract.types import Item
from service.metrics.page import EngineState, Metrics, ModelMetrics, ModelState, QueueState
from service.registry.interval_coverage import IntervalMonitor
from service.registry.repository import Found, restrict, scan
from service.runtime.malloc import malloc_trim

log = logging.getLogger(__name__)

DEFAULTS = ("forecaster", "digits")
State = Literal["loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service may be sent requests, and all that speaks against it or should be known."""

    ready: bool
    reasons: tuple[str, ...]  # why it is not ready
    warnings: tuple[str, ...]  # what is wrong although it is ready: failed versions, replaced threads


class Served:
    """One version of a model, from the moment it was found."""

    def __init__(self, found: Found) -> None:
        self.name = found.name
        self.version = found.version
        self.folder = found.folder
        self.state: State = "failed" if found.fault else "loading"
        self.reason = found.fault
        self.load_seconds: float | None = None
        self._manifest = found.manifest
        self._model: LoadedModel | None = None
        self._lane: ModelQueue | None = None
        self._metrics: ModelMetrics | None = None
        self._coverage: IntervalMonitor | None = None

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def manifest(self) -> Manifest:
        """The manifest; `Unavailable` where it is what is broken."""
        if self._manifest is None:
            raise Unavailable(f"model {self.reference} cannot be served: its manifest is broken", retry_after=60.0)
        return self._manifest

    @property
    def readable(self) -> bool:
        """Whether there is a manifest to be shown."""
        return self._manifest is not None

    @property
    def batch_invariant(self) -> bool | None:
        """Whether answers are bit for bit independent of their neighbours, as measured at warm-up; None before."""
        return self._model.batch_invariant if self._model else None

    @property
    def batch_deviation(self) -> float | None:
        """Largest relative difference seen between batches at warm-up, 0.0 when invariant; None before."""
        return self._model.batch_deviation if self._model else None

    async def submit(self, items: Sequence[Item], deadline: float | None = None) -> BatchResult:
        """The results for `items`; see `service.batching.queue.ModelQueue.submit`."""
        if self._lane is None or self._metrics is None:
            raise self.unavailable()
        asked = self._coverage.questions(items) if self._coverage else None
        if not asked or not self._coverage:
            outcome = await self._lane.submit(items, deadline)
        else:
            outcome = await self._lane.submit([*items, *(question for question, _ in asked)], deadline)
            self._coverage.compare(asked, outcome.results[len(items) :])
            outcome = replace(outcome, results=outcome.results[: len(items)])
        self._metrics.request(outcome.queue_seconds, outcome.compute_seconds)
        return outcome

    def unavailable(self) -> Unavailable:
        """Why this version cannot be asked now, for whoever asked."""
        if self.state == "loading":
            return Unavailable(f"model {self.reference} is being loaded", retry_after=1.0)
        return Unavailable(f"model {self.reference} could not be loaded", retry_after=60.0)

    def begin(self, model: LoadedModel, batcher: Scheduler, limits: Limits, metrics: ModelMetrics) -> None:
        """Serve `model` from now on."""
        self._model, self._metrics = model, metrics
        self._coverage = IntervalMonitor(metrics.interval_outcome) if model.manifest.task == "forecast" else None
        self._lane = batcher.lane(self.reference, self._stream, limits)
        self._lane.on_batch = metrics.batch
        self.state = "ready"

    def fail(self, reason: str) -> None:
        """Do not serve this version, because of `reason`."""
        self.state, self.reason = "failed", reason

    def waiting(self) -> tuple[int, int]:
        """Items and observations admitted and not yet answered."""
        return (self._lane.items, self._lane.observations) if self._lane else (0, 0)

    def _stream(self, items: Sequence[Item], is_cancelled: IsCancelled, callers: int) -> Iterator[IndexedResults]:
        if self._model is None or self._metrics is None:
            raise RuntimeError(f"{self.reference} has a lane but no model")
        padding = PaddingStats()
        # Many callers keep the event loop busy: a helper would take its CPU, and contend for the interpreter with it.
        shared = len(items) >= SHARE_ROWS * callers
        try:
            yield from self._model.stream(items, is_cancelled, padding, shared=shared)
        finally:
            self._metrics.padding(padding.real, padding.computed)


class Registry:
    """All models of one process (or those named `only`), the device they run on and the thread that runs them.

    `digests`: the versions that every process of the service serves (`service.registry.repository.restrict`).
    """

    def __init__(
        self,
        models: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        processes: int = 1,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        defaults: Sequence[str] = DEFAULTS,
        only: str | None = None,
        digests: Mapping[str, str | None] | None = None,
        load: Callable[[Path, str], LoadedModel] | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._models = models
        self._device = device
        self._threads = threads
        self._processes = processes
        self._limits = limits or Limits()
        self._defaults = tuple(defaults)
        self._only = only
        self._digests = digests
        self._given = load
        self._helpers = ComputeThreads()
        self._served: list[Served] = []
        self._by_reference: dict[str, Served] = {}
        self._batcher: Scheduler | None = None
        self._loading: asyncio.Task[None] | None = None
        self._draining = False
        self._fault = "the models have not been looked for yet"

    async def start(self) -> None:
        """Look for models and begin to load them; returns before they are loaded (`loaded` waits for that).

        Raises `ValueError` when the device is not there. A folder of models that cannot be read makes the service not
        ready, and no worse.
        """
        device = resolve_device(self._device)
        self._helpers = ComputeThreads(set_threads(self._threads, self._processes))
        self._load_folder = self._given or partial(
            load_model, should_continue=lambda: not self.draining, helpers=self._helpers
        )
        self._batcher = Scheduler(str(device))
        self.metrics.watch(self._engine_state)
        try:
            found = await asyncio.to_thread(scan, self._models)
        except BrokenModel as error:
            self._fault = error.detail
            return
        if self._digests is not None:
            found = restrict(found, self._digests)
        self._fault = "" if found else f"there are no models in {self._models}"
        self._served = [Served(each) for each in found if self._only in (None, each.name)]
        for served in self._served:
            if served.reason:
                log.error("model %s is broken: %s", served.reference, served.reason)
        self._loading = asyncio.create_task(self._load_all(str(device), self._batcher), name="loading models")

    async def loaded(self) -> None:
        """Wait until every model is ready or has failed."""
        if self._loading is not None:
            await asyncio.shield(self._loading)

    def drain(self) -> None:
        """Not ready from now on; requests are still taken, until `close`. A model that is being loaded is given up."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Refuse new work, finish within `drain_seconds` what was taken, fail the rest, end the thread."""
        self.drain()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        if self._batcher is not None:
            await self._batcher.close(drain_seconds)
        self._helpers.close()

    def get(self, reference: str) -> Served:
        """The ready version that `name` (its highest) or `name@version` means.

        Raises `UnknownModel` (`model_not_found`, `version_not_found`) or `Unavailable` (`model_not_ready`).
        """
        served = self._by_reference.get(reference)
        return served if served is not None else self._look_up(reference)

    def models(self) -> list[Served]:
        """All versions, by name, then version."""
        return list(self._served)

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.health().ready

    def health(self) -> Health:
        """Readiness, with the reasons; see the module's docstring."""
        reasons = [self._fault] if self._fault else []
        if self._draining:
            reasons.append("the service is going down")
        if self._batcher is not None and not self._batcher.alive:
            reasons.append("the inference thread is not running")
        reasons += [f"{s.reference} is being loaded" for s in self._served if s.state == "loading"]
        hopeless = {s.name for s in self._served} - {s.name for s in self._served if s.state != "failed"}
        reasons += [f"no version of {name} could be loaded" for name in self._defaults if name in hopeless]
        if self._served and all(s.state == "failed" for s in self._served):
            reasons.append("no model could be loaded")
        warnings = [f"{s.reference}: {s.reason}" for s in self._served if s.state == "failed"]
        if self._batcher is not None and self._batcher.restarts:
            warnings.append(f"the inference thread died and was replaced {self._batcher.restarts} times")
        return Health(not reasons, tuple(reasons), tuple(warnings))

    def _look_up(self, reference: str) -> Served:
        name, at, number = reference.partition("@")
        versions = [s for s in self._served if s.name == name]
        if not versions:
            raise UnknownModel(f"there is no model {name[:64]!r}{self._instead(name)}", code="model_not_found")
        if at:
            versions = [s for s in versions if str(s.version) == number]
            if not versions:
                there = ", ".join(str(s.version) for s in self._served if s.name == name)
                raise UnknownModel(
                    f"model {name!r} has no version {number[:16]!r}; it has {there}", code="version_not_found"
                )
        ready = [s for s in versions if s.state == "ready"]
        if not ready:
            raise next((s for s in versions if s.state == "loading"), versions[-1]).unavailable()
        self._by_reference[reference] = ready[-1]
        return ready[-1]

    def _instead(self, name: str) -> str:
        names = sorted({s.name for s in self._served})
        near = difflib.get_close_matches(name, names, n=1)
        if near:
            return f"; did you mean {near[0]!r}?"
        return f"; there are {', '.join(names)}" if names else "; there is none at all"

    async def _load_all(self, device: str, batcher: Scheduler) -> None:
        rank = {name: place for place, name in enumerate(self._defaults)}
        waiting = [s for s in self._served if s.state == "loading"]
        # The default names first, and of each name the version that its bare name will mean.
        for served in sorted(waiting, key=lambda s: (rank.get(s.name, len(rank)), s.name, -s.version)):
            if not self._draining:
                await self._load(served, device, batcher)
        # What is alive now stays: collections need not look at torch's hundred thousand objects ever again.
        gc.collect()
        gc.freeze()
        await asyncio.to_thread(malloc_trim)

    async def _load(self, served: Served, device: str, batcher: Scheduler) -> None:
        start = time.monotonic()
        try:
            model = await asyncio.to_thread(self._load_folder, served.folder, device)
            if model.manifest != served.manifest:
                raise BrokenModel("its manifest was changed while it was loaded")
        except RitmoError as error:
            served.fail(error.detail)
        except Exception as error:  # one model, whatever is wrong with it, must not keep the others from loading
            log.exception("model %s could not be loaded", served.reference)
            served.fail(f"{type(error).__name__} while it was loaded")
        else:
            served.begin(model, batcher, self._limits, self.metrics.for_model(served.name))
            self._by_reference.clear()
        served.load_seconds = time.monotonic() - start
        if served.state == "ready":
            log.info("model %s is ready after %.2f s", served.reference, served.load_seconds)
        else:
            log.error("model %s failed: %s", served.reference, served.reason)

    def _engine_state(self) -> EngineState:
        items: Counter[str] = Counter()
        observations: Counter[str] = Counter()
        for served in self._served:
            waiting = served.waiting()
            items[served.name] += waiting[0]
            observations[served.name] += waiting[1]
        return EngineState(
            queues=[QueueState(name, items[name], observations[name]) for name in items],
            models=[ModelState(s.name, s.version, s.state) for s in self._served],
            restarts=self._batcher.restarts if self._batcher else 0,
        )
