"""The batcher with small fake runners: what is computed together, and that every future is settled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching.queue import QUICK, Answer, BatchResult, Limits, ModelQueue
from service.batching.scheduler import Scheduler
from service.contract.errors import DeadlineExceeded, Unavailable

PATIENCE = 10.0


@dataclass(frozen=True)
class Thing:
    value: int
    length: int = 1
    is_small: bool = False


class Doubler:
    """Answers twice the value. `hold()` keeps the thread inside the next batch until `gate.set()`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def hold(self) -> None:
        self.started.clear()
        self.gate.clear()

    def __call__(
        self, items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int
    ) -> Iterator[list[Answer]]:
        self.batches.append([item.value for item in items])
        self.started.set()
        assert self.gate.wait(PATIENCE)
        yield [(n, item.value * 2) for n, item in enumerate(items) if not is_cancelled(n)]


async def started(runner: Doubler) -> None:
    assert await asyncio.to_thread(runner.started.wait, PATIENCE)


def things(*values: int) -> list[Thing]:
    return [Thing(value) for value in values]


async def queued(lane: ModelQueue, count: int) -> None:
    """Until `count` items have been admitted."""
    while lane.items < count:  # noqa: ASYNC110 (a count has no event; it takes as many passes as there are tasks)
        await asyncio.sleep(0)


@pytest.fixture
async def batcher() -> AsyncIterator[Scheduler]:
    batcher = Scheduler()
    yield batcher
    await batcher.close(0.0)


class Held:
    """A lane whose thread is inside a first batch of one item, worth -1, so that what follows gathers."""

    def __init__(self, batcher: Scheduler, limits: Limits | None = None) -> None:
        self.runner = Doubler()
        self.lane = batcher.lane("lane", self.runner, limits or Limits())

    async def __aenter__(self) -> Held:
        self.runner.hold()
        self.first = asyncio.create_task(self.lane.submit(things(-1)))
        await started(self.runner)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.runner.gate.set()
        assert (await self.first).results == [-2]

    async def submit(self, *submissions: Sequence[Thing]) -> list[asyncio.Task[list[int]]]:
        """Tasks that wait for the results of each of `submissions`, all of them queued."""

        async def results(items: Sequence[Thing]) -> list[int]:
            return list((await self.lane.submit(items)).results)

        count = self.lane.items
        tasks = [asyncio.create_task(results(items)) for items in submissions]
        await queued(self.lane, count + sum(map(len, submissions)))
        return tasks


async def test_an_idle_thread_starts_at_once(batcher: Scheduler) -> None:
    runner = Doubler()
    lane = batcher.lane("lane", runner, Limits())
    for value in range(3):
        outcome = await lane.submit(things(value, 10))
        assert outcome.results == [2 * value, 20]
        assert outcome.queue_seconds >= 0
        assert outcome.compute_seconds >= 0
    assert runner.batches == [[0, 10], [1, 10], [2, 10]]
    assert (lane.items, lane.observations) == (0, 0)


async def test_what_arrives_while_a_batch_computes_is_the_next_batch(batcher: Scheduler) -> None:
    async with Held(batcher) as held:
        tasks = await held.submit(things(1), things(2, 3), things(4))
    assert await asyncio.gather(*tasks) == [[2], [4, 6], [8]]
    assert held.runner.batches == [[-1], [1, 2, 3, 4]]


