"""service.imaging.layout: each rule on both sides of its threshold, on a sheet of 100 x 100 pixels."""

from __future__ import annotations

import numpy as np
import pytest

from service.imaging.components import connected_components
from service.imaging.filters import Mask
from service.imaging.layout import digit_candidates, underlines
from tests.pictures import STROKE, Box, sheet


def frame(x0: int, y0: int, x1: int, y1: int) -> Mask:
    """The outline of a box, three pixels thick."""
    return sheet((x0, y0, x1, y1)) & ~sheet((x0 + 3, y0 + 3, x1 - 3, y1 - 3))


def read(mask: Mask) -> tuple[int, list[Mask]]:
    """The count of noise, and the candidates as pixels."""
    components = connected_components(mask)
    candidates, n_noise = digit_candidates(components)
    return n_noise, [components.mask(candidate) for candidate in candidates]


def assert_read(mask: Mask, *candidates: Mask, n_noise: int = 0) -> None:
    """The candidates are these, in this order, and so many other components are noise."""
    count, masks = read(mask)
    assert (count, len(masks)) == (n_noise, len(candidates))
    for actual, expected in zip(masks, candidates, strict=True):
        np.testing.assert_array_equal(actual, expected)


# --- background ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [(0, 0, 100, 8), (0, 0, 12, 100)])
def test_a_table_at_a_side_of_the_sheet_is_background(mark: Box) -> None:
    assert_read(sheet(STROKE, mark), sheet(STROKE))


def test_a_mark_along_a_quarter_of_the_border_is_background() -> None:
    assert_read(sheet(STROKE, (0, 30, 8, 55)), sheet(STROKE))
    assert_read(sheet(STROKE, (0, 30, 8, 54)), sheet(STROKE), n_noise=1)


def test_there_is_no_background_without_a_mark_that_stands_free() -> None:
    at_border = sheet((0, 30, 8, 60))
    assert_read(at_border | sheet((60, 40, 70, 52)), sheet((60, 40, 70, 52)))
    assert_read(at_border | sheet((60, 40, 70, 51)), at_border, n_noise=1)
    assert_read(sheet((40, 0, 55, 70)), sheet((40, 0, 55, 70)))


@pytest.mark.parametrize(
    ("strip", "n_noise"),
    [((0, 0, 100, 4), 0), ((0, 0, 90, 4), 0), ((0, 0, 89, 4), 1), ((0, 0, 100, 5), 1)],
)
def test_a_thin_strip_along_a_side_is_background_in_any_case(strip: Box, n_noise: int) -> None:
    digit = sheet((40, 40, 50, 100))  # at the border itself
    assert_read(digit | sheet(strip), digit, n_noise=n_noise)


# --- frames ----------------------------------------------------------------------------------------------------------


def test_the_box_of_a_form_is_no_digit_and_a_ring_is() -> None:
    assert_read(frame(10, 5, 90, 95) | sheet(STROKE), sheet(STROKE))
    y, x = np.mgrid[:100, :100]
    radius = np.hypot(y - 50, x - 50)
    ring = (radius < 45) & (radius > 38)
    _, (zero,) = read(ring | sheet((45, 45, 52, 52)))  # with a dot in it
    assert zero[50, 90]


def test_a_frame_holds_something_a_third_as_high() -> None:
    box = frame(10, 5, 90, 95)
    assert_read(box | sheet((60, 40, 64, 70)), sheet((60, 40, 64, 70)))
    assert_read(box | sheet((60, 40, 64, 69)), box | sheet((60, 40, 64, 69)))


@pytest.mark.parametrize(("length", "is_frame"), [(50, True), (64, False)])
def test_a_frame_has_its_ink_along_its_sides(length: int, is_frame: bool) -> None:
    box = frame(10, 5, 90, 95)  # 984 pixels
    tongue = sheet((20, 5, 23, 13 + length))  # about 3 * length of them lie further inside
    digit = sheet((50, 30, 60, 80))
    assert_read(box | tongue | digit, digit if is_frame else box | tongue | digit)


def test_a_frame_may_be_smaller_than_another_mark() -> None:
    blob, digit = sheet((2, 2, 25, 98)), sheet((60, 35, 70, 75))
    assert_read(frame(40, 20, 90, 90) | digit | blob, blob, n_noise=1)  # 684 pixels and 2,208


def test_a_small_ring_around_a_dot_is_no_frame() -> None:
    ring, dot = frame(70, 70, 81, 81), sheet((74, 74, 77, 77))
    assert_read(sheet(STROKE) | ring | dot, sheet(STROKE), n_noise=2)


# --- noise -----------------------------------------------------------------------------------------------------------


