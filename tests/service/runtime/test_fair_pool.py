"""A pool whose queue is bounded and fair, whose callers may leave, and which ends with its process."""

from __future__ import annotations

import asyncio
import gc
import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from service.runtime.fair_pool import FairPool, QueueFull
from service.runtime.fair_share import Client

TIMEOUT = 10.0  # seconds; reached only by a test that fails
ANYBODY = Client("anybody", 0)


class Gate:
    """A call that keeps its thread until `open()`."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self._opened.wait(TIMEOUT)
        return "through"

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
async def pool() -> AsyncIterator[FairPool]:
    pool = FairPool(1, 10.0, quick_seconds=0.0)
    yield pool
    pool.close()


def start(
    pool: FairPool, call: Callable[[], Any], client: Client = ANYBODY, size: int = 1, kind: str = "kind"
) -> asyncio.Task[Any]:
    async def run() -> Any:
        return await pool.run(kind, size, client, math.inf, call)

    return asyncio.create_task(run())


async def blocked(pool: FairPool) -> tuple[Gate, asyncio.Task[Any]]:
    """A gate that the only thread of `pool` is in."""
    gate = Gate()
    task = start(pool, gate)
    assert await asyncio.to_thread(gate.entered.wait, TIMEOUT)
    return gate, task


async def test_a_call_gives_its_result_or_raises_its_error(pool: FairPool) -> None:
    assert await pool.run("kind", 1, ANYBODY, math.inf, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run("kind", 1, ANYBODY, math.inf, divmod, 7, 0)
    with pytest.raises(RuntimeError, match="SystemExit"):
        await pool.run("kind", 1, ANYBODY, math.inf, sys.exit, 1)
    assert await pool.run("kind", 1, ANYBODY, math.inf, divmod, 9, 2) == (4, 1)  # the thread lives
    assert pool.share.room == 0


async def test_who_waits_is_told_when_the_deadline_passes_and_the_call_is_never_made(pool: FairPool) -> None:
    gate, first = await blocked(pool)
    made: list[int] = []
    with pytest.raises(TimeoutError):
        await pool.run("kind", 1, ANYBODY, time.monotonic() + 0.02, made.append, 1)
    gate.open()
    assert await first == "through"
    assert await start(pool, lambda: 2) == 2
    assert made == []
    assert pool.share.room == 0


async def test_who_waits_for_a_running_call_is_told_as_well(pool: FairPool) -> None:
    gate = Gate()
    with pytest.raises(TimeoutError):
        await pool.run("kind", 1, ANYBODY, time.monotonic() + 0.02, gate)
    assert await asyncio.to_thread(gate.entered.wait, TIMEOUT)
    gate.open()
    assert await start(pool, lambda: 2) == 2


async def test_a_caller_who_leaves_makes_room(pool: FairPool) -> None:
    gate, first = await blocked(pool)
    room = pool.share.room
    made: list[int] = []
    waiting = start(pool, lambda: made.append(1), size=1000)
    await asyncio.sleep(0)
    assert pool.share.room > room
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert pool.share.room == pytest.approx(room)
    gate.open()
    await first
    await start(pool, lambda: None)
    assert made == []


async def test_quick_work_does_not_wait_for_slow_work() -> None:
    pool = FairPool(2, 1000.0)
    gates = [Gate() for _ in range(2)]
    slow = [start(pool, gate, kind="slow", size=1_000_000) for gate in gates]
    for gate in gates:
        assert await asyncio.to_thread(gate.entered.wait, TIMEOUT)
    waiting = start(pool, lambda: "slow", kind="slow", size=1_000_000)
    for number in range(3):
        assert await asyncio.wait_for(start(pool, lambda: "quick", size=number), TIMEOUT) == "quick"
    assert not waiting.done()
    quick_gate = Gate()
    quick = start(pool, quick_gate)
    assert await asyncio.to_thread(quick_gate.entered.wait, TIMEOUT)
    more = [start(pool, lambda: "quick") for _ in range(3)]
    await asyncio.sleep(0.01)
    gates[0].open()  # its thread takes what is next, quick or slow
    assert await asyncio.gather(*more) == ["quick"] * 3
    assert await waiting == "slow"
    for gate in (gates[1], quick_gate):
        gate.open()
    assert await asyncio.gather(*slow, quick) == ["through"] * 3
    pool.close()


async def test_what_is_dropped_is_not_kept_until_its_turn(pool: FairPool) -> None:
    class Body:
        def read(self) -> None:
            raise AssertionError

    gate, first = await blocked(pool)
    body = Body()
    alive = weakref.ref(body)
    waiting = start(pool, body.read)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    del body, waiting
    await asyncio.sleep(0)  # what resumed this test still refers to the error
    gc.collect()
    assert alive() is None
    gate.open()
    await first


async def test_clients_take_turns_whoever_came_first(pool: FairPool) -> None:
    gate, first = await blocked(pool)
    order: list[str] = []
    tasks = [start(pool, lambda: order.append("many"), Client("many", 0), 10_000) for _ in range(5)]
    tasks.append(start(pool, lambda: order.append("one"), Client("one", 0), 10_000))
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *tasks)
    assert order.index("one") <= 1


@pytest.mark.parametrize(("pieces", "is_refused"), [(44, False), (45, False), (46, True)])
async def test_one_client_may_not_fill_the_queue(pieces: int, is_refused: bool) -> None:
    """Of ten seconds one client gets nine halves, and a piece of a million takes a tenth of a second at first."""
    pool = FairPool(1, 10.0, quick_seconds=0.0)
    gate, first = await blocked(pool)
    tasks = [start(pool, lambda: None, size=1_000_000) for _ in range(pieces)]
    await asyncio.sleep(0)
    full = [task for task in tasks if task.done() and isinstance(task.exception(), QueueFull)]
    assert bool(full) == is_refused
    other = start(pool, lambda: "let in", Client("other", 0), 1_000_000)
    gate.open()
    assert await other == "let in"
    await asyncio.gather(first, *tasks, return_exceptions=True)
    pool.close()


def work_for(seconds: float) -> None:
    """Take so many seconds of a processor."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def test_what_a_kind_of_work_took_is_what_it_is_expected_to_take(pool: FairPool) -> None:
    for _ in range(30):
        await pool.run("slow", 10, ANYBODY, math.inf, work_for, 0.002)
        await pool.run("slow", 10_000, ANYBODY, math.inf, work_for, 0.002)
    gate, first = await blocked(pool)
    expected = pool.share.seconds
    works = [
        start(pool, lambda: None, size=10),  # of a kind that takes no time
        start(pool, lambda: None, size=15, kind="slow"),
        start(pool, lambda: None, size=10_000, kind="slow"),  # small pieces cost more for each byte
        start(pool, lambda: None, size=1000, kind="slow"),  # of a size that was not measured: 0.1 us a byte at most
    ]
    await asyncio.sleep(0)
    assert 0.003 < pool.share.seconds - expected < 0.1
    gate.open()
    await asyncio.gather(first, *works)


