"""The parent's part in changing what its workers serve: one change at a time, and all of them or none.

Every worker prepares the next plan (loads, proves and warms up what is new in it), then stages it; when all have, the
parent writes the plan's number into shared memory, and with that all of them serve by it. A worker that dies meanwhile
ends the change: everything stays as it was, and the change may be asked for again. One prepares before the others: a
version that kills its process (memory runs out, or torch aborts) kills that one, and the others serve on. The change is
begun again then, and a version that has killed several is left out of it, as it is when the service starts.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from service.contract.errors import RitmoError, Unavailable
from service.registry.planning import completed, failure, next_plan, read_digests
from service.runtime.background_call import call_in_background
from service.runtime.model_plan import Change, ModelPlan
from service.runtime.worker_group import ModelSet, SharedNumbers
from service.server.preparations import Preparations

WAIT = 120.0  # seconds that a change waits for all workers to be ready, and for the folder to be read
QUICK_READING = 0.05  # seconds that the parent waits for the folder; then it looks after the workers in between

logger = logging.getLogger(__name__)

Pipe: TypeAlias = "Connection[Any, Any]"
Origin: TypeAlias = "tuple[Pipe, int] | None"  # the pipe of the worker that asked, and the number of its question


class ModelChanges:
    """The changes that were asked for, and the one that is being made."""

    def __init__(self, models: Path, model_set: ModelSet, shared: SharedNumbers, keep: int | None) -> None:
        self._models = models
        self._set = model_set
        self._shared = shared
        self._keep = keep
        self._queue: deque[tuple[Change, Origin, float]] = deque()
        self._current: tuple[Change, Origin] | None = None
        self._plan = self._prepared = ModelPlan()  # that is being made, and as it was prepared
        self._number = model_set.plan.number
        self._workers: dict[int, Pipe] = {}  # that take part in the current change
        self._unprepared: list[int] = []  # in the order in which they prepare the plan
        self._silent: set[int] = set()  # those of them that have not answered yet
        self._failures: dict[str, str] = {}
        self._staging = False
        self._preparations = Preparations()
        self._reading: Future[dict[str, str | None]] | None = None  # of the folder, for the next change

    @property
    def busy(self) -> bool:
        """Whether a change is being made: no worker may join meanwhile."""
        return self._current is not None

    def ask(self, change: Change, origin: Origin = None) -> None:
        """Have `change` made when its turn comes; reloads without an origin that wait are one."""
        if change.action == "reload" and any(waiting[:2] == (change, origin) for waiting in self._queue):
            return
        self._queue.append((change, origin, time.monotonic() + WAIT))

    def look(self, workers: Mapping[int, Pipe] | None) -> None:
        """Begin the next change, if the `workers` are all ready; None where they are not."""
        if self.busy or not self._queue:
            return
        change, origin, deadline = self._queue[0]
        if workers is None:
            self._reading = None
            if time.monotonic() > deadline:
                self._queue.popleft()
                self._answer(origin, "model_not_ready", "not all processes of the service are ready")
            return
        if self._reading is None:
            self._reading = call_in_background(read_digests, self._models, self._set.plan)
        concurrent.futures.wait([self._reading], QUICK_READING)
        if not self._reading.done() and time.monotonic() < deadline:
            return
        reading, self._reading = self._reading, None
        self._queue.popleft()
        try:
            if not reading.done():
                raise Unavailable(f"the folder of models could not be read within {WAIT:g} s", code="model_not_ready")
            plan = next_plan(self._set.plan, change, reading.result(), self._keep)
            plan = completed(plan, self._faults(plan, but=plan.retried), self._set.plan)
            # A plan that was given up has its number for ever: what is still said about it must not count.
            self._number += 1
            plan = replace(plan, number=self._number)
            if not self._set.has_room_for(plan.digests):
                raise Unavailable(
                    "there are more versions than the processes have room for: restart the service",
                    code="model_not_ready",
                )
        except RitmoError as error:
            self._answer(origin, error.code, error.detail)
            return
        self._current, self._plan, self._staging, self._failures = (change, origin), plan, False, {}
        self._workers, self._silent = dict(workers), set(workers)
        self._unprepared = list(workers)
        self._tell(self._unprepared[:1], "prepare", plan)

    def receive(self, index: int, pipe: Pipe) -> None:
        """Read what the worker at `index` says."""
        with contextlib.suppress(EOFError, OSError):  # it has died: `worker_ended` follows
            while pipe.poll():
                kind, number, argument = (*pipe.recv(), None)[:3]
                if kind == "change":
                    self.ask(argument, (pipe, number))
                elif kind == "preparing":
                    self._preparations.report(index, argument)
                elif self.busy and number == self._plan.number and index in self._silent:
                    if kind == "refused":
                        self.abandon(str(argument))
                        continue
                    self._silent.discard(index)
                    self._failures.update(argument or {})
                    if kind == "prepared" and index == self._unprepared[0]:
                        self._tell(self._unprepared[1:], "prepare", self._plan)
                    if self.busy:
                        self._go_on()

    def worker_ended(self, index: int, exit_code: int = 0) -> None:
        """The worker at `index` has ended; `exit_code` is 0 where it was to end."""
        suspects = self._preparations.worker_ended(index, exit_code)
        faults = {
            suspect.reference: fault
            for suspect in suspects
            if (fault := self._preparations.fault(suspect.reference, suspect.digest)) is not None
        }
        for reference, fault in faults.items():
            logger.error("model %s failed: %s", reference, fault)
        self._leave_out(self._faults(self._set.plan).keys() & faults.keys(), faults)
        if self._current is None or index not in self._workers:
            return
        (change, origin), plan = self._current, self._plan
        error = failure(change, faults, plan)
        if not suspects:
            self.abandon("a process of the service ended meanwhile: ask again")
        elif error is not None:
            self._finish()
            self._answer(origin, error.code, error.detail)
        else:  # its replacement, or another worker, prepares what is left of the plan
            self._finish()
            self._queue.appendleft((change, origin, time.monotonic() + WAIT))

    def _faults(self, plan: ModelPlan, but: Collection[str] = ()) -> dict[str, str]:
        """The versions of `plan` that end the processes that prepare them."""
        faults = ((name, self._preparations.fault(name, digest)) for name, digest in plan.digests.items())
        return {name: fault for name, fault in faults if fault is not None and name not in but}

    def _leave_out(self, references: Collection[str], faults: Mapping[str, str]) -> None:
        """Have new workers start without these versions, and then all workers be without them."""
        for reference in references:
            name, _, version = reference.partition("@")
            change = Change("take-out", name, int(version), faults[reference])
            self._set.leave_out(replace(next_plan(self._set.plan, change, {}), number=self._set.plan.number))
            self.ask(change)

    def abandon(self, why: str) -> None:
        """End the change that is being made, if any; everything stays as it was."""
        if self._current is not None:
            _, origin = self._current
            self._finish()
            self._answer(origin, "model_not_ready", why)

    def _go_on(self) -> None:
        """All have answered: stage what was prepared, or switch to what was staged."""
        if self._silent:
            return
        if not self._staging:
            self._staging, self._silent = True, set(self._workers)
            self._prepared = self._plan
            self._plan = completed(self._plan, self._failures, self._set.plan)
            self._tell(self._workers, "stage", self._plan, self._set.positions_for(self._plan.digests))
            return
        if self._current is None:
            return
        change, origin = self._current
        error = failure(change, self._failures, self._prepared)
        self._shared.plan_number[0] = self._plan.number  # from here on all of them serve by it
        self._set.replace(self._plan)
        logger.info("the models are served by plan %d now (%s %s)", self._plan.number, change.action, change.name)
        self._finish()
        self._answer(origin, error.code if error else None, error.detail if error else "")

    def _finish(self) -> None:
        self._current, self._workers, self._silent = None, {}, set()

    def _tell(self, indices: Iterable[int], *message: object) -> None:
        for index in list(indices):
            with contextlib.suppress(OSError):  # it has died: `worker_ended` follows
                self._workers[index].send(message)

    @staticmethod
    def _answer(origin: Origin, code: str | None, detail: str) -> None:
        if origin is not None:
            with contextlib.suppress(OSError):  # the worker that asked has died
                origin[0].send(("answer", origin[1], code, detail))
        elif code is not None:
            logger.error("the models could not be changed: %s", detail)
