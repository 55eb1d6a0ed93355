"""A batch: entries taken from a queue together, computed slice by slice, their answers noted as they come.

The holder of the compute lock drives it (`service.batching.scheduler`); settled entries are handed back, not called.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import attrgetter

from service.batching.queue import QUICK_SECONDS, Answer, BatchReport, Entry, ModelQueue, deadline_error
from service.contract.errors import ModelFault, out_of_memory
from service.contract.types import BatchResult, PaddingStats

QUANTUM = 0.2  # seconds for which a batch goes on before another one of an equal client

log = logging.getLogger(__name__)
_items = attrgetter("items")


@dataclass(slots=True, eq=False)
class Batch:
    """Entries of one queue that are computed together; they are taken from it when the first slice begins."""

    queue: ModelQueue
    max_seconds: float = math.inf  # that its entries are expected to take, but for the first
    entries: list[Entry] = field(default_factory=list)
    seconds: float = 0.0  # computed so far
    padding: PaddingStats = field(default_factory=PaddingStats)
    _time: float = 0.0  # of the last look at the clock
    _owners: list[tuple[Entry, int]] = field(default_factory=list)  # of each item: its entry, its index there
    _unfinished: int = 0  # entries
    _steps: Iterator[Sequence[Answer]] | None = None

    @property
    def rank(self) -> float:
        """When it is its turn to go on: the later, the more of it was computed (see `service.runtime.fair_share`).

        Batches of equal clients are not computed side by side, which would end them all late, but one after the other
        for `QUANTUM` each.
        """
        claim = self.entries[0].claim
        return claim.start + claim.weight * (self.seconds // QUANTUM) * QUANTUM / len(self.entries)

    @property
    def takes_long(self) -> bool:
        """Whether its submissions are such that each takes long."""
        return self.entries[0].takes_long

    def run(self, preempt: Callable[[Batch, float], bool], settle: Callable[[list[Entry]], None]) -> bool:
        """Compute until finished, or until `preempt` says so; returns whether it is finished.

        `preempt` gets this batch and the seconds since the beginning of the slice, after each call.
        `settle` gets entries as they are answered. An `Exception` of the runner becomes an answer; any other
        `BaseException` passes.
        """
        start = self._time = time.monotonic()
        settled: list[Entry] = []
        try:
            for answers in self._steps or self._start():
                self._time = time.monotonic()
                settled = self._accept(answers)
                if not self._unfinished:
                    break
                if settled:
                    settle(settled)
                    settled = []
                if preempt(self, self._time - start):
                    self.seconds += time.monotonic() - start
                    return False
            error = None
        except Exception as raised:  # noqa: BLE001 (an error of the runner must reach its callers)
            error = raised
            settled = [entry for entry in self.entries if entry.finished and not entry.future.done()]
        if self._unfinished:
            settled += self._close(error)
        self.seconds += time.monotonic() - start
        # The answers are sent last: sending them wakes the event loop, which then needs the interpreter for itself.
        self._record()
        self._steps = None  # it refers back to this batch, and would keep items and results alive
        if settled:
            settle(settled)
        return True

    def _start(self) -> Iterator[Sequence[Answer]]:
        """Take entries from the queue and begin with them."""
        entries = self.entries = self._take()
        if not entries:
            return iter(())
        self.queue.share.begin(entries[-1].claim)
        if len(entries) == 1:
            entries[0].isolated = True
        # Of entries that are cancelled from now on the items are computed, of earlier ones they are gone.
        taken = list(map(_items, entries))
        for entry, items in zip(entries, taken, strict=True):
            entry.started = self._time
            entry.missing = len(items)
            entry.results = [None] * entry.missing
            self._owners += zip(repeat(entry), range(entry.missing), strict=False)
        self._unfinished = len(entries)
        items = taken[0] if len(entries) == 1 else list(chain.from_iterable(taken))
        if not items:
            return iter(())
        self._steps = iter(self.queue.runner(items, self._cancelled, len(entries), self.padding))
        return self._steps

    def _take(self) -> list[Entry]:
        """Entries for this batch in their turn, at least one if any needs an answer; an isolated one comes alone.

        One that takes long does not join those that take little time: they would wait for its calls.
        """
        entries: list[Entry] = []
        limits, ranked = self.queue.limits, self.queue.ranked
        self.queue.rank_arrived()
        items = observations = n_taken = 0
        seconds = 0.0
        first_takes_long = False
        for entry in ranked:
            if entry.future.done() or self._time >= entry.deadline:
                n_taken += 1  # the scheduler's look for expired entries answers it where it still needs one
                continue
            items += len(entry.items)
            observations += entry.observations
            seconds += entry.claim.seconds
            full = items > limits.batch_items or observations > limits.batch_observations or seconds > self.max_seconds
            takes_long = entry.claim.seconds > QUICK_SECONDS
            if not entries:
                first_takes_long = takes_long
            elif full or entry.isolated or takes_long > first_takes_long:
                break
            entries.append(entry)
            n_taken += 1
            if entry.isolated:
                break
        del ranked[:n_taken]
        return entries

    def _cancelled(self) -> Collection[int]:
        """Indices of the items without a result that need none: their entry failed, expired, or was cancelled."""
        dropped = {
            entry
            for entry in self.entries
            if entry.missing and (entry.finished or entry.future.done() or self._time >= entry.deadline)
        }
        return {index for index, (entry, _) in enumerate(self._owners) if entry in dropped} if dropped else ()

    def _accept(self, answers: Sequence[Answer]) -> list[Entry]:
        """Note `answers`; returns the entries that are complete with them."""
        settled: list[Entry] = []
        for index, result in answers:
            entry, position = self._owners[index]
            if entry.finished:
                continue
            if isinstance(result, BaseException):
                entry.answer = result
            else:
                if entry.results[position] is None:
                    entry.missing -= 1
                entry.results[position] = result
                if entry.missing:
                    continue
                entry.answer = BatchResult(entry.results, entry.started - entry.enqueued, self._time - entry.started)
            entry.finished = True
            self._unfinished -= 1
            settled.append(entry)
        return settled

    def _close(self, error: Exception | None) -> list[Entry]:
        """Settle the entries without an answer after the runner has ended, or send them back to be isolated."""
        unanswered = [entry for entry in self.entries if not entry.finished and not entry.future.done()]
        if isinstance(error, MemoryError):
            log.error("there is no memory left for a batch of %s: %s", self.queue.name, error)
            error = out_of_memory()
        if error is not None and len(self.entries) > 1:
            log.warning("a batch of %s failed; each of its entries is tried alone: %r", self.queue.name, error)
            for entry in reversed(unanswered):
                entry.isolated = True
                self.queue.arrived.appendleft(entry)
            return []
        time_now = time.monotonic()
        for entry in unanswered:
            entry.finished = True
            if time_now >= entry.deadline:
                entry.answer = deadline_error()
            else:
                entry.answer = error or RuntimeError(f"{self.queue.name} gave no answer for {entry.missing} items")
        return unanswered

    def _record(self) -> None:
        """Report the finished batch to its queue."""
        entries, queue = self.entries, self.queue
        if not entries:
            return
        if len(entries) == 1 and entries[0].is_small:
            # About the median: a single slow batch says more about the machine than about the model.
            typical = queue.typical_seconds
            slower = self.seconds > typical
            queue.typical_seconds = self.seconds if typical == math.inf else typical * (1.1 if slower else 0.9)
        if queue.on_batch is None:
            return
        requests = [entry.answer for entry in entries if isinstance(entry.answer, BatchResult) and not entry.is_probe]
        observations = sum([entry.observations for entry in entries])
        faults: Sequence[ModelFault] = ()
        if len(requests) < len(entries):
            faults = [entry.answer for entry in entries if isinstance(entry.answer, ModelFault) and not entry.is_probe]
        try:
            queue.on_batch(BatchReport(len(self._owners), observations, self.seconds, self.padding, requests, faults))
        except Exception:
            log.exception("a batch of %s could not be counted", queue.name)
