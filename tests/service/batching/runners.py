"""Small runners and a blocked queue for the tests of batching."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from service.batching.queue import Answer, BatchReport, CancelledItems, Limits, ModelQueue, ResultFuture
from service.batching.scheduler import Scheduler
from service.contract.types import BatchResult, PaddingStats

TIMEOUT = 10.0  # seconds; reached only by a test that fails


@dataclass(frozen=True)
class StubItem:
    value: int
    length: int = 1
    is_small: bool = False


def stubs(*values: int) -> list[StubItem]:
    return [StubItem(value) for value in values]


class Doubler:
    """Answers twice the value. `block()` keeps the thread inside the next batch until `gate.set()`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def block(self) -> None:
        self.started.clear()
        self.gate.clear()

    def __call__(
        self, items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        self.batches.append([item.value for item in items])
        self.started.set()
        assert self.gate.wait(TIMEOUT)
        yield [(n, item.value * 2) for n, item in enumerate(items) if n not in cancelled()]


class ThreadRecorder(Doubler):
    """Records which thread computed."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def __call__(
        self, items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        self.threads.append("loop" if threading.current_thread() is threading.main_thread() else "inference")
        return super().__call__(items, cancelled, n_requests, padding)


class Stepwise:
    """Answers one item a call, and every call but the first of a batch waits for `go_on`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.fault: BaseException | None = None  # what the second call of a batch raises

    def __call__(
        self, items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        self.batches.append([item.value for item in items])
        self.started.set()
        for n, item in enumerate(items):
            if n:
                assert self.go_on.wait(TIMEOUT)
                if self.fault is not None:
                    raise self.fault
            if n not in cancelled():
                yield [(n, item.value * 2)]


class BlockedQueue:
    """A queue with its thread inside a first batch of one item, worth -1, so that what follows gathers."""

    def __init__(
        self,
        scheduler: Scheduler,
        limits: Limits | None = None,
        on_batch: Callable[[BatchReport], None] | None = None,
    ) -> None:
        self.runner = Doubler()
        self.queue = scheduler.new_queue("blocked", self.runner, limits or Limits(), on_batch)

    async def __aenter__(self) -> BlockedQueue:
        self.runner.block()
        self.first = self.queue.submit(stubs(-1))
        assert await asyncio.to_thread(self.runner.started.wait, TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.runner.gate.set()
        assert (await self.first).results == [-2]

    def submit(self, *submissions: Sequence[StubItem]) -> list[ResultFuture]:
        return [self.queue.submit(items) for items in submissions]


async def results(*futures: asyncio.Future[BatchResult]) -> list[list[int]]:
    return [list(result.results) for result in await asyncio.gather(*futures)]


async def until_computed_on_the_loop(queue: ModelQueue, runner: ThreadRecorder) -> None:
    """One small item at a time: soon the thread sleeps when one comes, and the queue typically answers at once."""
    for value in range(1000):
        assert (await queue.submit([StubItem(value, is_small=True)])).results == [2 * value]
        if runner.threads[-1] == "loop":
            return
    raise AssertionError("none of a thousand was computed on the event loop")