class Where(Doubler):
    """Notes which thread computed."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def __call__(
        self, items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int
    ) -> Iterator[list[Answer]]:
        self.threads.append("loop" if threading.current_thread() is threading.main_thread() else "inference")
        return super().__call__(items, is_cancelled, callers)


async def until_computed_on_the_loop(lane: ModelQueue, runner: Where) -> None:
    """A lone brief item at a time: soon the thread sleeps when one comes, and the lane is known to be quick."""
    for value in range(1000):
        assert (await lane.submit([Thing(value, is_small=True)])).results == [2 * value]
        if runner.threads[-1] == "loop":
            return
    raise AssertionError("none of a thousand was computed on the event loop")


async def test_a_lone_brief_item_is_computed_on_the_event_loop_once_the_lane_was_quick(batcher: Scheduler) -> None:
    runner = Where()
    lane = batcher.lane("lane", runner, Limits())
    await until_computed_on_the_loop(lane, runner)
    assert runner.threads[0] == "inference"
    await lane.submit([Thing(3)])
    assert runner.threads[-1] == "inference"


async def test_several_brief_items_are_one_batch_of_the_thread(batcher: Scheduler) -> None:
    runner = Where()
    lane = batcher.lane("lane", runner, Limits())
    await until_computed_on_the_loop(lane, runner)
    await asyncio.gather(*(lane.submit([Thing(value, is_small=True)]) for value in (2, 3)))
    assert runner.threads[-1] == "inference"
    assert runner.batches[-1] == [2, 3]


async def test_a_slow_lane_keeps_nobody_from_the_event_loop(batcher: Scheduler) -> None:
    class Slow(Where):
        def __call__(
            self, items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int
        ) -> Iterator[list[Answer]]:
            yield from super().__call__(items, is_cancelled, callers)
            until = time.monotonic() + 4 * QUICK
            while time.monotonic() < until:
                pass

    runner = Slow()
    lane = batcher.lane("slow", runner, Limits())
    for value in range(5):
        await lane.submit([Thing(value, is_small=True)])
    assert runner.threads == ["inference"] * 5


async def test_what_kills_on_the_event_loop_kills_only_the_thread(batcher: Scheduler) -> None:
    class Deadly(Where):
        def __call__(
            self, items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int
        ) -> Iterator[list[Answer]]:
            answers = super().__call__(items, is_cancelled, callers)
            if items[0].value == 666:
                raise SystemExit
            return answers

    runner = Deadly()
    lane = batcher.lane("deadly", runner, Limits())
    await until_computed_on_the_loop(lane, runner)
    with pytest.raises(RuntimeError, match="thread died"):
        await lane.submit([Thing(666, is_small=True)])
    assert (await lane.submit([Thing(2, is_small=True)])).results == [4]
    assert batcher.restarts >= 1


async def test_a_fault_in_what_counts_batches_stops_nobody(batcher: Scheduler) -> None:
    def faulty(items: int, observations: int, seconds: float) -> None:
        if runner.threads[-1] == "loop":
            raise RuntimeError("no room")

    runner, faults = Where(), list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context["exception"])))
    lane = batcher.lane("lane", runner, Limits())
    lane.on_batch = faulty
    await until_computed_on_the_loop(lane, runner)
    assert (await lane.submit([Thing(4)])).results == [8]
    assert faults == ["no room"]


async def test_a_batch_is_bounded_in_items_and_in_observations(batcher: Scheduler) -> None:
    async with Held(batcher, Limits(batch_items=3, batch_observations=100)) as held:
        many = await held.submit(
            things(1, 2), things(3, 4), things(5), things(6, 7, 8, 9), [Thing(10, 99)], things(11, 12)
        )
    await asyncio.gather(*many)
    assert held.runner.batches[1:] == [[1, 2], [3, 4, 5], [6, 7, 8, 9], [10], [11, 12]]


async def test_a_full_queue_refuses_at_once_and_takes_all_of_a_request_or_nothing(batcher: Scheduler) -> None:
    async with Held(batcher, Limits(queue_items=5, queue_observations=100)) as held:
        tasks = await held.submit(things(1, 2), [Thing(3, 90)])
        with pytest.raises(Unavailable) as too_many:
            await held.lane.submit(things(4, 5))
        assert (too_many.value.code, too_many.value.retry_after) == ("queue_full", 1.0)
        with pytest.raises(Unavailable) as too_long:
            await held.lane.submit([Thing(4, 8)])
        assert too_long.value.code == "queue_full"
        assert (held.lane.items, held.lane.observations) == (4, 93)
        tasks += await held.submit([Thing(5, 7)])
    assert await asyncio.gather(*tasks) == [[2, 4], [6], [10]]
    assert (held.lane.items, held.lane.observations) == (0, 0)


async def test_an_idle_lane_takes_a_request_that_is_larger_than_its_queue(batcher: Scheduler) -> None:
    lane = batcher.lane("lane", Doubler(), Limits(queue_items=2, queue_observations=2, batch_items=2))
    assert (await lane.submit(things(1, 2, 3, 4, 5))).results == [2, 4, 6, 8, 10]


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_who_leaves_while_waiting_is_not_computed_and_starves_nobody(batcher: Scheduler, leaving: int) -> None:
    async with Held(batcher) as held:
        tasks = await held.submit(things(1), things(2), things(3))
        tasks[leaving].cancel()
        await asyncio.wait([tasks[leaving]])
        assert held.lane.items == 3
    stayed = [task for task in tasks if task is not tasks[leaving]]
    values = [value for value in (1, 2, 3) if value != leaving + 1]
    assert await asyncio.gather(*stayed) == [[2 * value] for value in values]
    assert held.runner.batches == [[-1], values]


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_who_leaves_while_being_computed_starves_nobody(batcher: Scheduler, leaving: int) -> None:
    async with Held(batcher) as held:
        tasks = await held.submit(things(1), things(2), things(3))
        held.runner.started.clear()
        held.runner.gate.set()
        await held.first
        held.runner.hold()
        # Whether the batch is computing already or not, it is in order that one leaves.
        tasks[leaving].cancel()
    stayed = [task for task in tasks if task is not tasks[leaving]]
    assert await asyncio.gather(*stayed) == [[2 * v] for v in (1, 2, 3) if v != leaving + 1]
    assert tasks[leaving].cancelled() or tasks[leaving].done()


async def test_a_pass_is_told_who_left_between_two_of_its_calls(batcher: Scheduler) -> None:
    left, seen = threading.Event(), threading.Event()
    told: list[list[bool]] = []

    def runner(items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
        told.append([is_cancelled(n) for n in range(len(items))])
        seen.set()
        assert left.wait(PATIENCE)
        yield []
        told.append([is_cancelled(n) for n in range(len(items))])
        yield [(n, 0) for n in range(len(items))]

    lane = batcher.lane("lane", runner, Limits())
    task = asyncio.create_task(lane.submit(things(1, 2)))
    await asyncio.to_thread(seen.wait, PATIENCE)
    task.cancel()
    await asyncio.wait([task])
    left.set()
    await batcher.close(PATIENCE)
    assert told == [[False, False], [True, True]]


class Stepwise:
    """Answers one item a call, and every call but the first of a batch waits until `go_on` says so."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = threading.Event()
        self.fault: BaseException | None = None  # what the second call of a batch raises

    def __call__(
        self, items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int
    ) -> Iterator[list[Answer]]:
        self.batches.append([item.value for item in items])
        for n, item in enumerate(items):
            if n:
                assert self.go_on.wait(PATIENCE)
                if self.fault is not None:
                    raise self.fault
            if not is_cancelled(n):
                yield [(n, item.value * 2)]


