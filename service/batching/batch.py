"""A batch on its way through its lane's runner: turn by turn, answers noted as they come, nobody forgotten.

Whoever computes drives it (`service.batching.scheduler`); the entries it settles are handed back, not called.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from service.batching.queue import Answer, BatchResult, Entry, ModelQueue, too_late

log = logging.getLogger(__name__)

TURN = 0.010  # seconds a batch may compute while other work waits


class Batch:
    """Entries of one lane that are computed together."""

    def __init__(self, lane: ModelQueue, entries: list[Entry]) -> None:
        self.lane = lane
        self.entries = entries
        self.seconds = 0.0
        self._now = time.monotonic()
        self._owners: list[tuple[Entry, int]] = []
        if len(entries) == 1:
            entries[0].alone = True
        for entry in entries:
            entry.started = self._now
            entry.results = [None] * len(entry.items)
            entry.missing = len(entry.items)
            self._owners += [(entry, index) for index in range(len(entry.items))]
        self._steps = self._run()

    def turn(self, hurry: Callable[[], bool], settle: Callable[[list[Entry]], None]) -> bool:
        """Compute until done, or until `hurry()` after `TURN` seconds; whether it is done.

        `settle` gets the entries as they are answered.
        """
        start = self._now = time.monotonic()
        try:
            for answers in self._steps:
                self._now = time.monotonic()
                if closed := self._accept(answers):
                    settle(closed)
                if self._now - start > TURN and hurry():
                    return False
            left = self._close_all(None)
        except Exception as error:  # noqa: BLE001 (whatever a runner raises must reach those who wait for it)
            left = self._close_all(error)
        finally:
            self.seconds += time.monotonic() - start
        if left:
            settle(left)
        return True

    def _run(self) -> Iterator[Sequence[Answer]]:
        items = [item for entry in self.entries for item in entry.items]
        yield from self.lane.runner(items, self._gone, len(self.entries))

    def _gone(self, index: int) -> bool:
        entry = self._owners[index][0]
        return entry.closed or entry.future.done() or entry.expired(self._now)

    def _accept(self, answers: Sequence[Answer]) -> list[Entry]:
        """Note `answers`; the entries that are complete with them."""
        settled: list[Entry] = []
        for index, result in answers:
            entry, position = self._owners[index]
            if entry.closed:
                continue
            if isinstance(result, BaseException):
                entry.answer, entry.closed = result, True
                settled.append(entry)
                continue
            if entry.results[position] is None:
                entry.missing -= 1
            entry.results[position] = result
            if not entry.missing:
                entry.answer = BatchResult(entry.results, entry.started - entry.enqueued, self._now - entry.started)
                entry.closed = True
                settled.append(entry)
        return settled

    def _close_all(self, error: Exception | None) -> list[Entry]:
        """Settle or send back whatever has no answer although the runner has ended."""
        left = [entry for entry in self.entries if not entry.closed and not entry.future.done()]
        if error is not None and len(self.entries) > 1:
            log.warning("a batch of %s failed; each of its entries is tried alone: %r", self.lane.name, error)
            for entry in reversed(left):
                entry.alone = True
                self.lane.waiting.appendleft(entry)
            return []
        for entry in left:
            entry.closed = True
            if entry.expired(time.monotonic()):
                entry.answer = too_late()
            else:
                entry.answer = error or RuntimeError(f"{self.lane.name} gave no answer for {entry.missing} items")
        return left
