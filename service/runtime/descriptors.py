"""The number of files and connections that this process may have open."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

_RESERVED = 128  # for what else a process opens: models, tables that are large, connections of the management port


def raise_limit() -> int:
    """Raise the limit as far as the system lets a process do so by itself; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or soft < hard):
        with contextlib.suppress(ValueError, OSError):  # macOS has a limit below that one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def room_for_connections() -> int:
    """How many connections this process may take, with files left for all else that it opens."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, limit - _in_use() - min(_RESERVED, limit // 8))


def _in_use() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return 0