async def test_who_waits_for_others_is_not_charged_for_it(pool: FairPool) -> None:
    await pool.run("waiting", 10, ANYBODY, math.inf, time.sleep, 0.05)
    gate, first = await blocked(pool)
    waiting = start(pool, lambda: None, size=10, kind="waiting")
    await asyncio.sleep(0)
    assert pool.share.seconds < 0.02
    gate.open()
    await asyncio.gather(first, waiting)


async def test_the_interpreter_changes_hands_more_often_while_any_pool_works() -> None:
    usual = sys.getswitchinterval()
    pools = [FairPool(1, 10.0, quick_seconds=0.0), FairPool(1, 10.0)]
    gates = [await blocked(pool) for pool in pools]
    assert sys.getswitchinterval() < usual
    for (gate, task), is_last in zip(gates, (False, True), strict=True):
        gate.open()
        await task
        if not is_last:
            assert sys.getswitchinterval() < usual
    for pool in pools:
        pool.close()
        for thread in pool._threads:
            await asyncio.to_thread(thread.join, TIMEOUT)
    assert sys.getswitchinterval() == usual


async def test_a_closed_pool_drops_what_waits_and_takes_nothing() -> None:
    pool = FairPool(1, 10.0, quick_seconds=0.0)
    gate, first = await blocked(pool)
    waiting = start(pool, lambda: None)
    await asyncio.sleep(0)
    pool.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(QueueFull):
        await pool.run("kind", 1, ANYBODY, math.inf, lambda: None)
    gate.open()
    assert await first == "through"


def test_a_call_that_runs_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, math, threading, time
from service.runtime.fair_pool import FairPool
from service.runtime.fair_share import ANONYMOUS

async def main():
    entered = threading.Event()
    def hang():
        entered.set()
        time.sleep(3600)
    pool = FairPool(1, 10.0, quick_seconds=0.0)
    task = asyncio.ensure_future(pool.run("kind", 1, ANONYMOUS, math.inf, hang))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    pool.close()

asyncio.run(main())
print("ended")
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "ended\n"
