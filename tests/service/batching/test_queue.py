"""Admission: bounds, deadlines, and probes that only come while nothing else is pending."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from service.batching.queue import BatchReport, Limits
from service.batching.scheduler import Scheduler
from service.contract.errors import DeadlineExceeded, Unavailable
from service.runtime.fair_share import Client
from tests.service.batching.runners import TIMEOUT, BlockedQueue, Doubler, StubItem, results, stubs


def priced(items: Sequence[Any], _observations: int) -> float:
    """A second for every item."""
    return float(len(items))


def free(_items: Sequence[Any], _observations: int) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("limits", "item"),
    [
        (Limits(queue_items=100), StubItem(1)),
        (Limits(queue_observations=1_000), StubItem(1, 10)),
        (Limits(queue_seconds=100.0), StubItem(1)),
    ],
    ids=["items", "observations", "seconds"],
)
async def test_a_client_alone_may_fill_nearly_half_of_the_queue(
    scheduler: Scheduler, limits: Limits, item: StubItem
) -> None:
    price = priced if limits.queue_seconds == 100 else free
    queue = scheduler.new_queue("queue", Doubler(), limits, price=price)
    async with BlockedQueue(scheduler):
        futures = [queue.submit([item] * 15, client=Client("a", n)) for n in range(3)]  # 45 of 100
        with pytest.raises(Unavailable) as one_more:
            queue.submit([item] * 2, client=Client("a", 3))
        assert one_more.value.code == "queue_full"
        assert one_more.value.retry_after == (45.0 if limits.queue_seconds == 100 else 1.0)
        futures.append(queue.submit([item] * 25, client=Client("b", 0)))
    await asyncio.gather(*futures)
    assert (queue.items, queue.observations) == (0, 0)
    assert scheduler.share.room == scheduler.share.seconds == 0


@pytest.mark.parametrize("measure", ["items", "observations", "seconds"])
async def test_the_last_request_of_a_client_that_fits(scheduler: Scheduler, measure: str) -> None:
    """Of a queue of 100, a client that holds 40 may add 10: as much as is left free then, but for the reserve."""
    limits = Limits(**{f"queue_{measure}": 100})
    queue = scheduler.new_queue("queue", Doubler(), limits, price=priced if measure == "seconds" else free)
    item = StubItem(1)
    async with BlockedQueue(scheduler, Limits(queue_items=1 << 60, queue_observations=1 << 60)):
        held = [queue.submit([item] * 20, client=Client("a", 0)) for _ in range(2)]
        for below_or_on in (9, 10):
            queue.submit([item] * below_or_on, client=Client("a", 0)).cancel()
        with pytest.raises(Unavailable) as above:
            queue.submit([item] * 11, client=Client("a", 0))
        assert above.value.code == "queue_full"
        assert above.value.retry_after == (40.0 if measure == "seconds" else 1.0)
    await asyncio.gather(*held)


async def test_room_is_free_again_once_a_submission_is_settled_cancelled_or_refused(scheduler: Scheduler) -> None:
    queue = scheduler.new_queue("queue", Doubler(), Limits(queue_seconds=10.0), price=priced)
    async with BlockedQueue(scheduler):
        held = queue.submit(stubs(1, 2))
        for _ in range(5):
            queue.submit(stubs(3)).cancel()
        assert scheduler.share.room == pytest.approx(0.2, abs=0.001)
    await held
    assert scheduler.share.room == 0
    scheduler.drain()
    with pytest.raises(Unavailable):
        queue.submit(stubs(4))
    assert scheduler.share.room == 0


async def test_an_idle_queue_admits_a_request_that_is_larger_than_itself(scheduler: Scheduler) -> None:
    queue = scheduler.new_queue("queue", Doubler(), Limits(queue_items=2, queue_observations=2, batch_items=2))
    assert (await queue.submit(stubs(1, 2, 3, 4, 5))).results == [2, 4, 6, 8, 10]


async def test_a_submission_counts_until_it_is_settled_or_cancelled(scheduler: Scheduler) -> None:
    async with BlockedQueue(scheduler) as blocked:
        futures = blocked.submit([StubItem(1, 4)], [StubItem(2, 5)])
        assert (blocked.queue.items, blocked.queue.observations) == (3, 10)
        futures[0].cancel()
        assert (blocked.queue.items, blocked.queue.observations) == (2, 6)
    await futures[1]
    assert (blocked.queue.items, blocked.queue.observations) == (0, 0)


async def test_a_passed_deadline_is_refused_before_anything_is_queued(scheduler: Scheduler) -> None:
    queue = scheduler.new_queue("queue", Doubler(), Limits())
    with pytest.raises(DeadlineExceeded) as error:
        queue.submit(stubs(1), time.monotonic())
    assert error.value.code == "deadline_exceeded"
    assert queue.items == 0


async def test_a_probe_is_computed_while_nothing_else_is_pending(scheduler: Scheduler) -> None:
    runner = Doubler()
    queue = scheduler.new_queue("queue", runner, Limits())
    probe = queue.submit_probe(stubs(3, 4))
    assert probe is not None
    assert (await probe).results == [6, 8]
    assert (queue.items, queue.observations) == (0, 0)


async def test_a_probe_is_dropped_while_a_submission_to_any_queue_is_pending(scheduler: Scheduler) -> None:
    other_queue = scheduler.new_queue("other", Doubler(), Limits())
    async with BlockedQueue(scheduler) as blocked:
        assert blocked.queue.submit_probe(stubs(1)) is None
        assert other_queue.submit_probe(stubs(1)) is None
    assert blocked.runner.batches == [[-1]]
    assert other_queue.submit_probe(stubs(1)) is not None


async def test_a_probe_is_in_no_batch_of_others_and_counts_as_no_request(scheduler: Scheduler) -> None:
    runner, reports = Doubler(), list[BatchReport]()
    queue = scheduler.new_queue("queue", runner, Limits(), reports.append)
    runner.block()
    probe = queue.submit_probe(stubs(3))
    requests = [queue.submit(stubs(1)), queue.submit(stubs(2))]
    runner.gate.set()
    assert probe is not None
    assert await results(probe, *requests) == [[6], [2], [4]]
    assert runner.batches == [[3], [1, 2]]
    await scheduler.close(TIMEOUT)
    assert [len(report.requests) for report in reports] == [0, 2]


async def test_a_closing_scheduler_takes_no_probe(scheduler: Scheduler) -> None:
    queue = scheduler.new_queue("queue", Doubler(), Limits())
    scheduler.drain()
    assert queue.submit_probe(stubs(1)) is None


async def test_work_that_takes_far_longer_than_its_time_is_refused_at_once(scheduler: Scheduler) -> None:
    """A second for every item, of which two are done in a second."""
    queue = scheduler.new_queue("queue", Doubler(), Limits(queue_seconds=1e9), price=priced, speed=lambda: 2.0)
    deadline = time.monotonic() + 10
    assert await results(queue.submit(stubs(*range(39)), deadline))
    queue.check_time(stubs(*range(39)), 39, deadline)
    with pytest.raises(DeadlineExceeded, match="about 50 s"):
        queue.submit(stubs(*range(100)), deadline)
    with pytest.raises(DeadlineExceeded, match="about 50 s"):
        queue.check_time(stubs(*range(100)), 100, deadline)
    assert (queue.items, scheduler.share.seconds) == (0, 0)


async def test_a_guess_refuses_nothing(scheduler: Scheduler) -> None:
    queue = scheduler.new_queue("queue", Doubler(), Limits(queue_seconds=1e9), price=priced)
    assert await results(queue.submit(stubs(*range(100)), time.monotonic() + 10))
