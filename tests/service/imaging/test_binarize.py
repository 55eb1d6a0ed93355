from __future__ import annotations

import numpy as np
import pytest

from service.imaging.binarize import separate_ink, threshold
from service.imaging.filters import Plane
from tests.pictures import drawn

SEVEN = 1 - np.asarray(drawn(size=120, ink=0), np.float32) / 255


def on(paper: Plane | float, ink: Plane | float) -> Plane:
    return np.asarray(paper + (ink - paper) * SEVEN, np.float32)


def agreement(plane: Plane) -> float:
    """How much of the ink is found, less what is found beside it."""
    ink = separate_ink(plane)
    assert ink is not None
    mask, real = ink.strength > threshold(ink), SEVEN > 0.5
    return float((mask & real).sum() / (mask | real).sum())


@pytest.mark.parametrize(("paper", "ink", "dark"), [(1.0, 0.0, True), (0.1, 0.9, False), (0.6, 0.45, True)])
def test_even_paper(paper: float, ink: float, dark: bool) -> None:
    found = separate_ink(on(paper, ink))
    assert found is not None
    assert (found.is_dark, found.paper) == (dark, "even")
    assert found.contrast == pytest.approx(abs(ink - paper) / (paper if dark else 1), rel=0.05)
    assert agreement(on(paper, ink)) > 0.9


def test_a_lamp_is_a_smooth_paper() -> None:
    light = np.linspace(0.35, 1, 120, dtype=np.float32)[None] * np.linspace(0.6, 1, 120, dtype=np.float32)[:, None]
    found = separate_ink(on(0.9 * light, 0.1 * light))
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
    found = separate_ink(plane)
    assert found is not None
    assert found.is_dark
    assert (found.strength > threshold(found))[14:, 22:][SEVEN > 0.5].mean() > 0.85
    assert (found.strength > threshold(found))[14:, 22:][SEVEN < 0.1].mean() < 0.02


def test_printed_squares_are_fainter_than_ink() -> None:
    paper = np.full(SEVEN.shape, 0.95, np.float32)
    paper[::15] = paper[:, ::15] = 0.65
    assert agreement(on(paper, 0.1)) > 0.85


@pytest.mark.parametrize("scale", [0, 0.02])
def test_paper_alone_has_no_ink(scale: float) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (90, 70)).astype(np.float32)
    assert separate_ink(np.asarray(0.7 + scale * noise, np.float32)) is None
    light = np.linspace(0.2, 1, 70, dtype=np.float32)[None] * np.ones((90, 1), np.float32)
    assert separate_ink(np.asarray(light + scale * noise, np.float32)) is None
