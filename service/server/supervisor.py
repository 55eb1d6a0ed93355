"""One process that serves, or several that share one listener and are kept alive by this one.

The listener belongs to the parent: a connection that waits while a worker dies is taken by another one. Workers are
spawned, not forked (CUDA does not survive a fork). One that dies is replaced and counted; its substitute listens only
once its models are loaded, so nobody meets it unready. Signals go to the parent, which passes them on: every worker
drains as a single server does. Workers whose parent is gone stop by themselves.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
import signal
import socket
import tempfile
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import uvicorn

from service.metrics import page as metrics
from service.runtime import logs
from service.runtime import worker_group as group
from service.runtime.worker_group import WorkerGroup
from service.settings import Settings

_POLL = 0.2  # seconds between two looks at the workers
_STEADY = 60.0  # seconds: who dies younger is replaced later and later
_LATEST = 30.0  # seconds before a substitute starts, at most
_GRACE = 10.0  # seconds that a worker may need to end, beyond what it may take to drain
_BACKLOG = 2048
_STARTUP_FAILURE = uvicorn.config.STARTUP_FAILURE

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until told to stop; the exit status."""
    if settings.workers == 1:
        return _run(settings)
    logs.configure(settings.log_level)
    with tempfile.TemporaryDirectory(prefix="ritmo-") as folder:
        return Supervisor(settings, Path(folder)).run()


def _work(settings: Settings, own: WorkerGroup, listener: socket.socket) -> None:
    """A worker process."""
    # A terminal sends Ctrl-C to the whole group; only the parent shall have it, or the workers would be told twice.
    os.setpgrp()
    raise SystemExit(_run(settings, own, listener))


def _run(settings: Settings, own: WorkerGroup | None = None, listener: socket.socket | None = None) -> int:
    from service.server.server import (
        run,  # only where it serves: with torch, the parent would be as large as its workers
    )

    return run(settings, own, listener)


class _Slot:
    """Where one worker runs, or the next one will."""

    def __init__(self) -> None:
        self.process: BaseProcess | None = None
        self.started = 0.0
        self.due = 0.0  # when the next one may start
        self._delay = 0.0

    def emptied(self, now: float) -> None:
        """The worker died: a substitute starts at once, later when that happens again and again."""
        self.process = None
        self._delay = 0.0 if now - self.started > _STEADY else min(_LATEST, 2 * self._delay or 1.0)
        self.due = now + self._delay


class Supervisor:
    """The parent."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._stopping = threading.Event()
        self._context = multiprocessing.get_context("spawn")
        self._key = secrets.token_bytes(32)
        self._places = [_Slot() for _ in range(settings.workers)]
        self._arrived, self._replaced, self._connections = group.shared(self._context, settings.workers)
        self._listener = uvicorn.Config(
            "service.api.app:create_app", host=settings.host, port=settings.port, log_config=None
        ).bind_socket()
        self._listener.listen(_BACKLOG)  # already: who connects before a worker is there waits for it

    def run(self) -> int:
        """Until a signal comes, or a worker cannot start."""
        previous = {sig: signal.signal(sig, self._stop) for sig in (signal.SIGTERM, signal.SIGINT)}
        status = 0
        try:
            while not self._stopping.is_set() and not status:
                status = self._look()
                self._stopping.wait(_POLL)
        finally:
            self._listener.close()  # the workers have theirs, and close it when they have drained
            if not self._stopping.is_set():
                self._pass_on(signal.SIGTERM)
            self._join()
            for sig, handler in previous.items():
                signal.signal(sig, handler)
        return status

    def _look(self) -> int:
        """Start who is missing; the status to end with when a worker could not start at all, else 0."""
        now = time.monotonic()
        for number, place in enumerate(self._places):
            worker = place.process
            if worker is not None and not worker.is_alive():
                logger.error("a worker died", extra={"worker": worker.pid, "status": worker.exitcode})
                if worker.exitcode == _STARTUP_FAILURE:
                    return _STARTUP_FAILURE
                metrics.forget(self._folder, worker.pid or 0)
                with self._replaced.get_lock():
                    self._replaced.value += 1
                place.emptied(now)
            if place.process is None and now >= place.due and not self._stopping.is_set():
                place.process, place.started = self._spawn(number, substitute=bool(place.due)), now
        return 0

    def _spawn(self, number: int, *, substitute: bool) -> BaseProcess:
        own = WorkerGroup(number, self._folder, self._key, self._arrived, self._replaced, self._connections, substitute)
        worker = self._context.Process(target=_work, args=(self._settings, own, self._listener))
        worker.start()
        return worker

    def _stop(self, sig: int, _frame: FrameType | None) -> None:
        self._stopping.set()
        self._pass_on(sig)

    def _pass_on(self, sig: int) -> None:
        for worker in self._workers():
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, sig)

    def _join(self) -> None:
        until = time.monotonic() + self._settings.drain_delay_seconds + self._settings.drain_seconds + _GRACE
        for worker in self._workers():
            worker.join(max(0.0, until - time.monotonic()))
            if worker.is_alive():
                logger.error("a worker did not end", extra={"worker": worker.pid})
                worker.kill()
                worker.join()

    def _workers(self) -> list[BaseProcess]:
        return [place.process for place in self._places if place.process is not None]
