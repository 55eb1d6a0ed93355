"""Preparation of one image: any picture of a dark or bright digit becomes 28 rows as MNIST has them.

The file becomes a plane of grey (`service.imaging.decode`), that becomes ink on its paper (`binarize`), and one of the
marks there is the digit (`components`, `layout`). A small one is prepared again from the picture's own pixels, and
so is what lies on a sheet within the picture. Then follows the recipe of the MNIST collection
(http://yann.lecun.com/exdb/mnist/): crop, thin strokes thickened, the longer side to 20 pixels, centre of mass to the
middle of 28 x 28. `Preparation` reports what was done. Pillow and numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from PIL import Image

from service.contract.errors import InvalidRequest
from service.imaging.binarize import Binarized, separate_ink, threshold
from service.imaging.components import connected_components
from service.imaging.decode import Box, Picture, decode
from service.imaging.filters import Mask, Plane, dilate
from service.imaging.layout import digit_candidates, without_lines
from service.imaging.parameters import PARAMETERS
from service.imaging.strokes import edge_likeness

SIDE, BOX = 28, 20  # pixels of MNIST's images, and of the digit inside


class Preparation(Struct, frozen=True, gc=False):
    """What was done to an image; `box` is left, top, right, bottom in pixels of the upright source.

    `contrast` is the ink's, of the full scale; `lines` are printed ones that were removed, `specks` other marks that
    were left out; `digits` is how many marks look like one each: the likeliest is read.
    """

    source_size: tuple[int, int]
    inverted: bool
    box: Box
    frames: int
    rotated: bool
    uneven_paper: bool
    contrast: float
    lines: int
    specks: int
    enlarged: bool
    thickened: bool
    digits: int


class Hypothesis(Struct, frozen=True, eq=False, gc=False):
    """One way to see a picture: the rows (28, 28) of its digit, ink 0..1, what was done, and how likely that is.

    `prior` is the logarithm of a weight: 0 for the likeliest way.
    """

    rows: Plane
    report: Preparation
    prior: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """The likeliest digit in a picture: its ink and mask (h, w), and its box in pixels of the decoded image."""

    strength: Plane
    mask: Mask
    box: tuple[float, float, float, float]
    ink: Binarized
    n_lines: int
    n_noise: int
    n_candidates: int

    @property
    def height(self) -> float:
        """From top to bottom in pixels of the decoded image."""
        return self.box[3] - self.box[1]

    @property
    def longer_side(self) -> float:
        """The longer of width and height in pixels of the decoded image."""
        return max(self.box[2] - self.box[0], self.height)


def prepare(data: bytes, max_pixels: int) -> tuple[Plane, Preparation]:
    """Rows (28, 28), ink 0..1, and the report, of the likeliest hypothesis; raises as `decode` and `hypotheses`."""
    first = hypotheses(decode(data, max_pixels))[0]
    return first.rows, first.report


def hypotheses(picture: Picture) -> list[Hypothesis]:
    """The ways to see `picture`, the likeliest first; raises `InvalidRequest` (`blank_image`)."""
    first = digit = _find_digit(picture, picture.full_box)
    if digit.mask.mean() > PARAMETERS.sheet_fill:
        digit = _find_on_sheet(picture, digit) or digit
    longer_side = max(picture.image.size)
    if digit.longer_side < PARAMETERS.small_digit * longer_side and longer_side > PARAMETERS.plane_side:
        margin = PARAMETERS.crop_margin * digit.longer_side + 2 * longer_side / PARAMETERS.plane_side
        digit = _find_within(picture, digit, margin) or digit
    rows, thickened = _scaled(digit.strength, digit.mask)
    scales = (picture.size[0] / picture.image.width, picture.size[1] / picture.image.height) * 2
    x0, y0, x1, y1 = (round(side * scale) for side, scale in zip(digit.box, scales, strict=True))
    report = Preparation(
        source_size=picture.size,
        inverted=digit.ink.is_dark,
        box=(x0, y0, x1, y1),
        frames=picture.frames,
        rotated=picture.rotated,
        uneven_paper=digit.ink.paper != "even",
        contrast=round(digit.ink.contrast, 3),
        lines=digit.n_lines,
        specks=digit.n_noise,
        enlarged=digit is not first,
        thickened=thickened,
        digits=digit.n_candidates,
    )
    return [Hypothesis(_centred(rows), report)]


# --- the digit in the picture ----------------------------------------------------------------------------------------


def _find_digit(picture: Picture, box: Box) -> _Candidate:
    """The likeliest digit within `box`; raises `blank_image`."""
    plane = picture.plane(box)
    ink = separate_ink(plane)
    if ink is None:
        raise InvalidRequest("no ink stands out from the paper", code="blank_image")
    mask, n_lines = without_lines(ink.strength > threshold(ink))
    components = connected_components(mask)
    candidates, n_noise = digit_candidates(components)
    if not candidates:
        raise InvalidRequest("nothing but specks, lines or borders stands out from the paper", code="blank_image")
    mask = components.mask(candidates[0])
    at_border = bool(components.contact[candidates[0]].any())
    if _is_shade(plane, mask, ink, n_noise, at_border=at_border):
        raise InvalidRequest("nothing but shadows or the edges of paper stands out", code="blank_image")
    strength = np.where(_with_neighbours(mask), ink.strength, 0)
    rows, columns = _bounding_slices(strength > PARAMETERS.crop_strength)
    mask = mask[rows, columns]
    if at_border and _stroke_width(mask) > PARAMETERS.broad_stroke * max(mask.shape):
        raise InvalidRequest("what stands out from the paper is no stroke", code="blank_image")
    x, y = (box[2] - box[0]) / plane.shape[1], (box[3] - box[1]) / plane.shape[0]
    bounds = (
        box[0] + columns.start * x,
        box[1] + rows.start * y,
        box[0] + columns.stop * x,
        box[1] + rows.stop * y,
    )
    return _Candidate(strength[rows, columns], mask, bounds, ink, n_lines, n_noise, len(candidates))


def _is_shade(plane: Plane, mask: Mask, ink: Binarized, n_noise: int, *, at_border: bool) -> bool:
    """Whether a mark is shade or the edge of something; even paper under a mark that stands free has none."""
    is_even = ink.paper == "even"
    if is_even and not at_border:
        return False
    if at_border and not is_even and n_noise > PARAMETERS.shade_noise_count:
        return True
    likeness = edge_likeness(
        plane, mask, is_dark=ink.is_dark, stroke_width=_stroke_width(mask), count_border=not is_even
    )
    return likeness > PARAMETERS.max_edge_likeness


def _find_on_sheet(picture: Picture, sheet: _Candidate) -> _Candidate | None:
    """What stands on a sheet of paper that was taken for the digit, if that is a digit."""
    digit = _find_within(picture, sheet, -PARAMETERS.sheet_edge * sheet.longer_side)
    if digit is None or digit.ink.paper_noise > PARAMETERS.sheet_noise * digit.ink.contrast:
        return None
    # A little more than was cut off: ink that reaches the cut is the sheet's edge.
    edge = 1.01 * PARAMETERS.sheet_edge * sheet.longer_side + 1
    is_free = (
        digit.box[0] > sheet.box[0] + edge
        and digit.box[1] > sheet.box[1] + edge
        and digit.box[2] < sheet.box[2] - edge
        and digit.box[3] < sheet.box[3] - edge
    )
    return digit if is_free and digit.height > PARAMETERS.sheet_digit_height * sheet.height else None


def _find_within(picture: Picture, candidate: _Candidate, margin: float) -> _Candidate | None:
    """The digit in the picture's own pixels within a candidate's box and a `margin` around it; None: there is none."""
    width, height = picture.image.size
    box = (
        max(0, math.floor(candidate.box[0] - margin)),
        max(0, math.floor(candidate.box[1] - margin)),
        min(width, math.ceil(candidate.box[2] + margin)),
        min(height, math.ceil(candidate.box[3] + margin)),
    )
    if min(box[2] - box[0], box[3] - box[1]) < SIDE:
        return None
    try:
        return _find_digit(picture, box)
    except InvalidRequest:
        return None


def _bounding_slices(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of the box around the True pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _with_neighbours(mask: Mask) -> Mask:
    """`mask` and its eight neighbours: a stroke's soft edge belongs to it."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return np.asarray(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])


