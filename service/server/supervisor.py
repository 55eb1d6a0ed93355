"""One process that serves, or several that share one listener and are kept alive by this one.

The listener belongs to the parent: a connection that waits while a worker dies is taken by another one. Workers are
spawned, not forked (CUDA does not survive a fork). One that dies or hangs is replaced and counted; its
replacement listens only once it serves what the others do, and one that cannot start is tried again, later and later.
A worker that cannot start when the service starts ends the service.

Signals go to the parent, which passes them on: every worker drains as a single server does. SIGHUP has all workers
serve what is in the folder of models now (`service.server.model_changes`); SIGUSR2 replaces the workers one after the
other and loses no request. Workers that lose their parent stop by themselves.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from uvicorn.config import STARTUP_FAILURE

from service.metrics.store import mark_process_dead
from service.registry.planning import first_plan
from service.registry.repository import folder_state, manifest_digests
from service.runtime import compiled, logs
from service.runtime.background_call import call_in_background
from service.runtime.descriptors import max_connections, raise_limit
from service.runtime.model_plan import Change
from service.runtime.scratch_folder import scratch_folder
from service.runtime.starvation import longest_wait, waits
from service.runtime.worker_group import ModelSet, SharedNumbers, WorkerGroup
from service.server.exposure import refusal, with_hosts
from service.server.listener import bind, listen
from service.server.model_changes import ModelChanges
from service.server.signals import handle_in_worker, held_back_from_child
from service.settings import Settings

HUNG_AFTER = 10.0  # seconds without a sign of life of the event loop, in which the process could have run
HEALTHY_AFTER = 60.0  # seconds: the replacement of a worker that dies younger starts later and later
MAX_BACKOFF = 30.0  # seconds before a replacement starts, at most
_POLL = 0.2  # seconds between two looks at the workers
_MISSED_BEATS = 3.0  # seconds of silence after which a worker gets no time beyond the drain
_LATE = 2.0  # seconds of silence from which on it matters whether the worker could have run
_GRACE = 10.0  # seconds that a worker may need to end, beyond the time that it may take to drain

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until a signal stops the service; the exit status."""
    logs.configure(settings.log_level)
    try:
        listeners = bind(settings.host, settings.port)
        if (reason := refusal(settings)) is not None:
            logger.error("%s", reason)
            return STARTUP_FAILURE
        settings = with_hosts(settings)
        management = _management_listeners(settings)
    except OSError as error:
        logger.error("%s", error.strerror or error)
        return STARTUP_FAILURE
    _check_descriptors(settings)
    logger.info("%s", compiled.in_words(settings.compiled))
    if settings.workers == 1:
        return _run(settings, listeners, None, management)
    with contextlib.ExitStack() as stack:
        for listener in management:
            stack.enter_context(listener)
        try:
            folder = stack.enter_context(scratch_folder())
            supervisor = Supervisor(settings, folder, listeners, management=management)
        except OSError as error:
            logger.error("the service cannot start, it needs a folder for temporary files and one to share: %s", error)
            return STARTUP_FAILURE
        return supervisor.run()


def _management_listeners(settings: Settings) -> list[socket.socket]:
    """The sockets of the management port, listening: a probe that comes early waits for the first process."""
    if settings.management_port is None:
        return []
    sockets = bind(settings.host, settings.management_port)
    for sock in sockets:
        sock.listen()
    logger.info("management port: %d (/livez, /readyz, /metrics)", sockets[0].getsockname()[1])
    return sockets


def _check_descriptors(settings: Settings) -> None:
    limit = raise_limit()
    if max_connections() < settings.max_live_connections:
        logger.warning(
            "this process may open %d files, too few for the %d live connections that are allowed: raise `ulimit -n`",
            limit,
            settings.max_live_connections,
        )


def _work(
    settings: Settings, group: WorkerGroup, listeners: Sequence[socket.socket], management: Sequence[socket.socket]
) -> None:
    """A worker process."""
    # A terminal sends Ctrl-C to its whole process group; the workers must have it from the parent only, and once.
    os.setpgrp()
    handle_in_worker()
    logs.configure(settings.log_level)
    try:
        status = _run(settings, listeners, group, management)
    except Exception:
        logger.exception("a worker failed")
        status = STARTUP_FAILURE
    logging.shutdown()  # a process that was forked ends without it
    raise SystemExit(status)


