"""The bytes that clients make this process hold, all connections together, and the most they may be.

Counted here is what a client sent and what is not worked off yet (unfinished heads and bodies, requests that wait
behind others on their connection, messages of live connections), and what it does not read (answers). A refusal comes
before the memory is spent.
"""

from __future__ import annotations

from service.contract.errors import Unavailable

SMALL = 64 << 10  # bytes: what is not larger may use the whole budget
_SHARE_OF_LARGE = 0.75  # of the budget; the rest is kept for small requests


class ByteBudget:
    """A number of bytes out of which `acquire` takes and into which `release` returns."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._max_large = round(max_bytes * _SHARE_OF_LARGE)
        self.held_bytes = 0

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
