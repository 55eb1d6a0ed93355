from __future__ import annotations

import numpy as np

from service.imaging.outlines import filled


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
