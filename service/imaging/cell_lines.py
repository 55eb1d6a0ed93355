"""Lines along the sides of a picture: the printed frame of a cell, box or drawing area, or what a cut left of it.

A cell cut out of a table or form has a straight, thin line near one or more of its sides, a little turned and not at
its very edge. It is found as the first ink from that side, where that lies on a straight line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.imaging.filters import Mask

_BAND = 0.25  # share of the picture's side: a frame is looked for up to here
COVERED = 0.6  # share of the side that the line has to cover
_END = 0.16  # share of the side, that may be left over at either end of a line
_STEEPEST = 0.15  # rise of a line along its side
_THICKEST = 0.1  # share of the picture's side


@dataclass(frozen=True, slots=True, eq=False)
class CellLines:
    """The pixels (H, W) of lines along the sides of a picture, and along which sides: left, top, right, bottom."""

    mask: Mask
    sides: tuple[bool, bool, bool, bool]

    @property
    def count(self) -> int:
        """How many lines there are."""
        return sum(self.sides)


def cell_lines(mask: Mask, margin: int = 0) -> CellLines | None:
    """The lines along the sides of `mask`, within the `margin` that was added around it; None where there is none."""
    if margin:
        inner = cell_lines(mask[margin:-margin, margin:-margin])
        return None if inner is None else CellLines(np.pad(inner.mask, margin), inner.sides)
    lines = np.zeros_like(mask)
    sides = [False] * 4
    # Turned by 90 degrees counter-clockwise k times, its top, right, bottom, left lie at the top.
    for turns, side in enumerate((1, 2, 3, 0)):
        line = _line_at_top(np.rot90(mask, turns))
        if line is not None:
            sides[side] = True
            lines |= np.rot90(line, -turns)
    return CellLines(lines, (sides[0], sides[1], sides[2], sides[3])) if any(sides) else None


def _line_at_top(mask: Mask) -> Mask | None:
    """The pixels of a line near the top, where the first ink of most columns lies on one."""
    height, width = mask.shape
    band = mask[: max(2, round(_BAND * height))]
    columns = np.flatnonzero(band.any(axis=0))
    if len(columns) < max(COVERED * width, 4):
        return None
    first = band[:, columns].argmax(axis=0)
    half = len(columns) // 2
    # From the medians of both halves: what stands out of the line on either side does not move them.
    rise = float(np.median(first[half:]) - np.median(first[:half]))
    slope = rise / float(np.median(columns[half:]) - np.median(columns[:half]))
    offset = float(np.median(first - slope * columns))
    on_line = np.abs(first - slope * columns - offset) <= max(1.0, 0.012 * max(height, width))
    if abs(slope) > _STEEPEST or on_line.sum() < COVERED * width:
        return None
    columns, first = columns[on_line], first[on_line]
    if columns[0] > _END * width or columns[-1] < (1 - _END) * width:
        return None
    reach = int(_THICKEST * height) + 4
    rows = np.minimum(first + np.arange(reach)[:, None], height - 1)
    runs = mask[rows, columns]
    length = np.where(runs.all(axis=0), reach, runs.argmin(axis=0))
    thickness = float(np.median(length))
    if thickness > max(2.0, _THICKEST * height):
        return None
    # Where something joins the line from below, only the line goes.
    depth = np.where(length <= thickness + 2, length, round(thickness))
    line = np.zeros_like(mask)
    inside = np.arange(reach)[:, None] < depth
    line[rows[inside], np.broadcast_to(columns, rows.shape)[inside]] = True
    return line
