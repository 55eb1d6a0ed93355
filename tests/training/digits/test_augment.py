"""training.digits.augment: warps of the stated size, and defects that stay within the ink's bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.data.drawn_digits import digit_images
from training.digits.augment import SIDE, Distortion, pen, photograph, warp

NO_WARP = Distortion(untouched=1.0, rotation=0, shear=0, scale=0, shift=0, elastic=0)


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(11)
    return torch.from_numpy(digit_images(30, 2)[0]).float() / 255


def _middle(canvas: Tensor) -> Tensor:
    """Centre of mass (B, 2): row, column."""
    rows, columns = torch.arange(canvas.shape[1]).float(), torch.arange(SIDE).float()
    mass = canvas.sum((1, 2))
    return torch.stack([(canvas.sum(2) * rows).sum(1), (canvas.sum(1) * columns).sum(1)], 1) / mass[:, None]


def test_an_untouched_image_comes_back(images: Tensor) -> None:
    canvas, share_read = warp(images, NO_WARP)
    torch.testing.assert_close(canvas, images, rtol=0, atol=1e-5)
    torch.testing.assert_close(share_read[0], torch.arange(1, 29) / 28)


def test_every_warp_is_repeatable_and_differs_from_image_to_image(images: Tensor) -> None:
    copies, distortion = images[:1].expand(20, -1, -1), Distortion(untouched=0)

    def distorted() -> Tensor:
        torch.manual_seed(4)
        return photograph(warp(pen(copies, distortion.pen), distortion)[0], distortion)

    first = distorted()
    assert torch.equal(first, distorted())
    assert len({canvas.numpy().tobytes() for canvas in first}) == 20


def test_a_shift_moves_the_ink_and_keeps_it(images: Tensor) -> None:
    canvas, _ = warp(images, Distortion(untouched=0, rotation=0, shear=0, scale=0, shift=1.5, elastic=0))
    moved = _middle(canvas) - _middle(images)
    assert moved.abs().max() > 1
    assert moved.abs().max() < 4.5
    torch.testing.assert_close(canvas.sum((1, 2)), images.sum((1, 2)), rtol=0.02, atol=0.5)


def test_a_rotation_turns_about_the_middle() -> None:
    bar = torch.zeros(200, SIDE, SIDE)
    bar[:, 5:23, 13:15] = 1
    torch.manual_seed(0)
    canvas, _ = warp(bar, Distortion(untouched=0, rotation=15, shear=0, scale=0, shift=0, elastic=0))
    assert (_middle(canvas) - 13.5).abs().max() < 0.15
    columns = (canvas[:, 5:8].sum(1) * torch.arange(SIDE)).sum(1) / canvas[:, 5:8].sum((1, 2))
    lean = torch.rad2deg(torch.atan((columns - 13.5) / 7.5))
    assert 4 < lean.std() < 15


def test_a_free_canvas_has_the_complete_digit_anywhere(images: Tensor) -> None:
    copies = images.repeat(20, 1, 1)
    canvas, share_read = warp(copies, NO_WARP, 64, free=True)
    assert canvas.shape == (600, 64, 28)
    ink = canvas.sum((1, 2)) / copies.sum((1, 2))
    assert ink.min() > 0.65
    assert ink.max() < 1.9
    middle = _middle(canvas)[:, 0]
    assert middle.min() < 18
    assert middle.max() > 46
    assert (share_read.diff(dim=1) >= 0).all()
    # All ink lies in the rows of the digit.
    ink_above = torch.where(share_read <= 0, canvas.sum(2), 0.0).sum(1)
    ink_below = torch.where(share_read >= 1, canvas.sum(2), 0.0)
    assert ink_above.max() < 0.5
    assert ink_below[:, -1].max() < 1.5


def test_a_pen_thickens_or_thins_its_share_and_never_erases(images: Tensor) -> None:
    assert torch.equal(pen(images, 0.0), images)
    copies = images.repeat(10, 1, 1)
    strokes = pen(copies, 1.0)
    ratio = strokes.sum((1, 2)) / copies.sum((1, 2))
    assert ratio.max() > 1.3
    assert ratio.min() < 0.85
    assert strokes.amax((1, 2)).min() > 0.25


def test_defects_stay_within_the_ink_s_bounds_and_touch_their_share_only(images: Tensor) -> None:
    clean = Distortion(contrast=0, erased=0, noise=0, blurred=0, lined=0, coarse=0)
    assert torch.equal(photograph(images, clean), images)
    worst = Distortion(contrast=1, erased=1, noise=1, blurred=1, lined=1, coarse=1)
    photographs = photograph(images.repeat(20, 1, 1), worst)
    assert photographs.min() >= 0
    assert photographs.max() <= 1
    assert photographs.isfinite().all()


@pytest.mark.parametrize("kind", ["contrast", "erased", "noise", "blurred", "lined", "coarse", "squared"])
def test_each_defect_changes_the_image(images: Tensor, kind: str) -> None:
    shares = {"contrast": 0.0, "erased": 0.0, "noise": 0.0, "blurred": 0.0, "lined": 0.0, "coarse": 0.0, kind: 1.0}
    changed = (photograph(images, Distortion(**shares)) - images).abs().sum((1, 2)) > 0.5  # type: ignore[arg-type]
    assert changed.float().mean() > 0.5