def test_a_speck_is_noise() -> None:
    assert_read(sheet(STROKE, (70, 70, 72, 72)), sheet(STROKE), n_noise=1)


def test_what_has_a_fiftieth_of_the_digits_area_is_a_piece_of_it() -> None:
    assert_read(sheet(STROKE, (55, 40, 58, 44)), sheet(STROKE, (55, 40, 58, 44)))
    assert_read(sheet(STROKE, (55, 40, 58, 43)), sheet(STROKE), n_noise=1)


def test_the_64_largest_components_count() -> None:
    stroke = sheet((45, 2, 55, 98))
    slots = [(x, y) for x in (57, 64, 71, 38, 31, 24) for y in range(4, 94, 7)]
    large = sheet(*((x, y, x + 5, y + 6) for x, y in slots[:40]), *((x, y, x + 5, y + 5) for x, y in slots[40:63]))
    small = sheet(*((x, y, x + 5, y + 4) for x, y in slots[63:]))
    assert_read(stroke | large | small, stroke | large, n_noise=len(slots) - 63)


def dots(count: int) -> Mask:
    mask = np.zeros((100, 100), np.bool_)
    for index in range(count):
        y, x = divmod(index, 10)
        mask[10 * y + 3 : 10 * y + 5, 10 * x + 3 : 10 * x + 5] = True
    return mask


def test_thirty_marks_of_one_size_are_noise() -> None:
    assert read(dots(100)) == (100, [])
    assert read(dots(30)) == (30, [])
    assert read(dots(29))[1]
    assert read(np.zeros((5, 5), np.bool_)) == (0, [])


def test_thirty_marks_and_one_of_four_times_their_size_are_a_digit() -> None:
    assert read(dots(30) | sheet((50, 80, 55, 83))) == (31, [])
    assert_read(dots(30) | sheet((50, 80, 54, 84)), sheet((50, 80, 54, 84)), n_noise=30)


# --- characters ------------------------------------------------------------------------------------------------------


def test_a_bar_near_a_body_belongs_to_it() -> None:
    assert_read(sheet((40, 20, 70, 26), (40, 30, 60, 80)), sheet((40, 20, 70, 26), (40, 30, 60, 80)))


@pytest.mark.parametrize(("start", "is_one"), [(40, True), (62, True), (63, False)])
def test_components_over_each_other_are_one_character(start: int, is_one: bool) -> None:
    upper, lower = sheet((40, 10, 70, 45)), sheet((start, 47, start + 30, 80))  # columns in common: 30, 8, 7 of 30
    assert_read(upper | lower, *([upper | lower] if is_one else [upper, lower]))


@pytest.mark.parametrize(("height", "is_piece"), [(26, True), (27, False)])
def test_a_low_component_near_a_high_one_is_a_piece_of_it(height: int, is_piece: bool) -> None:
    piece = sheet((55, 20, 65, 20 + height))
    assert_read(sheet(STROKE) | piece, sheet(STROKE) | piece if is_piece else sheet(STROKE), n_noise=not is_piece)


@pytest.mark.parametrize(("gap", "is_piece"), [(11, True), (12, False)])
def test_near_is_a_fifth_of_the_height(gap: int, is_piece: bool) -> None:
    piece = sheet((50 + gap, 40, 60 + gap, 60))
    assert_read(sheet(STROKE) | piece, sheet(STROKE) | piece if is_piece else sheet(STROKE), n_noise=not is_piece)


@pytest.mark.parametrize(("height", "is_digit"), [(33, True), (32, False)])
def test_marks_of_like_height_are_several_digits(height: int, is_digit: bool) -> None:
    mark = sheet((80, 20, 90, 20 + height))
    assert_read(sheet(STROKE) | mark, sheet(STROKE), *([mark] if is_digit else []), n_noise=not is_digit)


def test_digits_in_a_column_are_several() -> None:
    assert len(read(sheet((40, 50, 50, 65), (40, 85, 50, 99)))[1]) == 2


def test_the_likeliest_digit_is_large_and_not_at_the_border() -> None:
    at_border = sheet((80, 0, 90, 75))
    assert_read(at_border | sheet(STROKE), sheet(STROKE), at_border)
    assert_read(at_border | sheet((40, 30, 50, 75)), at_border, sheet((40, 30, 50, 75)))


@pytest.mark.parametrize(("upper", "is_line"), [(40, False), (20, True)])
def test_the_lowest_segment_of_a_display_is_no_line_under_the_digit(upper: int, is_line: bool) -> None:
    components = connected_components(sheet((30, 10, 30 + upper, 16), (72, 10, 78, 80), (30, 84, 70, 90)))
    assert (underlines(components, np.ones(3, np.bool_)) is not None) == is_line
