"""Signals while a process starts: it has no handlers of its own yet, and no client waits for its answer.

Python would end it with a traceback at Ctrl-C, and the system at a SIGHUP or SIGUSR2, which ask for no end at all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from types import FrameType

_IMPATIENT = frozenset((signal.SIGINT, signal.SIGHUP, signal.SIGUSR2))

logger = logging.getLogger(__name__)


def handle_early_signals() -> None:
    """Until other handlers are set: end at a signal to stop, go on at any other; SIGHUP stays ignored under nohup."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    for number in (signal.SIGHUP, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _go_on)


def handle_in_worker() -> None:
    """`handle_early_signals` for a process that was started with `held_back_from_child`."""
    handle_early_signals()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # only the parent replaces workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IMPATIENT)


@contextlib.contextmanager
def held_back_from_child() -> Iterator[None]:
    """A process that is started meanwhile gets no such signal before it calls `handle_in_worker`."""
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _IMPATIENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


def _go_on(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGUSR2:
        logger.warning("SIGUSR2 replaces workers, and there is one process alone (RITMO_WORKERS): nothing is done")
