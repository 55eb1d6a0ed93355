"""Parts that the workers of a supervisor under test play; this module imports little, so that they start soon."""

from __future__ import annotations

import signal
import threading
import time

from service.runtime.worker_group import WorkerGroup


def serve(group: WorkerGroup) -> None:
    """Beat and be ready, until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    group.mark_ready()
    while not ended.is_set():
        group.beat()
        ended.wait(0.05)


def serve_badly(group: WorkerGroup) -> None:
    """Beat, and end neither by itself nor on SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    group.mark_ready()
    while True:
        group.beat()
        time.sleep(0.05)


def fail(group: WorkerGroup) -> None:
    raise SystemExit(3)
