"""All models of one process: found, loaded one after the other, looked up by their names, and how they stand.

Models load while the event loop runs, the default ones first; each is served as soon as it has passed its self-test,
with calls that are padded safely until all are there and their shapes are warmed up (`service.backend.warmup`). One
that takes long does not hold up the others, and one that takes longer than it may has failed. The service is ready when
all have been tried, something can be served, and every default name that exists on disk has a ready version. A version
that failed makes only itself unavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from service.backend.deferred import load_served, resolve_device, set_threads, warm_up_served
from service.backend.sharding import ComputeThreads
from service.batching.queue import Limits
from service.batching.scheduler import Scheduler
from service.contract.errors import BrokenModel, ModelFault, RitmoError, Unavailable, UnknownModel, readable
from service.contract.model_signatures import TrustedKeys
from service.metrics.page import EngineState, Metrics, ModelState, QueueState
from service.registry.planning import first_plan
from service.registry.repository import VersionFolder, digests_of, restrict, scan
from service.registry.served import ModelVersion, Served
from service.registry.warm_up_pauses import WarmUpPauses
from service.runtime.garbage import collected_once, freeze
from service.runtime.malloc import malloc_trim
from service.runtime.model_plan import ModelPlan, Preparation

if TYPE_CHECKING:
    from service.backend.model import LoadedModel

T = TypeVar("T")

log = logging.getLogger(__name__)

DEFAULTS = ("forecaster", "digits")
LOAD_SECONDS = 300.0  # that a model may take to load by default, on a slow machine under load
FAULT_LIMIT = 10  # answers in a row that are not sound, after which a version is taken out; 0: it stays
WARM_UP_END_SECONDS = 1.0  # for a warm-up to end when the registry is closed
OVERLAP_SECONDS = 30.0  # seconds until the next model is begun, though the one before is not ready


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service may be sent requests, and everything about it that its operator should see."""

    ready: bool
    reasons: tuple[str, ...]  # why it is not ready
    warnings: tuple[str, ...]  # what is wrong although it is ready: failed versions, replaced threads


