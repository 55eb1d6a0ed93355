from __future__ import annotations

import numpy as np
import pytest

from service.imaging.marks import bounding_slices
from service.imaging.outlines import body_of, filled, is_stroke


def test_the_body_between_outlines_is_filled_and_its_hole_is_not() -> None:
    y, x = np.mgrid[-1:1:81j, -1:1:81j]
    radius = np.hypot(x, y)
    outlines = (np.abs(radius - 0.85) < 0.04) | (np.abs(radius - 0.4) < 0.04)
    body = filled(outlines)
    assert body[(radius < 0.85) & (radius > 0.44)].mean() > 0.97
    assert not body[radius < 0.33].any()
    assert not body[radius > 0.92].any()


def test_an_open_stroke_stays_as_it_is() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[5:35, 10:13] = mask[5:8, 10:30] = True
    assert (filled(mask) == mask).all()


@pytest.mark.parametrize("thickness", [2, 6])
def test_a_hollow_stroke_is_told_from_a_loop_of_a_thin_pen(thickness: int) -> None:
    stroke = np.zeros((160, 80), np.bool_)
    stroke[5:155, 10:46] = True
    inner = np.zeros_like(stroke)
    inner[5 + thickness : 155 - thickness, 10 + thickness : 46 - thickness] = True
    outline = stroke & ~inner
    body = body_of(outline, bounding_slices(outline))
    assert body is not None
    assert (body == stroke).mean() > 0.98
    assert is_stroke(body[bounding_slices(body)])
    outline[60:75, 46:80] = True  # an open stroke beside it
    assert body_of(outline, bounding_slices(outline)) is None
    y, x = np.mgrid[-1:1:100j, -1:1:80j]
    assert not is_stroke(np.hypot(x, y) < 1), "a thin zero"


@pytest.mark.parametrize(("width", "is_hollow"), [(121, False), (81, True)])
def test_a_round_ring_in_a_ring_is_no_hollow_zero(width: int, is_hollow: bool) -> None:
    y, x = np.mgrid[-60:60:121j, -60 : 60 : width * 1j] / 60
    radius = np.hypot(x, y)
    outline = (np.abs(radius - 0.95) < 0.03) | (np.abs(radius - 0.55) < 0.03)
    assert (body_of(outline, bounding_slices(outline)) is not None) == is_hollow
