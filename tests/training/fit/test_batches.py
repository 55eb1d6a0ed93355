"""training.fit.batches: every epoch is one shuffled pass, a function of the seed."""

from __future__ import annotations

import torch

from training.fit.batches import BatchOrder


def test_an_epoch_is_one_shuffled_pass_and_a_function_of_the_seed() -> None:
    order = BatchOrder(150, 64, first_seed=3000, keep_last=True)
    assert order.per_epoch == 3
    first = torch.cat([order(step) for step in range(3)])
    second = torch.cat([order(step) for step in range(3, 6)])
    assert sorted(first.tolist()) == list(range(150)) == sorted(second.tolist())
    assert not torch.equal(first, second)
    resumed = BatchOrder(150, 64, first_seed=3000, keep_last=True)
    assert torch.equal(resumed(4), order(4))
    assert not torch.equal(BatchOrder(150, 64, first_seed=4000, keep_last=True)(0), order(0))


def test_the_remainder_of_an_epoch_is_a_smaller_batch_or_left_out() -> None:
    assert len(BatchOrder(150, 64, first_seed=0, keep_last=True)(2)) == 22
    order = BatchOrder(150, 64, first_seed=0, keep_last=False)
    assert order.per_epoch == 2
    assert {len(order(step)) for step in range(5)} == {64}
