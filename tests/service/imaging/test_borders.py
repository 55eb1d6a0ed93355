from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.imaging.borders import PERHAPS_TIGHT, regions_among, weighed_on_margin
from service.imaging.decode import View
from service.imaging.filters import Plane
from service.imaging.marks import Mark

INK: Any = None
BAND = 3


def mark(left: int, top: int, right: int, bottom: int, *, thickness: int = 0) -> Mark:
    """A mark that fills its box, or is a cross of bars of that `thickness`."""
    mask = np.ones((bottom - top, right - left), np.bool_)
    if thickness:
        mask[:] = False
        mask[:, (right - left - thickness) // 2 :][:, :thickness] = True
        mask[(bottom - top - thickness) // 2 :][:thickness] = True
    return Mark(mask.astype(np.float32), mask, (left, top, right, bottom), INK)


def view(size: int, plane: Plane | None = None) -> View:
    return View(np.ones((size, size), np.float32) if plane is None else plane, (0, 0, size, size))


@pytest.mark.parametrize(
    ("box", "is_region"),
    [
        ((0, 0, 200, 30), True),  # along the whole of the upper side
        ((0, 0, 30, 200), True),
        ((2, 40, 22, 180), True),  # within the band of the left side
        ((60, 60, 140, 140), False),
        ((90, 0, 110, 150), False),  # a stroke that ends at the upper side
    ],
)
def test_what_lies_along_a_side_is_no_stroke(box: tuple[int, int, int, int], is_region: bool) -> None:
    found = mark(*box)
    assert regions_among([found], view(200), BAND) == [found] * is_region


def test_a_small_view_has_no_regions() -> None:
    assert regions_among([mark(0, 0, 60, 10)], view(60), BAND) == []


def test_a_stroke_that_reaches_all_sides_fills_a_tight_crop() -> None:
    grain = np.random.default_rng(1).uniform(0.7, 1.0, (200, 200)).astype(np.float32)
    tight, loose = mark(0, 0, 200, 200, thickness=20), mark(20, 20, 120, 120, thickness=10)
    for plane, prior in ((None, 0.0), (grain, PERHAPS_TIGHT)):
        first, second = weighed_on_margin(view(200, plane), [loose, tight])
        assert (first.box, first.prior) == (tight.box, prior)
        assert (second.box, second.prior < PERHAPS_TIGHT) == (loose.box, True)


def test_a_view_of_one_column_is_looked_at() -> None:
    column = View(np.resize(np.array([0, 1], np.float32), (300, 1)), (0, 0, 1, 300))
    assert weighed_on_margin(column, [mark(0, 0, 1, 300)])[0].prior == PERHAPS_TIGHT
