"""Ctrl-C asked for once is a wish that the program looks at between two steps; asked for twice it ends at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """Inside its block the first SIGINT sets `asked`; the second raises `KeyboardInterrupt` as usual.

    Signals reach the main thread only: in any other one the block changes nothing.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.asked = False
        self._before: Any = None
        self._is_heard = enabled and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._is_heard:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (of a signal's handler)
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
