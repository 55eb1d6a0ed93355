from __future__ import annotations

import numpy as np

from service.imaging.outlines import filled, is_hollow


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


def test_a_hollow_stroke_is_told_from_a_loop_of_a_thin_pen() -> None:
    stroke = np.zeros((100, 30), np.bool_)
    stroke[:, :20] = True
    inner = np.zeros_like(stroke)
    inner[2:-2, 2:18] = True
    assert is_hollow(stroke & ~inner, stroke)
    tail = stroke & ~inner
    tail[50:60, 20:] = True  # an open stroke beside it
    assert not is_hollow(tail, stroke | tail)
    y, x = np.mgrid[-1:1:100j, -1:1:80j]
    radius = np.hypot(x, y)
    assert not is_hollow((radius < 1) & (radius > 0.94), radius < 1), "a thin zero"
