"""training.digits.levels: other paper and ink, and other frames, on the stated share of a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.data.drawn_digits import digit_images
from training.digits import levels
from training.digits.levels import densely_fogged, fog, reframed, relevelled


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(11)
    return torch.from_numpy(digit_images(60, 2)[0]).float() / 255


def test_a_share_of_the_canvases_has_other_levels(images: Tensor) -> None:
    changed = relevelled(images, 0.5)
    assert torch.equal(changed[30:], images[30:])
    assert not any(torch.equal(changed[i], images[i]) for i in range(30))
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert torch.equal(relevelled(images, 0.0), images)


@pytest.mark.parametrize("kind", levels.KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_leaves_the_digit_to_be_seen(kind: object, images: Tensor) -> None:
    changed = kind(images).clamp(0, 1)  # type: ignore[operator]
    for image, other in zip(images, changed, strict=True):
        ink, paper = other[image > 0.9], other[image == 0]
        assert float((ink.mean() - paper.mean()).abs()) > 0.02 or float(ink.std()) > 0.2


def test_fog_fills_the_scale(images: Tensor) -> None:
    clouds = fog(images)
    assert clouds.shape == images.shape
    assert torch.equal(clouds.amin((1, 2)), torch.zeros(60))
    assert torch.equal(clouds.amax((1, 2)), torch.ones(60))


def test_dense_fog_lies_over_its_share_in_the_middle_of_the_batch(images: Tensor) -> None:
    foggy = densely_fogged(images, 0.2)
    assert torch.equal(foggy[:30], images[:30])
    assert torch.equal(foggy[42:], images[42:])
    assert float(foggy[30:42].amin((1, 2)).max()) >= 0
    assert float(foggy[30:42].amax()) <= 1
    spread = (foggy[30:42] - images[30:42]).std((1, 2))
    assert float(spread.min()) > 0.05
    assert torch.equal(densely_fogged(images, 0.0), images)


def test_the_last_images_have_another_frame(images: Tensor) -> None:
    changed = reframed(images, 0.5)
    assert torch.equal(changed[:30], images[:30])
    tight, beside, small = changed[30:40], changed[40:50], changed[50:]
    assert bool((tight > 0.3).any(1).any(1).all())
    assert float((tight[:, :4] > 0.3).any(2).any(1).float().mean()) == 1.0, "ink near the top"
    assert bool((beside.sum((1, 2)) >= images[40:50].sum((1, 2)) - 1e-3).all())
    assert bool((small.sum((1, 2)) < images[50:].sum((1, 2))).all())
