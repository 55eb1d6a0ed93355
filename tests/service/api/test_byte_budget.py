from __future__ import annotations

import pytest

from service.api.byte_budget import SMALL, ByteBudget
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
