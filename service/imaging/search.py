"""Where the digit in a picture is: the marks that may be it, the likeliest first.

One look at a picture separates ink from paper in the likeliest way, and in others where that is in doubt: on paper that
is not even, where ink reaches the border, where lines run through it. A sheet within the picture and a digit that is a
small part of it are looked at again, in the picture's own pixels. What is the digit among the marks, is
for the network to say; `Mark.prior` is what is known before it reads them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
from PIL import Image

from service.contract.errors import InvalidRequest
from service.imaging.attempts import find_attempts, lowered
from service.imaging.binarize import other_papers, separations
from service.imaging.borders import PERHAPS_TIGHT, regions_among, weighed_on_margin
from service.imaging.decode import Box, Picture, View
from service.imaging.filters import Mask
from service.imaging.layers import layers_of
from service.imaging.marks import Bounds, Mark, Outcome
from service.imaging.parameters import PARAMETERS
from service.imaging.sheets import region_of_mark

MAX_MARKS = 8  # that are read of one picture
_SMALLEST_CROP = 28  # pixels
_FILLING = 0.75  # share of either side of a picture, that an empty sheet within a frame has at least
# Logarithms of weights; 0 is the likeliest. Set by hand on drawn scenes, by how often each way to look is right.
_NO_MARGIN, _OTHER_PAPER = -1.0, -0.3
_AFTER_REFUSAL = -0.4
_SHEET, _SMALL_ON_SHEET = -3.0, -0.3
_LEAST_ON_SHEET = 0.08  # of a sheet's height, that a digit on it has
_MAX_NOISE = 50  # components beside the likeliest mark, that squares of paper between printed lines may be
_FULL, _SQUARE = 0.97, 0.55  # of its box, that an empty sheet fills, and of its height, its width
_REGION = -2.5

_prior = attrgetter("prior")


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The marks, the likeliest first, and why the picture is blank in the likeliest view of it."""

    marks: list[Mark]
    refusal: InvalidRequest | None
    paper_noise: float = 0.0  # standard deviation of a sheet's paper, of the full scale


def search(picture: Picture) -> Look:
    """The marks that may be the digit in `picture`; raises `InvalidRequest` (`blank_image`) where there is none."""
    look = _look_at(picture.whole)
    marks, refusal = look.marks, look.refusal
    n_candidates = marks[0].n_candidates
    region = region_of_mark(marks[0], picture.image.size)
    inner = None if region is None else _on_sheet(picture, marks[0], region)
    if inner:
        n_candidates, refusal = inner[0].n_candidates, None
        marks = [*inner, *lowered(marks, _SHEET)]
    elif region is not None and inner is None and _fills(marks[0], picture):
        refusal = InvalidRequest("nothing but an empty sheet stands out", code="blank_image")
    elif marks[0].mask.mean() > _FULL and _is_wide(marks[0]) and _fills(marks[0], picture):
        refusal = InvalidRequest("nothing but an empty sheet within a frame stands out", code="blank_image")
    left, top, right, bottom = marks[0].box
    side, longer_side = max(right - left, bottom - top), max(picture.image.size)
    if side < PARAMETERS.small_digit * longer_side and longer_side > PARAMETERS.plane_side:
        margin = PARAMETERS.crop_margin * side + 2 * longer_side / PARAMETERS.plane_side
        closer = _look_within(picture, marks[0].box, margin)
        if closer is not None:
            # What stands next to the digit is not in the crop, so it was counted before.
            marks = [replace(mark, n_candidates=n_candidates, enlarged=True) for mark in closer.marks]
            refusal = closer.refusal
    return Look(sorted(marks, key=_prior, reverse=True)[:MAX_MARKS], refusal)


def _fills(mark: Mark, picture: Picture) -> bool:
    """Whether a mark is most of the picture, as no digit with paper around it is."""
    left, top, right, bottom = mark.box
    width, height = picture.image.size
    return right - left > _FILLING * width and bottom - top > _FILLING * height


def _is_wide(mark: Mark) -> bool:
    """Whether a mark that is all ink is too wide for a one that was cut out without a margin."""
    height, width = mark.mask.shape
    return bool(width > _SQUARE * height)


# --- one look --------------------------------------------------------------------------------------------------------


