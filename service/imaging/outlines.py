"""Hollow digits: of a stroke only its outline is drawn, so what lies between outlines is the ink."""

from __future__ import annotations

import numpy as np

from service.imaging.components import connected_components
from service.imaging.filters import Mask
from service.imaging.strokes import stroke_width

_ALONG = 0.95  # of the outline's area, that lies along the body of a hollow digit
_ACROSS = 1.5  # widths of an outline, that are beyond it everywhere
_BROADEST = 0.26  # of its longer side, that the strokes of a hollow digit are narrower than
_ROUND, _ROOM, _RINGS = 0.88, 0.12, 2  # of the longer side, its width and that of the body; how many outlines
_BODY = 1.5  # of the outline's area, that the body of a hollow digit has at least


def body_of(outline: Mask, box: tuple[slice, slice]) -> Mask | None:
    """The body of the hollow digit with the `outline` (H, W) in `box`.

    None where little lies within it, or other strokes than its outline stand open next to it, as they do next to the
    loops of a digit by a thin pen.
    """
    stroke = outline[box]
    body = filled(stroke)
    if body.sum() <= _BODY * stroke.sum() or _is_ring_in_ring(stroke, body):
        return None
    along = stroke & _grown(body & ~stroke, round(_ACROSS * stroke_width(stroke)) + 1)
    if along.sum() <= _ALONG * stroke.sum():
        return None
    mask = np.zeros_like(outline)
    mask[box] = body
    return mask


def _is_ring_in_ring(outline: Mask, body: Mask) -> bool:
    """Whether one outline lies around another, round and with room between: a hollow zero is narrower, or finer."""
    height, width = outline.shape
    if min(height, width) < _ROUND * max(height, width) or stroke_width(body) < _ROOM * height:
        return False
    return len(connected_components(outline).area) == _RINGS


def is_stroke(body: Mask) -> bool:
    """Whether the body (h, w) of a hollow digit, cut to its box, is a stroke; loops of a thin pen are broader."""
    return bool(stroke_width(body) < _BROADEST * max(body.shape))


def filled(outline: Mask) -> Mask:
    """`outline` (H, W) and what lies within an odd number of outlines: the body of a hollow digit, not its holes."""
    ink = np.pad(outline, 1)
    paper = connected_components(~_thickened(ink))
    outside = np.zeros_like(ink)
    outside[0] = outside[-1] = outside[:, 0] = outside[:, -1] = True
    labels = _labels(paper.runs, ink.size).reshape(ink.shape)
    strokes = connected_components(ink)
    stroke_labels = _labels(strokes.runs, ink.size).reshape(ink.shape)
    reached = outside & (labels >= 0)
    region = np.isin(labels, np.unique(labels[reached]))
    visited, body, is_body = region.copy(), np.zeros_like(ink), False
    while True:
        # Across the outlines that touch the region, to the paper behind them.
        near = np.unique(stroke_labels[_grown(region, 2) & ink])
        crossed = np.isin(stroke_labels, near) & ink
        behind = np.unique(labels[_grown(crossed, 2) & (labels >= 0) & ~visited])
        region = np.isin(labels, behind) & ~visited
        if not region.any():
            break
        is_body = not is_body
        visited |= region
        if is_body:
            body |= region
    return np.asarray((ink | _grown(body, 1) & ~visited | body)[1:-1, 1:-1])


def _labels(runs: tuple[np.ndarray, np.ndarray, np.ndarray], size: int) -> np.ndarray:
    """The component of each pixel (flat), -1 where there is none."""
    component, start, end = runs
    labels = np.full(size, -1)
    lengths = end - start
    positions = np.repeat(start - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    labels[positions] = np.repeat(component, lengths)
    return labels


def _grown(mask: Mask, steps: int) -> Mask:
    """`mask` and the pixels within `steps` of it, along rows and columns."""
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask


def _thickened(mask: Mask) -> Mask:
    """`mask` and the corners that close its diagonal steps, which paper would leak through."""
    padded = np.pad(mask, 1)
    return np.asarray(padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[1:-1, :-2])
