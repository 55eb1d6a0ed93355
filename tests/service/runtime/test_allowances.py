"""Token buckets and counts of connections: exact, also between processes, and after one of them died."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.queues import Queue
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.runtime import compiled
from service.runtime.allowances import SLOTS, Allowances, SharedAllowances
from service.runtime.key_file import Rate

CONTEXT = multiprocessing.get_context("spawn")
RATE = Rate(10, 60.0)
HOUR = Rate(500, 86_400.0)  # refills by less than one while a test lasts


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_what_it_holds_and_refills_with_time() -> None:
    clock = Clock()
    allowances = Allowances(clock=clock)
    assert allowances.left(1, [(0, *RATE)]) == [10, 0]
    assert [allowances.take(1, 0, 1, RATE) for _ in range(10)] == [0.0] * 10
    assert allowances.take(1, 0, 1, RATE) == pytest.approx(6.0)
    assert allowances.left(1, [(0, *RATE), (2, *RATE)]) == [0, 60, 10, 0]
    clock.now += 0.5
    assert allowances.left(1, [(0, *RATE)]) == [0, 60]  # 59.5, rounded up
    clock.now -= 0.5
    clock.now += 6.0
    assert allowances.take(1, 0, 1, RATE) == 0.0
    assert allowances.take(1, 0, 1, RATE) > 0.0
    clock.now += 1e6  # it never holds more than it is made for
    assert allowances.take(1, 0, 10, RATE) == 0.0
    assert allowances.take(1, 0, 1, RATE) > 0.0


def test_a_rate_that_is_raised_counts_from_now_on() -> None:
    clock = Clock()
    allowances = Allowances(clock=clock)
    assert allowances.take(1, 0, 5, Rate(5, 86_400.0)) == 0.0
    assert allowances.left(1, [(0, *RATE)]) == [0, 60]
    assert allowances.take(1, 0, 1, RATE) == pytest.approx(6.0)
    clock.now += 6.0
    assert allowances.take(1, 0, 1, RATE) == 0.0


LIMITS = ((0, 10, 60.0), (1, 500, 86_400.0), (2, 7, 1.0))


@pytest.mark.skipif(compiled.built is None, reason="no C compiler was there at installation")
@given(
    st.lists(st.tuples(st.floats(0, 30), st.lists(st.integers(0, 600), min_size=3, max_size=3)), max_size=20),
    st.lists(st.sampled_from(LIMITS), max_size=3, unique=True),
)
def test_both_ways_of_taking_in_turn_give_the_same(
    steps: list[tuple[float, list[int]]], limits: list[tuple[int, int, float]]
) -> None:
    clock = Clock()
    pieces = tuple(f"{resource} left:" for resource, *_ in limits)
    one, other = Allowances(clock=clock), Allowances(clock=clock)
    with pytest.MonkeyPatch.context() as patch:
        for seconds, counts in steps:
            clock.now += seconds
            outcomes = []
            for allowances, functions in ((one, compiled.built), (other, None)):
                patch.setattr(compiled, "in_use", functions)
                taken = allowances.take_in_turn(5, tuple(limits), tuple(counts[: len(limits)]))
                outcomes.append((taken, allowances.describe(5, tuple(limits), pieces)))
            assert outcomes[0] == outcomes[1]
            assert list(one._full_at) == list(other._full_at)


@pytest.mark.parametrize("functions", [None, compiled.built])
def test_what_is_taken_in_turn_stays_taken_before_what_is_refused(
    functions: compiled.Functions | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "in_use", functions)
    allowances = Allowances(clock=Clock())
    limits = (0, *RATE), (1, *RATE)
    assert allowances.take_in_turn(1, limits, (1, 7)) is None
    assert allowances.take_in_turn(1, limits, (1, 7)) == pytest.approx((1, 24.0))
    assert allowances.left(1, limits) == [8, 12, 3, 42]
    assert allowances.describe(1, limits, ("a=", " b=")) == "a=8;t=12 b=3;t=42"
    assert allowances.take_in_turn(1, limits, (9, 1)) == pytest.approx((0, 6.0))
    assert allowances.left(1, limits) == [8, 12, 3, 42]
    assert allowances.take_in_turn(1, limits[:1], (8,)) is None


def test_what_is_refused_takes_nothing() -> None:
    clock = Clock()
    allowances = Allowances(clock=clock)
    allowances.take(1, 0, 8, RATE)
    assert allowances.take(1, 0, 5, RATE) == pytest.approx(18.0)
    assert allowances.take(1, 0, 2, RATE) == 0.0


def test_keys_and_resources_have_buckets_of_their_own() -> None:
    allowances = Allowances()
    for key in (1, 1 + SLOTS, 2):  # the first two would share a slot
        for resource in range(3):
            assert allowances.take(key, resource, 10, RATE) == 0.0
            assert allowances.take(key, resource, 10, RATE) > 0.0


def test_slots_of_keys_that_are_not_in_use_are_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    few = 64
    monkeypatch.setattr("service.runtime.allowances.SLOTS", few)
    clock = Clock()
    allowances = Allowances(clock=clock)
    for key in range(1, 3 * few):
        assert allowances.take(key, 0, 10, RATE) == 0.0
        clock.now += 61.0
    assert allowances.connect(1, 1)
    for key in range(2, 2 * few):
        allowances.take(key, 0, 10, RATE)
        clock.now += 61.0
    assert not allowances.connect(1, 1)


def test_connections_are_counted_and_those_of_a_dead_process_forgotten(tmp_path: Path) -> None:
    memory = SharedAllowances(CONTEXT, 3)
    lock = tmp_path / "lock"
    first, second = Allowances(memory, 0, lock), Allowances(memory, 1, lock)
    assert [first.connect(7, 3), second.connect(7, 3), second.connect(7, 3), first.connect(7, 3)] == [
        True,
        True,
        True,
        False,
    ]
    assert first.connect(8, None)
    first.disconnect(7)
    assert second.connect(7, 3)
    assert not first.connect(7, 3)
    memory.clear(1)
    assert [first.connect(7, 3) for _ in range(4)] == [True, True, True, False]


def take_all(memory: SharedAllowances, index: int, lock: Path, results: Queue[int]) -> None:
    allowances = Allowances(memory, index, lock)
    taken = 0
    for _ in range(500):
        taken += allowances.take(3, 0, 1, HOUR) == 0.0
        taken += allowances.take_in_turn(3, ((0, *HOUR),), (1,)) is None
    results.put(taken)


def test_processes_together_get_exactly_what_there_is(tmp_path: Path) -> None:
    memory = SharedAllowances(CONTEXT, 3)
    results: Queue[int] = CONTEXT.Queue()
    processes = [CONTEXT.Process(target=take_all, args=(memory, index, tmp_path / "l", results)) for index in range(3)]
    for process in processes:
        process.start()
    taken = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(300)
    assert sum(taken) == HOUR.amount


def die_with_the_lock(memory: SharedAllowances, lock: Path) -> None:
    allowances = Allowances(memory, 0, lock)
    with allowances._locked():
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_with_the_lock_leaves_it_to_the_others(tmp_path: Path) -> None:
    memory = SharedAllowances(CONTEXT, 2)
    process = CONTEXT.Process(target=die_with_the_lock, args=(memory, tmp_path / "lock"))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert Allowances(memory, 1, tmp_path / "lock").take(3, 0, 1, RATE) == 0.0
