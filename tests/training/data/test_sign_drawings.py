"""training.data.sign_drawings: strokes of letters, signs, shapes and doodles, anew for every call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator

from training.data import sign_drawings
from training.data.sign_drawings import Drawing
from training.data.sign_images import KINDS


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS), ids=lambda kind: kind.__name__)
def test_every_kind_draws_strokes_that_differ_and_can_be_repeated(kind: Callable[[Generator], Drawing]) -> None:
    generator = np.random.default_rng(3)
    drawings = [kind(generator) for _ in range(60)]
    for drawing in drawings:
        assert drawing
        for stroke in drawing:
            assert stroke.ndim == 2
            assert stroke.shape[0] >= 2
            assert np.isfinite(stroke).all()
        assert np.ptp(np.concatenate(drawing), axis=0).max() > 0.01
    assert len({np.concatenate(drawing).tobytes() for drawing in drawings}) == 60
    again = kind(np.random.default_rng(3))
    assert np.array_equal(np.concatenate(again), np.concatenate(drawings[0]))


def test_every_doodle_and_every_letter_is_a_drawing() -> None:
    generator = np.random.default_rng(4)
    for doodle in sign_drawings._DOODLES:
        assert all(len(stroke) >= 2 for stroke in doodle(generator)), doodle.__name__
    for text in (*sign_drawings.LETTERS, *sign_drawings.SIGNS):
        assert all(len(stroke) >= 2 for stroke in sign_drawings.written(generator, (text,))), text


def test_a_ring_with_a_gap_is_open_by_more_than_a_zero_is() -> None:
    arcs = [sign_drawings.arc((0.5, 0.5), (0.5, 0.5), gap, 360 - gap) for gap in (35.0, 90.0)]
    for points in arcs:
        assert np.linalg.norm(points[0] - points[-1]) > 0.5


def test_two_digits_never_lie_in_the_same_place() -> None:
    generator = np.random.default_rng(5)
    for _ in range(40):
        width = np.ptp(np.concatenate(sign_drawings.digits_together(generator))[:, 0])
        assert width > 0.7, "one of them reaches beyond the other"
