"""Versions of models: each one found on disk with its state, and what serves requests once it is loaded."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from service.batching.queue import Limits, ResultFuture
from service.batching.scheduler import Scheduler
from service.contract.errors import ModelFault, Unavailable
from service.contract.types import Item
from service.metrics.page import ModelMetrics
from service.registry.batch_reports import BatchReports
from service.registry.interval_coverage import IntervalMonitor
from service.registry.repository import VersionFolder, digest_of
from service.runtime.fair_share import ANONYMOUS, Client

if TYPE_CHECKING:
    from service.backend.model import LoadedModel

FAILED_RETRY = 60.0  # seconds after which to ask again for a model that has to be mended first

State = Literal["loading", "ready", "failed", "unloaded"]


class Served:
    """A loaded model and its queue."""

    def __init__(
        self,
        model: LoadedModel,
        scheduler: Scheduler,
        limits: Limits,
        metrics: ModelMetrics,
        on_fault: Callable[[ModelFault, int], None] = lambda _fault, _row: None,
    ) -> None:
        """`on_fault` gets each answer that is not sound, and how many of them came in a row, perhaps in a thread."""
        self.manifest = model.manifest
        self.model = model
        reference = f"{self.manifest.name}@{self.manifest.version}"
        reports = BatchReports(metrics, on_fault)
        self.queue = scheduler.new_queue(
            reference, model.run_batch, limits, reports.record, price=model.seconds, speed=model.speed
        )
        # A version that was replaced goes with the last request or live connection that uses it. Nothing that the
        # scheduler holds may therefore refer back to this object.
        weakref.finalize(self, scheduler.remove_queue, self.queue).atexit = False
        forecasts = self.manifest.task == "forecast"
        self._monitor = IntervalMonitor(self.queue.submit_probe, metrics.interval_outcome) if forecasts else None

    def submit(
        self,
        items: Sequence[Item],
        deadline: float | None = None,
        client: Client = ANONYMOUS,
        on_settled: Callable[[ResultFuture], None] | None = None,
    ) -> ResultFuture:
        """The results for `items`, to be awaited; see `service.batching.queue.ModelQueue.submit`.

        Every way to a model ends here, so here the work is charged to the account of its client.
        """
        if client.account is not None:
            client.account.charge(self.manifest.task, len(items), sum(item.length for item in items))
        probes = None
        if self._monitor is not None:
            for item in items:
                if item.state is not None:  # an update, which most requests are not
                    probes = self._monitor.probes(items)
                    break
        answer = self.queue.submit(items, deadline, client, on_settled)
        if probes and self._monitor is not None:
            self._monitor.submit_after(answer, probes)
        return answer

    def check_time(self, items: Sequence[Item], values: int, deadline: float) -> None:
        """Raise `DeadlineExceeded` where `items` with so many `values` would take far longer than until `deadline`."""
        self.queue.check_time(items, values, deadline)

    def charge(self, client: Client, items: int, values: int) -> Client:
        """`client` for work that is submitted in parts: its account has paid for the whole, or this raises.

        Part by part, a caller would pay again for the first parts with every attempt that ends in a later one.
        """
        if client.account is None:
            return client
        client.account.charge(self.manifest.task, items, values)
        return client._replace(account=None)


class ModelVersion:
    """One version of a model, from the moment it was found: loading, ready or failed."""

    def __init__(self, folder: VersionFolder) -> None:
        self.name = folder.name
        self.version = folder.version
        self.folder = folder.folder
        self.digest = digest_of(folder.manifest)  # of the manifest, which holds the digests of the files
        self.files = folder.files
        self._source = folder
        self.manifest = folder.manifest  # None where it cannot be read
        self.state: State = "failed" if folder.fault else "loading"
        self.reason = folder.fault  # why it failed
        self.notes = folder.notes
        self.load_seconds: float | None = None
        self.served: Served | None = None

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def batch_invariant(self) -> bool | None:
        """Whether answers are bit for bit independent of their neighbours, as measured at warm-up; None before."""
        return self.served.model.batch_invariant if self.served else None

    @property
    def batch_deviation(self) -> float | None:
        """Largest relative difference between batches at warm-up, 0.0 when invariant; None before."""
        return self.served.model.batch_deviation if self.served else None

    def serve(self, served: Served) -> None:
        """Answer with `served` from now on."""
        self.served, self.state = served, "ready"

    def fail(self, reason: str) -> None:
        """Do not serve this version, or not any longer, because of `reason`."""
        self.state, self.reason, self.served = "failed", reason, None

    def withheld(self, state: Literal["unloaded", "failed"], reason: str) -> ModelVersion:
        """The same version, not served because of `reason`."""
        version = ModelVersion(self._source)
        version.state, version.reason = state, reason
        return version

    def unavailable(self) -> Unavailable:
        """Why this version answers no request at this moment."""
        if self.state == "loading":
            return Unavailable(f"model {self.reference} is being loaded", code="model_not_ready", retry_after=1.0)
        return Unavailable(
            f"model {self.reference} is not served: {self.reason}", code="model_not_ready", retry_after=FAILED_RETRY
        )