def _look_at(view: View) -> Look:
    """The marks in a view, ink separated in the likeliest way and, where that is in doubt, in others.

    Raises `blank_image`.
    """
    ways = separations(view)
    if not ways:
        raise InvalidRequest("no ink stands out from the paper", code="blank_image")
    layers = layers_of(ways)
    first, *further = find_attempts(layers)
    marks, paper = first.marks, ways[0].ink
    regions = regions_among(marks, view, ways[0].border_band)
    if regions:
        marks = [mark for mark in marks if mark not in regions] + lowered(regions, _REGION)
    framed: list[Mark] = []
    alternatives: list[Outcome] = []
    for way, attempt in zip(ways[1:], further, strict=True):
        if way.view.margin:
            framed += attempt.marks
        else:
            alternatives.append(attempt)
    has_margin = len(ways) > 1 and ways[1].view.margin > 0
    is_doubtful = bool(regions) or (bool(marks) and marks[0].n_noise > _MAX_NOISE)
    is_doubtful |= layers[0][0].has_faint_areas
    on_margin = weighed_on_margin(view, framed) if framed else []
    if on_margin and on_margin[0].prior > PERHAPS_TIGHT:  # a mark without a margin may be the digit's hole
        marks = lowered(marks, _NO_MARGIN)
    elif has_margin or (is_doubtful and not alternatives):
        alternatives = find_attempts(layers_of(other_papers(view, paper, is_doubtful=is_doubtful)))
    for alternative in alternatives:
        marks = [*marks, *lowered(alternative.marks, _AFTER_REFUSAL if first.refusal else _OTHER_PAPER)]
    marks = [*marks, *on_margin]
    if not marks:
        raise first.refusal or InvalidRequest("nothing stands out from the paper", code="blank_image")
    return Look(sorted(marks, key=_prior, reverse=True), first.refusal)


# --- further looks ---------------------------------------------------------------------------------------------------


def _on_sheet(picture: Picture, sheet: Mark, region: Mask) -> list[Mark] | None:
    """What stands on the `region` of a sheet of paper that was taken for the digit, if it may be one; None: nothing."""
    look = _look_on_region(picture, sheet, region)
    if look is None:
        return None
    edge = 1.01 * PARAMETERS.sheet_edge * sheet.longer_side + 1
    free = [mark for mark in look.marks if _is_within(mark, sheet, edge)]
    high = [mark for mark in free if mark.height > PARAMETERS.sheet_digit_height * sheet.height]
    # In a few pixels, what is low is the grain of the paper.
    is_large = max(picture.image.size) > PARAMETERS.plane_side
    marks = high or (lowered(free, _SMALL_ON_SHEET) if is_large else [])
    if not marks or look.paper_noise > PARAMETERS.sheet_noise * marks[0].ink.contrast:
        return []
    return [replace(mark, enlarged=True) for mark in marks if not mark.at_border]


def _is_within(digit: Mark, sheet: Mark, edge: float) -> bool:
    """Whether a mark is high enough for a digit on a sheet, and stands free of its edges."""
    is_free = (
        digit.box[0] > sheet.box[0] + edge
        and digit.box[1] > sheet.box[1] + edge
        and digit.box[2] < sheet.box[2] - edge
        and digit.box[3] < sheet.box[3] - edge
    )
    return is_free and digit.height > _LEAST_ON_SHEET * sheet.height


def _look_on_region(picture: Picture, sheet: Mark, region: Mask) -> Look | None:
    """The marks in the picture's own pixels within a region of a mark, all else as bright as the paper there."""
    box = _box_within(picture, sheet.box, 0)
    if box is None:
        return None
    plane = picture.view(box).plane
    inside = np.asarray(Image.fromarray(region).resize(plane.shape[::-1], Image.Resampling.NEAREST), np.bool_)
    if not inside.any():
        return None
    level = np.float32(np.median(plane[inside]))
    # The median absolute deviation of a normal distribution, times 1.4826, is its standard deviation.
    noise = 1.4826 * float(np.median(np.abs(plane[inside] - level)))
    plane = np.where(inside, plane, level)
    try:
        return replace(_look_at(View(plane, box)), paper_noise=noise)
    except InvalidRequest:
        return None


def _look_within(picture: Picture, bounds: Bounds, margin: float) -> Look | None:
    """The marks in the picture's own pixels within `bounds` and a `margin` around them; None: there are none."""
    box = _box_within(picture, bounds, margin)
    if box is None:
        return None
    try:
        return _look_at(picture.view(box))
    except InvalidRequest:
        return None


def _box_within(picture: Picture, bounds: Bounds, margin: float) -> Box | None:
    """The pixels of the picture within `bounds` and a `margin` around them; None where they are too few."""
    width, height = picture.image.size
    box = (
        max(0, math.floor(bounds[0] - margin)),
        max(0, math.floor(bounds[1] - margin)),
        min(width, math.ceil(bounds[2] + margin)),
        min(height, math.ceil(bounds[3] + margin)),
    )
    return None if min(box[2] - box[0], box[3] - box[1]) < _SMALLEST_CROP else box
