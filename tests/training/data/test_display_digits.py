"""training.data.display_digits: segments and dots in MNIST's box, repeatable, every digit another one."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.display_digits import DOTS, NO_DIGIT_SEGMENTS, SEGMENTS, display_digits, display_others, segments
from training.data.drawn_digits import NO_DIGIT


def test_digits_come_in_turn_and_are_repeatable() -> None:
    images, labels = display_digits(30, 3)
    assert images.shape == (30, 28, 28)
    assert labels.tolist() == [n % 10 for n in range(30)]
    assert np.array_equal(images, display_digits(30, 3)[0])
    assert not np.array_equal(images, display_digits(30, 4)[0])
    assert all(image.max() > 200 and not image[0].any() for image in images)


def test_no_two_digits_or_letters_light_the_same_segments() -> None:
    lit = ["".join(sorted(way)) for ways in SEGMENTS.values() for way in set(ways)]
    assert len(set(lit)) == len(lit)
    assert not set(lit) & {"".join(sorted(way)) for way in NO_DIGIT_SEGMENTS}
    assert set(display_others(8, 1)[1].tolist()) == {NO_DIGIT}


@pytest.mark.parametrize("label", DOTS)
def test_a_matrix_has_seven_rows_of_five_dots(label: int) -> None:
    for pattern in DOTS[label]:
        assert [len(row) for row in pattern.split()] == [5] * 7


def test_an_eight_has_two_holes_and_a_one_is_narrow() -> None:
    generator = np.random.default_rng(2)
    eight, one = segments(generator, "abcdefg"), segments(generator, "bc")
    middle = eight[:, eight.shape[1] // 2] > 128
    assert np.flatnonzero(np.diff(middle.astype(int)) == -1).size >= 2
    assert one.shape[1] < 0.5 * one.shape[0]