def _stroke_width(mask: Mask) -> float:
    """Mean width of the strokes in pixels: twice the area over the length of the outline."""
    padded = np.pad(mask, 1).astype(np.int8)
    outline = int(np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum())
    return 2.0 * float(mask.sum()) / max(outline, 1) * 1.27  # an outline in pixel edges is 4/pi longer on the average


# --- MNIST's recipe --------------------------------------------------------------------------------------------------


def _scaled(strength: Plane, mask: Mask) -> tuple[Plane, bool]:
    """The crop with its longer side at `BOX` pixels and full contrast; whether its strokes had to be thickened."""
    radius = round((PARAMETERS.thin_stroke * max(strength.shape) - _stroke_width(mask)) / 2)
    if radius > 0:
        strength = dilate(np.pad(strength, radius), 2 * radius + 1)
    image = Image.fromarray(np.round(strength * 255).astype(np.uint8))
    scale = BOX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    digit = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32) / np.float32(255)
    return np.clip(digit / max(float(digit.max()), 1e-3), 0, 1), radius > 0


def _centred(digit: Plane) -> Plane:
    """The digit in 28 x 28 with its centre of mass in the middle, as far as the frame allows."""
    rows = np.zeros((SIDE, SIDE), np.float32)
    mass = digit.sum()
    height, width = digit.shape
    y = float((digit.sum(axis=1) * (np.arange(height) + 0.5)).sum() / mass)
    x = float((digit.sum(axis=0) * (np.arange(width) + 0.5)).sum() / mass)
    middle = (SIDE + 1) / 2  # the centre of pixel 14: where the MNIST images have theirs
    top = min(max(round(middle - y), 0), SIDE - height)
    start = min(max(round(middle - x), 0), SIDE - width)
    rows[top : top + height, start : start + width] = digit
    return rows
