from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from service.imaging.binarize import separate_ink, threshold
from service.imaging.decode import decode
from service.imaging.faint_areas import without_faint_areas
from service.imaging.filters import Mask, Plane
from service.imaging.hypotheses import hypotheses
from tests.pictures import encoded

STROKE = np.s_[40:160, 90:104]


def scene(shade: float) -> Plane:
    """A stroke on paper, its lower half in a shadow with edges."""
    plane = np.full((200, 200), 0.9, np.float32)
    plane[STROKE] = 0.1
    plane[100:180, 40:150] *= shade
    return plane


def strong(plane: Plane) -> Mask | None:
    ink = separate_ink(plane)
    assert ink is not None
    level = threshold(ink)
    return without_faint_areas(ink, ink.strength > level, level)


def test_a_shadow_is_taken_from_the_ink_and_the_stroke_in_it_stays() -> None:
    mask = strong(scene(0.45))
    assert mask is not None
    assert mask[STROKE].all()
    assert mask.sum() == mask[STROKE].sum()


def test_ink_of_one_strength_has_no_faint_areas() -> None:
    assert strong(scene(1.0)) is None


def test_a_stroke_that_fades_stays_whole() -> None:
    plane = np.full((200, 200), 0.9, np.float32)
    plane[STROKE] = np.linspace(0.05, 0.45, 120, dtype=np.float32)[:, None]
    assert strong(plane) is None


@pytest.mark.parametrize("shade", [0.45, 0.55])
def test_the_digit_without_the_shadow_is_likelier_than_with_it(shade: float) -> None:
    found, _ = hypotheses(decode(encoded(Image.fromarray(np.uint8(255 * scene(shade)))), 1_000_000))
    best = max(found, key=lambda hypothesis: hypothesis.prior)
    left, top, right, bottom = best.report.box
    assert (left, top, right, bottom) == pytest.approx((90, 40, 104, 160), abs=2)
