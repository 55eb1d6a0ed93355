"""The bounded queue of one model: filled on the event loop, emptied by the holder of the scheduler's compute lock.

The counts belong to the event loop and the entries are handed over in a deque, so neither side needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from msgspec import Struct

from service.contract.errors import DeadlineExceeded, ModelFault, Unavailable
from service.contract.types import BatchResult, PaddingStats
from service.runtime.fair_share import ANONYMOUS, Claim, Client, FairShare


class Sized(Protocol):
    """An item; `length` is the number of observations to read, and an `is_small` one takes little work altogether."""

    @property
    def length(self) -> int: ...
    @property
    def is_small(self) -> bool: ...


Answer = tuple[int, Any]  # index of the item, and its result or the exception that takes its place
CancelledItems = Callable[[], Collection[int]]  # indices of the items that need no answer any more
# (items, cancelled items, number of requests they came with, padding to be added to) -> answers, call by call
BatchRunner = Callable[[Sequence[Any], CancelledItems, int, PaddingStats], Iterator[Sequence[Answer]]]
Price = Callable[[Sequence[Any], int], float]  # items, their observations -> seconds that they are expected to take

MAX_RETRY_SECONDS = 60.0
# Work is not begun that is expected to take so many times the time until its deadline: expectations may be double.
_MAX_OVERRUN = 2.0
QUICK_SECONDS = 0.003  # of a submission that takes little time
LIGHT_SECONDS = 0.0003  # of one that takes hardly more than to read its request and to write its answer


def _nothing(_items: Sequence[Any], _observations: int) -> float:
    return 0.0


def _unknown() -> float:
    return math.inf


class Limits(Struct, frozen=True):
    """Most seconds of work, items and observations in all queues of a scheduler, and items and observations in a batch.

    Seconds bound the wait, items and observations the memory; what a request takes of the most scarce of them is its
    room (see `service.runtime.fair_share`).
    """

    queue_seconds: float = 30.0
    queue_items: int = 65_536
    queue_observations: int = 4_000_000
    batch_items: int = 512
    batch_observations: int = 262_144


class ResultFuture(asyncio.Future[BatchResult]):
    """The results of a submission. It costs a third of a done callback to see here that it is cancelled."""

    __slots__ = ("release",)
    release: Callable[[ResultFuture], None]  # set by the owner of its queue; called once, when it is cancelled

    def cancel(self, msg: Any | None = None) -> bool:
        """Drop the submission; returns False when it is settled already."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.release(self)
        return cancelled


class DirectResult(ResultFuture):
    """Results with an owner that is called as soon as they are there, not in the next round of the event loop."""

    __slots__ = ("_on_settled",)

    def __init__(self, on_settled: Callable[[DirectResult], None]) -> None:
        """`on_settled` gets this future with its result or exception; it must not raise, and a cancelled one makes
        no call."""
        super().__init__()
        self._on_settled = on_settled

    def set_result(self, result: BatchResult) -> None:
        """The submission is answered."""
        super().set_result(result)
        self._on_settled(self)

    def set_exception(self, exception: type | BaseException) -> None:
        """The submission failed."""
        super().set_exception(exception)
        self._on_settled(self)


class Entry(Struct, eq=False):
    """One submission: it is computed in one batch and settled once."""

    queue: ModelQueue
    items: Sequence[Any]
    observations: int
    claim: Claim  # its room in the queue, what it will cost, and its turn
    is_small: bool  # one item of little work
    deadline: float  # by `time.monotonic()`, infinity where there is none
    future: ResultFuture
    enqueued: float
    started: float = 0.0
    results: list[Any] = []
    missing: int = 0  # items without a result
    isolated: bool = False  # computed in a batch of its own
    is_light: bool = False  # known to take so little time that the event loop may compute it with others
    is_probe: bool = False  # a measurement of the service itself, no request
    finished: bool = False  # the computing side needs it no more
    answer: BatchResult | BaseException | None = None

    @property
    def takes_long(self) -> bool:
        """Whether work that takes little time should not wait for it."""
        return self.claim.seconds > QUICK_SECONDS


class BatchReport(Struct, frozen=True):
    """What a finished batch was: its size, its cost in seconds, and the waits of the requests it answered."""

    items: int
    observations: int
    seconds: float
    padding: PaddingStats
    requests: Sequence[BatchResult]
    faults: Sequence[ModelFault] = ()  # of the requests that the model gave no sound answer


class QueueOwner(Protocol):
    """What a queue needs of the scheduler it belongs to."""

    share: FairShare

    @property
    def is_idle(self) -> bool:
        """Whether no submission to any queue is without its answer."""

    def admit(self, entry: Entry) -> None:
        """Count `entry` in its queue until it is settled, and have it computed.

        Raises `Unavailable` (`draining`) when nothing more is admitted.
        """


