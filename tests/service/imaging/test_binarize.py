from __future__ import annotations

import numpy as np
import pytest

from service.imaging.binarize import Binarized, separate_ink, threshold
from service.imaging.filters import Plane
from tests.pictures import drawn

SIDE = 80
SEVEN: Plane = 1 - np.asarray(drawn(size=120, ink=0), np.float32) / np.float32(255)
Y, X = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE


def on(paper: Plane | float, ink: Plane | float) -> Plane:
    return np.asarray(paper + (ink - paper) * SEVEN, np.float32)


def agreement(plane: Plane, drawing: Plane = SEVEN) -> float:
    """Intersection over union of the ink that was drawn and the ink that is found."""
    ink = separate_ink(plane)
    assert ink is not None
    mask, expected = ink.strength > threshold(ink), drawing > 0.5
    return float((mask & expected).sum() / (mask | expected).sum())


def kind(plane: Plane) -> str | None:
    """The kind of paper that is taken; None for a blank picture."""
    ink = separate_ink(plane)
    return None if ink is None else ink.paper


@pytest.mark.parametrize(("paper", "pen", "dark"), [(1.0, 0.0, True), (0.1, 0.9, False), (0.6, 0.45, True)])
def test_even_paper(paper: float, pen: float, dark: bool) -> None:
    ink = separate_ink(on(paper, pen))
    assert ink is not None
    assert (ink.is_dark, ink.paper) == (dark, "even")
    assert ink.contrast == pytest.approx(abs(pen - paper) / (paper if dark else 1), rel=0.05)
    assert agreement(on(paper, pen)) > 0.9


def test_a_lamp_is_a_smooth_paper() -> None:
    light = np.linspace(0.35, 1, 120, dtype=np.float32)[None] * np.linspace(0.6, 1, 120, dtype=np.float32)[:, None]
    ink = separate_ink(on(0.9 * light, 0.1 * light))
    assert ink is not None
    assert ink.paper != "even"
    assert agreement(on(0.9 * light, 0.1 * light)) > 0.9


@pytest.mark.parametrize("position", [0.3, 0.5, 0.7])
def test_the_edge_of_a_shadow_runs_through_the_digit(position: float) -> None:
    across = np.linspace(0, 1, 120, dtype=np.float32)[None] + 0.2 * np.linspace(0, 1, 120, dtype=np.float32)[:, None]
    light = np.asarray(1 - 0.5 / (1 + np.exp(-(across - position) / 0.02)), np.float32)
    assert agreement(on(0.92 * light, 0.15 * light)) > 0.85


def test_a_table_at_the_sides_of_the_sheet_is_not_the_paper() -> None:
    plane = on(0.9, 0.1)
    plane = np.pad(plane, ((14, 0), (22, 0)), constant_values=0.45)
    ink = separate_ink(plane)
    assert ink is not None
    assert ink.is_dark
    assert (ink.strength > threshold(ink))[14:, 22:][SEVEN > 0.5].mean() > 0.85
    assert (ink.strength > threshold(ink))[14:, 22:][SEVEN < 0.1].mean() < 0.02


def test_a_rim_along_most_of_the_border_is_not_the_paper() -> None:
    plane = on(0.9, 0.1)
    plane[:2] = plane[:, :2] = plane[:, -2:] = 0.4
    ink = separate_ink(plane)
    assert ink is not None
    assert (ink.paper, ink.is_dark) == ("even", True)


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


# --- the choice of a paper -------------------------------------------------------------------------------------------


def figure(name: str) -> Plane:
    """Ink 0..1: a drawn digit, an upright bar, or a block broader than the window that closes strokes."""
    if name == "bar":
        return ((np.abs(X - 0.5) < 0.06) & (np.abs(Y - 0.5) < 0.38)).astype(np.float32)
    if name == "block":
        return ((np.abs(X - 0.5) < 0.2) & (np.abs(Y - 0.5) < 0.3)).astype(np.float32)
    return np.asarray(1 - np.asarray(drawn(name, size=SIDE, ink=0), np.float32) / np.float32(255))