async def three(batcher: Scheduler, runner: Stepwise) -> list[asyncio.Task[BatchResult]]:
    """Three submissions in one batch of `runner`, of which the first has been answered."""
    async with Held(batcher):
        lane = batcher.lane("stepwise", runner, Limits())
        tasks = [asyncio.create_task(lane.submit(things(value))) for value in (1, 2, 3)]
        await queued(lane, 3)
    assert (await tasks[0]).results == [2]
    assert runner.batches == [[1, 2, 3]]
    return tasks


async def test_who_is_answered_by_an_early_call_does_not_wait_for_the_last(batcher: Scheduler) -> None:
    runner = Stepwise()
    tasks = await three(batcher, runner)
    assert not tasks[1].done()
    runner.go_on.set()
    assert [(await task).results for task in tasks] == [[2], [4], [6]]


@pytest.mark.parametrize("leaving", [1, 2])
async def test_who_leaves_between_two_calls_starves_nobody(batcher: Scheduler, leaving: int) -> None:
    runner = Stepwise()
    tasks = await three(batcher, runner)
    tasks[leaving].cancel()
    await asyncio.wait([tasks[leaving]])
    runner.go_on.set()
    assert (await tasks[3 - leaving]).results == [2 * (4 - leaving)]
    assert tasks[leaving].cancelled()


