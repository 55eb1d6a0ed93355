from __future__ import annotations

import numpy as np
import pytest

from service.imaging.filters import Plane, block_mean, box_mean, dilate, erode, to_grey
from tests.pictures import drawn

SEVEN = 1 - np.asarray(drawn(size=120, ink=0), np.float32) / 255


def coloured(paper: tuple[float, float, float], ink: tuple[float, float, float]) -> Plane:
    """The drawn seven in RGB (120, 120, 3)."""
    return np.asarray(np.asarray(paper) + np.subtract(ink, paper) * SEVEN[..., None], np.float32)


def test_colours_of_one_lightness_differ_in_grey() -> None:
    plane = to_grey(coloured((0.8, 0, 0), (0, 0.407, 0)))
    assert abs(plane[0, 0] - plane[SEVEN > 0.9].mean()) > 0.5
    assert plane.min() == 0


def test_lightness_is_the_grey_where_it_differs() -> None:
    assert np.abs(to_grey(coloured((0, 0, 0), (1, 1, 0.5))) - (0.299 + 0.587 + 0.057) * SEVEN).max() < 1e-6


@pytest.mark.parametrize(("ink", "contrast"), [((1, 0, 0), 1.0), ((1, 0.1, 0), 0.299 + 0.0587)])
def test_lightness_is_the_grey_from_three_tenths_of_the_difference(
    ink: tuple[float, float, float], contrast: float
) -> None:
    assert np.ptp(to_grey(coloured((0, 0, 0), ink))) == pytest.approx(contrast, abs=0.02)


@pytest.mark.parametrize("lighter", [(1, 0, 0), (0, 0, 1), (0.4, 0, 1), (1, 0, 0.9)])
def test_the_lighter_colour_is_the_brighter_grey(lighter: tuple[float, float, float]) -> None:
    plane = to_grey(coloured((0, 0.1, 0), lighter))
    assert plane[SEVEN > 0.9].min() > plane[0, 0] + 0.5


def test_a_picture_of_one_colour_is_even() -> None:
    assert np.ptp(to_grey(np.full((5, 7, 3), 0.25, np.float32))) == 0


def windows(plane: Plane, window: int) -> Plane:
    """The window around each pixel (H, W, window, window), borders repeated."""
    padded = np.pad(plane, (window // 2, window - 1 - window // 2), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (window, window))


@pytest.mark.parametrize("window", [1, 2, 3, 5, 8])
def test_windows_are_reduced_to_one_value_a_pixel(window: int) -> None:
    plane = np.random.default_rng(1).random((9, 13)).astype(np.float32)
    np.testing.assert_array_equal(dilate(plane, window), windows(plane, window).max(axis=(2, 3)))
    np.testing.assert_array_equal(erode(plane, window), windows(plane, window).min(axis=(2, 3)))
    np.testing.assert_allclose(box_mean(plane, window), windows(plane, window).mean(axis=(2, 3)), atol=1e-6)


def test_blocks_are_averaged_down_to_a_side() -> None:
    plane = np.random.default_rng(2).random((12, 6)).astype(np.float32)
    assert block_mean(plane, 12) is plane
    np.testing.assert_allclose(block_mean(plane, 11), plane.reshape(6, 2, 3, 2).mean(axis=(1, 3)), atol=1e-6)
    assert block_mean(plane, 4).shape == (4, 2)
