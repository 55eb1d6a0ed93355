"""Memory that was freed goes back to the system: the C library keeps it in pieces that the next size does not fit.

Bodies and batches of all sizes leave holes; without this the resident memory of a busy service creeps up for hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes

TRIM_SECONDS = 60.0  # seconds


def malloc_trim() -> None:
    """What was freed and kept, back to the system: some milliseconds (glibc; other C libraries do not keep it)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def trim_periodically(interval: float = TRIM_SECONDS) -> None:
    """`malloc_trim` every so many seconds, in a thread, until cancelled."""
    while True:
        await asyncio.sleep(interval)
        await asyncio.to_thread(malloc_trim)
