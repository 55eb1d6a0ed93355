"""Threads for requests whose work would hold up the event loop, with the errors that a request gets of them."""

from __future__ import annotations

from service.contract.errors import DeadlineExceeded, RitmoError, Unavailable
from service.runtime.fair_pool import FairPool


def new_pool(threads: int, max_seconds: float, name: str) -> FairPool:
    """A pool of `threads` in which work of at most `max_seconds` waits.

    Its `run` raises `Unavailable` (`queue_full`) where there is no room, and `DeadlineExceeded`.
    """
    return FairPool(threads, max_seconds, name, _full, _late)


def _full(seconds: float) -> RitmoError:
    detail = f"too many large requests and images are being prepared: {seconds:.1f} s of work wait"
    return Unavailable(detail, code="queue_full", retry_after=max(1.0, seconds))


def _late() -> RitmoError:
    return DeadlineExceeded("the deadline passed while the request was prepared")