class ModelQueue:
    """The submissions to one model, and the runner that answers them."""

    def __init__(
        self,
        owner: QueueOwner,
        name: str,
        runner: BatchRunner,
        limits: Limits,
        on_batch: Callable[[BatchReport], None] | None = None,
        price: Price = _nothing,
        speed: Callable[[], float] = _unknown,
    ) -> None:
        """`speed()`: seconds of work by `price` that are done in a second at most; infinite while that is a guess."""
        self.name = name
        self.limits = limits
        self.runner = runner
        self.on_batch = on_batch
        self.items = 0  # admitted and not yet settled: they wait or are computed
        self.observations = 0
        self.arrived: deque[Entry] = deque()  # filled by the event loop
        self.ranked: list[Entry] = []  # taken from there by the holder of the compute lock, the next to compute first
        self.typical_seconds = math.inf  # of a batch that is one small item
        self._owner = owner
        self._price = price
        self._speed = speed

    @property
    def share(self) -> FairShare:
        """How the work of its scheduler is shared out."""
        return self._owner.share

    @property
    def waiting_entries(self) -> list[Entry]:
        """All submissions that wait to be computed; those of the least served clients first."""
        return sorted([*self.ranked, *self.arrived], key=_rank)

    @property
    def quick_work_is_next(self) -> bool:
        """Whether the next submission takes little time; only for the holder of the compute lock."""
        self.rank_arrived()
        return bool(self.ranked) and not self.ranked[0].takes_long

    def rank_arrived(self) -> None:
        """Sort what has arrived into `ranked`; only for the holder of the compute lock."""
        arrived, ranked = self.arrived, self.ranked
        if arrived:
            while arrived:
                ranked.append(arrived[0])  # in both for a moment, never in none: the event loop may be looking
                arrived.popleft()
            ranked.sort(key=_rank)

    def submit(
        self,
        items: Sequence[Sized],
        deadline: float | None = None,
        client: Client = ANONYMOUS,
        on_settled: Callable[[ResultFuture], None] | None = None,
    ) -> ResultFuture:
        """The results for `items`, all from one batch; `deadline` by `time.monotonic()`. Cancelling drops the work.

        `on_settled` is called with the future as soon as it has a result or exception (see `DirectResult`).

        Raises `Unavailable` (`queue_full`, `draining`) or `DeadlineExceeded` at once; the future may raise the same,
        `DeadlineExceeded` later, or what the runner raised.
        """
        time_now = time.monotonic()
        if deadline is None:
            deadline = math.inf
        elif time_now >= deadline:
            raise deadline_error()
        if len(items) == 1:
            observations, is_small = items[0].length, items[0].is_small
        else:
            observations, is_small = sum([item.length for item in items]), False
        share, limits, seconds = self._owner.share, self.limits, self._price(items, observations)
        if seconds > _MAX_OVERRUN * (deadline - time_now):
            self._refuse_if_too_long(seconds, deadline)
        room = max(
            seconds / limits.queue_seconds, len(items) / limits.queue_items, observations / limits.queue_observations
        )
        if not share.fits(client, room):
            raise Unavailable(
                f"the queue has no room for this request to {self.name}: {share.seconds:.1f} s of work wait in it",
                code="queue_full",
                retry_after=min(MAX_RETRY_SECONDS, max(1.0, share.seconds)),
            )
        claim = share.claim(client, room, seconds)
        future = ResultFuture() if on_settled is None else DirectResult(on_settled)
        entry = Entry(self, items, observations, claim, is_small, deadline, future, time_now)
        entry.is_light = 0.0 < seconds <= LIGHT_SECONDS
        self._owner.admit(entry)
        return future

    def check_time(self, items: Sequence[Sized], observations: int, deadline: float) -> None:
        """Raise `DeadlineExceeded` where `items`, which come in parts, would take far longer than until `deadline`."""
        self._refuse_if_too_long(self._price(items, observations), deadline)

    def _refuse_if_too_long(self, seconds: float, deadline: float) -> None:
        least, until = seconds / self._speed(), deadline - time.monotonic()
        if least > _MAX_OVERRUN * until:
            raise DeadlineExceeded(
                f"this would take about {least:.0f} s, and the request's deadline is in {max(0.0, until):.1f} s: "
                "send less at once, or allow more time (timeout_ms)"
            )

    def submit_probe(self, items: Sequence[Sized]) -> ResultFuture | None:
        """Like `submit`, in a batch of its own and only while nothing else is to be computed; None when that is not so.

        For measurements of the service itself, which must not cost a request anything.
        """
        if not self._owner.is_idle:
            return None
        observations = sum([item.length for item in items])
        claim = self._owner.share.claim(ANONYMOUS, 0.0, 0.0)
        entry = Entry(self, items, observations, claim, False, math.inf, ResultFuture(), time.monotonic())
        entry.isolated = entry.is_probe = True
        self._owner.admit(entry)
        return entry.future


def _rank(entry: Entry) -> float:
    return entry.claim.rank


def deadline_error() -> DeadlineExceeded:
    """The answer to an expired entry."""
    return DeadlineExceeded("the request's time ran out; send less at once, or allow more time (timeout_ms)")
