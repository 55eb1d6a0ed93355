"""What the processes of one service share, where the setting `workers` asks for several.

The parent makes it and passes it to each worker that it spawns. It holds nothing of a request: every process has its
own models and its own queues, and a state token is valid in all of them.

Every shared number has one writer at a time, so none needs a lock. A worker's numbers lie at its index. There is one
index more than there are workers: in a rolling restart a replacement starts while its predecessor still serves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from service.runtime.allowances import SharedAllowances
from service.runtime.model_plan import ModelPlan

FURTHER_VERSIONS = 1024  # that may be found on disk, at one time, beyond those that were there at the start
NOT_LISTENING = 2**31 - 1  # in place of a number of connections


class SharedNumbers:
    """The memory that the parent and its workers share."""

    def __init__(self, context: BaseContext, workers: int) -> None:
        self.workers = workers
        # By index: id of the process that was ready there last, 0 before any was; and open connections.
        self.ready_pids: MutableSequence[int] = context.RawArray("q", workers + 1)
        self.connections: MutableSequence[int] = context.RawArray("i", [NOT_LISTENING] * (workers + 1))
        self.plan_number: MutableSequence[int] = context.RawArray("q", 1)  # of the models' plan that all serve by
        # By index: time.monotonic() of the last sign of life of the event loop, 0 before the first.
        self.heartbeats: MutableSequence[float] = context.RawArray("d", workers + 1)
        self.allowances = SharedAllowances(context, workers + 1)
        self._parent: MutableSequence[int] = context.RawArray("q", 3)  # the numbers below; only the parent writes them

    @property
    def restarts(self) -> int:
        """Processes that died and were replaced."""
        return self._parent[0]

    @restarts.setter
    def restarts(self, count: int) -> None:
        self._parent[0] = count

    @property
    def failed_starts(self) -> int:
        """Replacements that could not start, since the last one that could."""
        return self._parent[1]

    @failed_starts.setter
    def failed_starts(self, count: int) -> None:
        self._parent[1] = count

    @property
    def stopping(self) -> bool:
        """Whether the whole service stops; a worker that ends alone leaves the waiting connections to the others."""
        return bool(self.stop_signals)

    @property
    def stop_signals(self) -> int:
        """How many signals to stop the parent has received."""
        return self._parent[2]

    def stop(self) -> None:
        """The whole service stops from now on."""
        self._parent[2] += 1

    def clear(self, index: int) -> None:
        """Forget the process at `index`, which is dead or has not started yet."""
        self.heartbeats[index] = 0.0
        self.connections[index] = NOT_LISTENING
        self.allowances.clear(index)


class ModelSet:
    """The model versions that every process serves, by the parent's plan (see `service.runtime.model_plan`).

    `digests` maps a reference (`name@version`) to the digest of its manifest, which names the digests of its files, or
    to None where the manifest could not be read.
    """

    def __init__(self, context: BaseContext, digests: Mapping[str, str | None], plan: ModelPlan | None = None) -> None:
        self.plan = plan or ModelPlan(digests=digests)
        self._digests = dict(digests)
        self._positions = {reference: position for position, reference in enumerate(digests)}
        self._served: MutableSequence[int] = context.RawArray("b", len(digests) + FURTHER_VERSIONS)

    def has_room_for(self, digests: Mapping[str, str | None]) -> bool:
        """Whether there is a place for each of these versions beside those that are served."""
        return len(self._positions.keys() | digests.keys()) <= len(self._served)

    def positions_for(self, digests: Mapping[str, str | None]) -> dict[str, int]:
        """A place in the shared memory for each reference in `digests`; those that are known keep theirs."""
        free = iter(sorted(set(range(len(self._served))) - set(self._positions.values())))
        return {name: self._positions[name] if name in self._positions else next(free) for name in digests}

    def adopt(self, digests: Mapping[str, str | None], positions: Mapping[str, int]) -> None:
        """Serve these versions from now on, in a worker: the parent has chosen the places."""
        self._digests, self._positions = dict(digests), dict(positions)

    def replace(self, plan: ModelPlan) -> None:
        """All processes serve by `plan` now, in the parent."""
        positions = self.positions_for(plan.digests)
        for name, position in self._positions.items():
            if name not in positions:
                self._served[position] = 0
        self.adopt(plan.digests, positions)
        self.plan = plan
        self.add_served(plan.digests)

    def leave_out(self, plan: ModelPlan) -> None:
        """Processes that start from now on serve by `plan`, which has less than the others serve, in the parent."""
        for reference in self._digests.keys() - plan.digests.keys():
            self._served[self._positions[reference]] = 0
        self._digests, self.plan = dict(plan.digests), plan

    def loadable(self, *, complete: bool) -> Mapping[str, str | None]:
        """The digests for a new process; once all processes are ready (`complete`), None for what none of them serves.

        A version that could not be loaded when the service started stays out, though it might load now.
        """
        served = self._served_references() if complete else set()
        return {name: digest if not served or name in served else None for name, digest in self._digests.items()}

    def missing(self, ready: Collection[str]) -> list[str]:
        """The versions that another process serves and that are not among `ready`."""
        return sorted(self._served_references() - set(ready))

    def add_served(self, ready: Collection[str]) -> None:
        """A process serves the versions `ready`."""
        for reference, position in self._positions.items():
            if reference in ready:
                self._served[position] = 1

    def _served_references(self) -> set[str]:
        return {reference for reference, position in self._positions.items() if self._served[position]}


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """One worker's view of the processes of its service."""

    index: int
    folder: Path  # of the counters of all processes (`service.metrics.store`)
    key: bytes  # signs state tokens where no keys are set
    shared: SharedNumbers
    models: ModelSet
    digests: Mapping[str, str | None]  # of the versions that this process loads, see `ModelSet.loadable`
    is_replacement: bool = False  # other processes serve already: it listens only once it is ready
    plan: ModelPlan = field(default_factory=ModelPlan)  # that this process starts with
    connection: Connection[Any, Any] | None = None  # to the parent, which decides about changes of the models

    def beat(self) -> None:
        """The event loop of this process turns."""
        self.shared.heartbeats[self.index] = time.monotonic()

    def others_listen(self) -> bool:
        """Whether another process of the service takes connections."""
        counts = self.shared.connections
        return any(count != NOT_LISTENING for index, count in enumerate(counts) if index != self.index)

    def mark_ready(self) -> None:
        """The models of this process are loaded."""
        self.shared.ready_pids[self.index] = os.getpid()

    def reasons(self) -> Sequence[str]:
        """Why the service is not ready although this process may be: others listen, too, and cannot answer yet."""
        flags = self.shared.ready_pids[: self.shared.workers]
        return [f"{flags.count(0)} of {len(flags)} processes are not ready yet"] if 0 in flags else []

    def warnings(self) -> Sequence[str]:
        """What an operator should learn although the service is ready."""
        warnings = []
        if self.shared.restarts:
            warnings.append(f"a serving process died and was replaced {self.shared.restarts} times")
        if self.shared.failed_starts:
            warnings.append(
                f"a replacement of a serving process could not start, {self.shared.failed_starts} times in a row"
            )
        return warnings
