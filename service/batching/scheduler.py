"""Batching while busy: one thread computes what has gathered, while the next batch gathers; no timer.

Knows neither models nor HTTP nor torch. A *lane* is a bounded queue with the runner that answers it; all lanes of a
device share one thread. An idle thread starts at once. A runner is a generator function: between two of its calls the
thread looks at the clock, and a pass that has had its turn waits while fresh work starts, so that long series never
hold up short ones and no lane starves another.

    event loop                                     inference thread
    submit -> lane.waiting ------------------->    take a batch (lanes in turn) -> run for a turn -> finished?
    await future <- _settle <- call_soon_threadsafe (one per call that ends rows) <------------ no: after the others

Whoever is answered by an early call of a batch hears of it at once, and may have asked again before its last call ends:
so the event loop and this thread work at the same time, although all their callers wait for answers.

To wake a sleeping thread takes 0.1 ms or more, and to hear from it as much again: more than a small network needs. So
where the thread sleeps and all that waits is one brief item of a lane that has been quick, the event loop computes it
itself. Whoever computes holds the baton; runners need not be thread-safe.

Every future is settled, whatever happens: a caller that left is skipped, an expired one gets `DeadlineExceeded`, a
raising runner costs only the entry that makes it raise (each is tried again alone), a wrong number of answers is an
error, and when the thread itself dies another one takes over in the same way, and `restarts` counts it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from service.batching.batch import Batch
from service.batching.queue import BatchResult, BatchRunner, Entry, Limits, ModelQueue, too_late
from service.contract.errors import RitmoError, Unavailable

log = logging.getLogger(__name__)

SWEEP = 0.025  # seconds between two looks for expired entries


class Scheduler:
    """The lanes of one device and the thread that serves them; made, used and closed on one event loop."""

    def __init__(self, name: str = "cpu") -> None:
        self.name = name
        self.restarts = 0
        self._lanes: tuple[ModelQueue, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._thread: threading.Thread | None = None
        self._pending: set[Entry] = set()
        self._current: Batch | None = None
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._baton = threading.Lock()  # the thread puts it down only to sleep
        self._idle = False
        self._closing = False
        self._stopped = False
        self._sweeping = False
        self._turn = 0
        self._spawn()

    def lane(self, name: str, runner: BatchRunner, limits: Limits) -> ModelQueue:
        """A new lane whose batches `runner` answers."""
        lane = ModelQueue(self, name, runner, limits)
        self._lanes = (*self._lanes, lane)
        return lane

    def remove(self, lane: ModelQueue) -> None:
        """Forget a lane that nobody submits to any more."""
        self._lanes = tuple(other for other in self._lanes if other is not lane)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def drain(self) -> None:
        """Refuse new submissions from now on; those that wait are still computed."""
        self._closing = True

    async def close(self, drain_seconds: float) -> None:
        """Refuse new work, finish what waits within `drain_seconds`, fail the rest, end the thread."""
        self.drain()
        until = time.monotonic() + drain_seconds
        while self._pending and time.monotonic() < until:
            waiting = [entry.future for entry in self._pending]
            await asyncio.wait(waiting, timeout=max(0.0, until - time.monotonic()))
            await asyncio.sleep(0)  # let the submitters run, who take themselves off the list
        self._fail(list(self._pending), _draining())
        self._stopped = True
        self._wake.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    # On the event loop

    def new_future(self) -> asyncio.Future[BatchResult]:
        """A future of this batcher's event loop; raises `Unavailable` (`draining`) once it is closing."""
        if self._closing:
            raise _draining()
        return self._loop.create_future()

    def enter(self, entry: Entry) -> None:
        """See that `entry` is computed, and watch its deadline.

        That begins when the event loop has heard of all that is there to be heard of now: those are one batch.
        """
        self._pending.add(entry)
        if self._idle:  # a stale True only wakes the thread once too often
            self._idle = False
            self._loop.call_soon(self._begin)
        if entry.deadline is not None and not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)

    def release(self, entry: Entry) -> None:
        """Forget `entry`, which is settled or abandoned."""
        self._pending.discard(entry)

    def _begin(self) -> None:
        """Compute what has gathered, or wake the thread for it."""
        waiting = [lane for lane in self._lanes if lane.waiting]
        if len(waiting) == 1 and waiting[0].quick and self._baton.acquire(blocking=False):
            try:
                self._compute(waiting[0])
            finally:
                self._idle = done = not self._hurry()
                self._baton.release()
            if done:
                return
        if waiting:
            self._wake.put(None)

    def _compute(self, lane: ModelQueue) -> None:
        """What waits on `lane`, here on the event loop."""
        entries = lane.take()
        if not entries:
            return
        work = Batch(lane, entries)
        try:
            work.turn(_never, self._settle)
        except BaseException as error:  # noqa: BLE001 (SystemExit, MemoryError …: only a thread may die of that)
            log.error("%s is computed again by its thread: %r", lane.name, error)
            lane.waiting.extend(entries)
        else:
            lane.finished(entries, work.seconds)

    def _sweep(self) -> None:
        """Settle what has expired while it waited or was computed; the thread then skips it."""
        now = time.monotonic()
        self._sweeping = False
        for entry in self._pending:
            if entry.deadline is None or entry.future.done():
                continue
            if now >= entry.deadline:
                entry.future.set_exception(too_late())
            else:
                self._sweeping = True
        if self._sweeping:
            self._loop.call_later(SWEEP, self._sweep)

    def _settle(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.future.done():
                continue
            if isinstance(entry.answer, BatchResult):
                entry.future.set_result(entry.answer)
            else:
                entry.future.set_exception(entry.answer or RuntimeError("settled without an answer"))

    def _recover(self, error: BaseException) -> None:
        """Try again, one by one, what the dead thread was computing, and start another one."""
        self.restarts += 1
        waiting = {entry for lane in self._lanes for entry in lane.waiting}
        suspects = self._current.entries if self._current else []
        now = time.monotonic()
        for entry in self._pending - waiting:
            if entry.answer is not None or entry.future.done():
                continue
            if entry.expired(now):
                entry.answer = too_late()
            elif entry.alone and entry in suspects:
                entry.answer = RuntimeError(f"the inference thread died while it computed this: {error!r}")
            else:
                entry.alone = True
                entry.lane.waiting.appendleft(entry)  # no thread takes anything just now
        self._settle([entry for entry in self._pending if entry.answer is not None])
        if not self._stopped:
            self._spawn()

    @staticmethod
    def _fail(entries: Sequence[Entry], error: RitmoError) -> None:
        for entry in entries:
            if not entry.future.done():
                entry.future.set_exception(error)

    # In the thread

    def _spawn(self) -> None:
        # A daemon: a forward that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._main, name=f"inference-{self.name}", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        running: deque[Batch] = deque()
        try:
            with self._baton:
                while not self._stopped:
                    if not self._work(running):
                        self._sleep()
        except BaseException as error:  # noqa: BLE001 (SystemExit, MemoryError …: those who wait must not wait for ever)
            log.critical("the inference thread of %s died; another one takes over: %r", self.name, error)
            self._post(self._recover, error)

    def _work(self, running: deque[Batch]) -> bool:
        """Give a turn to fresh work, and one to the oldest of the interrupted passes; False when there is neither."""
        fresh = self._next_batch()
        if fresh is not None:
            running.append(fresh)
            self._advance(running, fresh)
        if running and running[0] is not fresh:
            self._advance(running, running[0])
        return fresh is not None or bool(running)

    def _next_batch(self) -> Batch | None:
        """A batch from the next lane in turn that has one."""
        lanes = self._lanes
        for offset in range(len(lanes)):
            lane = lanes[(self._turn + offset) % len(lanes)]
            if lane.waiting and (entries := lane.take()):
                self._turn = (self._turn + offset + 1) % len(lanes)
                return Batch(lane, entries)
        return None

    def _advance(self, running: deque[Batch], work: Batch) -> None:
        self._current = work
        done = work.turn(self._hurry if len(running) == 1 else _always, self._answered)
        running.remove(work)
        if not done:
            running.append(work)
        else:
            work.lane.finished(work.entries, work.seconds)

    def _answered(self, entries: list[Entry]) -> None:
        self._post(self._settle, entries)

    def _hurry(self) -> bool:
        return any(lane.waiting for lane in self._lanes)

    def _sleep(self) -> None:
        self._idle = True
        if not self._stopped and not self._hurry():  # nothing came between the last look and the flag
            self._baton.release()
            self._wake.get()
            self._baton.acquire()
        self._idle = False

    def _post(self, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            self._stopped = True


def _always() -> bool:
    return True


def _never() -> bool:
    return False


def _draining() -> Unavailable:
    return Unavailable("the service is going down", code="draining", retry_after=5.0)
