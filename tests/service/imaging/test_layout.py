from __future__ import annotations

import numpy as np
import pytest

from service.imaging.components import connected_components
from service.imaging.filters import Mask
from service.imaging.layout import digit_candidates, without_lines


def sheet(*boxes: tuple[int, int, int, int], size: int = 100) -> Mask:
    """Filled boxes: left, top, right, bottom."""
    mask = np.zeros((size, size), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


STROKE = (40, 20, 50, 80)


def read(mask: Mask) -> tuple[int, list[Mask]]:
    """The count of noise, and the candidates as pixels."""
    components = connected_components(mask)
    candidates, n_noise = digit_candidates(components)
    return n_noise, [components.mask(candidate) for candidate in candidates]


@pytest.mark.parametrize(
    "other",
    [
        (0, 0, 100, 8),  # a table above the sheet
        (0, 0, 12, 100),  # and beside it
        (70, 70, 72, 72),  # a speck
    ],
)
def test_what_else_there_is_is_left_out(other: tuple[int, int, int, int]) -> None:
    _, (only,) = read(sheet(STROKE, other))
    np.testing.assert_array_equal(only, sheet(STROKE))


def test_a_digit_at_the_border_is_one_where_nothing_stands_free() -> None:
    _, (only,) = read(sheet((40, 0, 55, 70)))
    np.testing.assert_array_equal(only, sheet((40, 0, 55, 70)))


def test_the_box_of_a_form_is_no_digit_and_a_ring_is() -> None:
    frame = sheet((10, 5, 90, 95)) & ~sheet((13, 8, 87, 92))
    _, (only,) = read(frame | sheet(STROKE))
    np.testing.assert_array_equal(only, sheet(STROKE))
    y, x = np.mgrid[:100, :100]
    radius = np.hypot(y - 50, x - 50)
    ring = (radius < 45) & (radius > 38)
    _, (only,) = read(ring | sheet((45, 45, 52, 52)))  # a zero with a dot in it
    assert only[50, 90]


def test_pieces_of_a_digit_belong_together() -> None:
    bar, body = (40, 20, 70, 26), (40, 30, 60, 80)
    _, (only,) = read(sheet(bar, body))
    np.testing.assert_array_equal(only, sheet(bar, body))


@pytest.mark.parametrize("other", [(70, 22, 80, 78), (40, 85, 50, 99)])
def test_marks_beside_each_other_are_several(other: tuple[int, int, int, int]) -> None:
    first = (40, 20, 50, 80) if other[0] == 70 else (40, 50, 50, 65)
    assert len(read(sheet(first, other))[1]) == 2


def test_grain_is_nothing() -> None:
    mask = np.zeros((100, 100), np.bool_)
    mask[3::10, 3::10] = True
    assert read(mask) == (100, [])
    assert read(np.zeros((5, 5), np.bool_)) == (0, [])


@pytest.mark.parametrize("turned", [False, True])
def test_printed_lines_go_and_the_stroke_that_crosses_them_stays(turned: bool) -> None:
    lines = sheet((0, 30, 100, 32), (0, 60, 100, 62))
    mask, expected = sheet(STROKE) | lines, sheet(STROKE)
    cleaned, count = without_lines(mask.T if turned else mask)
    assert count == 2
    cleaned = cleaned.T if turned else cleaned
    assert cleaned[30, 45]
    assert not cleaned[30, :38].any()
    assert (cleaned != expected).sum() <= 16  # a line's ends at the stroke


def test_the_bar_of_a_tightly_cut_seven_stays() -> None:
    mask = np.zeros((100, 60), np.bool_)
    mask[:4] = True
    for row in range(100):
        mask[row, max(0, 56 - row // 2) : 60 - row // 2] = True
    cleaned, count = without_lines(mask)
    assert count == 0
    np.testing.assert_array_equal(cleaned, mask)


def test_lines_alone_leave_nothing() -> None:
    assert not without_lines(sheet((0, 30, 100, 32), (0, 60, 100, 62)))[0].any()
