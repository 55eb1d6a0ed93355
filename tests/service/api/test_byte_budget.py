from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace

import pytest

from service.api.byte_budget import SMALL, ByteBudget, FileSpace
from service.contract.errors import Unavailable


def test_bytes_are_taken_up_to_the_limit_and_returned() -> None:
    budget = ByteBudget(100)
    budget.acquire(60)
    budget.acquire(40)
    with pytest.raises(Unavailable) as caught:
        budget.acquire(1)
    assert (caught.value.code, caught.value.retry_after) == ("queue_full", 1)
    budget.release(60)
    budget.acquire(60)
    assert budget.held_bytes == 100


def test_a_part_is_kept_for_what_is_small() -> None:
    budget = ByteBudget(100 * SMALL)
    budget.acquire(70 * SMALL)
    budget.acquire(5 * SMALL)
    with pytest.raises(Unavailable):
        budget.acquire(SMALL + 1)
    for _ in range(25):
        budget.acquire(SMALL)
    with pytest.raises(Unavailable):
        budget.acquire(1)


def test_what_is_there_already_is_counted_in_any_case() -> None:
    budget = ByteBudget(10)
    budget.add(20)
    with pytest.raises(Unavailable):
        budget.acquire(1)
    budget.release(11)
    budget.acquire(1)


def test_a_client_leaves_room_for_others() -> None:
    """As of files; what an answer takes that is not read is counted, too."""
    budget, size = ByteBudget(256 << 20), 1 << 20

    def fill(client: str) -> int:
        count = 0
        with contextlib.suppress(Unavailable):
            while True:
                budget.acquire(size, client)
                count += size
        return count

    budget.add(10 << 20, "a")
    first, second, third = fill("a"), fill("b"), fill("c")
    assert (first >> 20, second >> 20, third >> 20) == (134, 36, 9)
    budget.acquire(SMALL, "a")  # what is small has all of the room
    budget.release(SMALL, "a")
    budget.release(first + (10 << 20), "a")
    assert fill("b") >> 20 > 50


def test_a_large_request_in_small_parts_is_a_large_one() -> None:
    budget = ByteBudget(100 * SMALL)
    count = 0
    with contextlib.suppress(Unavailable):
        for total in range(SMALL // 2, 200 * SMALL, SMALL // 2):
            budget.acquire(SMALL // 2, "", total)
            count += SMALL // 2
    assert count == 75 * SMALL


def test_a_client_leaves_room_for_the_files_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One alone has three quarters, the next three quarters of the rest."""
    size, space = 64 << 20, FileSpace()

    def free(_: int) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=size - space.held_bytes, f_frsize=1)

    def fill(client: str) -> int:
        count = 0
        while space.take(client, 64 << 10, 0):
            count += 64 << 10
        return count

    monkeypatch.setattr(os, "fstatvfs", free)
    first, second = fill("a"), fill("b")
    assert (first >> 20, second >> 20) == (48, 11)
    assert fill("a") < 1 << 20
    space.release("a", first)
    assert fill("c") >> 20 > 30
    assert space.held_bytes > second
