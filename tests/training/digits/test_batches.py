"""training.digits.batches: every pass has all images once, MNIST's and generated ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.data import drawn_digits
from training.data.mnist import Digits
from training.digits.batches import BatchSampler
from training.digits.config import Config

CPU = torch.device("cpu")
CONFIG = Config(batch=20, drawn=10, ones=0, others=10)


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Drawn digits in place of MNIST's."""
    return Digits(*drawn_digits.digit_images(160, 21))


def test_a_pass_has_every_image_once_and_the_next_one_in_another_order(digits: Digits) -> None:
    sampler = BatchSampler(digits, CONFIG, CPU)
    assert sampler.per_epoch == 10
    batches = [sampler.batch(step) for step in range(20)]
    first, second = (torch.cat([images for images, _, _ in half]) for half in (batches[:10], batches[10:]))
    assert not torch.equal(first, second)
    assert torch.equal(first.flatten(1).sum(1).sort().values, second.flatten(1).sum(1).sort().values)
    labels = torch.cat([labels for _, labels, _ in batches[:10]])
    assert (labels + 1).bincount().tolist() == [20, *[18] * 10], "20 are no digit"
    assert sum(int(from_mnist.sum()) for _, _, from_mnist in batches[:10]) == 160


def test_ones_without_a_foot_join_the_batches(digits: Digits) -> None:
    sampler = BatchSampler(digits, replace(CONFIG, ones=20), CPU)
    assert sampler.per_epoch == 11
    assert sum(int((sampler.batch(step)[1] == 1).sum()) for step in range(11)) == 38
