"""The number of files and connections that this process may have open."""

from __future__ import annotations

import contextlib
import resource
import sys

_MOST_OTHER_FILES = 256  # that a process may open besides its connections: models, tables, probes


def raise_limit() -> int:
    """Raise the limit as far as the system lets a process do so by itself; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or soft < hard):
        with contextlib.suppress(ValueError, OSError):  # macOS has a limit below that one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def max_connections() -> int:
    """How many connections of clients leave a process the files that it needs itself."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(limit // 4, _MOST_OTHER_FILES)
