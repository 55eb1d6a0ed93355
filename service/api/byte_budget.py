"""The bytes that clients make this process hold, all connections together, and the most they may be.

Counted here is what a client sent and what is not worked off yet (unfinished heads and bodies, requests that wait
behind others on their connection, messages of live connections), and what it does not read (answers). A refusal comes
before the memory is spent.
"""

from __future__ import annotations

import os
from collections import Counter

from service.contract.errors import Unavailable

SMALL = 64 << 10  # bytes: what is not larger may use the whole budget
_SHARE_OF_LARGE = 0.75  # of the budget; the rest is kept for small requests
_MOST_PER_FREE_BYTE = 3  # bytes of files that a client may have for each that is free
_LOOK = 1 << 20  # bytes of files between two looks at what is free


class ByteBudget:
    """A number of bytes out of which `acquire` takes and into which `release` returns."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._max_large = round(max_bytes * _SHARE_OF_LARGE)
        self.held_bytes = 0
        self.files = FileSpace()

    def acquire(self, count: int) -> None:
        """Make room for `count` bytes, or raise `Unavailable`."""
        if self.held_bytes + count > (self._max if count <= SMALL else self._max_large):
            raise Unavailable("too many large requests at once", code="queue_full", retry_after=1)
        self.held_bytes += count

    def add(self, count: int) -> None:
        """Count bytes that are there already, such as those of an answer that its client does not read."""
        self.held_bytes += count

    def release(self, count: int) -> None:
        """`count` bytes that were counted are held no more."""
        self.held_bytes -= count


class FileSpace:
    """The bytes of bodies in temporary files, on a file system that serves other bodies, too.

    A client may have three times as much there as is free, so that one alone gets three quarters, and the next three
    quarters of the rest (the dynamic threshold of `service.runtime.fair_share`).
    """

    def __init__(self) -> None:
        self.held_bytes = 0
        self._by_client: Counter[str] = Counter()

    def take(self, client: str, count: int, descriptor: int) -> bool:
        """Add `count` bytes of `client`, in a file of that `descriptor`; whether it may have so many."""
        total = self._by_client[client] + count
        if total // _LOOK != (total - count) // _LOOK:
            system = os.fstatvfs(descriptor)
            if total > _MOST_PER_FREE_BYTE * system.f_bavail * system.f_frsize:
                return False
        self._by_client[client] = total
        self.held_bytes += count
        return True

    def release(self, client: str, count: int) -> None:
        """A file of `client` is closed, for which `count` bytes were taken."""
        self.held_bytes -= count
        self._by_client[client] -= count
        if not self._by_client[client]:
            del self._by_client[client]
