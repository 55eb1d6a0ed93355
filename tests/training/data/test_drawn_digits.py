"""training.data.drawn_digits: drawn digits and what is no digit, as MNIST would show them."""

from __future__ import annotations

import numpy as np
import pytest

from training.data import drawn_digits


def test_digits_come_in_turn_no_two_alike_and_the_same_for_a_seed() -> None:
    images, labels = drawn_digits.digit_images(40, 3)
    assert images.shape == (40, 28, 28)
    assert images.dtype == np.uint8
    assert labels.tolist() == list(range(10)) * 4
    assert len({image.tobytes() for image in images}) == 40
    repeated, _ = drawn_digits.digit_images(40, 3)
    assert np.array_equal(images, repeated)
    assert not np.array_equal(images, drawn_digits.digit_images(40, 4)[0])


def test_a_digit_is_framed_as_mnist_frames_it() -> None:
    images, _ = drawn_digits.digit_images(60, 5)
    ink = images > 0
    assert ink.any(axis=(1, 2)).all()
    y, x = np.mgrid[:28, :28]
    for image in images.astype(float):
        rows, columns = np.flatnonzero(image.sum(1) > 0), np.flatnonzero(image.sum(0) > 0)
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 17 <= longer <= 23
        middle = np.array([(image * y).sum(), (image * x).sum()]) / image.sum()
        assert np.abs(middle - 13.5).max() < 1.0
        assert image[[0, 1, -2, -1]].mean() < 8, "empty margins"


@pytest.mark.parametrize("digit", range(10))
def test_every_hand_of_a_digit_can_be_drawn(digit: int) -> None:
    for drawing in drawn_digits.DIGITS[digit]:
        image = drawn_digits.draw(drawn_digits.strokes(drawing))
        assert image.dtype == np.float32
        assert 0.9 < image.max() <= 1
        assert 20 < image.sum() < 250


def test_a_wider_pen_leaves_more_ink_in_the_same_box() -> None:
    parts = drawn_digits.strokes(drawn_digits.DIGITS[3][0])
    thin, thick = drawn_digits.draw(parts, width=1.5), drawn_digits.draw(parts, width=4.0)
    assert thick.sum() > 1.8 * thin.sum()
    assert abs(int((thick.sum(1) > 0).sum()) - int((thin.sum(1) > 0).sum())) <= 2


def test_a_vertical_line_is_where_geometry_says() -> None:
    image = drawn_digits.draw([np.array([[0.5, 0.0], [0.5, 1.0]])], width=2.0, box=20)
    assert image[14, 13] == pytest.approx(1.0)
    assert image[14, 14] == pytest.approx(1.0)
    assert image[14, 11] == image[14, 16] == 0
    assert image[:4].sum() == pytest.approx(0, abs=1e-6)
    assert image[5:23, 13].min() == pytest.approx(1.0)


def test_rounding_keeps_the_ends_and_stays_inside_the_corners() -> None:
    corner = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    curve = drawn_digits.rounded(corner)
    assert np.array_equal(curve[[0, -1]], corner[[0, -1]])
    assert len(curve) > 10
    assert (curve >= 0).all()
    assert (curve <= 1).all()
    assert np.hypot(*(curve - (1, 0)).T).min() > 0.1


def test_what_is_no_digit_is_labelled_so_and_has_every_kind() -> None:
    images, labels = drawn_digits.other_images(80, 1)
    assert set(labels.tolist()) == {drawn_digits.NO_DIGIT}
    ink = images.reshape(80, -1).astype(float) / 255
    assert (ink.max(1) == 0).any(), "blank paper"
    assert ((ink.std(1) > 0.1) & (ink.mean(1) > 0.1)).any(), "noise or blots"
    assert len({image.tobytes() for image in images}) > 65
