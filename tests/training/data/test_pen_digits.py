"""training.data.pen_digits: digits of unusual pens in MNIST's box, repeatable."""

from __future__ import annotations

import numpy as np

from training.data.pen_digits import KINDS, pen_digits


def test_all_kinds_are_drawn_and_repeatable() -> None:
    count = 10 * len(KINDS)
    images, labels = pen_digits(count, 5)
    assert images.shape == (count, 28, 28)
    assert np.array_equal(images, pen_digits(count, 5)[0])
    assert not np.array_equal(images, pen_digits(count, 6)[0])
    assert all(image.any() for image in images)
    upstrokes = KINDS.index("upstroke")
    assert set(labels[10 * upstrokes : 10 * upstrokes + 10].tolist()) == {1}
    assert labels[:10].tolist() == list(range(10))


def test_hollow_digits_have_less_ink_than_those_of_a_marker() -> None:
    images, _ = pen_digits(10 * len(KINDS), 7)
    typed, hollow = (10 * KINDS.index(kind) for kind in ("typed", "typed hollow"))
    assert images[hollow : hollow + 10].mean() < images[typed : typed + 10].mean()
