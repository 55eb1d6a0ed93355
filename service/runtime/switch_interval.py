"""How often Python's interpreter changes hands between threads.

It does so every five milliseconds where no thread waits for anything, and the event loop needs it several times for a
request: while other threads work for long, it changes hands more often.
"""

from __future__ import annotations

import sys
import threading

_SECONDS = 0.0002  # until the interpreter changes hands while a thread is inside


class OftenSwitching:
    """While any thread is inside, the interpreter changes hands more often."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._usual = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._n_inside += 1
            if self._n_inside == 1:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(_SECONDS, self._usual))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                sys.setswitchinterval(self._usual)


often_switching = OftenSwitching()  # of the process
