"""How long the threads of a process were ready to run and got no processor: Linux counts it for each of them.

A process that does nothing may hang, or may be starved by others on the machine; only the first is its own fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc")


def waits(pid: int, proc: Path = PROC) -> dict[int, float]:
    """Seconds that each thread of the process has waited for a processor since it began; {} where nothing tells."""
    seconds: dict[int, float] = {}
    with contextlib.suppress(OSError):  # another system, or the process has ended
        for thread in (proc / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):  # the thread has ended
                seconds[int(thread.name)] = int((thread / "schedstat").read_text().split()[1]) / 1e9
    return seconds


def longest_wait(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """The seconds that one thread waited between two looks, of that which waited longest.

    Not their sum, which would count the same time several times; and not those of one thread only, because the event
    loop waits for a lock where the thread that holds it waits for a processor.
    """
    return max((seconds - before[thread] for thread, seconds in after.items() if thread in before), default=0.0)
