"""Printed lines from side to side of a picture: ruled and squared paper. A digit's strokes that cross them remain."""

from __future__ import annotations

import math

import numpy as np

from service.imaging.binarize import Binarized, stronger_ink
from service.imaging.components import Components
from service.imaging.filters import Mask, dilate, erode
from service.imaging.parameters import PARAMETERS
from service.imaging.strokes import stroke_width

_SPANNING, _FRAGMENTS = 0.8, 12  # of a side, that printed lines run along; components that broken ones leave
_THIN_LINE = 0.04  # share of the longer side, that lines through a picture have at most
# Logarithms of weights, set by hand on drawn scenes; 0 is a mask with its thin lines.
_STRONGER, _OPENED = -0.2, -0.3


def without_thin_lines(
    ink: Binarized, mask: Mask, level: float, components: Components, least_height: float | None
) -> list[tuple[Mask, float]]:
    """What remains of `mask` without thin lines, where such run from side to side: masks with priors.

    Printed lines are fainter than a pen, or thinner: of strokes that are broader, opening leaves them as they are.
    `components`: those of the mask, less the lines along the sides of a cell, which say nothing of others that cross
    it. With `least_height` in pixels, a component of that height, such as in a cell, may cover lines as well.
    """
    height, width = mask.shape
    spanning = (components.width >= _SPANNING * width) | (components.height >= _SPANNING * height)
    is_filled = least_height is not None and bool((components.height >= least_height).any())
    if not spanning.any() and len(spanning) < _FRAGMENTS and not is_filled:
        return []
    found = []
    stronger = stronger_ink(ink)
    if stronger is not None and stronger > level:
        found.append((without_lines(ink.strength > stronger)[0], _STRONGER))
    thickness = stroke_width(components.mask(spanning) if spanning.any() else mask)
    if thickness < _THIN_LINE * max(height, width):
        window = math.ceil(thickness) + 1
        plane = mask.astype(np.float32)
        opened = dilate(erode(plane, window), window) > 0.5
        if opened.any():
            found.append((opened, _OPENED))
    return found


def without_lines(mask: Mask) -> tuple[Mask, int]:
    """`mask` less thin straight lines from one side of the picture to the other, where no stroke crosses them.

    The second value is the number of lines.
    """
    cleaned = mask
    n_lines = 0
    for vertical in (False, True):
        plane = cleaned.T if vertical else cleaned
        full_rows = (plane.mean(axis=1) > 0.9) & plane[:, 0] & plane[:, -1]
        if full_rows.any() and (line_rows := _line_rows(plane, full_rows)) is not None:
            crossings = np.zeros_like(plane)
            crossings[line_rows] = _crossings(plane, line_rows)
            plane = np.where(line_rows[:, None], crossings, plane)
            cleaned = plane.T if vertical else plane
            n_lines += int((np.diff(line_rows.astype(np.int8), prepend=0) == 1).sum())
    return cleaned, n_lines


def _line_rows(plane: Mask, full_rows: Mask) -> Mask | None:
    """Rows (H,) of lines thin enough to be printed, or None where other ink reaches as far as they do."""
    edges = np.flatnonzero(np.diff(full_rows.astype(np.int8), prepend=0, append=0))
    line_rows = np.zeros_like(full_rows)
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - start <= max(2, PARAMETERS.line_thickness * len(plane)):
            # A line's soft edge is a row or two of broken ink along it.
            line_rows[max(start - 1, 0) : end + 1] = True
    if not line_rows.any():
        return None
    columns = np.flatnonzero(plane[~line_rows].any(axis=0))
    width = plane.shape[1]
    margin = PARAMETERS.line_margin
    # Lines alone leave no digit, and a bar with other ink at one of its ends may be part of one.
    is_inside = not len(columns) or (columns[0] >= margin * width and columns[-1] < (1 - margin) * width)
    return line_rows if is_inside else None


def _crossings(plane: Mask, line_rows: Mask) -> Mask:
    """Of each row of a line, the columns with ink both above and below the line."""
    rows = np.flatnonzero(line_rows)
    crossings = np.zeros((len(rows), plane.shape[1]), np.bool_)
    for index, row in enumerate(rows.tolist()):
        above, below = row, row
        while above >= 0 and line_rows[above]:
            above -= 1
        while below < len(plane) and line_rows[below]:
            below += 1
        if above >= 0 and below < len(plane):
            crossings[index] = _widened(plane[above]) & _widened(plane[below])
    return crossings


def _widened(row: Mask) -> Mask:
    padded = np.pad(row, 1)
    return np.asarray(padded[:-2] | padded[1:-1] | padded[2:])
