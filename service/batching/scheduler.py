"""Batching while busy: one thread computes what has gathered, while the next batch gathers; no timer.

It is independent of models, HTTP and torch. Each model has a bounded queue with the runner that answers it; all queues
of a device share one thread. An idle thread starts at once. A runner is a generator function: between two of its calls
the thread looks at the clock, and a batch that has used up its time slice waits while fresh work starts, so that long
series never hold up short ones and no queue starves another.

    event loop                                     inference thread
    submit -> queue.arrived ---------->            take a batch (clients in turn) -> run a time slice -> finished?
    await future <- _settle <- call_soon_threadsafe (one per call that ends rows) <---------------- no: after the others

A request that an early call of a batch answers is settled at once, and its caller may have sent the next one before the
last call of the batch ends: so the event loop and this thread work at the same time, although all callers wait for
answers.

To wake a sleeping thread takes 0.1 ms or more, and to hear from it as much again: more than a small network needs. And
two threads that both need the interpreter all the time get less done than one. So where the thread sleeps and all that
waits is light, or is one small item of a model that typically answers such a one at once, the event loop computes it
itself, for as long as one call may last at a time. Computing needs the compute lock; runners need not be thread-safe.

Every future is settled, come what may: a cancelled entry is skipped, an expired one gets `DeadlineExceeded`, a raising
runner costs only the entry that makes it raise (each is tried again alone), a wrong number of answers is an error, and
when the thread itself dies another one takes over in the same way, and `restarts` counts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from service.batching.batch import Batch
from service.batching.queue import (
    BatchReport,
    BatchRunner,
    Entry,
    Limits,
    ModelQueue,
    ResultFuture,
    deadline_error,
)
from service.contract.errors import Unavailable
from service.contract.types import BatchResult
from service.runtime.fair_share import FairShare

log = logging.getLogger(__name__)

TIME_SLICE = 0.010  # seconds that a batch may compute while other work waits
SHORT_SLICE = 0.002  # the same for a batch that takes long, while work waits that takes little time
EXPIRY_SECONDS = 0.025  # between two looks for expired entries
INLINE_SECONDS = 0.0015  # for which a single item may keep the event loop
INLINE_BATCH_SECONDS = 0.02  # for which a batch of light submissions may


class Scheduler:
    """The queues of one device and the thread that serves them; made, used and closed on one event loop."""

    def __init__(self, name: str = "cpu") -> None:
        self.name = name
        self.restarts = 0
        self.share = FairShare()
        self._queues: tuple[ModelQueue, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._thread: threading.Thread | None = None
        self._pending: dict[ResultFuture, Entry] = {}
        self._n_heavy = 0  # of these, those that are not light
        self._last_admitted = -math.inf  # time.monotonic()
        self._current: Batch | None = None
        self._call_began = math.inf  # time.monotonic() of the call that the thread makes
        self._interrupted_is_next = False
        self._fresh_seconds = 0.0  # of batches begun since the last slice of an interrupted one
        self._others_run = False  # whether batches were begun besides that one
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._compute_lock = threading.Lock()  # the thread releases it only to sleep
        self._asleep = False
        self._closing = False
        self._stopped = False
        self._expiry_scheduled = False
        self._next_index = 0  # of the queue to be served next
        self._start_thread()

    def new_queue(
        self,
        name: str,
        runner: BatchRunner,
        limits: Limits,
        on_batch: Callable[[BatchReport], None] | None = None,
        **options: Any,
    ) -> ModelQueue:
        """A new queue; `runner` answers its batches and `on_batch` gets a report of each, possibly in the thread.

        `options` are those of `ModelQueue`.
        """
        queue = ModelQueue(self, name, runner, limits, on_batch, **options)
        self._queues = (*self._queues, queue)
        return queue

    def remove_queue(self, queue: ModelQueue) -> None:
        """Forget a queue to which nothing will be submitted any more; may be called in any thread."""

        def remove() -> None:
            self._queues = tuple(other for other in self._queues if other is not queue)

        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(remove)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def call_seconds(self) -> float:
        """How long the call of a model has taken so far that the thread makes; 0 where it makes none."""
        return max(0.0, time.monotonic() - self._call_began)

    def drain(self) -> None:
        """Refuse new submissions from now on; those that wait are still computed."""
        self._closing = True

    async def close(self, drain_seconds: float) -> None:
        """Refuse new work, finish what waits within `drain_seconds`, fail what remains, end the thread."""
        self.drain()
        until = time.monotonic() + drain_seconds
        while self._pending and time.monotonic() < until:
            await asyncio.wait(list(self._pending), timeout=max(0.0, until - time.monotonic()))
        for future in list(self._pending):
            self._fail(future, _draining())
        self._stopped = True
        self._wake.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    # On the event loop

    @property
    def seconds_since_work(self) -> float:
        """How long ago the last submission was admitted; 0 while any is without its answer. For any thread."""
        return 0.0 if self._pending else time.monotonic() - self._last_admitted

    @property
    def is_idle(self) -> bool:
        """Whether every submission has its answer."""
        return not self._pending and not self._closing

    def admit(self, entry: Entry) -> None:
        """Have `entry` computed, and watch its deadline; raises `Unavailable` (`draining`) once this is closing.

        That begins after all callbacks that the event loop has ready now: what they submit is part of the same batch.
        """
        if self._closing:
            self.share.release(entry.claim)
            raise _draining()
        queue = entry.queue
        queue.items += len(entry.items)
        queue.observations += entry.observations
        queue.arrived.append(entry)
        self._pending[entry.future] = entry
        self._last_admitted = entry.enqueued
        self._n_heavy += not entry.is_light
        entry.future.release = self._release
        if self._asleep:  # a stale True only wakes the thread once too often
            self._asleep = False
            self._loop.call_soon(self._wake_or_run_inline)
        if not self._expiry_scheduled and entry.deadline < math.inf:
            self._expiry_scheduled = True
            self._loop.call_later(EXPIRY_SECONDS, self._expire_overdue)

    def _release(self, future: ResultFuture) -> None:
        """Take the submission of `future`, which is settled or cancelled, off the counts of its queue."""
        entry = self._pending.pop(future)
        self._n_heavy -= not entry.is_light
        entry.queue.items -= len(entry.items)
        entry.queue.observations -= entry.observations
        self.share.release(entry.claim)
        if not entry.started:
            entry.items = ()  # cancelled or expired while it waits for its turn, which may be late

    def _wake_or_run_inline(self) -> None:
        """Compute what has gathered here, where that is quickly done, or wake the thread for it."""
        ready = [queue for queue in self._queues if queue.arrived or queue.ranked]
        runs_inline = bool(ready) and (not self._n_heavy or (len(ready) == 1 and _is_quickly_answered(ready[0])))
        if runs_inline and self._compute_lock.acquire(blocking=False):
            try:
                succeeded = self._run_inline()
            finally:
                self._asleep = idle = not self._work_is_waiting()
                self._compute_lock.release()
            if succeeded:
                if not idle:  # the event loop sends the answers, and reads on, before it computes more
                    self._loop.call_soon(self._wake_or_run_inline)
                return
        if ready:
            self._wake.put(None)
        else:  # the thread woke and took everything after `admit` found it asleep, and it may sleep again by now
            self._asleep = True

    def _run_inline(self) -> bool:
        """Compute what comes first on the event loop; False where that is left to the thread."""
        queue = self._next_queue()
        if queue is None:
            return True
        batch = Batch(queue, INLINE_BATCH_SECONDS)
        try:
            batch.run(_never, self._settle)
        except BaseException as error:  # noqa: BLE001 (SystemExit, MemoryError …: only a thread may die of that)
            log.error("%s is computed again by its thread: %r", queue.name, error)
            queue.arrived.extendleft(reversed(batch.entries))
            return False
        return True

    def _expire_overdue(self) -> None:
        """Settle entries that have expired while they waited or were computed; the thread then skips them."""
        time_now = time.monotonic()
        self._expiry_scheduled = False
        for future, entry in list(self._pending.items()):
            if time_now >= entry.deadline:
                self._fail(future, deadline_error())
            elif entry.deadline < math.inf:
                self._expiry_scheduled = True
        if self._expiry_scheduled:
            self._loop.call_later(EXPIRY_SECONDS, self._expire_overdue)

    def _settle(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            future, answer = entry.future, entry.answer
            if future.done():
                continue
            if isinstance(answer, BatchResult):
                self._release(future)
                future.set_result(answer)
            else:
                self._fail(future, answer or RuntimeError("settled without an answer"))

    def _fail(self, future: ResultFuture, error: BaseException) -> None:
        self._release(future)
        future.set_exception(error)

    def _recover(self, error: BaseException) -> None:
        """Try again, one by one, what the dead thread was computing, and start another thread."""
        self.restarts += 1
        queued_entries = {entry for queue in self._queues for entry in queue.waiting_entries}
        suspects = self._current.entries if self._current else []
        time_now = time.monotonic()
        for entry in self._pending.values():
            if entry in queued_entries or entry.answer is not None or entry.future.done():
                continue
            if time_now >= entry.deadline:
                entry.answer = deadline_error()
            elif entry.isolated and entry in suspects:
                entry.answer = RuntimeError(f"the inference thread died while it computed this: {error!r}")
            else:
                entry.isolated = True
                entry.queue.arrived.appendleft(entry)  # safe: no thread takes anything at this moment
        self._settle([entry for entry in self._pending.values() if entry.answer is not None])
        if not self._stopped:
            self._start_thread()

    # In the thread

    def _start_thread(self) -> None:
        # A daemon: a forward pass that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._main, name=f"inference-{self.name}", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        running: list[Batch] = []
        try:
            with self._compute_lock:
                while not self._stopped:
                    if not self._work(running):
                        self._sleep()
        except BaseException as error:  # noqa: BLE001 (SystemExit, MemoryError …: no future may stay unsettled)
            log.critical("the inference thread of %s died; another one takes over: %r", self.name, error)
            self._post(self._recover, error)

    def _work(self, running: list[Batch]) -> bool:
        """Give a time slice to fresh work, or to the interrupted batch that is next; False without either.

        They alternate by time, not by batches: one after the other of many short pieces of fresh work would wait for a
        slice of the interrupted batch each. And fresh work that takes little time comes before an interrupted batch
        where the last slice was that of a fresh batch that takes long: it waits for one call at most.
        """
        queue = self._next_queue()
        if queue is None and not running:
            return False
        if running and (queue is None or (self._interrupted_is_next and not self._may_overtake(queue))):
            interrupted = min(running, key=_rank)  # of equal ones the oldest
            self._interrupted_is_next, self._fresh_seconds = False, 0.0
            if self._advance(interrupted, others_run=len(running) > 1):
                running.remove(interrupted)
        elif queue is not None:
            fresh = Batch(queue)
            if not self._advance(fresh, others_run=bool(running)):
                running.append(fresh)
            self._fresh_seconds += fresh.seconds
            self._interrupted_is_next = self._fresh_seconds > TIME_SLICE
        return True

    def _may_overtake(self, queue: ModelQueue) -> bool:
        last = self._current
        return last is not None and bool(last.entries) and last.takes_long and queue.quick_work_is_next

    def _next_queue(self) -> ModelQueue | None:
        """The queue with the submission that comes first by rank; of equal ones the next in turn."""
        queues = self._queues  # the event loop may put another tuple in its place
        ready = [index for index, queue in enumerate(queues) if queue.arrived or queue.ranked]
        if not ready:
            return None
        if len(ready) > 1:
            ready.sort(key=lambda index: (index - self._next_index) % len(queues))
            for index in ready:
                queues[index].rank_arrived()
            ready.sort(key=lambda index: queues[index].ranked[0].claim.rank)
        self._next_index = ready[0] + 1
        return queues[ready[0]]

    def _advance(self, batch: Batch, *, others_run: bool) -> bool:
        """Give a time slice to `batch`; whether it is then finished."""
        self._current, self._others_run = batch, others_run
        self._call_began = time.monotonic()
        try:
            return batch.run(self._preempts, self._post_settled)
        finally:
            self._call_began = math.inf

    def _preempts(self, batch: Batch, seconds: float) -> bool:
        """Whether `batch` makes way for others after `seconds` of its slice."""
        self._call_began = time.monotonic()
        if seconds > TIME_SLICE:
            return self._others_run or self._work_is_waiting()
        if seconds > SHORT_SLICE and batch.takes_long:
            waiting = [queue for queue in self._queues if queue.arrived or queue.ranked]
            return any(queue.quick_work_is_next for queue in waiting)
        return False

    def _post_settled(self, entries: list[Entry]) -> None:
        self._post(self._settle, entries)

    def _work_is_waiting(self) -> bool:
        for queue in self._queues:  # noqa: SIM110 (a generator would be entered for each of the queues)
            if queue.arrived or queue.ranked:
                return True
        return False

    def _sleep(self) -> None:
        self._asleep = True
        if not self._stopped and not self._work_is_waiting():  # nothing came between the last look and the flag
            self._compute_lock.release()
            self._wake.get()
            self._compute_lock.acquire()
        self._asleep = False

    def _post(self, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: no caller is left to be answered
            self._stopped = True


def _never(_batch: Batch, _seconds: float) -> bool:
    return False


def _rank(batch: Batch) -> float:
    return batch.rank


def _is_quickly_answered(queue: ModelQueue) -> bool:
    """Whether all that waits in `queue` is one small item of a model that answers such a one at once."""
    return (
        queue.typical_seconds <= INLINE_SECONDS
        and not queue.ranked
        and len(queue.arrived) == 1
        and queue.arrived[0].is_small
    )


def _draining() -> Unavailable:
    return Unavailable("the service is going down", code="draining", retry_after=5.0)
