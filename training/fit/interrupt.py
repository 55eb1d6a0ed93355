"""The first Ctrl-C ends a program between two of its steps, the second one at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """Inside its block the first SIGINT sets `is_requested`; the second raises `KeyboardInterrupt` as usual.

    Signals reach the main thread only: in any other one the block changes nothing.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.is_requested = False
        self._previous_handler: Any = None
        self._is_heard = enabled and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._is_heard:
            self._previous_handler = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (of a signal's handler)
        self.is_requested = True
        self._restore()

    def _restore(self) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
            self._previous_handler = None
