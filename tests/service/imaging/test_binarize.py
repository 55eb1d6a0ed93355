from __future__ import annotations

import numpy as np
import pytest

from service.imaging.binarize import Plane, dilated, find, grey, threshold
from tests.pictures import drawn

SEVEN = 1 - np.asarray(drawn(size=120, ink=0), np.float32) / 255


def on(paper: Plane | float, ink: Plane | float) -> Plane:
    return np.asarray(paper + (ink - paper) * SEVEN, np.float32)


def agreement(plane: Plane) -> float:
    """How much of the ink is found, less what is found beside it."""
    ink = find(plane)
    assert ink is not None
    mask, real = ink.ink > threshold(ink), SEVEN > 0.5
    return float((mask & real).sum() / (mask | real).sum())


@pytest.mark.parametrize(("paper", "ink", "dark"), [(1.0, 0.0, True), (0.1, 0.9, False), (0.6, 0.45, True)])
def test_even_paper(paper: float, ink: float, dark: bool) -> None:
    found = find(on(paper, ink))
    assert found is not None
    assert (found.dark, found.paper) == (dark, "even")
    assert found.contrast == pytest.approx(abs(ink - paper) / (paper if dark else 1), rel=0.05)
    assert agreement(on(paper, ink)) > 0.9


def test_a_lamp_is_a_smooth_paper() -> None:
    light = np.linspace(0.35, 1, 120, dtype=np.float32)[None] * np.linspace(0.6, 1, 120, dtype=np.float32)[:, None]
    found = find(on(0.9 * light, 0.1 * light))
    assert found is not None
    assert found.paper != "even"
    assert agreement(on(0.9 * light, 0.1 * light)) > 0.9


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_the_edge_of_a_shadow_runs_through_the_digit(place: float) -> None:
    across = np.linspace(0, 1, 120, dtype=np.float32)[None] + 0.2 * np.linspace(0, 1, 120, dtype=np.float32)[:, None]
    light = np.asarray(1 - 0.5 / (1 + np.exp(-(across - place) / 0.02)), np.float32)
    assert agreement(on(0.92 * light, 0.15 * light)) > 0.85


def test_a_table_beside_the_sheet_is_not_the_paper() -> None:
    plane = on(0.9, 0.1)
    plane = np.pad(plane, ((14, 0), (22, 0)), constant_values=0.45)
    found = find(plane)
    assert found is not None
    assert found.dark
    assert (found.ink > threshold(found))[14:, 22:][SEVEN > 0.5].mean() > 0.85
    assert (found.ink > threshold(found))[14:, 22:][SEVEN < 0.1].mean() < 0.02


def test_printed_squares_are_fainter_than_ink() -> None:
    paper = np.full(SEVEN.shape, 0.95, np.float32)
    paper[::15] = paper[:, ::15] = 0.65
    assert agreement(on(paper, 0.1)) > 0.85


@pytest.mark.parametrize("scale", [0, 0.02])
def test_paper_alone_has_no_ink(scale: float) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (90, 70)).astype(np.float32)
    assert find(np.asarray(0.7 + scale * noise, np.float32)) is None
    light = np.linspace(0.2, 1, 70, dtype=np.float32)[None] * np.ones((90, 1), np.float32)
    assert find(np.asarray(light + scale * noise, np.float32)) is None


def test_colours_of_one_lightness_are_told_apart() -> None:
    red, green = np.array((0.8, 0.0, 0.0), np.float32), np.array((0.0, 0.407, 0.0), np.float32)
    plane = grey(np.asarray(red + (green - red) * SEVEN[..., None], np.float32))
    assert abs(plane[0, 0] - plane[SEVEN > 0.9].mean()) > 0.5
    assert agreement(plane) > 0.9


def test_lightness_is_used_where_there_is_any() -> None:
    colours = np.asarray(np.stack([SEVEN, SEVEN, 0.5 * SEVEN], axis=-1), np.float32)
    assert np.abs(grey(colours) - (0.299 + 0.587 + 0.057) * SEVEN).max() < 1e-6


@pytest.mark.parametrize("window", [1, 2, 3, 5, 8])
def test_dilation_is_the_greatest_neighbour(window: int) -> None:
    plane = np.random.default_rng(1).random((9, 13)).astype(np.float32)
    wide = np.pad(plane, (window // 2, window - 1 - window // 2), mode="edge")
    expected = np.lib.stride_tricks.sliding_window_view(wide, (window, window)).max(axis=(2, 3))
    np.testing.assert_array_equal(dilated(plane, window), expected)
