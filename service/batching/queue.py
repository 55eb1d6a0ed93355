"""A lane: the bounded queue of one model, filled on the event loop, emptied by the inference thread.

The counts belong to the event loop, the entries are handed over in a deque; neither side needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.contract.errors import DeadlineExceeded, Unavailable


class Sized(Protocol):
    """An item; `length` is what it costs to read, and a `is_small` one is little work altogether."""

    @property
    def length(self) -> int: ...
    @property
    def is_small(self) -> bool: ...


Answer = tuple[int, Any]  # index of the item, and its result or the exception it gets instead
QUICK = 0.0015  # seconds that the event loop may be kept by computing a lone brief item itself
# Items, whether nobody waits for the nth any more, and how many callers there are -> answers, as they come.
BatchRunner = Callable[[Sequence[Any], Callable[[int], bool], int], Iterator[Sequence[Answer]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one lane may hold, and what one batch may."""

    queue_items: int = 4096
    queue_observations: int = 4_000_000
    batch_items: int = 512
    batch_observations: int = 262_144


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The results of one submission, in its order, and how long it waited and was computed."""

    results: Sequence[Any]
    queue_seconds: float
    compute_seconds: float


@dataclass(slots=True, eq=False)
class Entry:
    """One submission: it is computed in one batch and settled once."""

    lane: ModelQueue
    items: Sequence[Any]
    observations: int
    deadline: float | None
    future: asyncio.Future[BatchResult]
    enqueued: float
    started: float = 0.0
    results: list[Any] = field(default_factory=list)
    missing: int = 0
    alone: bool = False  # it was in a batch that failed, and is tried again by itself
    closed: bool = False  # the thread is done with it
    answer: BatchResult | BaseException | None = None

    @property
    def is_small(self) -> bool:
        """Whether it is one item of little work."""
        return len(self.items) == 1 and bool(self.items[0].is_small)

    def expired(self, now: float) -> bool:
        return self.deadline is not None and now >= self.deadline


class QueueOwner(Protocol):
    """What a lane needs of the batcher it belongs to."""

    def new_future(self) -> asyncio.Future[BatchResult]:
        """A future of the event loop; raises `Unavailable` (`draining`) when nothing more is taken."""

    def enter(self, entry: Entry) -> None:
        """See to `entry`, which has been put on its lane's `waiting`."""

    def release(self, entry: Entry) -> None:
        """Forget `entry`, whose caller is answered or has left."""


class ModelQueue:
    """A queue of its own, and the runner that answers what is taken from it."""

    def __init__(self, host: QueueOwner, name: str, runner: BatchRunner, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.items = 0  # admitted and not yet settled: waiting or being computed
        self.observations = 0
        self.on_batch: Callable[[int, int, float], None] | None = (
            None  # items, observations, seconds of a finished pass
        )
        self.runner = runner
        self._host = host
        self._pace = math.inf  # seconds that a lone brief item takes
        self.waiting: deque[Entry] = deque()

    async def submit(self, items: Sequence[Sized], deadline: float | None = None) -> BatchResult:
        """The results for `items`, all from one batch; `deadline` by `time.monotonic()`. Cancelling drops the work.

        Raises `Unavailable` (`queue_full`, `draining`) at once, `DeadlineExceeded`, or what the runner raised.
        """
        entry = self._admit(items, deadline)
        try:
            return await entry.future
        finally:
            self.items -= len(items)
            self.observations -= entry.observations
            self._host.release(entry)

    def _admit(self, items: Sequence[Sized], deadline: float | None) -> Entry:
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            raise too_late()
        observations = sum([item.length for item in items])
        limits = self.limits
        # An idle lane takes any request: its size was judged by the limits of a request, and it must fit somewhere.
        if self.items and (
            self.items + len(items) > limits.queue_items or self.observations + observations > limits.queue_observations
        ):
            raise Unavailable(
                f"the queue of {self.name} is full: {self.items} items and {self.observations} observations wait",
                code="queue_full",
                retry_after=1.0,
            )
        entry = Entry(self, items, observations, deadline, self._host.new_future(), now)
        self.items += len(items)
        self.observations += observations
        self.waiting.append(entry)
        self._host.enter(entry)
        return entry

    def take(self) -> list[Entry]:
        """Entries for the next batch, oldest first, at least one if any waits for an answer."""
        taken: list[Entry] = []
        items = observations = 0
        now = time.monotonic()
        while self.waiting:
            entry = self.waiting[0]
            if entry.future.done() or entry.expired(now):
                self.waiting.popleft()  # nobody waits; the sweep or the batcher's close settles what is expired
                continue
            items += len(entry.items)
            observations += entry.observations
            full = items > self.limits.batch_items or observations > self.limits.batch_observations
            if taken and (full or entry.alone):
                break
            taken.append(self.waiting.popleft())
            if entry.alone:
                break
        return taken

    @property
    def quick(self) -> bool:
        """Whether a single brief item waits, and is as good as done: others will not notice who computes it."""
        return self._pace <= QUICK and len(self.waiting) == 1 and self.waiting[0].is_small

    def finished(self, entries: Sequence[Entry], seconds: float) -> None:
        """A pass over `entries` took `seconds`."""
        if len(entries) == 1 and entries[0].is_small:
            # About the median: what the machine does now and then to one of them says nothing about the lane.
            self._pace = seconds if self._pace == math.inf else self._pace * (1.1 if seconds > self._pace else 0.9)
        if self.on_batch is not None:
            self.on_batch(sum(len(e.items) for e in entries), sum(e.observations for e in entries), seconds)


def too_late() -> DeadlineExceeded:
    """What an expired entry is answered."""
    return DeadlineExceeded("the request's time ran out; send less at once, or allow more time (timeout_ms)")
