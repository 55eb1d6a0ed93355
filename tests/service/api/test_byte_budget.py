from __future__ import annotations

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
