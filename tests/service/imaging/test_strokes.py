"""service.imaging.strokes: strokes have paper on both sides, edges on one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from service.imaging.binarize import separate_ink
from service.imaging.filters import Plane
from service.imaging.marks import bounding_slices
from service.imaging.strokes import edge_likeness, excess_length, is_wedge, stroke_width

PAPER = np.full((60, 40), 0.9, np.float32)
BAR = np.zeros((60, 40), np.bool_)
BAR[10:50, 18:23] = True


@pytest.mark.parametrize("dark", [True, False])
def test_a_stroke_has_paper_on_both_sides(dark: bool) -> None:
    plane = np.where(BAR, np.float32(0.2), PAPER)
    plane = plane if dark else 1 - plane
    assert edge_likeness(plane, BAR, is_dark=dark, stroke_width=5.0, count_border=False) == 0
    assert edge_likeness(plane.T, BAR.T, is_dark=dark, stroke_width=5.0, count_border=False) == 0


@pytest.mark.parametrize("dark", [True, False])
def test_an_edge_has_it_on_one(dark: bool) -> None:
    plane = PAPER.copy()
    plane[:, 20:] = 0.3  # the mark is where the paper's estimate follows the edge too late
    assert edge_likeness(plane if dark else 1 - plane, BAR, is_dark=dark, stroke_width=5.0, count_border=False) > 0.9


def test_a_stroke_through_the_edge_of_a_shadow_is_one() -> None:
    plane = PAPER.copy()
    plane[30:] = 0.45
    plane[BAR] *= 0.3
    assert edge_likeness(plane, BAR, is_dark=True, stroke_width=5.0, count_border=False) < 0.2


def test_a_soft_stroke_is_one() -> None:
    depth = np.exp(-0.5 * ((np.arange(40) - 20) / 3.0) ** 2).astype(np.float32)
    plane = np.broadcast_to(0.9 - 0.6 * depth, (60, 40)).astype(np.float32)
    assert edge_likeness(plane, plane < 0.6, is_dark=True, stroke_width=7.0, count_border=False) == 0


def test_what_ends_at_the_border_has_one_side_or_is_not_looked_at() -> None:
    plane, mask = PAPER.copy(), np.zeros((60, 40), np.bool_)
    mask[:, :6] = True
    plane[mask] = 0.1
    assert edge_likeness(plane, mask, is_dark=True, stroke_width=6.0, count_border=False) == 0
    assert edge_likeness(plane, mask, is_dark=True, stroke_width=6.0, count_border=True) == 1


def step(rise: float) -> Plane:
    """The bar at 0.2 between paper that is brighter by 0.7 on one side and by `rise` on the other."""
    plane = PAPER.copy()
    plane[:, 23:] = 0.2 + rise
    plane[BAR] = 0.2
    return plane


@pytest.mark.parametrize(("rise", "expected"), [(0.23, 1), (0.26, 0)])
def test_a_side_counts_that_stands_out_by_a_third_of_the_other(rise: float, expected: float) -> None:
    assert edge_likeness(step(rise), BAR, is_dark=True, stroke_width=5.0, count_border=False) == expected


@pytest.mark.parametrize(("stroke_width", "expected"), [(2.6, 1), (2.4, 0)])
def test_runs_of_two_widths_cross_the_stroke(stroke_width: float, expected: float) -> None:
    assert edge_likeness(step(0), BAR, is_dark=True, stroke_width=stroke_width, count_border=False) == expected


@pytest.mark.parametrize(("stroke_width", "shade", "expected"), [(10.0, 7, 0), (10.0, 8, 1), (1.0, 1, 0), (1.0, 2, 1)])
def test_paper_is_looked_for_at_most_so_far(stroke_width: float, shade: int, expected: float) -> None:
    line = BAR if stroke_width > 1 else np.roll(BAR, 4, axis=1) & BAR  # one pixel wide
    plane = PAPER.copy()
    plane[:, 23 : 23 + shade] = 0.2
    plane[line] = 0.2
    assert edge_likeness(plane, line, is_dark=True, stroke_width=stroke_width, count_border=False) == expected


def test_strokes_of_two_digits_in_one_place_are_longer_than_those_of_any() -> None:
    image = Image.new("L", (120, 200))
    pencil = ImageDraw.Draw(image)
    for top in (5, 95):
        pencil.ellipse((10, top, 110, top + 95), outline=255, width=8)
    eight = np.asarray(image) > 0
    assert excess_length(eight, stroke_width(eight)) == 0
    pencil.ellipse((40, 5, 118, 190), outline=255, width=8)
    both = np.asarray(image) > 0
    assert excess_length(both, stroke_width(both)) > 0.35


def test_dots_are_no_long_strokes() -> None:
    image = Image.new("L", (160, 220))
    for y in range(7):
        for x in range(5):
            if x in (0, 4) or y in (0, 3, 6):
                ImageDraw.Draw(image).ellipse((30 * x + 6, 30 * y + 6, 30 * x + 32, 30 * y + 32), fill=255)
    dots = np.asarray(image) > 0
    assert excess_length(dots, stroke_width(dots)) == 0


def test_dithered_ink_is_no_longer_than_it_is_whole() -> None:
    image = Image.new("L", (96, 96), 25)
    pencil = ImageDraw.Draw(image)
    pencil.line([(56, 78), (56, 18), (26, 58), (72, 58)], fill=215, width=9, joint="curve")
    dithered = np.asarray(image.convert("1"))
    mask = dithered & (np.asarray(image) > 100)
    assert mask.sum() < (np.asarray(image) > 100).sum()
    assert excess_length(mask, stroke_width(mask)) == 0


@pytest.mark.parametrize(
    ("corners", "level", "is_shadow"),
    [
        ([(60, 40), (150, 100), (70, 170)], 120, True),
        ([(60, 40), (150, 100), (70, 170)], 20, False),  # as dark as a pen's
        ([(90, 20), (110, 20), (110, 180), (90, 180)], 120, False),  # as broad everywhere
    ],
)
def test_a_faint_soft_wedge_is_perhaps_a_shadow(corners: list[tuple[int, int]], level: int, is_shadow: bool) -> None:
    image = Image.new("L", (200, 200), 230)
    ImageDraw.Draw(image).polygon(corners, fill=level)
    plane = np.asarray(image.filter(ImageFilter.GaussianBlur(3)), np.float32) / np.float32(255)
    ink = separate_ink(plane)
    assert ink is not None
    mask = ink.strength > 0.5
    assert is_wedge(ink, mask, bounding_slices(mask)) == is_shadow
