"""What reaches the sides of a view: paper, table or shadow, or the digit of a picture that was cut to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from service.imaging.attempts import ALONG_BORDER
from service.imaging.decode import View
from service.imaging.marks import Mark
from service.imaging.strokes import steps, stroke_width

_SMALL_CROP, _CLEAN = 96, 0.004  # pixels; from pixel to pixel, of the full scale: pictures that may be tight crops
_BROAD = 0.4  # of its longer side, that the strokes of a tight crop are narrower than
_OTHER_HEIGHT = 0.2  # of a crop's height, that nothing else in a tight one has
_SHARP = 0.15  # of the ink's strength from pixel to pixel, that the edges of a tight crop's strokes have at least
_BROAD_REGION, _REGION_SHARE = 0.2, 0.4  # of its longer side, and of the sides of its box: of no tight crop's digit
_REGION_CONTACT = 0.2  # share of the border that what is no stroke lies along
# Logarithms of weights, set by hand on drawn scenes; 0 is the likeliest.
PERHAPS_TIGHT, _SPANNING, _LOOSE = -0.4, -0.3, -2.0

_prior = attrgetter("prior")


def regions_among(marks: Sequence[Mark], view: View, band: int) -> list[Mark]:
    """Those of the marks in a view that are no stroke but what it is bordered by; a small view has none.

    What is within `band` pixels of a side lies along it.
    """
    is_large = max(view.plane.shape) > _SMALL_CROP
    return [mark for mark in marks if is_large and _is_region(mark, view, band)]


def weighed_on_margin(view: View, marks: Sequence[Mark]) -> list[Mark]:
    """The marks on a margin of either level, the likeliest first: in a tight crop, one that reaches all its sides.

    In a crop that was made square, it reaches two of them.
    """
    prior = 0.0 if max(view.plane.shape) <= _SMALL_CROP or _is_clean(view) else PERHAPS_TIGHT
    weighed = []
    for mark in marks:
        weight = prior if _is_tight(mark, view) else prior + _SPANNING if _is_spanning(mark, view) else _LOOSE
        weighed.append(replace(mark, prior=mark.prior + weight))
    return sorted(weighed, key=_prior, reverse=True)


def _is_clean(view: View) -> bool:
    """Whether a view has no grain, as pictures have that no camera took."""
    axis = 1 if view.plane.shape[1] > 1 else 0
    return float(np.median(np.abs(np.diff(view.plane, axis=axis)))) < _CLEAN


def _is_region(mark: Mark, view: View, band: int) -> bool:
    """Whether a mark lies along so much of the border, or so close along it, that it is paper, table or shadow.

    What is within `band` pixels of a side lies along it.
    """
    height, width = view.plane.shape
    x, y = (view.box[2] - view.box[0]) / width, (view.box[3] - view.box[1]) / height
    sides = (
        (mark.mask[:band].any(axis=0), mark.box[1] < view.box[1] + band * y),
        (mark.mask[-band:].any(axis=0), mark.box[3] > view.box[3] - band * y),
        (mark.mask[:, :band].any(axis=1), mark.box[0] < view.box[0] + band * x),
        (mark.mask[:, -band:].any(axis=1), mark.box[2] > view.box[2] - band * x),
    )
    contacts = [int(side.sum()) for side, touches in sides if touches]
    if not contacts:
        return False
    longest_side = int(max(mark.mask.shape))
    return sum(contacts) > _REGION_CONTACT * 2 * (height + width) or max(contacts) > ALONG_BORDER * longest_side


def _contact_share(mark: Mark) -> float:
    """The share of the sides of its box, that a mark lies along."""
    mask = mark.mask
    return float(np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1])).mean())


def _is_tight(mark: Mark, view: View) -> bool:
    """Whether a mark reaches all four sides of a view, as one stroke that is sharp and not too broad."""
    is_stroke = stroke_width(mark.mask) < _BROAD * max(mark.mask.shape)
    is_large = max(view.plane.shape) > _SMALL_CROP
    if (
        is_large
        and stroke_width(mark.mask) > _BROAD_REGION * max(mark.mask.shape)
        and _contact_share(mark) > _REGION_SHARE
    ):
        return False
    if not is_stroke or mark.other_height > _OTHER_HEIGHT * (view.box[3] - view.box[1]):
        return False
    return all(_reaches(mark, view)) and _is_sharp(mark)


def _is_spanning(mark: Mark, view: View) -> bool:
    """Whether a mark reaches from side to side of a view, as one stroke that is sharp, with more paper than ink."""
    broadest = _BROAD_REGION if max(view.plane.shape) > _SMALL_CROP else _BROAD
    if not any(_reaches(mark, view)) or mark.other_height > _OTHER_HEIGHT * (view.box[3] - view.box[1]):
        return False
    is_stroke = stroke_width(mark.mask) < broadest * max(mark.mask.shape)
    return bool(is_stroke and 2 * mark.mask.sum() < view.plane.size and _is_sharp(mark))


def _reaches(mark: Mark, view: View) -> tuple[bool, bool]:
    """Whether a mark reaches from the left of a view to its right, and from its top to its bottom."""
    box, bounds = mark.box, view.box
    x, y = 1.5 * (bounds[2] - bounds[0]) / view.plane.shape[1], 1.5 * (bounds[3] - bounds[1]) / view.plane.shape[0]
    return (
        box[0] <= bounds[0] + x and box[2] >= bounds[2] - x,
        box[1] <= bounds[1] + y and box[3] >= bounds[3] - y,
    )


def _is_sharp(mark: Mark) -> bool:
    """Whether the edges of a mark are those of strokes, and not of light and shadow."""
    return float(np.median(steps(mark.mask, mark.strength))) > _SHARP