@pytest.mark.parametrize(("fault", "restarts"), [(ArithmeticError("second"), 0), (SystemExit(), 1)])
async def test_what_was_answered_before_a_call_fails_stays_answered(
    batcher: Scheduler, fault: BaseException, restarts: int
) -> None:
    runner = Stepwise()
    runner.fault = fault
    tasks = await three(batcher, runner)
    runner.go_on.set()
    assert [(await task).results for task in tasks] == [[2], [4], [6]]  # the rest one by one: one call has no second
    assert sorted(runner.batches) == [[1, 2, 3], [2], [3]]
    assert batcher.restarts == restarts


async def test_a_submission_that_is_half_answered_when_a_call_fails_is_computed_anew(batcher: Scheduler) -> None:
    runner = Stepwise()
    runner.fault = ArithmeticError("second")
    runner.go_on.set()
    lane = batcher.lane("stepwise", runner, Limits())
    async with Held(batcher):
        half = asyncio.create_task(lane.submit(things(1, 2)))
        single = asyncio.create_task(lane.submit(things(3)))
        await queued(lane, 3)
    with pytest.raises(ArithmeticError):
        await half
    assert (await single).results == [6]
    assert sorted(runner.batches) == [[1, 2], [1, 2, 3], [3]]


async def test_only_the_submission_that_makes_the_runner_raise_fails(batcher: Scheduler) -> None:
    def raising(items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
        if any(item.value == 13 for item in items):
            raise ArithmeticError("thirteen")
        yield from doubler(items, is_cancelled, callers)

    doubler = Doubler()
    async with Held(batcher) as held:
        lane = batcher.lane("raising", raising, Limits())
        tasks = [asyncio.create_task(lane.submit(things(value, value))) for value in (1, 13, 3)]
        await queued(lane, 6)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], ArithmeticError)
    assert [o.results for o in outcomes if not isinstance(o, BaseException)] == [[2, 2], [6, 6]]
    assert (await lane.submit(things(4))).results == [8]
    assert batcher.restarts == 0
    assert held.lane.items == lane.items == 0


async def test_a_runner_hears_how_many_callers_its_items_have(batcher: Scheduler) -> None:
    heard: list[tuple[int, int]] = []

    def runner(items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
        heard.append((len(items), callers))
        return Doubler()(items, is_cancelled, callers)

    lane = batcher.lane("heard", runner, Limits())
    await lane.submit([Thing(1), Thing(2), Thing(3)])
    await asyncio.gather(lane.submit([Thing(1), Thing(2)]), lane.submit([Thing(3)]))
    assert heard == [(3, 1), (3, 2)]


async def test_an_item_s_own_error_fails_its_submission_alone(batcher: Scheduler) -> None:
    def picky(items: Sequence[Thing], _: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
        yield [(n, ValueError("odd") if item.value % 2 else item.value) for n, item in enumerate(items)]

    async with Held(batcher):
        lane = batcher.lane("picky", picky, Limits())
        tasks = [asyncio.create_task(lane.submit(things(*values))) for values in ((2, 4), (2, 3), (6,))]
        await queued(lane, 5)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], ValueError)
    assert [o.results for o in outcomes if not isinstance(o, BaseException)] == [[2, 4], [6]]


