"""service.imaging.strokes: strokes have paper on both sides, edges on one."""

from __future__ import annotations

import numpy as np
import pytest

from service.imaging.strokes import edge_likeness

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