def _run(
    settings: Settings,
    listeners: Sequence[socket.socket],
    group: WorkerGroup | None,
    management: Sequence[socket.socket],
) -> int:
    from service.server.server import (
        run,  # only where it serves: with torch, the parent would be as large as its workers
    )

    return run(settings, listeners, group, management)


class Slot:
    """One index of the group: the process that runs there, or the time at which the next one may start."""

    def __init__(self, index: int, *, enabled: bool = True) -> None:
        self.index = index
        self.enabled = enabled  # whether a process shall run here
        self.process: BaseProcess | None = None
        self.connection: Connection[Any, Any] | None = None  # to that process
        self.is_replacement = False  # whether the process, or the next one, starts while others serve
        self.failed_starts = 0  # replacements in a row that never became ready
        self.due = 0.0  # when the next process may start
        self.deadline = math.inf  # when the process is killed
        self._delay = 0.0
        self._started = 0.0
        self._beat, self._beat_seen = 0.0, 0.0
        self._waits: dict[int, float] = {}  # of the process's threads for a processor, in seconds
        self._waits_seen = self._uncredited = 0.0

    def enable(self) -> None:
        """Let a process run here that replaces one in another slot."""
        self.enabled = self.is_replacement = True
        self.failed_starts, self.due, self._delay = 0, 0.0, 0.0

    def process_started(self, process: BaseProcess, time_now: float) -> None:
        """A process runs here from `now` on."""
        self.process, self._started, self.deadline = process, time_now, math.inf
        self._beat, self._beat_seen, self._waits = 0.0, time_now, {}

    def worker_died(self, time_now: float, *, was_ready: bool) -> None:
        """Plan the replacement: at once, or later and later when that happens again and again."""
        healthy = was_ready and time_now - self._started > HEALTHY_AFTER
        self._delay = 0.0 if healthy else min(MAX_BACKOFF, 2 * self._delay or 1.0)
        self.due = time_now + self._delay
        self.failed_starts += self.is_replacement and not was_ready
        self.process, self.is_replacement = None, True

    def silence(self, heartbeat: float, time_now: float) -> float:
        """Seconds since `heartbeat` changed; 0 before the first beat, while the process still starts."""
        if heartbeat != self._beat:
            self._beat, self._beat_seen, self._waits = heartbeat, time_now, {}
        return time_now - self._beat_seen if heartbeat else 0.0

    def excuse(self, waits: dict[int, float], time_now: float) -> None:
        """Take from the silence what the process waited for a processor since the last look at its `waits`.

        On a machine with more to do than it has processors for, a healthy worker is silent for long, and what it has
        accepted would be lost with it.
        """
        if self._waits:
            # A wait is counted when it ends: what is more than the time since the last look was before it.
            self._uncredited += longest_wait(self._waits, waits)
            starved = min(self._uncredited, time_now - self._waits_seen)
            self._uncredited -= starved
            self._beat_seen = min(time_now, self._beat_seen + starved)
        else:
            self._uncredited = 0.0
        self._waits, self._waits_seen = waits, time_now

    def restart_clocks(self, time_now: float) -> None:
        """Measure silence from `now` on, without a deadline."""
        self._beat_seen, self.deadline = time_now, math.inf