@pytest.mark.parametrize(
    ("answers", "error"),
    [([], RuntimeError), ([(0, 1)], RuntimeError), ([(0, 1), (0, 1)], RuntimeError), ([(7, 1)], IndexError)],
)
async def test_a_wrong_number_of_answers_is_an_error(
    batcher: Scheduler, answers: list[Answer], error: type[Exception]
) -> None:
    def wrong(items: Sequence[Thing], _: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
        yield answers if len(items) == 2 else [(0, 5)]

    lane = batcher.lane("wrong", wrong, Limits())
    with pytest.raises(error):
        await lane.submit(things(1, 2))
    assert (await lane.submit(things(1))).results == [5]


async def test_a_runner_that_is_no_generator_is_an_error_of_the_request(batcher: Scheduler) -> None:
    def broken(items: Sequence[Thing], _: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
        raise KeyError("no generator")

    with pytest.raises(KeyError):
        await batcher.lane("broken", broken, Limits()).submit(things(1))
    assert batcher.alive


async def test_a_dead_thread_is_replaced_and_counted(batcher: Scheduler) -> None:
    class Deadly(Doubler):
        def __call__(
            self, items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int
        ) -> Iterator[list[Answer]]:
            answers = list(super().__call__(items, is_cancelled, callers))
            if items[0].value == 666:
                raise SystemExit
            yield from answers

    runner = Deadly()
    lane = batcher.lane("deadly", runner, Limits())
    async with Held(batcher):
        tasks = [asyncio.create_task(lane.submit(things(value, value))) for value in (666, 1, 2)]
        await queued(lane, 6)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], RuntimeError)
    assert [o.results for o in outcomes if not isinstance(o, BaseException)] == [[2, 2], [4, 4]]
    assert batcher.alive
    assert batcher.restarts == 2  # with its neighbours, who are then computed without it, and alone
    assert sorted(runner.batches) == [[1, 1], [2, 2], [666, 666], [666, 666, 1, 1, 2, 2]]


async def test_an_expired_submission_is_refused_or_dropped_before_it_is_computed(batcher: Scheduler) -> None:
    async with Held(batcher) as held:
        with pytest.raises(DeadlineExceeded):
            await held.lane.submit(things(1), time.monotonic())
        late = asyncio.create_task(held.lane.submit(things(2), time.monotonic() + 0.01))
        patient = asyncio.create_task(held.lane.submit(things(3), time.monotonic() + PATIENCE))
        # The thread is busy all the while: it is the event loop that tells the caller in time.
        with pytest.raises(DeadlineExceeded):
            await late
    assert (await patient).results == [6]
    assert held.runner.batches == [[-1], [3]]


