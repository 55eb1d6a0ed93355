"""Parts that the workers of a supervisor under test play; this module imports little, so that they start soon."""

from __future__ import annotations

import os
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


def serve_slowly(group: WorkerGroup) -> None:
    """Beat and be ready, with so much work before each beat that it takes seconds where others want the processor."""
    group.mark_ready()
    while True:
        group.beat()
        until = time.process_time() + 0.7
        while time.process_time() < until:
            pass


def fail(group: WorkerGroup) -> None:
    raise SystemExit(3)


def burn(processor: int) -> None:
    """Use all that one processor gives, until killed."""
    os.sched_setaffinity(0, {processor})
    while True:
        pass
