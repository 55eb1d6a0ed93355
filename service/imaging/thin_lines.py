"""Thin lines through a picture, printed more faintly or thinner than a pen writes, and not quite straight."""

from __future__ import annotations

import math

import numpy as np

from service.imaging.binarize import Binarized, stronger_ink
from service.imaging.components import Components
from service.imaging.filters import Mask, dilate, erode
from service.imaging.lines import without_lines
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
    masks = []
    stronger = stronger_ink(ink)
    if stronger is not None and stronger > level:
        masks.append((without_lines(ink.strength > stronger)[0], _STRONGER))
    thickness = stroke_width(components.mask(spanning) if spanning.any() else mask)
    if thickness < _THIN_LINE * max(height, width):
        window = math.ceil(thickness) + 1
        plane = mask.astype(np.float32)
        opened = dilate(erode(plane, window), window) > 0.5
        if opened.any():
            masks.append((opened, _OPENED))
    return masks
