"""Changes of what is served while it is served: new versions are loaded beside the old ones and take over at once.

Where one process serves, it decides by itself. Where several do, the parent does: each of them prepares the plan that
it is sent and says so, and all of them switch when the parent writes the plan's number into memory that they share.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from service.contract.errors import RitmoError, Unavailable, UnknownModel
from service.registry.planning import completed, failure, next_plan, read_digests
from service.registry.registry import Registry
from service.runtime.model_plan import Change, Preparation
from service.runtime.worker_group import WorkerGroup

log = logging.getLogger(__name__)


class ModelControl(Protocol):
    """The part that decides what is served."""

    def start(self) -> None:
        """Begin, on the event loop that serves."""

    async def change(self, change: Change) -> None:
        """Carry the change out; returns when all processes serve by it.

        Raises `UnknownModel` for what is not on disk, `Unavailable` for what could not be loaded or not be done now.
        """


class LocalControl:
    """One process decides for itself."""

    def __init__(self, registry: Registry, models: Path, keep: int | None = None) -> None:
        self._registry = registry
        self._models = models
        self._keep = keep
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Nothing is to be begun."""

    async def change(self, change: Change) -> None:
        """See `ModelControl.change`."""
        await self._registry.loaded()
        async with self._lock:
            registry = self._registry
            available = await asyncio.to_thread(read_digests, self._models, registry.plan)
            planned = next_plan(registry.plan, change, available, self._keep)
            failures = await registry.prepare(planned)
            plan = completed(planned, failures, registry.plan)
            registry.stage(plan)
            registry.activate(plan.number)
            log.info("the models are served by plan %d now (%s %s)", plan.number, change.action, change.name)
            error = failure(change, failures, planned)
            if error is not None:
                raise error


class GroupControl:
    """The parent decides: changes are sent to it, and what it tells is done."""

    def __init__(self, registry: Registry, group: WorkerGroup, connection: Connection[Any, Any]) -> None:
        self._registry = registry
        self._group = group
        self._connection = connection
        self._ids = itertools.count()
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._preparing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()  # a plan that was given up may still be being prepared

    def start(self) -> None:
        """Listen to the parent."""
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._receive)
        self._registry.on_taken_out = self._report_taken_out
        self._registry.on_preparation = self._report_preparations

    async def change(self, change: Change) -> None:
        """See `ModelControl.change`."""
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._send("change", number, change)
            await self._answers[number]
        finally:
            del self._answers[number]

    def _report_taken_out(self, name: str, version: int, reason: str) -> None:
        self._send("change", next(self._ids), Change("take-out", name, version, reason))

    def _report_preparations(self, preparations: Sequence[Preparation]) -> None:
        with contextlib.suppress(Unavailable):  # the parent has died
            self._send("preparing", 0, tuple(preparations))

    def _send(self, *message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise Unavailable("the service is going down", code="draining") from error

    def _receive(self) -> None:
        try:
            while self._connection.poll():
                kind, *arguments = self._connection.recv()
                getattr(self, f"_on_{kind}")(*arguments)
        except (EOFError, OSError):  # the parent has died, which the server notices, too
            asyncio.get_running_loop().remove_reader(self._connection.fileno())

    def _on_prepare(self, plan: Any) -> None:
        self._preparing = asyncio.create_task(self._prepare(plan))

    async def _prepare(self, plan: Any) -> None:
        try:
            async with self._lock:
                failures = await self._registry.prepare(plan)
        except RitmoError as error:  # the folder cannot be read
            self._send("refused", plan.number, error.detail)
        else:
            self._send("prepared", plan.number, failures)

    def _on_stage(self, plan: Any, positions: dict[str, int]) -> None:
        self._registry.stage(plan)
        self._group.models.adopt(plan.digests, positions)
        self._send("staged", plan.number)

    def _on_answer(self, number: int, code: str | None, detail: str) -> None:
        future = self._answers.get(number)
        if future is None or future.done():
            return
        if code is None:
            future.set_result(None)
        elif code in ("model_not_found", "version_not_found"):
            future.set_exception(UnknownModel(detail, code=code))
        else:
            future.set_exception(Unavailable(detail, code=code))
