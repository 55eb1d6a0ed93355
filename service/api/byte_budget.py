"""The bytes that clients make this process hold, all connections together, and the most they may be.

Counted here is what a client sent and what is not worked off yet (unfinished heads and bodies, requests that wait
behind others on their connection, messages of live connections), and what it does not read (answers). A refusal comes
before the memory is spent.

A client may hold three times as much as is free, so that one alone gets three quarters, and the next three quarters of
the rest (the dynamic threshold of `service.runtime.fair_share`).
"""

from __future__ import annotations

import os
from collections import Counter

from service.contract.errors import Unavailable

SMALL = 64 << 10  # bytes: what is not larger may use the whole budget
_SHARE_OF_LARGE = 0.75  # of the budget; the rest is kept for small requests
_MOST_PER_FREE_BYTE = 3  # bytes that a client may have for each that is free, in memory and in files
_LOOK = 1 << 20  # bytes of files between two looks at what is free


class ByteBudget:
    """A number of bytes out of which `acquire` takes and into which `release` returns.

    Each is told the `client` for whom it is done, where that may hold much: a key or an address.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._max_large = round(max_bytes * _SHARE_OF_LARGE)
        self.held_bytes = 0
        self._by_client: Counter[str] = Counter()
        self.files = FileSpace()

    def acquire(self, count: int, client: str = "", total: int = 0) -> None:
        """Make room for `count` more bytes, or raise `Unavailable`; its request has `total` with them."""
        free = (self._max if max(count, total) <= SMALL else self._max_large) - self.held_bytes - count
        if free < 0 or (client and self._by_client[client] + count > _MOST_PER_FREE_BYTE * free):
            raise Unavailable("too many large requests at once", code="queue_full", retry_after=1)
        self.add(count, client)

    def add(self, count: int, client: str = "") -> None:
        """Count bytes that are there already, such as those of an answer that its client does not read."""
        self.held_bytes += count
        if client:
            self._by_client[client] += count

    def release(self, count: int, client: str = "") -> None:
        """`count` bytes that were counted are held no more."""
        self.held_bytes -= count
        if client:
            self._by_client[client] -= count
            if not self._by_client[client]:
                del self._by_client[client]


class FileSpace:
    """The bytes of bodies in temporary files, on a file system that serves other bodies, too.

    A client may have three times as much there as is free.
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
