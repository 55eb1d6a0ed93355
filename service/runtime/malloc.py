"""Memory that was freed goes back to the system: the C library keeps it in pieces that the next size does not fit.

Bodies and batches of all sizes leave holes; without this the resident memory of a busy service creeps up for hours. And
each arena, of which glibc makes up to eight for each processor as threads need them, keeps holes of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os

TRIM_SECONDS = 60.0  # seconds
ARENAS = 2  # one for the event loop, and one for the threads that load and compute
_M_ARENA_MAX = -8  # of mallopt(3)


def limit_arenas() -> None:
    """At most `ARENAS` arenas from now on, unless the environment says another number; for the start of a process."""
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def malloc_trim() -> None:
    """What was freed and kept, back to the system: some milliseconds (glibc; other C libraries do not keep it)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def trim_periodically(interval: float = TRIM_SECONDS) -> None:
    """`malloc_trim` every so many seconds, in a thread, until cancelled."""
    while True:
        await asyncio.sleep(interval)
        await asyncio.to_thread(malloc_trim)
