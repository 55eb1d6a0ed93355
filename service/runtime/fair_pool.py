"""Threads for work that would hold up the event loop, with a bounded queue that is shared out between clients.

A call cannot be interrupted, and one of a large request may take a second. So one thread more than there are for all
work takes quick calls only, wherever all others are busy: small requests do not wait for large ones.

Waiting ends with the caller's deadline, and with its cancellation. The threads are daemons: Python joins those of an
executor when the interpreter ends, so that one picture would keep a stopped service alive for as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from msgspec import Struct

from service.runtime.fair_share import Claim, Client, FairShare
from service.runtime.switch_interval import often_switching

P = ParamSpec("P")
R = TypeVar("R")

_FIRST_PRICE = 1e-7  # seconds for a byte or number, before any was measured
_CORRECTION = 1.1  # of a price by one piece of work: about the median of many
QUICK_SECONDS = 0.02  # of a call that is expected to take little time


class QueueFull(Exception):
    """There is no room for another piece of work; `seconds` of it wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} s of work wait")
        self.seconds = seconds


class WorkFuture(asyncio.Future[R]):
    """The result of a piece of work, which is dropped as soon as it is cancelled (see `ResultFuture` of the queues)."""

    __slots__ = ("drop",)
    drop: Callable[[], None]  # set by the pool; called once, when it is cancelled

    def cancel(self, msg: Any | None = None) -> bool:
        """Drop the work; returns False when it is settled already."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.drop()
        return cancelled


class Work(Struct, eq=False):
    """A call to be made in a thread."""

    call: Callable[[], Any]
    kind: str
    size: int
    claim: Claim
    future: WorkFuture[Any] | None  # None once its caller has left
    is_quick: bool = False
    timer: asyncio.TimerHandle | None = None  # of its caller's deadline
    seconds: float = 0.0  # of a processor that the call took, once it has ended
    is_running: bool = False


_Ranked = tuple[float, int, Work]


class FairPool:
    """`threads` threads, and one for quick work; used on one event loop.

    At most `max_seconds` of work wait, by what such work took before.
    """

    def __init__(
        self,
        threads: int,
        max_seconds: float,
        name: str = "prepare",
        full_error: Callable[[float], Exception] = QueueFull,
        late_error: Callable[[], Exception] = TimeoutError,
        quick_seconds: float = QUICK_SECONDS,
    ) -> None:
        """`full_error` makes what refuses work, of the seconds of work that wait; `late_error` what ends a wait.

        Work that is expected to take at most `quick_seconds` is quick.
        """
        self.share = FairShare()
        self._max_seconds = max_seconds
        self._n_threads = threads
        self._name = name
        self._full_error, self._late_error = full_error, late_error
        self._quick_seconds = quick_seconds
        self._threads: list[threading.Thread] = []
        # By kind and magnitude of size: seconds of a processor for one byte or number. Small pieces cost more for each.
        self._prices: dict[str, dict[int, float]] = {}
        self._quick_work: list[_Ranked] = []  # heaps: the next one first
        self._other_work: list[_Ranked] = []
        self._numbers = itertools.count()  # of equal ones the first comes first
        self._lock = threading.Lock()  # of the heaps, and of:
        self._n_idle = threads  # threads for all work
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # one for every piece of work; False ends a thread
        self._quick_tokens: SimpleQueue[bool] = SimpleQueue()  # one where quick work finds all other threads busy
        self._closed = False

    def run(
        self,
        kind: str,
        size: int,
        client: Client,
        deadline: float,
        call: Callable[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> WorkFuture[R]:
        """What `call` returns or raises, in a thread; `kind` and `size` (bytes, numbers) tell how long it may take.

        Raises its `full_error` at once; the future raises its `late_error` when `deadline` (`time.monotonic()`) passes
        before the result.
        """
        price = self._price(kind, size)
        room = price * size / self._max_seconds
        if self._closed or not self.share.fits(client, room):
            raise self._full_error(self.share.seconds)
        loop = asyncio.get_running_loop()
        future: WorkFuture[R] = WorkFuture(loop=loop)
        claim = self.share.claim(client, room, price * size)
        work = Work(partial(call, *args, **kwargs), kind, size, claim, future, price * size <= self._quick_seconds)
        future.drop = partial(self._drop, work)
        if deadline < math.inf:
            work.timer = loop.call_later(deadline - time.monotonic(), self._expire, work)
        with self._lock:
            heapq.heappush(
                self._quick_work if work.is_quick else self._other_work, (claim.rank, next(self._numbers), work)
            )
            self._call_quick_thread()
        if not self._threads:
            self._start_thread(loop, self._work_quickly)
        if len(self._threads) <= self._n_threads:
            self._start_thread(loop, self._work)
        self._tokens.put(True)
        return future

    def _price(self, kind: str, size: int) -> float:
        """What such work of that magnitude cost, else what the nearest did, but no more than at first."""
        magnitude, prices = size.bit_length(), self._prices.get(kind)
        if not prices:
            return _FIRST_PRICE
        if magnitude in prices:
            return prices[magnitude]
        return min(_FIRST_PRICE, prices[min(prices, key=lambda measured: abs(measured - magnitude))])

    def close(self) -> None:
        """Take no more work, and drop what waits; a call that runs is left to itself."""
        self._closed = True
        with self._lock:
            dropped = [*self._quick_work, *self._other_work]
            self._quick_work, self._other_work = [], []
        for _, _, work in dropped:
            if work.future is not None:
                work.future.cancel()
        for _ in self._threads:
            self._tokens.put(False)
        self._quick_tokens.put(False)

    def _expire(self, work: Work) -> None:
        """The deadline of `work` has passed."""
        future = work.future
        if future is not None and not future.done():
            future.set_exception(self._late_error())
            self._drop(work)

    def _drop(self, work: Work) -> None:
        """Nothing needs the result of `work` any more; a call that runs is left to itself."""
        if work.timer is not None:
            work.timer.cancel()
        if not work.is_running:
            self.share.release(work.claim)
            # Its turn may be late, and what it was about is needed no more, nor the error that its caller got.
            work.call, work.future = _do_nothing, None

    def _start_thread(self, loop: asyncio.AbstractEventLoop, body: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        name = f"{self._name}-{len(self._threads)}"
        self._threads.append(threading.Thread(target=body, args=(loop,), name=name, daemon=True))
        self._threads[-1].start()

    def _call_quick_thread(self) -> None:
        """Wake the thread for quick work where such work waits and no other thread is idle."""
        if self._quick_work and not self._n_idle:
            self._quick_tokens.put(True)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """The body of a thread for all work."""
        while self._tokens.get():
            with self._lock:
                heap = min((heap for heap in (self._quick_work, self._other_work) if heap), default=None)
                work = heapq.heappop(heap)[2] if heap else None
                self._n_idle -= 1
                self._call_quick_thread()
            self._run(work, loop)
            with self._lock:
                self._n_idle += 1
            del work

    def _work_quickly(self, loop: asyncio.AbstractEventLoop) -> None:
        """The body of the thread for quick work."""
        while self._quick_tokens.get():
            with self._lock:
                work = heapq.heappop(self._quick_work)[2] if self._quick_work else None
            self._run(work, loop)
            with self._lock:
                self._call_quick_thread()
            del work

    def _run(self, work: Work | None, loop: asyncio.AbstractEventLoop) -> None:
        """Do `work` in this thread, unless nothing needs it any more."""
        if work is None or work.future is None:
            return
        work.is_running = True
        self.share.begin(work.claim)
        started = time.thread_time()  # what others take meanwhile is no cost of this work
        result: Any = None
        error: BaseException | None = None
        try:
            with often_switching:
                result = work.call()
        except BaseException as raised:  # noqa: BLE001 (it is raised by the awaiting side)
            error = raised
        work.seconds = time.thread_time() - started
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nothing awaits the result
            loop.call_soon_threadsafe(self._settle, work, result, error)

    def _settle(self, work: Work, result: Any, error: BaseException | None) -> None:
        """`work` is done."""
        work.is_running = False
        if work.size:
            prices, magnitude = self._prices.setdefault(work.kind, {}), work.size.bit_length()
            prices[magnitude] = _corrected(prices.get(magnitude), work.seconds / work.size)
        self.share.charge(work.claim, work.seconds)
        self.share.release(work.claim)
        future, work.future = work.future, None
        if future is None or future.done():
            return
        if work.timer is not None:
            work.timer.cancel()
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))


def _do_nothing() -> None:
    """In place of a call that is not needed any more."""


def _corrected(price: float | None, seconds: float) -> float:
    """`price` after one more piece of work took `seconds` for each byte or number."""
    if price is None:
        return seconds
    return price * _CORRECTION if seconds > price else price / _CORRECTION
