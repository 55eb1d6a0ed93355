from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.imaging.components import Mask, characters, parts, without_lines


def picture(*rows: str) -> Mask:
    return np.array([[character == "#" for character in row] for row in rows])


def flooded(mask: Mask) -> int:
    """The number of connected parts, pixel by pixel."""
    left = {(y, x) for y, x in np.argwhere(mask).tolist()}
    count = 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge.extend(near)
    return count


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 14), st.integers(1, 14), st.floats(0, 1), st.integers(0, 2**32))
def test_parts_are_those_that_a_flood_finds(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    found = parts(mask)
    assert len(found.area) == flooded(mask)
    assert found.area.sum() == mask.sum()
    for one in range(len(found.area)):
        only = found.mask(np.arange(len(found.area)) == one)
        ys, xs = np.nonzero(only)
        assert len(ys) == found.area[one]
        box = (found.left[one], found.top[one], found.right[one], found.bottom[one])
        assert box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        sides = (only[0], only[-1], only[:, 0], only[:, -1])
        assert bool(found.contact[one]) == any(side.any() for side in sides)
    np.testing.assert_array_equal(found.mask(np.ones(len(found.area), np.bool_)), mask)


def test_a_spiral_is_one_part() -> None:
    mask = picture("########", "#......#", "#.####.#", "#.#..#.#", "#.#.##.#", "#.#....#", "#.######", "#.......")
    assert len(parts(mask).area) == 1
    assert parts(mask).contact.tolist() == [8]


def sheet(*boxes: tuple[int, int, int, int], size: int = 100) -> Mask:
    """Filled boxes: left, top, right, bottom."""
    mask = np.zeros((size, size), np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


STROKE = (40, 20, 50, 80)


def read(mask: Mask) -> tuple[int, list[Mask]]:
    found = parts(mask)
    chosen, specks = characters(found)
    return specks, [found.mask(one) for one in chosen]


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