class Registry:
    """All models of one process (or those named `only`), the device they run on and the thread that runs them.

    `digests`: the versions that every process of the service serves (`service.registry.repository.restrict`).
    `default_names`: bare names that mean another model, as those that a request without a name has.
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
        load_seconds: float = LOAD_SECONDS,
        fault_limit: int = FAULT_LIMIT,
        trusted: TrustedKeys | None = None,
        keep: int | None = None,
        pins: Mapping[str, int] | None = None,
        default_names: Mapping[str, str] | None = None,
        plan: ModelPlan | None = None,
        plan_number: MutableSequence[int] | None = None,
    ) -> None:
        self.metrics = metrics or Metrics()
        self._models = models
        self._trusted = trusted
        self._device = device
        self._n_threads = threads
        self._processes = processes
        self._limits = limits or Limits()
        self._default_names = default_names or {}
        self._defaults = tuple(self._default_names.get(name, name) for name in defaults)
        self._only = None if only is None else self._default_names.get(only, only)
        self._digests = digests
        self._load_folder = load
        self._load_seconds = load_seconds
        self._fault_limit = fault_limit
        self._keep = keep
        self._pins = pins or {}
        self.plan = plan or ModelPlan(defaults=dict(self._pins))
        self._has_plan = plan is not None
        self._plan_number = [0] if plan_number is None else plan_number
        self._number = self.plan.number
        self._prepared: dict[tuple[str, str | None], ModelVersion] = {}
        self._staged: tuple[ModelPlan, list[ModelVersion]] | None = None
        self.on_taken_out: Callable[[str, int, str], None] = lambda _name, _version, _reason: None
        self._preparations: list[Preparation] = []  # that are being made
        self.on_preparation: Callable[[Sequence[Preparation]], None] = lambda _preparations: None
        self._loaded_on = device
        self._taken_out: set[str] = set()  # versions that are not served, though the plan has them
        self._threads = ComputeThreads()
        self._versions: list[ModelVersion] = []
        self._unreadable: Mapping[str, str] = {}  # names of folders that cannot be read
        self._ignored: Mapping[str, str] = {}  # names of folders that are no model or no version
        self._by_reference: dict[str, Served] = {}
        self._scheduler: Scheduler | None = None
        self._loading: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._last_asked = -math.inf  # time.monotonic() of the last request for a model
        self._draining = False
        self._scanned = False
        self._fault = "the models have not been looked for yet"
        self._engine_fault = ""

    async def start(self) -> None:
        """Begin to look for models and to load them; returns before that (`loaded` waits for it).

        Raises `ValueError` when the device is absent. A folder of models that cannot be read makes the service not
        ready, but does not end it.
        """
        if self._device not in ("auto", "cpu"):
            resolve_device(self._device)
        self._scheduler = Scheduler(self._device)
        self.metrics.watch(self._engine_state)
        loading = self._load_all(self._loader(), self._scheduler)
        self._loading = asyncio.create_task(loading, name="loading models")

    def _loader(self) -> Callable[[Path], LoadedModel]:
        load = self._load_folder or self._load_model
        return lambda folder: load(folder, self._loaded_on)

    async def loaded(self) -> None:
        """Wait until every model is ready or has failed."""
        if self._loading is not None:
            await asyncio.shield(self._loading)

    async def warmed(self) -> None:
        """Wait until every version that is ready is warm, too."""
        await self.loaded()
        if self._warming is not None:
            await asyncio.shield(self._warming)

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
        if self._warming is not None:  # its thread ends after the call that it makes
            await asyncio.wait([self._warming], timeout=WARM_UP_END_SECONDS)
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        if self._scheduler is not None:
            await self._scheduler.close(drain_seconds)
        self._threads.close()

    def get(self, reference: str) -> Served:
        """The ready version that `name` (its highest) or `name@version` means.

        Raises `UnknownModel` (`model_not_found`, `version_not_found`) or `Unavailable` (`model_not_ready`).
        """
        self._last_asked = time.monotonic()
        if self._plan_number[0] != self._number:
            self._switch()
        served = self._by_reference.get(reference)
        return served if served is not None else self._look_up(reference)

    def models(self) -> list[ModelVersion]:
        """All versions, by name, then version."""
        self._switch()
        return list(self._versions)

    def expects(self, reference: str) -> bool:
        """Whether this process is to serve that version, and has not taken it out."""
        return reference in self.plan.digests and reference not in self._taken_out

    async def prepare(self, plan: ModelPlan) -> dict[str, str]:
        """Load what is new in `plan` beside what is served; the versions that cannot be, each with the reason."""
        if self._scheduler is None:
            raise Unavailable("the models are not loaded yet", code="model_not_ready")
        self._switch()
        repository = await _in_daemon_thread(scan, self._models)
        on_disk = {f"{folder.name}@{folder.version}": folder for folder in repository.versions}
        current = {(version.reference, version.digest): version for version in self._versions}
        prepared: dict[tuple[str, str | None], ModelVersion] = {}
        for reference, digest in plan.digests.items():
            served = current.get((reference, digest))
            if served is None or _may_load_now(served, on_disk.get(reference), retried=reference in plan.retried):
                [folder] = restrict(repository.versions, {reference: digest})
                served = ModelVersion(on_disk.get(reference, folder) if digest is None else folder)
                if served.state == "loading":  # one after the other: the machine serves meanwhile
                    await self._load(served, self._loader(), self._scheduler)
                    await self._warm_up(served)
            prepared[reference, digest] = served
        failures = {
            reference: version.reason or "it could not be loaded"
            for (reference, _), version in prepared.items()
            if version.state == "failed"
        }
        for reference in plan.withheld.keys() & on_disk.keys():
            prepared[reference, None] = ModelVersion(on_disk[reference])
        self._prepared = prepared
        return failures

    def stage(self, plan: ModelPlan) -> None:
        """Have everything ready for `plan`, which was prepared but for what could not be loaded."""
        current = {(version.reference, version.digest): version for version in self._versions}
        versions = []
        for reference, digest in plan.digests.items():
            version = self._prepared.get((reference, digest)) or current.get((reference, digest))
            if version is not None:
                versions.append(version)
        for reference, (state, reason) in plan.withheld.items():
            known = [v for (name, _), v in {**current, **self._prepared}.items() if name == reference]
            if known:
                versions.append(known[-1].withheld(state, reason))
        self._staged = plan, sorted(versions, key=lambda version: (version.name, version.version))
        self._prepared = {}

    def activate(self, number: int) -> None:
        """Serve by the staged plan of that number from now on."""
        self._plan_number[0] = number
        self._switch()

    def _switch(self) -> None:
        """Serve by the staged plan, if its number is the one that all processes serve by."""
        staged = self._staged
        if staged is None or staged[0].number != self._plan_number[0]:
            return
        self.plan, self._versions = staged
        self._number, self._staged = self.plan.number, None
        self._taken_out = {v.reference for v in self._versions if v.state == "failed"}
        self._by_reference.clear()

    def _best(self, name: str) -> Served | None:
        """The ready version that the bare `name` means: its default, else the highest."""
        ready = [v.served for v in self._versions if v.name == name and v.served is not None]
        default = self.plan.defaults.get(name)
        return next((s for s in ready if s.manifest.version == default), ready[-1] if ready else None)

    @property
    def queued_work_seconds(self) -> float:
        """How long the work that waits or is computed is expected to take."""
        return self._scheduler.share.seconds if self._scheduler else 0.0

    @property
    def call_seconds(self) -> float:
        """How long the call of a model has taken so far that all other work waits for."""
        return self._scheduler.call_seconds if self._scheduler else 0.0

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.health().ready

    def health(self) -> Health:
        """Readiness, with the reasons; see the module's docstring."""
        self._switch()
        reasons = [fault for fault in (self._fault, self._engine_fault) if fault]
        if self._draining:
            reasons.append("the service is going down")
        if self._scheduler is not None and not self._scheduler.alive:
            reasons.append("the inference thread is not running")
        if self._scanned and not self._fault and not self._versions and not self._unreadable:
            reasons.append(f"there are no models in {self._models} any more")
        reasons += [f"{v.reference} is being loaded" for v in self._versions if v.state == "loading"]
        usable = {v.name for v in self._versions if v.state in ("loading", "ready")}
        hopeless = ({v.name for v in self._versions if v.state == "failed"} | set(self._unreadable)) - usable
        reasons += [f"no version of {name} could be loaded" for name in self._defaults if name in hopeless]
        if hopeless and not usable:
            reasons.append("no model could be loaded")
        warnings = [f"{name}: {fault}" for name, fault in {**self._unreadable, **self._ignored}.items()]
        warnings += [f"{v.reference}: {v.reason}" for v in self._versions if v.state == "failed"]
        known = {v.reference for v in self._versions}
        warnings += [
            f"{name}@{number}: the bare name is to mean this version, and it is not there"
            for name, number in self.plan.defaults.items()
            if self._scanned and not self._fault and self._only in (None, name) and f"{name}@{number}" not in known
        ]
        warnings += [f"{v.reference}: {note}" for v in self._versions for note in v.notes]
        if self._scheduler is not None and self._scheduler.restarts:
            warnings.append(f"the inference thread died and was replaced {self._scheduler.restarts} times")
        return Health(not reasons, tuple(map(readable, reasons)), tuple(map(readable, warnings)))

    def _look_up(self, reference: str) -> Served:
        name, at, number = reference.partition("@")
        if not at:
            name = self._default_names.get(name, name)
        versions = [v for v in self._versions if v.name == name]
        if not versions:
            if self._fault or name in self._unreadable:  # it may well exist; /readyz has the reason
                raise Unavailable(
                    f"model {name[:64]!r} cannot be looked up: the models are not there or cannot be read",
                    code="model_not_ready",
                    retry_after=60.0 if self._scanned else 1.0,
                )
            raise UnknownModel(f"there is no model {name[:64]!r}{self._alternative(name)}", code="model_not_found")
        if at:
            numbers = ", ".join(str(v.version) for v in versions)
            versions = [v for v in versions if str(v.version) == number]
            if not versions:
                raise UnknownModel(
                    f"model {name!r} has no version {number[:16]!r}; it has {numbers}", code="version_not_found"
                )
        served = versions[0].served if at else self._best(name)
        if served is None:
            raise next((v for v in versions if v.state == "loading"), versions[-1]).unavailable()
        self._by_reference[reference] = served
        return served

    def _alternative(self, name: str) -> str:
        names = sorted({v.name for v in self._versions})
        near = difflib.get_close_matches(name, names, n=1)
        if near:
            return f"; did you mean {near[0]!r}?"
        return f"; there are {', '.join(names)}" if names else "; there is none at all"

    async def _load_all(self, load: Callable[[Path], LoadedModel], scheduler: Scheduler) -> None:
        found, prepared = await asyncio.gather(self._scan(), self._import_engine())
        if not found or not prepared:
            return
        rank = {name: position for position, name in enumerate(self._defaults)}
        loading = [v for v in self._versions if v.state == "loading"]
        # The default names first, and of each name the version that its bare name will mean.
        loading.sort(key=lambda v: (rank.get(v.name, len(rank)), v.name, -v.version))
        async with asyncio.TaskGroup() as group:
            for version in loading:
                if not self._draining:
                    await asyncio.wait(
                        [group.create_task(self._load(version, load, scheduler))], timeout=OVERLAP_SECONDS
                    )
        self._warming = asyncio.create_task(self._warm_up_all(loading), name="warming up models")

    async def _import_engine(self) -> bool:
        """Import torch, and find the device; returns whether that could be done."""
        try:
            self._loaded_on = await _in_daemon_thread(_resolve_device, self._device)
            self._threads = ComputeThreads(set_threads(self._n_threads, self._processes))
        except Exception as error:
            log.exception("no model can be loaded")
            self._engine_fault = f"no model can be loaded: {error}"
            return False
        return True

    async def _warm_up_all(self, versions: Sequence[ModelVersion]) -> None:
        """Warm up `versions`, which answer already, one after the other."""
        for version in versions:
            await self._warm_up(version)
        freeze()  # the models, too, are there to stay
        await asyncio.to_thread(malloc_trim)

    @contextlib.contextmanager
    def _preparation(self, version: ModelVersion, part: Literal["loaded", "warmed up"]) -> Iterator[None]:
        """Report what is being prepared: a network may end the process."""
        preparation = Preparation(version.reference, version.digest, part)
        self._preparations.append(preparation)
        self.on_preparation(self._preparations)
        try:
            yield
        finally:
            self._preparations.remove(preparation)
            self.on_preparation(self._preparations)

    def _load_model(self, folder: Path, device: str) -> LoadedModel:
        return load_served(folder, device, threads=self._threads, trusted=self._trusted)

    async def _warm_up(self, version: ModelVersion) -> None:
        """Find the shapes and prices of a version that is served; where that fails, it is taken out."""
        scheduler = self._scheduler
        if version.served is None or scheduler is None or self._load_folder is not None:
            return

        def is_given_up() -> bool:
            return self._draining or version.state != "ready"

        def seconds_since_request() -> float:
            return min(scheduler.seconds_since_work, time.monotonic() - self._last_asked)

        pauses = WarmUpPauses(seconds_since_request)

        def should_continue() -> bool:
            pauses.wait(is_given_up)
            return not is_given_up()

        started = time.monotonic()
        try:
            with self._preparation(version, "warmed up"):
                await _in_daemon_thread(warm_up_served, version.served.model, version.folder, should_continue)
        except Unavailable:  # the service stops, or serves it no longer
            return
        except Exception as error:  # what fails for a shape here would fail for a request
            if not isinstance(error, RitmoError):
                log.exception("model %s could not be warmed up", version.reference)
            reason = error.detail if isinstance(error, RitmoError) else f"{type(error).__name__} while it was warmed up"
            if version in self._versions:
                self._take_out(version.name, version.version, reason)
            else:
                version.fail(reason)
        else:
            log.info("model %s is warm after %.2f s", version.reference, time.monotonic() - started)

    async def _scan(self) -> bool:
        """Look for models; returns whether there are any."""
        try:
            async with asyncio.timeout(self._load_seconds):
                repository = await _in_daemon_thread(scan, self._models)
        except BrokenModel as error:
            self._fault = error.detail
            log.error("%s; the setting RITMO_MODELS names another one", self._fault)
            return False
        except TimeoutError:
            self._fault = f"the folder of models {self._models} could not be read within {self._load_seconds:g} s"
            log.error("%s", self._fault)
            return False
        finally:
            self._scanned = True
        self._unreadable, self._ignored = repository.unreadable, repository.ignored
        folders = repository.versions
        if self._digests is not None:
            others = [each for each in folders if f"{each.name}@{each.version}" in self.plan.withheld]
            folders = [*restrict(folders, self._digests), *others]
            folders.sort(key=lambda folder: (folder.name, folder.version))
        if not self._has_plan:
            self.plan = first_plan(digests_of(folders), self._keep, self._pins)
        withheld = self.plan.withheld
        self._versions = [ModelVersion(folder) for folder in folders if self._only in (None, folder.name)]
        self._versions = [
            version.withheld(*withheld[version.reference]) if version.reference in withheld else version
            for version in self._versions
        ]
        self._fault = "" if folders or repository.unreadable else f"there are no models in {self._models.absolute()}"
        if self._fault:
            log.error("%s; the setting RITMO_MODELS names another folder", self._fault)
        for version in self._versions:
            if version.state == "failed":
                log.error("model %s is broken: %s", version.reference, version.reason)
        for name, fault in self._unreadable.items():
            log.error("model %s is broken: %s", name, fault)
        for name, fault in self._ignored.items():
            log.warning("the folder %s is ignored: %s", name, fault)
        return bool(self._versions)

    async def _load(self, version: ModelVersion, load: Callable[[Path], LoadedModel], scheduler: Scheduler) -> None:
        start = time.monotonic()
        try:
            async with asyncio.timeout(self._load_seconds):
                with self._preparation(version, "loaded"):
                    model = await _in_daemon_thread(load, version.folder)
            if model.manifest != version.manifest:
                raise BrokenModel("its manifest was changed while it was loaded")
        except RitmoError as error:
            version.fail(error.detail)
        except TimeoutError:
            version.fail(f"it was not loaded within {self._load_seconds:g} s (RITMO_MODEL_LOAD_SECONDS)")
        except MemoryError as error:
            version.fail(f"there was no memory to load it: {error}".removesuffix(": "))
        except Exception as error:  # a model must not keep the others from loading, however broken it is
            log.exception("model %s could not be loaded", version.reference)
            version.fail(f"{type(error).__name__} while it was loaded")
        else:
            # It holds the name of the version only: what refers to the version would keep a replaced model in memory.
            on_fault = partial(self._on_fault, asyncio.get_running_loop(), version.name, version.version)
            metrics = self.metrics.for_model(version.name)
            version.serve(Served(model, scheduler, self._limits, metrics, on_fault))
            self._by_reference.clear()
        version.load_seconds = time.monotonic() - start
        if version.state == "ready":
            log.info("model %s is ready after %.2f s", version.reference, version.load_seconds)
        else:
            log.error("model %s failed: %s", version.reference, version.reason)

    def _on_fault(
        self, loop: asyncio.AbstractEventLoop, name: str, version: int, fault: ModelFault, in_a_row: int
    ) -> None:
        """Count an answer that is not sound; a version that gives no others is taken out. May be called in a thread."""
        self.metrics.model_faults.labels(name, str(version)).inc()
        if in_a_row == self._fault_limit:
            reason = (
                f"it was taken out after {in_a_row} answers in a row that were not sound, the last one: {fault.fault}"
            )
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nothing is served any more
                loop.call_soon_threadsafe(self._take_out, name, version, reason)

    def _take_out(self, name: str, number: int, reason: str) -> None:
        for version in self._versions:
            if (version.name, version.version, version.state) == (name, number, "ready"):
                version.fail(reason)
                self._taken_out.add(version.reference)
                self._by_reference.clear()
                log.error("model %s failed: %s", version.reference, reason, extra={"model": name})
                self.on_taken_out(name, number, reason)

    def _engine_state(self) -> EngineState:
        self._switch()
        items: Counter[str] = Counter()
        observations: Counter[str] = Counter()
        for version in self._versions:
            items[version.name] += version.served.queue.items if version.served else 0
            observations[version.name] += version.served.queue.observations if version.served else 0
        return EngineState(
            queues=[QueueState(name, items[name], observations[name]) for name in items],
            models=[ModelState(v.name, v.version, v.state) for v in self._versions],
            restarts=self._scheduler.restarts if self._scheduler else 0,
            queued_work_seconds=self.queued_work_seconds,
        )


def _may_load_now(version: ModelVersion, on_disk: VersionFolder | None, *, retried: bool) -> bool:
    """Whether a version is to be tried again: it was asked for, or files of it came or changed since it failed.

    A folder that is copied slowly fails at first, and its manifest is the same when the rest of it is there.
    """
    if version.state == "ready":
        return False
    return retried or (version.state == "failed" and on_disk is not None and on_disk.files != version.files)


def _resolve_device(name: str) -> str:
    """`resolve_device`, which imports torch, without garbage collections in between."""
    with collected_once():
        return resolve_device(name)


async def _in_daemon_thread(function: Callable[..., T], *arguments: Any) -> T:
    """What `function` returns or raises, in a thread that does not keep the process from ending.

    Threads of a pool are joined when the interpreter ends: a file system that hangs, or a model that takes long to
    load, would hold up a stop for as long.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = function(*arguments)
        except BaseException as raised:  # noqa: BLE001 (it is raised by the awaiting side)
            error = raised
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nothing awaits the result
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=f"loading-{arguments[0]}", daemon=True).start()
    return await future
