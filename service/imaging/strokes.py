"""Whether a mark is a stroke, with paper on both sides, or shade: an edge of a shadow, or of a sheet on a table."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from service.imaging.binarize import Binarized
from service.imaging.components import connected_components
from service.imaging.filters import Mask, Plane, box_mean, dilate, erode
from service.imaging.parameters import PARAMETERS

_NO_EDGE = 0.06  # of the contrast, from pixel to pixel: the edges of strokes are sharper, out of focus as they may be
# Of its longer side, that the strokes of a digit are long together: of MNIST's validation digits one in a thousand is
# more, of drawings and fonts none.
LONGEST = 3.2
_SHADOW_CONTRAST = 0.7  # of ink, of the full scale: shadows are fainter
_SHADOW_BREADTH = 0.11  # of its longer side, that a shadow on even paper is broader than
_SHADOW_STEP = 0.38  # of the ink's strength from pixel to pixel: the edges of shadows are softer
_MOST_BY_BREADTH = 1.5  # of the likeness to a shadow, that comes from a breadth that changes
_GRAIN = 0.012  # of the longer side, that pinholes and ragged edges are large
_ENDS = math.pi  # widths, by which a round dot is longer than a stroke of its own mean width
_THIN_OUTLINE = 0.07  # of its longer side, that the outline of a hollow digit is thinner than

Indices = NDArray[np.intp]
Box = tuple[slice, slice]  # rows and columns


def is_shade(plane: Plane, ink: Binarized, mask: Mask, box: Box, n_noise: int, *, at_border: bool) -> bool:
    """Whether a mark is shade or the edge of something; even paper under a mark that stands free has none.

    plane, mask (H, W); `box`: of the mask; `n_noise`: components of noise next to it.
    """
    is_even = ink.paper == "even"
    if is_even and not at_border:
        return False
    if at_border and not is_even and n_noise > PARAMETERS.shade_noise_count:
        return True
    width = stroke_width(mask[box])
    if not is_even and _shadow_likeness(mask[box], ink.strength[box], width, ink.contrast) > 0:
        return True
    if ink.paper == "uneven" and float(np.median(steps(mask[box], plane[box]))) < _NO_EDGE * ink.contrast:
        return True  # an edge of the estimate of the paper, where the picture has none
    likeness = edge_likeness(plane, mask, is_dark=ink.is_dark, stroke_width=width, count_border=not is_even)
    return likeness > PARAMETERS.max_edge_likeness


def is_thin_outline(mask: Mask) -> bool:
    """Whether the strokes of a mask (h, w), cut to its box, are as thin as the outline of a hollow digit."""
    return bool(stroke_width(mask) < _THIN_OUTLINE * max(mask.shape))


def _shadow_likeness(mask: Mask, strength: Plane, width: float, contrast: float) -> float:
    """How much a mark on uneven paper is like a shadow: soft, faint and broad; a stroke's is below 0."""
    softness = 0.22 - float(np.median(steps(mask, strength)))
    breadth = width / max(mask.shape) - 0.12
    likeness = float(12 * (0.6 - contrast) + 20 * softness + 10 * breadth)
    if -_MOST_BY_BREADTH < likeness <= 0 and contrast < _SHADOW_CONTRAST:
        likeness += min(6 * (_unevenness(mask, width) - 1.3), _MOST_BY_BREADTH)
    return likeness


def is_wedge(ink: Binarized, mask: Mask, box: Box) -> bool:
    """Whether a mark is faint, with soft edges and a breadth that changes, as shadows with corners are."""
    if ink.contrast >= _SHADOW_CONTRAST:
        return False
    mask, strength = mask[box], ink.strength[box]
    width = stroke_width(mask)
    breadth = width / max(mask.shape)
    step = float(np.median(steps(mask, strength))) if breadth > _SHADOW_BREADTH else _SHADOW_STEP
    if step >= _SHADOW_STEP:
        return False
    return 6 * (0.22 - step) + 2 * math.log(breadth / 0.12) + 12.5 * math.log(_unevenness(mask, width) / 1.3) > 2.7


def _unevenness(mask: Mask, width: float) -> float:
    """The side of the largest square within a mark, as a share of the mean `width` of its strokes."""
    plane, side = np.pad(mask, 1).astype(np.float32), 1
    while side + 2 < min(plane.shape) and (erode(plane, side + 2) > 0).any():
        side += 2
    return side / width


