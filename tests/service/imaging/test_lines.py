"""service.imaging.lines: each rule on both sides of its threshold, on a sheet of 100 x 100 pixels."""

from __future__ import annotations

import numpy as np
import pytest

from service.imaging.filters import Mask
from service.imaging.lines import without_lines
from tests.pictures import STROKE, sheet


@pytest.mark.parametrize("vertical", [False, True])
def test_lines_are_removed_and_the_stroke_that_crosses_them_stays(vertical: bool) -> None:
    lines = sheet((0, 30, 100, 32), (0, 60, 100, 62))
    mask, expected = sheet(STROKE) | lines, sheet(STROKE)
    cleaned, count = without_lines(mask.T if vertical else mask)
    assert count == 2
    cleaned = cleaned.T if vertical else cleaned
    assert cleaned[30, 45]
    assert not cleaned[30, :38].any()
    assert (cleaned != expected).sum() <= 16  # a line's ends at the stroke


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (sheet((0, 5, 100, 10)), 1),
        (sheet((0, 5, 100, 11)), 0),  # too thick
        (sheet((0, 5, 50, 7), (59, 5, 100, 7)), 1),
        (sheet((0, 5, 50, 7), (60, 5, 100, 7)), 0),  # broken
        (sheet((1, 5, 100, 7)), 0),  # it does not reach the side
    ],
)
def test_what_a_line_is(line: Mask, count: int) -> None:
    cleaned, n_lines = without_lines(line | sheet(STROKE))
    assert n_lines == count
    np.testing.assert_array_equal(cleaned, sheet(STROKE) if count else line | sheet(STROKE))


def test_a_line_of_two_pixels_is_thin_on_a_small_sheet() -> None:
    assert without_lines(sheet((0, 5, 30, 7), (10, 12, 14, 25), size=30))[1] == 1
    assert without_lines(sheet((0, 5, 30, 8), (10, 12, 14, 25), size=30))[1] == 0


@pytest.mark.parametrize(("start", "end", "count"), [(8, 92, 1), (7, 92, 0), (8, 93, 0)])
def test_lines_reach_further_than_all_other_ink(start: int, end: int, count: int) -> None:
    assert without_lines(sheet((0, 5, 100, 7), (start, 40, end, 50)))[1] == count


def test_broken_ink_along_a_line_goes_with_it() -> None:
    line = sheet((0, 30, 100, 32))
    edge = np.zeros((100, 100), np.bool_)
    edge[29, ::3] = edge[32, ::4] = True
    np.testing.assert_array_equal(without_lines(line | edge | sheet((20, 50, 30, 80)))[0], sheet((20, 50, 30, 80)))


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
