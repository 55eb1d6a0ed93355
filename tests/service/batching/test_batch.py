"""What is computed together, and what each entry of a batch is answered."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import weakref
from collections.abc import Iterator, Sequence

import pytest

from service.batching.batch import Batch
from service.batching.queue import (
    Answer,
    BatchReport,
    BatchRunner,
    CancelledItems,
    Entry,
    Limits,
    ModelQueue,
)
from service.batching.scheduler import Scheduler
from service.contract.types import PaddingStats
from service.runtime.fair_share import Client, FairShare
from tests.service.batching.runners import TIMEOUT, BlockedQueue, Doubler, Stepwise, StubItem, results, stubs


class FakeOwner:
    """Admits everything and computes nothing: the test takes the batches itself."""

    is_idle = True

    def __init__(self) -> None:
        self.share = FairShare()

    def admit(self, entry: Entry) -> None:
        entry.future.release = lambda _: None
        entry.queue.arrived.append(entry)


def unattended(runner: BatchRunner, limits: Limits | None = None) -> ModelQueue:
    return ModelQueue(FakeOwner(), "queue", runner, limits or Limits())


def run(queue: ModelQueue) -> list[Entry]:
    """The entries of the next batch of `queue`, in the order in which they were settled."""
    settled: list[Entry] = []
    assert Batch(queue).run(lambda *_: False, settled.extend)
    return settled


async def test_a_batch_is_bounded_in_items_and_in_observations(scheduler: Scheduler) -> None:
    async with BlockedQueue(scheduler, Limits(batch_items=3, batch_observations=100)) as blocked:
        futures = blocked.submit(
            stubs(1, 2), stubs(3, 4), stubs(5), stubs(6, 7, 8, 9), [StubItem(10, 99)], stubs(11, 12)
        )
    await asyncio.gather(*futures)
    assert blocked.runner.batches[1:] == [[1, 2], [3, 4, 5], [6, 7, 8, 9], [10], [11, 12]]


def price(_items: Sequence[StubItem], observations: int) -> float:
    return observations / 1000


async def test_who_has_had_least_comes_first_and_of_equal_ones_the_first() -> None:
    runner = Doubler()
    queue = ModelQueue(FakeOwner(), "queue", runner, Limits(batch_items=2), price=price)
    for value, client in ((1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c")):
        queue.submit([StubItem(value, 5)], client=Client(client, 0))
    while queue.arrived or queue.ranked:
        run(queue)
    assert runner.batches == [[1, 3], [5, 2], [4]]


async def test_an_entry_that_takes_long_does_not_join_quick_ones() -> None:
    runner = Doubler()
    queue = ModelQueue(FakeOwner(), "queue", runner, Limits(), price=price)
    for value, length in ((1, 1), (2, 2), (3, 2_000), (4, 2_000), (5, 1)):
        queue.submit([StubItem(value, length)], client=Client("a", value))
    while queue.arrived or queue.ranked:
        run(queue)
    assert runner.batches == [[1, 2, 5], [3, 4]]


async def test_an_isolated_entry_shares_its_batch_with_no_other() -> None:
    runner = Doubler()
    queue = unattended(runner)
    for value in (1, 2, 3, 4, 5):
        queue.submit(stubs(value))
    queue.waiting_entries[2].isolated = True
    while queue.waiting_entries:
        run(queue)
    assert runner.batches == [[1, 2], [3], [4, 5]]


async def test_entries_of_a_failed_batch_are_tried_apart_even_beside_fresh_ones() -> None:
    def raising(
        items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        batches.append([item.value for item in items])
        if 13 in batches[-1]:
            raise ArithmeticError
        yield [(n, item.value) for n, item in enumerate(items)]

    batches: list[list[int]] = []
    queue = unattended(raising)
    queue.submit(stubs(1))
    queue.submit(stubs(13))
    assert run(queue) == []
    queue.submit(stubs(3))
    while queue.waiting_entries:
        run(queue)
    assert batches == [[1, 13], [1], [13], [3]]


async def test_cancelled_and_expired_entries_are_not_taken() -> None:
    runner = Doubler()
    queue = unattended(runner)
    cancelled = queue.submit(stubs(1))
    queue.submit(stubs(2))
    queue.submit(stubs(3))
    cancelled.cancel()
    queue.waiting_entries[1].deadline = time.monotonic()
    (entry,) = run(queue)
    assert runner.batches == [[3]]
    assert entry.items == stubs(3)


async def test_a_batch_of_nothing_is_finished_and_reported_to_nothing() -> None:
    reports: list[BatchReport] = []
    queue = unattended(Doubler())
    queue.on_batch = reports.append
    queue.submit(stubs(1)).cancel()
    assert run(queue) == []
    assert reports == []


async def test_a_runner_is_not_resumed_once_all_is_answered() -> None:
    resumed: list[bool] = []

    def runner(*_: object) -> Iterator[list[Answer]]:
        yield [(0, 1), (1, 2)]
        resumed.append(True)

    queue = unattended(runner)
    queue.submit(stubs(1, 2))
    (entry,) = run(queue)
    assert entry.results == [1, 2]
    assert resumed == []


async def test_a_finished_batch_keeps_nothing_alive() -> None:
    class Payload(StubItem):
        pass

    def runner(
        items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        for n, _ in enumerate(items):
            yield [(n, n)]

    queue = unattended(runner)
    payload = Payload(1)
    alive = weakref.ref(payload)
    queue.submit([payload])
    gc.disable()  # only cycles would wait for it
    try:
        run(queue)
        del payload
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("preempt", "slices"), [(True, 2), (False, 1)])
async def test_a_batch_makes_way_between_two_calls_where_it_is_told_to(preempt: bool, slices: int) -> None:
    def runner(*_: object) -> Iterator[list[Answer]]:
        yield []
        yield [(0, 1)]

    queue = unattended(runner)
    queue.submit(stubs(1))
    batch, settled = Batch(queue), list[Entry]()
    asked: list[float] = []

    def asks(of: Batch, seconds: float) -> bool:
        assert of is batch
        asked.append(seconds)
        return preempt

    finished = [batch.run(asks, settled.extend)]
    while not finished[-1]:
        finished.append(batch.run(asks, settled.extend))
    assert len(finished) == slices
    assert len(asked) == 1
    assert asked[0] >= 0
    assert [entry.results for entry in settled] == [[1]]


async def test_cancelled_items_are_those_of_entries_that_need_no_answer() -> None:
    cancelled_items: list[list[int]] = []

    def runner(items: Sequence[StubItem], cancelled: CancelledItems, *_: object) -> Iterator[list[Answer]]:
        cancelled_items.append(sorted(cancelled()))
        yield [(0, 0), (1, ValueError("one of two"))]  # the first entry is answered, the second has failed
        cancelled_items.append(sorted(cancelled()))
        futures[2].cancel()
        yield []
        cancelled_items.append(sorted(cancelled()))
        entries[3].deadline = time.monotonic() - 1
        yield []
        cancelled_items.append(sorted(cancelled()))

    queue = unattended(runner)
    futures = [queue.submit(items) for items in (stubs(1), stubs(2, 3), stubs(4), stubs(5), stubs(6))]
    entries = list(queue.waiting_entries)
    run(queue)
    assert cancelled_items == [[], [1, 2], [1, 2, 3], [1, 2, 3, 4]]


async def test_what_was_answered_before_a_wrong_index_is_still_settled() -> None:
    def wrong(*_: object) -> Iterator[list[Answer]]:
        yield [(0, 1), (7, 1)]

    queue = unattended(wrong)
    queue.submit(stubs(1))
    queue.submit(stubs(2))
    (entry,) = run(queue)
    assert entry.results == [1]
    assert [entry.items for entry in queue.waiting_entries] == [stubs(2)]


async def test_results_say_how_long_they_waited_and_were_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.5, 12.5 + 1.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    queue = unattended(Doubler())
    queue.submit(stubs(1))
    (entry,) = run(queue)
    monkeypatch.undo()
    assert entry.answer is not None
    assert (entry.answer.queue_seconds, entry.answer.compute_seconds) == (2.5, 1.0)  # type: ignore[union-attr]


async def test_the_typical_time_is_about_the_median_of_single_small_items(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]

    def runner(*_: object) -> Iterator[list[Answer]]:
        clock[0] += seconds[0]
        yield [(0, 1)]

    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    queue = unattended(runner)

    def measure(duration: float, *, is_small: bool = True) -> float:
        seconds[0] = duration
        queue.submit([StubItem(1, is_small=is_small)])
        run(queue)
        return queue.typical_seconds

    assert queue.typical_seconds == math.inf
    assert measure(1.0, is_small=False) == math.inf
    assert measure(0.001) == pytest.approx(0.001)
    assert measure(5.0) == pytest.approx(0.0011)  # a single slow batch says little about the model
    assert measure(0.0001) == pytest.approx(0.00099)
    for _ in range(100):
        measure(0.0002)
    assert measure(0.0002) == pytest.approx(0.0002, rel=0.2)


async def test_a_batch_is_reported_with_its_size_its_padding_and_its_requests(scheduler: Scheduler) -> None:
    reports: list[BatchReport] = []

    def runner(
        items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        padding.real += 13
        padding.computed += 16
        yield [(n, ValueError()) if item.value == 3 else (n, item.value) for n, item in enumerate(items)]

    queue = scheduler.new_queue("queue", runner, Limits(), reports.append)
    async with BlockedQueue(scheduler):
        futures = [queue.submit([StubItem(1, 5)]), queue.submit([StubItem(2, 7), StubItem(3, 1)])]
    await asyncio.gather(*futures, return_exceptions=True)
    await scheduler.close(TIMEOUT)
    (report,) = reports
    assert (report.items, report.observations) == (3, 13)
    assert (report.padding.real, report.padding.computed) == (13, 16)
    assert [request.results for request in report.requests] == [[1]]
    assert report.seconds > 0


async def test_a_fault_of_the_report_stops_no_answer(scheduler: Scheduler, caplog: pytest.LogCaptureFixture) -> None:
    def faulty(_: BatchReport) -> None:
        raise RuntimeError("no room")

    queue = scheduler.new_queue("queue", Doubler(), Limits(), faulty)
    assert (await queue.submit(stubs(4))).results == [8]
    assert scheduler.restarts == 0
    assert "could not be counted" in caplog.text


async def test_a_submission_that_is_half_answered_when_a_call_fails_is_computed_anew(scheduler: Scheduler) -> None:
    runner = Stepwise()
    runner.fault = ArithmeticError("second")
    runner.go_on.set()
    queue = scheduler.new_queue("stepwise", runner, Limits())
    async with BlockedQueue(scheduler):
        half, single = queue.submit(stubs(1, 2)), queue.submit(stubs(3))
    with pytest.raises(ArithmeticError):
        await half
    assert (await single).results == [6]
    assert sorted(runner.batches) == [[1, 2], [1, 2, 3], [3]]


async def test_a_runner_gets_the_number_of_requests_of_its_items(scheduler: Scheduler) -> None:
    sizes: list[tuple[int, int]] = []

    def runner(
        items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        sizes.append((len(items), n_requests))
        return Doubler()(items, cancelled, n_requests, padding)

    queue = scheduler.new_queue("queue", runner, Limits())
    await queue.submit(stubs(1, 2, 3))
    await asyncio.gather(queue.submit(stubs(1, 2)), queue.submit(stubs(3)))
    assert sizes == [(3, 1), (3, 2)]


async def test_an_item_s_own_error_fails_its_submission_alone(scheduler: Scheduler) -> None:
    def picky(items: Sequence[StubItem], *_: object) -> Iterator[list[Answer]]:
        yield [(n, ValueError("odd") if item.value % 2 else item.value) for n, item in enumerate(items)]

    async with BlockedQueue(scheduler):
        queue = scheduler.new_queue("picky", picky, Limits())
        futures = [queue.submit(stubs(*values)) for values in ((2, 4), (2, 3), (6,))]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(outcomes[1], ValueError)
    assert [o.results for o in outcomes if not isinstance(o, BaseException)] == [[2, 4], [6]]


@pytest.mark.parametrize(
    ("answers", "error"),
    [([], RuntimeError), ([(0, 1)], RuntimeError), ([(0, 1), (0, 1)], RuntimeError), ([(7, 1)], IndexError)],
)
async def test_a_wrong_number_of_answers_is_an_error(
    scheduler: Scheduler, answers: list[Answer], error: type[Exception]
) -> None:
    def wrong(items: Sequence[StubItem], *_: object) -> Iterator[list[Answer]]:
        yield answers if len(items) == 2 else [(0, 5)]

    queue = scheduler.new_queue("wrong", wrong, Limits())
    with pytest.raises(error):
        await queue.submit(stubs(1, 2))
    assert (await queue.submit(stubs(1))).results == [5]


async def test_a_runner_that_is_no_generator_is_an_error_of_the_request(scheduler: Scheduler) -> None:
    def broken(*_: object) -> Iterator[list[Answer]]:
        raise KeyError("no generator")

    with pytest.raises(KeyError):
        await scheduler.new_queue("broken", broken, Limits()).submit(stubs(1))
    assert scheduler.alive


async def test_what_arrives_while_a_batch_computes_is_the_next_batch(scheduler: Scheduler) -> None:
    async with BlockedQueue(scheduler) as blocked:
        futures = blocked.submit(stubs(1), stubs(2, 3), stubs(4))
    assert await results(*futures) == [[2], [4, 6], [8]]
    assert blocked.runner.batches == [[-1], [1, 2, 3, 4]]
