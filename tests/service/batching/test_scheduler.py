"""The scheduler with small fake runners: fairness, inline computation, and that every future is settled."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching.queue import Answer, CancelledItems, Limits, ResultFuture
from service.batching.scheduler import INLINE_SECONDS, Scheduler
from service.contract.errors import DeadlineExceeded, Unavailable
from service.contract.types import PaddingStats
from service.runtime.fair_share import Client
from tests.service.batching.runners import (
    TIMEOUT,
    BlockedQueue,
    Doubler,
    Stepwise,
    StubItem,
    ThreadRecorder,
    results,
    stubs,
    until_computed_on_the_loop,
)


async def test_an_idle_thread_starts_at_once(scheduler: Scheduler) -> None:
    runner = Doubler()
    queue = scheduler.new_queue("queue", runner, Limits())
    for value in range(3):
        result = await queue.submit(stubs(value, 10))
        assert result.results == [2 * value, 20]
        assert result.queue_seconds >= 0
        assert result.compute_seconds >= 0
    assert runner.batches == [[0, 10], [1, 10], [2, 10]]
    assert (queue.items, queue.observations) == (0, 0)


async def test_it_tells_how_long_ago_work_came(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scheduler.seconds_since_work == math.inf
    async with BlockedQueue(scheduler) as blocked:
        assert scheduler.seconds_since_work == 0.0
    assert blocked.queue.items == 0
    now = time.monotonic()
    await scheduler.new_queue("queue", Doubler(), Limits()).submit(stubs(1))
    monkeypatch.setattr(time, "monotonic", lambda: now + 7)
    assert 6 < scheduler.seconds_since_work <= 7


async def test_a_single_small_item_is_computed_on_the_event_loop_once_that_takes_no_time(scheduler: Scheduler) -> None:
    runner = ThreadRecorder()
    queue = scheduler.new_queue("queue", runner, Limits())
    await until_computed_on_the_loop(queue, runner)
    assert runner.threads[0] == "inference"
    await queue.submit([StubItem(3)])
    assert runner.threads[-1] == "inference"


async def test_several_small_items_are_one_batch_of_the_thread(scheduler: Scheduler) -> None:
    runner = ThreadRecorder()
    queue = scheduler.new_queue("queue", runner, Limits())
    await until_computed_on_the_loop(queue, runner)
    await asyncio.gather(*(queue.submit([StubItem(value, is_small=True)]) for value in (2, 3)))
    assert runner.threads[-1] == "inference"
    assert runner.batches[-1] == [2, 3]


async def test_two_small_items_of_one_submission_are_computed_by_the_thread(scheduler: Scheduler) -> None:
    runner = ThreadRecorder()
    queue = scheduler.new_queue("queue", runner, Limits())
    await until_computed_on_the_loop(queue, runner)
    for _ in range(5):
        await queue.submit([StubItem(1, is_small=True), StubItem(2, is_small=True)])
        assert runner.threads[-1] == "inference"


async def test_small_items_of_two_models_are_computed_by_the_thread(scheduler: Scheduler) -> None:
    runners = ThreadRecorder(), ThreadRecorder()
    queues = [scheduler.new_queue("queue", runner, Limits()) for runner in runners]
    for queue, runner in zip(queues, runners, strict=True):
        await until_computed_on_the_loop(queue, runner)
    for _ in range(5):
        await asyncio.gather(*(queue.submit([StubItem(1, is_small=True)]) for queue in queues))
        assert [runner.threads[-1] for runner in runners] == ["inference"] * 2


async def test_a_slow_model_is_never_computed_on_the_event_loop(scheduler: Scheduler) -> None:
    class SlowRunner(ThreadRecorder):
        def __call__(
            self, items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
        ) -> Iterator[list[Answer]]:
            until = time.monotonic() + 4 * INLINE_SECONDS
            while time.monotonic() < until:
                pass
            yield from super().__call__(items, cancelled, n_requests, padding)

    runner = SlowRunner()
    queue = scheduler.new_queue("slow", runner, Limits())
    for value in range(5):
        await queue.submit([StubItem(value, is_small=True)])
    assert runner.threads == ["inference"] * 5


async def test_what_kills_on_the_event_loop_kills_only_the_thread(scheduler: Scheduler) -> None:
    class Deadly(ThreadRecorder):
        def __call__(
            self, items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
        ) -> Iterator[list[Answer]]:
            answers = super().__call__(items, cancelled, n_requests, padding)
            if items[0].value == 666:
                raise SystemExit
            return answers

    runner = Deadly()
    queue = scheduler.new_queue("deadly", runner, Limits())
    await until_computed_on_the_loop(queue, runner)
    with pytest.raises(RuntimeError, match="thread died"):
        await queue.submit([StubItem(666, is_small=True)])
    assert (await queue.submit([StubItem(2, is_small=True)])).results == [4]
    assert scheduler.restarts >= 1


async def test_work_that_comes_while_the_loop_computes_wakes_the_thread(scheduler: Scheduler) -> None:
    class Submitting(ThreadRecorder):
        def __call__(
            self, items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
        ) -> Iterator[list[Answer]]:
            answers = super().__call__(items, cancelled, n_requests, padding)
            if items[0].value == 7 and self.threads[-1] == "loop":
                late_futures.append(queue.submit(stubs(8)))
            return answers

    late_futures: list[ResultFuture] = []
    runner = Submitting()
    queue = scheduler.new_queue("queue", runner, Limits())
    await until_computed_on_the_loop(queue, runner)
    while not late_futures:  # whether the thread sleeps already when an item comes is a matter of luck
        await queue.submit([StubItem(7, is_small=True)])
    async with asyncio.timeout(TIMEOUT):
        assert await results(*late_futures) == [[16]]


@pytest.mark.parametrize("index", [0, 1, 2])
async def test_a_submission_cancelled_while_it_waits_is_not_computed_and_harms_no_other(
    scheduler: Scheduler, index: int
) -> None:
    async with BlockedQueue(scheduler) as blocked:
        tasks = blocked.submit(stubs(1), stubs(2), stubs(3))
        tasks[index].cancel()
        await asyncio.wait([tasks[index]])
        assert blocked.queue.items == 3
    values = [value for value in (1, 2, 3) if value != index + 1]
    assert await results(*tasks[:index], *tasks[index + 1 :]) == [[2 * value] for value in values]
    assert blocked.runner.batches == [[-1], values]


async def test_what_is_cancelled_or_expires_is_not_kept_until_its_turn(scheduler: Scheduler) -> None:
    class Payload(StubItem):
        pass

    async with BlockedQueue(scheduler) as blocked:
        items = [[Payload(1)], [Payload(2)]]
        alive = [weakref.ref(item) for (item,) in items]
        cancelled = blocked.queue.submit(items[0])
        expiring = blocked.queue.submit(items[1], time.monotonic() + 0.01)
        kept = blocked.queue.submit(stubs(3))
        items.clear()
        cancelled.cancel()
        with pytest.raises(DeadlineExceeded):
            await expiring
        gc.collect()
        assert [reference() for reference in alive] == [None, None]
        assert len(blocked.queue.waiting_entries) == 3
    assert (await kept).results == [6]


@pytest.mark.parametrize("index", [0, 1, 2])
async def test_a_submission_cancelled_while_it_is_computed_harms_no_other(scheduler: Scheduler, index: int) -> None:
    async with BlockedQueue(scheduler) as blocked:
        tasks = blocked.submit(stubs(1), stubs(2), stubs(3))
        blocked.runner.started.clear()
        blocked.runner.gate.set()
        await blocked.first
        blocked.runner.block()
        # Whether the batch is being computed already or not, it may be cancelled.
        tasks[index].cancel()
    assert await results(*tasks[:index], *tasks[index + 1 :]) == [[2 * v] for v in (1, 2, 3) if v != index + 1]
    assert tasks[index].cancelled() or tasks[index].done()


async def test_a_runner_sees_between_two_calls_what_was_cancelled(scheduler: Scheduler) -> None:
    go_on, started = threading.Event(), threading.Event()
    cancelled_items: list[list[int]] = []

    def runner(
        items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        cancelled_items.append(sorted(cancelled()))
        started.set()
        assert go_on.wait(TIMEOUT)
        yield []
        cancelled_items.append(sorted(cancelled()))
        yield [(n, 0) for n in range(len(items))]

    queue = scheduler.new_queue("queue", runner, Limits())
    task = queue.submit(stubs(1, 2))
    await asyncio.to_thread(started.wait, TIMEOUT)
    task.cancel()
    await asyncio.wait([task])
    go_on.set()
    await scheduler.close(TIMEOUT)
    assert cancelled_items == [[], [0, 1]]


async def three_submissions(scheduler: Scheduler, runner: Stepwise) -> list[ResultFuture]:
    """Three submissions in one batch of `runner`, of which the first has been answered."""
    async with BlockedQueue(scheduler):
        queue = scheduler.new_queue("stepwise", runner, Limits())
        tasks = [queue.submit(stubs(value)) for value in (1, 2, 3)]
    assert (await tasks[0]).results == [2]
    assert runner.batches == [[1, 2, 3]]
    return tasks


async def test_a_submission_answered_by_an_early_call_does_not_wait_for_the_last(scheduler: Scheduler) -> None:
    runner = Stepwise()
    tasks = await three_submissions(scheduler, runner)
    assert not tasks[1].done()
    runner.go_on.set()
    assert [(await task).results for task in tasks] == [[2], [4], [6]]


@pytest.mark.parametrize("index", [1, 2])
async def test_a_submission_cancelled_between_two_calls_harms_no_other(scheduler: Scheduler, index: int) -> None:
    runner = Stepwise()
    tasks = await three_submissions(scheduler, runner)
    tasks[index].cancel()
    await asyncio.wait([tasks[index]])
    runner.go_on.set()
    assert (await tasks[3 - index]).results == [2 * (4 - index)]
    assert tasks[index].cancelled()


@pytest.mark.parametrize(("fault", "restarts"), [(ArithmeticError("second"), 0), (SystemExit(), 1)])
async def test_what_was_answered_before_a_call_fails_stays_answered(
    scheduler: Scheduler, fault: BaseException, restarts: int
) -> None:
    runner = Stepwise()
    runner.fault = fault
    tasks = await three_submissions(scheduler, runner)
    runner.go_on.set()
    assert [(await task).results for task in tasks] == [
        [2],
        [4],
        [6],
    ]  # those without an answer one by one: one call has no second
    assert sorted(runner.batches) == [[1, 2, 3], [2], [3]]
    assert scheduler.restarts == restarts


async def test_only_the_submission_that_makes_the_runner_raise_fails(scheduler: Scheduler) -> None:
    def raising(
        items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        if any(item.value == 13 for item in items):
            raise ArithmeticError("thirteen")
        yield from doubler(items, cancelled, n_requests, padding)

    doubler = Doubler()
    async with BlockedQueue(scheduler) as blocked:
        queue = scheduler.new_queue("raising", raising, Limits())
        tasks = [queue.submit(stubs(value, value)) for value in (1, 13, 3)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], ArithmeticError)
    assert [o.results for o in outcomes if not isinstance(o, BaseException)] == [[2, 2], [6, 6]]
    assert (await queue.submit(stubs(4))).results == [8]
    assert scheduler.restarts == 0
    assert blocked.queue.items == queue.items == 0


async def test_a_dead_thread_is_replaced_and_counted(scheduler: Scheduler) -> None:
    class Deadly(Doubler):
        def __call__(
            self, items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
        ) -> Iterator[list[Answer]]:
            answers = list(super().__call__(items, cancelled, n_requests, padding))
            if items[0].value == 666:
                raise SystemExit
            yield from answers

    runner = Deadly()
    queue = scheduler.new_queue("deadly", runner, Limits())
    async with BlockedQueue(scheduler):
        tasks = [queue.submit(stubs(value, value)) for value in (666, 1, 2)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], RuntimeError)
    assert [o.results for o in outcomes if not isinstance(o, BaseException)] == [[2, 2], [4, 4]]
    assert scheduler.alive
    assert scheduler.restarts == 2  # with its neighbours, which are then computed without it, and isolated
    assert sorted(runner.batches) == [[1, 1], [2, 2], [666, 666], [666, 666, 1, 1, 2, 2]]


async def test_a_single_submission_that_kills_the_thread_is_not_tried_again(scheduler: Scheduler) -> None:
    def deadly(*_: object) -> Iterator[list[Answer]]:
        raise SystemExit

    queue = scheduler.new_queue("deadly", deadly, Limits())
    with pytest.raises(RuntimeError, match="thread died"):
        await queue.submit(stubs(1))
    assert scheduler.restarts == 1


async def test_a_batch_that_was_interrupted_when_the_thread_died_is_computed_again(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batching.scheduler.TIME_SLICE", -1.0)
    started, died = threading.Event(), threading.Event()

    def long_runner(*_: object) -> Iterator[list[Answer]]:
        started.set()
        until = time.monotonic() + TIMEOUT
        while not died.is_set() and time.monotonic() < until:
            yield []
        yield [(0, 5)]

    def deadly(*_: object) -> Iterator[list[Answer]]:
        died.set()
        raise SystemExit

    long_batch = scheduler.new_queue("long", long_runner, Limits()).submit(stubs(0))
    assert await asyncio.to_thread(started.wait, TIMEOUT)
    with pytest.raises(RuntimeError, match="thread died"):
        await scheduler.new_queue("deadly", deadly, Limits()).submit(stubs(1))
    assert (await long_batch).results == [5]


async def test_of_interrupted_batches_the_one_with_the_least_time_goes_on(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's connections together advance no faster than another client's only one."""
    monkeypatch.setattr("service.batching.batch.QUANTUM", 0.001)
    monkeypatch.setattr("service.batching.scheduler.TIME_SLICE", -1.0)
    turns: list[str] = []

    def recording(name: str) -> Callable[..., Iterator[list[Answer]]]:
        def runner(*_: object) -> Iterator[list[Answer]]:
            for _turn in range(6):
                turns.append(name)
                until = time.monotonic() + 0.002
                while time.monotonic() < until:
                    pass
                yield []
            yield [(0, 1)]

        return runner

    async with BlockedQueue(scheduler):
        many = [
            scheduler.new_queue("many", recording("many"), Limits()).submit(stubs(1), client=Client("many", n))
            for n in range(4)
        ]
        one = scheduler.new_queue("one", recording("one"), Limits()).submit(stubs(1), client=Client("one", 0))
    await results(one)
    assert turns[: turns.index("one", turns.index("one") + 5) + 1].count("many") <= 16
    await results(*many)