async def test_a_deadline_ends_a_pass_between_two_of_its_calls(batcher: Scheduler) -> None:
    def endless(items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
        while not all(is_cancelled(n) for n in range(len(items))):
            yield []

    lane = batcher.lane("endless", endless, Limits())
    with pytest.raises(DeadlineExceeded):
        await lane.submit(things(1), time.monotonic() + 0.02)
    assert (await batcher.lane("lane", Doubler(), Limits()).submit(things(4))).results == [8]


async def test_short_work_overtakes_a_long_pass_of_its_own_lane_and_of_others(batcher: Scheduler) -> None:
    overtaken, begun = threading.Event(), threading.Event()

    def runner(items: Sequence[Thing], is_cancelled: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
        begun.set()
        if items[0].value == 0:  # goes on until others were answered, which therefore cannot wait for its end
            until = time.monotonic() + PATIENCE
            while not overtaken.is_set() and time.monotonic() < until:
                yield []
        yield [(n, item.value) for n, item in enumerate(items)]

    lane = batcher.lane("long", runner, Limits())
    other = batcher.lane("other", Doubler(), Limits())
    long = asyncio.create_task(lane.submit(things(0)))
    await asyncio.to_thread(begun.wait, PATIENCE)
    async with asyncio.timeout(PATIENCE / 2):
        for value in (1, 2, 3):
            assert (await lane.submit(things(value))).results == [value]
            assert (await other.submit(things(value))).results == [2 * value]
    assert not long.done()
    overtaken.set()
    assert (await long).results == [0]


async def test_lanes_take_turns(batcher: Scheduler) -> None:
    order: list[str] = []

    def recording(name: str) -> Callable[..., Iterator[list[Answer]]]:
        def runner(items: Sequence[Thing], _: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
            order.append(name)
            yield [(n, 0) for n in range(len(items))]

        return runner

    async with Held(batcher):
        flood = batcher.lane("flood", recording("flood"), Limits(batch_items=1))
        calm = batcher.lane("calm", recording("calm"), Limits(batch_items=1))
        tasks = [asyncio.create_task(flood.submit(things(value))) for value in range(20)]
        await queued(flood, 20)
        tasks += [asyncio.create_task(calm.submit(things(value))) for value in range(3)]
        await queued(calm, 3)
    await asyncio.gather(*tasks)
    assert sorted(order[:6]) == ["calm"] * 3 + ["flood"] * 3
    assert order[6:] == ["flood"] * 17


async def test_draining_refuses_new_work_and_finishes_what_waits(batcher: Scheduler) -> None:
    async with Held(batcher) as held:
        tasks = await held.submit(things(1), things(2))
        closing = asyncio.create_task(batcher.close(PATIENCE))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await held.lane.submit(things(3))
        assert refused.value.code == "draining"
    assert await asyncio.gather(*tasks) == [[2], [4]]
    await closing
    assert not batcher.alive


async def test_closing_fails_what_does_not_finish_in_time(batcher: Scheduler) -> None:
    runner = Doubler()
    lane = batcher.lane("lane", runner, Limits())
    runner.hold()
    tasks = [asyncio.create_task(lane.submit(things(value))) for value in (1, 2)]
    await started(runner)
    closing = asyncio.create_task(batcher.close(0.01))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [o.code for o in outcomes if isinstance(o, Unavailable)] == ["draining", "draining"]
    runner.gate.set()
    await closing


async def test_a_batch_is_reported_with_its_size(batcher: Scheduler) -> None:
    seen: list[tuple[int, int]] = []
    async with Held(batcher) as held:
        held.lane.on_batch = lambda items, observations, seconds: seen.append((items, observations))
        tasks = await held.submit([Thing(1, 5)], [Thing(2, 7), Thing(3, 1)])
    await asyncio.gather(*tasks)
    await batcher.close(PATIENCE)
    assert seen == [(1, 1), (3, 13)]


Action = st.sampled_from(["fine", "fine", "fine", "raise", "item error", "forget", "die", "cancel", "late"])


@dataclass(frozen=True)
class Trouble(Thing):
    action: str = "fine"


def troubled(items: Sequence[Trouble], is_cancelled: Callable[[int], bool], callers: int) -> Iterator[list[Answer]]:
    actions = {item.action for item in items}
    if "raise" in actions:
        raise ArithmeticError
    for n, item in enumerate(items):
        if item.action == "die":
            raise SystemExit
        if item.action == "item error":
            yield [(n, LookupError())]
        elif item.action != "forget" and not is_cancelled(n):
            yield [(n, item.value * 2)]


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(st.tuples(Action, st.integers(1, 3), st.booleans()), min_size=1, max_size=40),
    limits=st.builds(Limits, queue_items=st.integers(5, 60), batch_items=st.integers(1, 20)),
)
def test_every_future_is_settled_whatever_happens(plan: list[tuple[str, int, bool]], limits: Limits) -> None:
    async def scenario() -> None:
        batcher = Scheduler()
        lane = batcher.lane("lane", troubled, limits)
        tasks: list[tuple[str, int, asyncio.Task[list[int]]]] = []

        async def results(items: Sequence[Thing], deadline: float | None) -> list[int]:
            return list((await lane.submit(items, deadline)).results)

        for value, (action, count, pause) in enumerate(plan):
            items = [Trouble(value, is_small=count == 1, action=action)] * count
            deadline = time.monotonic() + (0.001 if action == "late" else PATIENCE)
            task = asyncio.create_task(results(items, deadline))
            tasks.append((action, value, task))
            if pause:
                await asyncio.sleep(0)
            if action == "cancel":
                task.cancel()
        _, pending = await asyncio.wait([task for _, _, task in tasks], timeout=PATIENCE)
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
        assert (lane.items, lane.observations) == (0, 0)
        assert (await asyncio.wait_for(lane.submit([Trouble(7)]), PATIENCE)).results == [14]
        await batcher.close(PATIENCE)

    asyncio.run(scenario())