def spot(depth: float, width: float) -> Plane:
    """Paper in the light of a lamp above its middle."""
    return np.asarray(0.9 * (1 - depth * (1 - np.exp(-((X - 0.5) ** 2 + (Y - 0.5) ** 2) / width**2))), np.float32)


def table(level: float, *, start: float = 0, top: float = 0, end: float = 0) -> Plane:
    """A sheet on a table of another level, which shows on so much of its sides."""
    y, x = Y, X
    return np.where((x < start) | (y < top) | (x > 1 - end), np.float32(level), np.float32(0.9))


def photographed(paper: Plane, name: str, pen: float, noise: float = 0) -> Plane:
    """Ink that reflects the share `pen` of what the paper does."""
    plane = paper * (1 - figure(name) * (1 - pen))
    return np.asarray(plane + noise * np.random.default_rng(0).normal(size=plane.shape), np.float32).clip(0, 1)


FLAT = np.full((SIDE, SIDE), 0.9, np.float32)
LAMP = np.asarray(0.9 * (1 - 0.69 * X * (0.5 + 0.5 * Y)), np.float32)


@pytest.mark.parametrize(
    ("paper", "name", "pen", "noise", "expected"),
    [
        (FLAT, "block", 0.1, 0, "even"),
        (FLAT, "block", 0.59, 0.03, "even"),
        (LAMP, "bar", 0.75, 0.03, "smooth"),
        (spot(0.62, 0.31), "bar", 0.41, 0, "uneven"),
        (spot(0.69, 0.31), "7", 0.11, 0, "uneven"),
        (spot(0.29, 0.32), "1", 0.79, 0, "uneven"),
        (table(0.42, start=0.1), "block", 0.17, 0, "even"),
        (table(0.41, start=0.4, top=0.4), "7", 0.13, 0.03, "uneven"),
        (table(0.53, start=0.07, top=0.07, end=0.07), "bar", 0.33, 0.01, "uneven"),
    ],
)
def test_the_simplest_paper_that_explains_the_picture(
    paper: Plane, name: str, pen: float, noise: float, expected: str
) -> None:
    plane = photographed(paper, name, pen, noise)
    assert kind(plane) == expected
    assert agreement(plane, figure(name)) > 0.9


def test_a_broad_block_is_ink_though_closing_would_take_it_away() -> None:
    block = figure("block")
    plane = np.asarray(0.9 - 0.8 * block, np.float32)
    assert (kind(plane), agreement(plane, block)) == ("even", 1)


def test_contrast_that_a_flexible_paper_takes_away_was_light() -> None:
    line = np.abs(X - 0.5) < 0.08  # from side to side: it explains little, less still than the light does
    ink = separate_ink(np.asarray(spot(0.76, 0.4) * (1 - 0.12 * line), np.float32))
    assert ink is not None
    assert ink.paper == "uneven"
    assert ink.contrast < 0.2


@pytest.mark.parametrize(("depth", "expected"), [(0.04, None), (0.05, "smooth")])
def test_a_quiet_paper_without_ink_is_blank(depth: float, expected: str | None) -> None:
    mark = (np.abs(X - 0.85) < 0.05) & (np.abs(Y - 0.5) < 0.3)
    assert kind(np.asarray(0.5 + 0.05 * X - depth * mark, np.float32)) == expected


# --- contrast and noise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "is_ink"), [(0.055, False), (0.065, True)])
def test_the_least_contrast(step: float, is_ink: bool) -> None:
    assert (separate_ink(on(0.1, 0.1 + step)) is not None) == is_ink


@pytest.mark.parametrize(("step", "is_ink"), [(0.04, False), (0.18, True)])
def test_the_least_contrast_on_noisy_paper(step: float, is_ink: bool) -> None:
    noise = np.random.default_rng(1).normal(0, 0.02, SEVEN.shape)
    plane = on(0.2, 0.2 + step) + noise
    assert (separate_ink(np.asarray(plane, np.float32)) is not None) == is_ink