def steps(mask: Mask, strength: Plane) -> Plane:
    """How much the strength changes from pixel to pixel, at the edges of `mask`."""
    mask, strength = np.pad(mask, 1), np.pad(strength, 1)
    down, across = np.gradient(strength)
    edge = np.zeros_like(mask)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return np.asarray(np.hypot(down, across)[edge])


def edge_likeness(plane: Plane, mask: Mask, *, is_dark: bool, stroke_width: float, count_border: bool) -> float:
    """The share, 0..1, of the runs of ink across a mark's strokes with paper on one side only; 0 if there are none.

    plane, mask (H, W); `is_dark`: ink is darker than paper; `stroke_width` is the mean in pixels. Runs that end at the
    border of the picture are one-sided with `count_border`, and are left out without it.
    """
    brightness = plane if is_dark else -plane  # paper is higher than ink
    reach = max(2, round(PARAMETERS.side_reach * stroke_width))
    longest = PARAMETERS.crossing_length * stroke_width
    ratios = np.concatenate(
        [_side_ratios(brightness, mask, reach, longest), _side_ratios(brightness.T, mask.T, reach, longest)]
    )
    if not count_border:
        ratios = ratios[~np.isnan(ratios)]
    return 1 - float((ratios >= PARAMETERS.side_ratio).mean()) if len(ratios) else 0.0


def _side_ratios(brightness: Plane, mask: Mask, reach: int, longest: float) -> NDArray[np.float64]:
    """Of each run across, within the rows of `mask`: its lower side over its higher, both from the run's mean.

    A side is the brightest of the `reach` pixels next to the run; NaN stands for a run that ends at the border.
    """
    row, start, end = _runs(mask)
    across = end - start <= longest
    row, start, end = row[across], start[across], end[across]
    sums = np.pad(np.cumsum(brightness, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    mean = (sums[row, end] - sums[row, start]) / (end - start)
    padded = np.pad(brightness, ((0, 0), (reach, reach)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1)
    side_a, side_b = windows[row, start].max(axis=1) - mean, windows[row, end + reach].max(axis=1) - mean
    ratio = np.minimum(side_a, side_b) / np.maximum(np.maximum(side_a, side_b), 1e-6)
    return np.where((start > 0) & (end < mask.shape[1]), ratio, np.nan)


def _runs(mask: Mask) -> tuple[Indices, Indices, Indices]:
    """Row, first column and the column after the last of each run."""
    change = np.diff(mask.astype(np.int8), axis=1, prepend=0, append=0)
    row, start = np.nonzero(change == 1)
    return row, start, np.nonzero(change == -1)[1]


def stroke_width(mask: Mask) -> float:
    """Mean width of the strokes in pixels: twice the area over the length of the outline."""
    padded = np.pad(mask, 1).astype(np.int8)
    outline = int(np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum())
    return 2.0 * float(mask.sum()) / max(outline, 1) * 1.27  # an outline in pixel edges is 4/pi longer on the average


def excess_length(mask: Mask, width: float) -> float:
    """How much longer than those of any digit the strokes of a mask (h, w) are, as a share of its longer side.

    `width` is their mean in pixels. Neither pinholes and ragged edges count, as of dithered ink, nor what separate
    dots and strokes have by their ends.
    """
    longer_side = max(mask.shape)
    if float(mask.sum()) / width / longer_side <= LONGEST:
        return 0.0
    window = 2 * max(1, round(_GRAIN * longer_side)) + 1
    even = box_mean(np.pad(mask, window).astype(np.float32), window) > 0.5
    return float(max(min(_joined_length(mask), _joined_length(even)) / longer_side - LONGEST, 0.0))


def _joined_length(mask: Mask) -> float:
    """How long the strokes of a mask are together, in pixels, less what separate ones have by their ends."""
    width = max(stroke_width(mask), 1.0)
    return float(mask.sum() / width - _ENDS * (len(connected_components(mask).area) - 1) * width)


def thickened(strength: Plane, width: float) -> tuple[Plane, bool]:
    """`strength` (h, w) of a mark, with strokes of a thin `width` thickened for MNIST's recipe; whether they were."""
    radius = round((PARAMETERS.thin_stroke * max(strength.shape) - width) / 2)
    if radius <= 0:
        return strength, False
    return dilate(np.pad(strength, radius), 2 * radius + 1), True