class Supervisor:
    """The parent process."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        listeners: Sequence[socket.socket],
        hung_after: float = HUNG_AFTER,
        management: Sequence[socket.socket] = (),
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._listeners = list(listeners)
        self._management = list(management)
        self._hung_after = hung_after
        self._context = multiprocessing.get_context("spawn")
        self._key = secrets.token_bytes(32)
        self._slots = [Slot(index, enabled=index < settings.workers) for index in range(settings.workers + 1)]
        self._outdated: list[Slot] = []  # of a rolling restart: the slots with processes still to be replaced
        self._successor: Slot | None = None  # the slot of the replacement that the restart waits for
        self._shared = SharedNumbers(self._context, settings.workers)
        plan = first_plan(manifest_digests(settings.models), settings.model_versions, settings.pins)
        self._models = ModelSet(self._context, plan.digests, plan)
        self._changes = ModelChanges(settings.models, self._models, self._shared, settings.model_versions)
        self._loaded_folder = self._previous_folder = folder_state(settings.models) if self._polls else ()
        self._polled = time.monotonic()
        self._folder_state: Future[tuple[tuple[str, int, int], ...]] | None = None  # that is being read
        self._signals: list[int] = []  # received, and not handled yet
        self._looked = time.monotonic()
        self._status = 0

    def run(self) -> int:
        """Supervise until a signal stops the service, or a worker cannot start; the exit status."""
        try:
            # A connection waits from now on until a worker is there.
            listen(self._listeners, self._settings.host, self._settings.scheme)
        except OSError as error:
            logger.error("%s", error.strerror)
            return STARTUP_FAILURE
        try:
            with self._received_signals() as wakeup:
                while not self._is_over():
                    processes = [slot.process for slot in self._slots if slot.process is not None]
                    pipes = [slot.connection for slot in self._slots if slot.connection is not None]
                    wait([wakeup, *pipes, *(process.sentinel for process in processes)], _POLL)
                    with contextlib.suppress(BlockingIOError):
                        wakeup.recv(1 << 10)
        except BaseException:
            self._stop(signal.SIGTERM)  # the interpreter waits for the workers
            raise
        return self._status

    def _is_over(self) -> bool:
        """Do what there is to be done; True when the service stops and every worker has ended."""
        self._look()
        self._change_models()
        # Handled here only, where no process is between its start and its slot.
        while self._signals:
            self._handle(self._signals.pop(0))
        return self._shared.stopping and all(slot.process is None for slot in self._slots)

    @contextlib.contextmanager
    def _received_signals(self) -> Iterator[socket.socket]:
        """Collect signals in `_signals`; the socket becomes readable with each."""

        def receive(sig: int, _frame: FrameType | None) -> None:
            self._signals.append(sig)

        receiver, sender = socket.socketpair()
        with receiver, sender:
            receiver.setblocking(False)
            sender.setblocking(False)
            handled = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2]
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
                handled.append(signal.SIGHUP)
            descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
            for sig in handled:
                signal.signal(sig, receive)
            try:
                yield receiver
            finally:
                signal.set_wakeup_fd(descriptor)
                for sig in handled:  # the process ends, and a signal that comes now must not make that a death
                    signal.signal(sig, signal.SIG_IGN)

    def _handle(self, sig: int) -> None:
        if sig == signal.SIGHUP:
            if self._settings.model_updates != "none" and not self._shared.stopping:
                self._changes.ask(Change("reload"))
        elif sig != signal.SIGUSR2:
            self._stop(sig)
        elif not self._shared.stopping:
            logger.info("SIGUSR2: the workers are replaced one after the other")
            self._outdated = [slot for slot in self._slots if slot.enabled and slot is not self._successor]
            self._outdated += [self._successor] if self._successor is not None else []

    @property
    def _polls(self) -> bool:
        return self._settings.model_updates == "poll"

    def _change_models(self) -> None:
        """A step of the changes of the models that the workers, a signal or the folder ask for."""
        for slot in self._slots:
            if slot.connection is not None:
                self._changes.receive(slot.index, slot.connection)
        if self._shared.stopping:
            self._changes.abandon("the service is going down")
            return
        if self._polls and time.monotonic() - self._polled > self._settings.model_poll_seconds:
            self._poll_folder()
        enabled = [slot for slot in self._slots if slot.enabled]
        ready = {slot.index: slot.connection for slot in enabled if slot.connection and self._is_ready(slot)}
        complete = len(ready) == len(enabled) == self._settings.workers and not self._outdated
        self._changes.look(ready if complete else None)

    def _poll_folder(self) -> None:
        """Reload when the folder of models has changed, and has not gone on changing since the look before."""
        if self._folder_state is None:
            self._folder_state = call_in_background(folder_state, self._settings.models)
        if not self._folder_state.done():
            return
        self._polled = time.monotonic()
        current, self._folder_state = self._folder_state.result(), None
        if current == self._previous_folder != self._loaded_folder:
            self._loaded_folder = current
            self._changes.ask(Change("reload"))
        self._previous_folder = current

    def _stop(self, sig: int) -> None:
        self._shared.stop()
        for listener in self._listeners:
            listener.close()  # the workers have their own descriptors, and close them when they have drained
        for slot in self._slots:
            self._end(slot, sig)

    def _end(self, slot: Slot, sig: int) -> None:
        """Send `sig` to the process in `slot`, which has the time to drain."""
        slot.enabled = False
        if slot.process is not None and slot.process.pid is not None and slot.process.is_alive():
            drain = self._settings.drain_delay_seconds + self._settings.drain_seconds
            slot.deadline = min(slot.deadline, time.monotonic() + drain)
            os.kill(slot.process.pid, sig)

    def _look(self) -> None:
        """Look at every slot: reap dead processes, kill hung ones, start missing ones."""
        time_now = time.monotonic()
        paused, self._looked = time_now - self._looked > self._hung_after / 2, time_now
        for slot in self._slots:
            if paused:  # the parent was stopped, and its workers probably with it
                slot.restart_clocks(time_now)
            if slot.process is not None and not slot.process.is_alive():
                self._reap(slot, slot.process, time_now)
            if slot.process is not None:
                self._check(slot, slot.process, time_now)
            elif slot.enabled and time_now >= slot.due and not self._may_not_start():
                self._start(slot, time_now)
        self._shared.failed_starts = sum(slot.failed_starts for slot in self._slots if slot.enabled)
        if self._outdated and not self._shared.stopping:
            self._restart_next(self._outdated[0])

    def _may_not_start(self) -> bool:
        return bool(self._signals) or self._shared.stopping or self._changes.busy

    def _start(self, slot: Slot, time_now: float) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)  # a cleaner of temporary files may have deleted it
            slot.process_started(self._spawn(slot), time_now)
        except OSError as error:  # no memory, too many processes
            logger.error("a worker could not be started: %s", error)
            slot.worker_died(time_now, was_ready=False)

    def _reap(self, slot: Slot, process: BaseProcess, time_now: float) -> None:
        """The process has ended: replace it where it was to serve on, or end the service that cannot start."""
        pid, was_ready, failed_start = process.pid or 0, self._is_ready(slot), not slot.is_replacement
        status = process.exitcode or 0
        process.close()
        if slot.connection is not None:
            self._changes.receive(slot.index, slot.connection)
            slot.connection.close()
            slot.connection = None
        self._changes.worker_ended(slot.index, status if slot.enabled else 0)
        mark_process_dead(self._folder, pid)
        self._shared.clear(slot.index)
        slot.worker_died(time_now, was_ready=was_ready)
        if not slot.enabled:
            return
        logger.error("a worker died", extra={"worker": pid, "status": status})
        if failed_start and not was_ready and status > 0:
            logger.critical("the service ends: a worker could not start", extra={"status": status})
            self._status = STARTUP_FAILURE
            self._stop(signal.SIGTERM)
        elif slot.failed_starts:
            logger.error("a replacement could not start; the next try is in %g s", slot.due - time_now)
        else:
            self._shared.restarts += 1

    def _check(self, slot: Slot, process: BaseProcess, time_now: float) -> None:
        """Kill a process that hangs, or does not end in time."""
        if slot.failed_starts and self._is_ready(slot):
            slot.failed_starts = 0
        heartbeat = self._shared.heartbeats[slot.index]
        if slot.silence(heartbeat, time_now) > _LATE and process.pid is not None:
            slot.excuse(waits(process.pid), time_now)
        silence = slot.silence(heartbeat, time_now)
        grace = 0.0 if silence > _MISSED_BEATS else _GRACE
        if silence > self._hung_after or time_now > slot.deadline + grace:
            extra = {"worker": process.pid, "silent_seconds": round(silence, 1)}
            logger.error("a worker hangs or does not end; it is killed", extra=extra)
            process.kill()
            slot.restart_clocks(time_now)

    def _is_ready(self, slot: Slot) -> bool:
        return slot.process is not None and self._shared.ready_pids[slot.index] == slot.process.pid

    def _restart_next(self, outdated: Slot) -> None:
        """A step of a rolling restart: start a replacement in a free slot; when it is ready, drain its predecessor."""
        if self._successor is None:
            free = (slot for slot in self._slots if not slot.enabled and slot.process is None)
            self._successor = next(free, None)
            if self._successor is not None:
                self._successor.enable()
        elif self._is_ready(self._successor):
            self._end(outdated, signal.SIGTERM)
            self._outdated.pop(0)
            self._successor = None

    def _spawn(self, slot: Slot) -> BaseProcess:
        self._shared.clear(slot.index)
        connection, end = self._context.Pipe()
        complete = 0 not in self._shared.ready_pids[: self._shared.workers]
        group = WorkerGroup(
            slot.index,
            self._folder,
            self._key,
            self._shared,
            self._models,
            self._models.loadable(complete=complete),
            slot.is_replacement,
            self._models.plan,
            end,
        )
        worker = self._context.Process(target=_work, args=(self._settings, group, self._listeners, self._management))
        with held_back_from_child():
            worker.start()
        end.close()
        slot.connection = connection
        return worker