async def test_batches_of_equal_clients_are_finished_one_after_the_other(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batching.scheduler.TIME_SLICE", -1.0)
    turns: list[int] = []

    def runner(items: Sequence[StubItem], *_: object) -> Iterator[list[Answer]]:
        for _turn in range(5):
            turns.append(items[0].value)
            yield []
        yield [(0, 1)]

    async with BlockedQueue(scheduler):
        queue = scheduler.new_queue("queue", runner, Limits(batch_items=1))
        tasks = [queue.submit(stubs(value), client=Client("a", value)) for value in range(4)]
    await results(*tasks)
    assert [turns.index(value) for value in range(4)] == sorted(turns.index(value) for value in range(4))
    last_turns = [len(turns) - turns[::-1].index(value) for value in range(4)]
    assert last_turns == sorted(last_turns)


@pytest.mark.parametrize(("seconds", "is_interrupted"), [(0.001, True), (0.01, False)])
async def test_a_long_batch_makes_way_at_once_for_work_that_takes_little_time(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, seconds: float, is_interrupted: bool
) -> None:
    monkeypatch.setattr("service.batching.scheduler.SHORT_SLICE", -1.0)
    monkeypatch.setattr("service.batching.scheduler.TIME_SLICE", TIMEOUT)
    runner = Stepwise()
    long_queue = scheduler.new_queue("long", runner, Limits(), price=lambda *_: 1.0)
    quick_queue = scheduler.new_queue("quick", Doubler(), Limits(), price=lambda *_: seconds)
    order: list[str] = []
    long_result = long_queue.submit(stubs(1, 2, 3))
    long_result.add_done_callback(lambda _: order.append("long"))
    assert await asyncio.to_thread(runner.started.wait, TIMEOUT)
    quick_result = quick_queue.submit(stubs(4))  # while the second call of the long batch is made, or before it
    quick_result.add_done_callback(lambda _: order.append("quick"))
    runner.go_on.set()
    assert await results(quick_result, long_result) == [[8], [2, 4, 6]]
    assert order == (["quick", "long"] if is_interrupted else ["long", "quick"])


async def test_long_batches_advance_in_turns(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.batching.scheduler.TIME_SLICE", -1.0)
    steps = {"a": 0, "b": 0}

    def alternating(name: str, neighbour: str) -> Callable[..., Iterator[list[Answer]]]:
        def runner(*_: object) -> Iterator[list[Answer]]:
            until = time.monotonic() + TIMEOUT
            while steps[neighbour] < 5 and time.monotonic() < until:  # neither ends unless the other one goes on, too
                steps[name] += 1
                yield []
            progress = steps[neighbour]
            steps[name] = 5
            yield [(0, progress)]

        return runner

    async with BlockedQueue(scheduler):
        a = scheduler.new_queue("a", alternating("a", "b"), Limits()).submit(stubs(1))
        b = scheduler.new_queue("b", alternating("b", "a"), Limits()).submit(stubs(1))
    assert min(progress for (progress,) in await results(a, b)) >= 5


async def test_short_pieces_of_work_do_not_wait_for_a_slice_of_a_long_batch_each(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batching.scheduler.TIME_SLICE", 0.1)
    order: list[str] = []

    def long_runner(*_: object) -> Iterator[list[Answer]]:
        for _turn in range(4):
            order.append("long")
            time.sleep(0.12)
            yield []
        yield [(0, 1)]

    def short_runner(*_: object) -> Iterator[list[Answer]]:
        order.append("short")
        yield [(0, 1)]

    async with BlockedQueue(scheduler):
        long_result = scheduler.new_queue("long", long_runner, Limits(), price=lambda *_: 0.004).submit(stubs(1))
        short_results = [
            scheduler.new_queue(f"short {n}", short_runner, Limits(), price=lambda *_: 0.005).submit(stubs(1))
            for n in range(5)
        ]
    await results(long_result, *short_results)
    first = order.index("short")
    assert order[first : first + 5] == ["short"] * 5
    assert order[-1] == "long"


async def test_an_expired_submission_is_refused_or_dropped_before_it_is_computed(scheduler: Scheduler) -> None:
    async with BlockedQueue(scheduler) as blocked:
        with pytest.raises(DeadlineExceeded):
            await blocked.queue.submit(stubs(1), time.monotonic())
        late = blocked.queue.submit(stubs(2), time.monotonic() + 0.01)
        patient = blocked.queue.submit(stubs(3), time.monotonic() + TIMEOUT)
        # The thread is busy all the while: the event loop answers in time.
        with pytest.raises(DeadlineExceeded):
            await late
    assert (await patient).results == [6]
    assert blocked.runner.batches == [[-1], [3]]


async def test_a_deadline_ends_a_batch_between_two_of_its_calls(scheduler: Scheduler) -> None:
    def endless(
        items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        while not all(n in cancelled() for n in range(len(items))):
            yield []

    queue = scheduler.new_queue("endless", endless, Limits())
    with pytest.raises(DeadlineExceeded):
        await queue.submit(stubs(1), time.monotonic() + 0.02)
    assert (await scheduler.new_queue("queue", Doubler(), Limits()).submit(stubs(4))).results == [8]


async def test_short_work_overtakes_a_long_batch_of_its_own_queue_and_of_others(scheduler: Scheduler) -> None:
    overtaken, started = threading.Event(), threading.Event()

    def runner(
        items: Sequence[StubItem], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
    ) -> Iterator[list[Answer]]:
        started.set()
        if items[0].value == 0:  # goes on until others were answered, so that they cannot have waited for its end
            until = time.monotonic() + TIMEOUT
            while not overtaken.is_set() and time.monotonic() < until:
                yield []
        yield [(n, item.value) for n, item in enumerate(items)]

    queue = scheduler.new_queue("long", runner, Limits())
    other_queue = scheduler.new_queue("other", Doubler(), Limits())
    long_batch = queue.submit(stubs(0))
    await asyncio.to_thread(started.wait, TIMEOUT)
    async with asyncio.timeout(TIMEOUT / 2):
        for value in (1, 2, 3):
            assert (await queue.submit(stubs(value))).results == [value]
            assert (await other_queue.submit(stubs(value))).results == [2 * value]
    assert not long_batch.done()
    overtaken.set()
    assert (await long_batch).results == [0]


async def test_queues_take_turns(scheduler: Scheduler) -> None:
    order: list[str] = []

    def recording(name: str) -> Callable[..., Iterator[list[Answer]]]:
        def runner(
            items: Sequence[StubItem], _: CancelledItems, n_requests: int, padding: PaddingStats
        ) -> Iterator[list[Answer]]:
            order.append(name)
            yield [(n, 0) for n in range(len(items))]

        return runner

    async with BlockedQueue(scheduler):
        flood = scheduler.new_queue("flood", recording("flood"), Limits(batch_items=1))
        calm = scheduler.new_queue("calm", recording("calm"), Limits(batch_items=1))
        tasks = [flood.submit(stubs(value)) for value in range(20)]
        tasks += [calm.submit(stubs(value)) for value in range(3)]
    await asyncio.gather(*tasks)
    assert sorted(order[:6]) == ["calm"] * 3 + ["flood"] * 3
    assert order[6:] == ["flood"] * 17


async def test_draining_refuses_new_work_and_finishes_what_waits(scheduler: Scheduler) -> None:
    async with BlockedQueue(scheduler) as blocked:
        tasks = blocked.submit(stubs(1), stubs(2))
        closing = asyncio.create_task(scheduler.close(TIMEOUT))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await blocked.queue.submit(stubs(3))
        assert refused.value.code == "draining"
    assert await results(*tasks) == [[2], [4]]
    await closing
    assert not scheduler.alive


async def test_closing_fails_what_does_not_finish_in_time(scheduler: Scheduler) -> None:
    runner = Doubler()
    queue = scheduler.new_queue("queue", runner, Limits())
    runner.block()
    tasks = [queue.submit(stubs(value)) for value in (1, 2)]
    assert await asyncio.to_thread(runner.started.wait, TIMEOUT)
    closing = asyncio.create_task(scheduler.close(0.01))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [o.code for o in outcomes if isinstance(o, Unavailable)] == ["draining", "draining"]
    runner.gate.set()
    await closing


Action = st.sampled_from(["fine", "fine", "fine", "raise", "item error", "forget", "die", "cancel", "late"])


@dataclass(frozen=True)
class Trouble(StubItem):
    action: str = "fine"


def troubled(
    items: Sequence[Trouble], cancelled: CancelledItems, n_requests: int, padding: PaddingStats
) -> Iterator[list[Answer]]:
    actions = {item.action for item in items}
    if "raise" in actions:
        raise ArithmeticError
    for n, item in enumerate(items):
        if item.action == "die":
            raise SystemExit
        if item.action == "item error":
            yield [(n, LookupError())]
        elif item.action != "forget" and n not in cancelled():
            yield [(n, item.value * 2)]


@settings(max_examples=60)
@given(
    plan=st.lists(st.tuples(Action, st.integers(1, 3), st.booleans()), min_size=1, max_size=40),
    limits=st.builds(Limits, queue_items=st.integers(5, 60), batch_items=st.integers(1, 20)),
)
def test_every_future_is_settled_whatever_happens(plan: list[tuple[str, int, bool]], limits: Limits) -> None:
    async def scenario() -> None:
        scheduler = Scheduler()
        queue = scheduler.new_queue("queue", troubled, limits)
        tasks: list[tuple[str, int, asyncio.Task[list[int]]]] = []

        async def submitted(items: Sequence[StubItem], deadline: float | None) -> list[int]:
            return list((await queue.submit(items, deadline)).results)

        for value, (action, count, pause) in enumerate(plan):
            items = [Trouble(value, is_small=count == 1, action=action)] * count
            deadline = time.monotonic() + (0.001 if action == "late" else TIMEOUT)
            task = asyncio.create_task(submitted(items, deadline))
            tasks.append((action, value, task))
            if pause:
                await asyncio.sleep(0)
            if action == "cancel":
                task.cancel()
        _, pending = await asyncio.wait([task for _, _, task in tasks], timeout=TIMEOUT)
        assert not pending
        allowed = {
            "fine": (Unavailable,),
            "raise": (Unavailable, ArithmeticError),
            "item error": (Unavailable, LookupError),
            "forget": (Unavailable, RuntimeError),
            "die": (Unavailable, RuntimeError),
            "late": (Unavailable, DeadlineExceeded),
            "cancel": (Unavailable,),  # refused before it could be cancelled
        }
        for action, value, task in tasks:
            if task.cancelled():
                assert action == "cancel"
            elif (error := task.exception()) is not None:
                assert isinstance(error, allowed[action])
            else:
                assert action in {"fine", "late", "cancel"}
                assert set(task.result()) == {2 * value}
        assert (queue.items, queue.observations) == (0, 0)
        assert (await asyncio.wait_for(queue.submit([Trouble(7)]), TIMEOUT)).results == [14]
        await scheduler.close(TIMEOUT)

    asyncio.run(scenario())


async def test_a_thread_that_took_an_entry_before_it_was_woken_is_woken_for_the_next(scheduler: Scheduler) -> None:
    """The event loop finds the thread asleep; before it notes that it wakes the thread, that is awake, computes the
    entry, and sleeps again. So the note is wrong, and every later entry waited in vain.
    """
    queue = scheduler.new_queue("queue", Doubler(), Limits())
    await queue.submit(stubs(1))
    while not scheduler._asleep:  # noqa: ASYNC110 (the thread sets no event when it goes to sleep)
        await asyncio.sleep(0.001)
    scheduler._asleep = False
    scheduler._wake_or_run_inline()
    async with asyncio.timeout(TIMEOUT):
        assert (await queue.submit(stubs(2))).results == [4]


async def test_it_tells_how_long_a_call_takes(scheduler: Scheduler) -> None:
    assert scheduler.call_seconds == 0.0
    async with BlockedQueue(scheduler):
        before = scheduler.call_seconds
        await asyncio.sleep(0.05)
        assert scheduler.call_seconds >= before + 0.04
    await scheduler.new_queue("queue", Doubler(), Limits()).submit(stubs(1))
    async with asyncio.timeout(TIMEOUT):
        while scheduler.call_seconds:  # noqa: ASYNC110 - the thread sets no event for this
            await asyncio.sleep(0.001)


async def test_where_memory_runs_out_the_request_may_come_again(
    scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    def runner(*_: object) -> Iterator[Sequence[Answer]]:
        raise MemoryError("8000 GB")
        yield ()

    with pytest.raises(Unavailable, match="no memory left for this request") as error:
        await scheduler.new_queue("queue", runner, Limits()).submit(stubs(1))
    assert error.value.code == "queue_full"
    assert "there is no memory left for a batch of queue: 8000 GB" in caplog.messages