@pytest.mark.parametrize(("side", "count", "contrast"), [(120, 12, 0.4), (120, 18, 0.9), (50, 4, 0.4), (50, 7, 0.9)])
def test_a_few_odd_pixels_do_not_make_the_contrast(side: int, count: int, contrast: float) -> None:
    plane = np.full((side, side), 0.1, np.float32)
    plane[side // 4 : side // 2, side // 4 : side // 2] = 0.5
    plane[2, 2 : 2 + count] = 1  # within 16 pixels, or 0.2 % of a small plane
    ink = separate_ink(plane)
    assert ink is not None
    assert ink.contrast == pytest.approx(contrast, abs=0.01)


@pytest.mark.parametrize(("level", "contrast"), [(0.5, 1.0), (0.2, 0.8)])
def test_ink_on_dark_paper_is_measured_against_a_quarter_of_the_scale(level: float, contrast: float) -> None:
    ink = separate_ink(on(level, 0))
    assert ink is not None
    assert ink.contrast == pytest.approx(contrast, abs=0.01)


# --- the threshold ---------------------------------------------------------------------------------------------------


def binarized(strength: Plane, level: float, noise: float = 0.0) -> Binarized:
    return Binarized(strength, is_dark=True, paper="even", contrast=1.0, level=level, paper_noise=noise)


@pytest.mark.parametrize(
    ("level", "noise", "expected"),
    [(0.1, 0, 0.3), (0.4, 0, 0.4), (0.9, 0, 0.5), (0.1, 0.1, 0.35), (0.4, 0.1, 0.4), (0.1, 0.3, 0.45)],
)
def test_the_threshold_is_otsus_within_bounds(level: float, noise: float, expected: float) -> None:
    assert threshold(binarized(SEVEN, level, noise)) == pytest.approx(expected)


def two_kinds(rows: int, faint: float, strong_rows: int = 0) -> Plane:
    """A block of ink of strength 1, fainter ink on so many of 400 pixels of the border, and strong ink on others."""
    strength = np.zeros((100, 100), np.float32)
    strength[10 : 10 + rows, :3] = faint
    strength[10 : 10 + strong_rows, 97:] = 1
    strength[30:70, 40:50] = 1
    return strength


@pytest.mark.parametrize(
    ("rows", "faint", "strong_rows", "expected"),
    [
        (52, 0.6, 0, 0.61),
        (44, 0.6, 0, 0.3),  # too little of the border
        (52, 0.9, 0, 0.7),  # the upper bound
        (52, 0.6, 40, 0.61),
        (52, 0.6, 54, 0.3),  # the strong ink lies there too
    ],
)
def test_fainter_ink_at_the_border_is_no_ink(rows: int, faint: float, strong_rows: int, expected: float) -> None:
    ink = binarized(two_kinds(rows, faint, strong_rows), 0.3)
    assert threshold(ink) == pytest.approx(expected, abs=0.01)


def test_ink_of_one_kind_may_lie_at_the_border() -> None:
    strength = np.random.default_rng(3).normal(0.65, 0.1, (100, 100)).astype(np.float32)
    assert threshold(binarized(np.where(two_kinds(52, 0.6) > 0, strength, 0), 0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize("shape", [(3, 2000), (2000, 3), (1, 300), (2, 3000)])
def test_a_strip_of_any_proportions_has_its_paper(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(1).uniform(0.6, 1.0, shape).astype(np.float32)
    plane[:, shape[1] // 2 :][:, :1] = 0
    ink = separate_ink(plane)
    assert ink is None or 0 <= threshold(ink) <= 1


def test_ink_without_contrast_has_a_threshold() -> None:
    flat = Binarized(np.zeros((9, 9), np.float32), True, "even", contrast=0.0, level=0.1, paper_noise=0.0)
    assert threshold(flat) == pytest.approx(0.3)
