"""Printed lines from side to side of a picture: ruled and squared paper. A digit's strokes that cross them remain."""

from __future__ import annotations

import numpy as np

from service.imaging.filters import Mask
from service.imaging.parameters import PARAMETERS


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
