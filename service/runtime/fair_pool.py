"""Threads for work that would hold up the event loop, with a bounded queue that is shared out between clients.

Waiting ends with the caller's deadline, and with its cancellation. The threads are daemons: Python joins those of an
executor when the interpreter ends, so that one picture would keep a stopped service alive for as long as it takes.

Python's interpreter changes hands every millisecond or more, and the event loop needs it several times for a request.
While a thread of the pool works, it changes hands more often.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from msgspec import Struct

from service.runtime.fair_share import Claim, Client, FairShare

P = ParamSpec("P")
R = TypeVar("R")

_FIRST_PRICE = 1e-7  # seconds for a byte or number, before any was measured
_SWITCH = 0.0002  # seconds until the interpreter changes hands while a call is made
_CORRECTION = 1.1  # of a price by one piece of work: about the median of many


class OftenSwitching:
    """While any thread is inside, the interpreter changes hands more often."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._usual = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._n_inside += 1
            if self._n_inside == 1:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(_SWITCH, self._usual))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                sys.setswitchinterval(self._usual)


_often_switching = OftenSwitching()


class QueueFull(Exception):
    """There is no room for another piece of work; `seconds` of it wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} s of work wait")
        self.seconds = seconds


class Work(Struct, eq=False):
    """A call to be made in a thread."""

    call: Callable[[], Any]
    kind: str
    size: int
    claim: Claim
    future: asyncio.Future[Any] | None  # None once its caller has left
    seconds: float = 0.0  # that the call took, once it has ended
    is_running: bool = False


class FairPool:
    """`threads` threads; used on one event loop. At most `max_seconds` of work wait, by what such work took before."""

    def __init__(
        self,
        threads: int,
        max_seconds: float,
        name: str = "prepare",
        full_error: Callable[[float], Exception] = QueueFull,
        late_error: Callable[[], Exception] = TimeoutError,
    ) -> None:
        """`full_error` makes what refuses work, of the seconds of work that wait; `late_error` what ends a wait."""
        self.share = FairShare()
        self._max_seconds = max_seconds
        self._n_threads = threads
        self._name = name
        self._full_error, self._late_error = full_error, late_error
        self._threads: list[threading.Thread] = []
        self._prices: dict[str, float] = {}  # by kind: seconds for one byte or number
        self._heap: list[tuple[float, int, Work]] = []  # the next one first
        self._numbers = itertools.count()  # of equal ones the first comes first
        self._lock = threading.Lock()
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # one for every piece of work; False ends a thread
        self._closed = False

    async def run(
        self,
        kind: str,
        size: int,
        client: Client,
        deadline: float,
        call: Callable[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """What `call` returns or raises, in a thread; `kind` and `size` (bytes, numbers) tell how long it may take.

        Raises its `full_error` at once, and its `late_error` when `deadline` (`time.monotonic()`) passes before the
        result.
        """
        price = self._prices.get(kind, _FIRST_PRICE)
        room = price * size / self._max_seconds
        if self._closed or not self.share.fits(client, room):
            raise self._full_error(self.share.seconds)
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        claim = self.share.claim(client, room, price * size)
        work = Work(partial(call, *args, **kwargs), kind, size, claim, future)
        with self._lock:
            heapq.heappush(self._heap, (claim.rank, next(self._numbers), work))
        if len(self._threads) < self._n_threads:
            self._start_thread()
        self._tokens.put(True)
        try:
            async with asyncio.timeout(deadline - time.monotonic() if deadline < math.inf else None):
                return await future
        except TimeoutError as error:
            raise self._late_error() from error
        finally:
            if not work.is_running:
                if not claim.released:
                    self.share.release(claim)
                # Its turn may be late, and what it was about is needed no more, nor the error that its caller got.
                work.call, work.future = _do_nothing, None

    def close(self) -> None:
        """Take no more work, and drop what waits; a call that runs is left to itself."""
        self._closed = True
        with self._lock:
            dropped, self._heap = self._heap, []
        for _, _, work in dropped:
            if work.future is not None:
                work.future.cancel()
        for _ in self._threads:
            self._tokens.put(False)

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        loop = asyncio.get_running_loop()
        self._threads.append(threading.Thread(target=self._work, args=(loop,), name=name, daemon=True))
        self._threads[-1].start()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """The body of a thread."""
        while self._tokens.get():
            with self._lock:
                work = heapq.heappop(self._heap)[2] if self._heap else None
            if work is not None and work.future is not None:
                work.is_running = True
                with _often_switching:
                    self._make(work, loop)
            del work  # it would keep its result alive while the thread waits

    def _make(self, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        self.share.begin(work.claim)
        started = time.monotonic()
        result: Any = None
        error: BaseException | None = None
        try:
            result = work.call()
        except BaseException as raised:  # noqa: BLE001 (it is raised by the awaiting side)
            error = raised
        work.seconds = time.monotonic() - started
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nothing awaits the result
            loop.call_soon_threadsafe(self._settle, work, result, error)

    def _settle(self, work: Work, result: Any, error: BaseException | None) -> None:
        work.is_running = False
        if work.size:
            self._prices[work.kind] = _corrected(self._prices.get(work.kind), work.seconds / work.size)
        self.share.charge(work.claim, work.seconds)
        self.share.release(work.claim)
        future = work.future
        if future is None or future.done():
            return
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
