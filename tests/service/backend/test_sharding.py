"""Tasks that several threads share: each is run once, by any of them, and what it raises reaches the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from service.backend.sharding import ComputeThreads


def name_of_thread(barrier: threading.Barrier) -> str:
    barrier.wait(5.0)
    return threading.current_thread().name


def test_the_caller_and_the_helpers_work_at_the_same_time() -> None:
    barrier = threading.Barrier(3)  # passed only by three threads at once
    names = ComputeThreads(3).run([partial(name_of_thread, barrier)] * 3)
    assert len(set(names)) == 3
    assert names[0] == threading.current_thread().name


def test_results_come_in_the_order_of_the_tasks() -> None:
    helpers = ComputeThreads(4)
    for _ in range(200):
        assert helpers.run([partial(pow, n, 2) for n in range(20)]) == [n * n for n in range(20)]


def test_without_helpers_the_caller_computes_everything() -> None:
    assert ComputeThreads().run([threading.get_ident] * 5) == [threading.get_ident()] * 5


def test_a_busy_helper_is_not_waited_for() -> None:
    helpers = ComputeThreads(2)
    started, free = threading.Event(), threading.Event()
    blocked = threading.Thread(target=helpers.run, args=([free.wait, partial(_block, started, free)],))
    blocked.start()
    try:
        assert started.wait(5.0)
        assert helpers.run([threading.get_ident] * 2) == [threading.get_ident()] * 2
    finally:
        free.set()
        blocked.join(5.0)


def _block(started: threading.Event, free: threading.Event) -> bool:
    started.set()
    return free.wait(5.0)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), MemoryError()])
def test_what_a_task_raises_reaches_the_caller_and_harms_no_helper(index: int, error: BaseException) -> None:
    def fail() -> int:
        raise error

    helpers = ComputeThreads(2)
    for _ in range(20):
        tasks: list[Callable[[], int]] = [lambda: 1, lambda: 2]
        tasks[index] = fail
        with pytest.raises(type(error)):
            helpers.run(tasks)
    barrier = threading.Barrier(2)
    assert len(set(helpers.run([partial(name_of_thread, barrier)] * 2))) == 2


def test_callers_compute_everything_once_the_helpers_have_ended() -> None:
    earlier_threads = set(threading.enumerate())
    helpers = ComputeThreads(3)
    own_threads = set(threading.enumerate()) - earlier_threads
    helpers.close()
    for thread in own_threads:
        thread.join(5.0)
    assert len(own_threads) == 2
    assert not any(thread.is_alive() for thread in own_threads)
    assert helpers.run([threading.get_ident] * 3) == [threading.get_ident()] * 3
