"""Preparation of one image: any picture of a dark or bright digit becomes 28 rows as MNIST has them.

The file becomes a plane of grey (`service.imaging.decode`), that becomes ink on its paper (`service.imaging.binarize`), and of the marks
there one is the digit (`service.imaging.components`). A small one is looked at again from closer by, and what lies on a sheet within
the picture instead of the sheet. Then the recipe of the MNIST collection (http://yann.lecun.com/exdb/mnist/): crop,
thin strokes thickened, the longer side to 20 pixels, centre of mass to the middle of 28 x 28. `Preparation` reports
what was done. Pillow and numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from PIL import Image

from service.contract.errors import InvalidRequest
from service.imaging.binarize import Binarized, Mask, Plane, dilated, find, threshold
from service.imaging.components import characters, parts, without_lines
from service.imaging.decode import SIDE as LOOK
from service.imaging.decode import Box, Picture, decode
from service.imaging.strokes import one_sided

SIDE, BOX = 28, 20  # pixels of the answer, and of the digit inside
_CLOSE = 60 / LOOK  # a digit smaller than this share of the picture is looked at again …
_ROOM = 0.4  # … with so much of its size around it
_SHEET = 0.72  # what fills so much of its box may be a sheet of paper with the digit on it …
_EDGE = 0.06  # … less so much of its size for the sheet's own edge
_ON_SHEET = 0.25  # … if that is at least so high as a share of the sheet
_SMUDGED = 0.1  # … and its paper level but for this share of the contrast: a hole in broad strokes is no digit
_BROAD = 0.45  # strokes wider than this share of the digit are none
_EDGE_LIKE = 0.5  # of a mark on uneven paper or at the border: more one-sided than this it is the edge of something
_CRUMBS = 30  # with more marks left out than this, one at the border of uneven paper is shade on its grain
_FAINT = 0.1  # a stroke's soft edge counts for the crop where it is at least this dark
_THIN = 0.08  # strokes thinner than this share of the digit's longer side are thickened


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


@dataclass(frozen=True, slots=True, eq=False)
class _Digit:
    """The digit in a picture: its ink and mask (h, w), and its box in pixels of the decoded image."""

    ink: Plane
    mask: Mask
    box: tuple[float, float, float, float]
    seen: Binarized
    lines: int
    specks: int
    count: int

    @property
    def longer(self) -> float:
        """Its longer side in pixels of the decoded image."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def prepare(data: bytes, max_pixels: int) -> tuple[Plane, Preparation]:
    """Rows (28, 28), ink 0..1, and the report.

    Raises `InvalidRequest`: `image_too_large` (by its declared size, before decoding), `bad_image`, `blank_image`.
    """
    picture = decode(data, max_pixels)
    first = digit = _look(picture, picture.whole)
    if digit.mask.mean() > _SHEET:
        digit = _on_sheet(picture, digit) or digit
    if digit.longer < _CLOSE * max(picture.image.size) and max(picture.image.size) > LOOK:
        room = _ROOM * digit.longer + 2 * max(picture.image.size) / LOOK
        digit = _again(picture, digit, room) or digit
    rows, thickened = _fit(digit.ink, digit.mask)
    scales = (picture.size[0] / picture.image.width, picture.size[1] / picture.image.height) * 2
    left, top, right, bottom = (round(side * scale) for side, scale in zip(digit.box, scales, strict=True))
    return _centred(rows), Preparation(
        source_size=picture.size,
        inverted=digit.seen.dark,
        box=(left, top, right, bottom),
        frames=picture.frames,
        rotated=picture.rotated,
        uneven_paper=digit.seen.paper != "even",
        contrast=round(digit.seen.contrast, 3),
        lines=digit.lines,
        specks=digit.specks,
        enlarged=digit is not first,
        thickened=thickened,
        digits=digit.count,
    )


def _look(picture: Picture, box: Box) -> _Digit:
    """The likeliest digit within `box`; raises `blank_image`."""
    plane = picture.plane(box)
    ink = find(plane)
    if ink is None:
        raise InvalidRequest("no ink stands out from the paper", code="blank_image")
    mask, lines = without_lines(ink.ink > threshold(ink))
    found = parts(mask)
    chosen, specks = characters(found)
    if not chosen:
        raise InvalidRequest("nothing but specks, lines or borders stands out from the paper", code="blank_image")
    mask = found.mask(chosen[0])
    if _is_shade(plane, mask, ink, specks, touching=bool(found.contact[chosen[0]].any())):
        raise InvalidRequest("nothing but shadows or the edges of paper stands out", code="blank_image")
    inked = np.where(_grown(mask), ink.ink, 0)
    left, top, right, bottom = _bounds(inked > _FAINT)
    mask = mask[top:bottom, left:right]
    if found.contact[chosen[0]].any() and _stroke(mask) > _BROAD * max(mask.shape):
        raise InvalidRequest("what stands out from the paper is no stroke", code="blank_image")
    x, y = (box[2] - box[0]) / plane.shape[1], (box[3] - box[1]) / plane.shape[0]
    place = box[0] + left * x, box[1] + top * y, box[0] + right * x, box[1] + bottom * y
    return _Digit(inked[top:bottom, left:right], mask, place, ink, lines, specks, len(chosen))


def _is_shade(plane: Plane, mask: Mask, ink: Binarized, specks: int, *, touching: bool) -> bool:
    """Whether a mark is shade or the edge of something; even paper under a mark that stands free has none."""
    even = ink.paper == "even"
    if even and not touching:
        return False
    if touching and not even and specks > _CRUMBS:
        return True
    return one_sided(plane, mask, dark=ink.dark, stroke=_stroke(mask), border=not even) > _EDGE_LIKE


def _on_sheet(picture: Picture, sheet: _Digit) -> _Digit | None:
    """What stands on a sheet of paper that was taken for the digit, if that is a digit."""
    found = _again(picture, sheet, -_EDGE * sheet.longer)
    if found is None or found.seen.noise > _SMUDGED * found.seen.contrast:
        return None
    left, top, right, bottom = sheet.box
    edge = 1.01 * _EDGE * sheet.longer + 1
    free = found.box[0] > left + edge and found.box[1] > top + edge
    free = free and found.box[2] < right - edge and found.box[3] < bottom - edge
    return found if free and found.box[3] - found.box[1] > _ON_SHEET * (bottom - top) else None


def _again(picture: Picture, digit: _Digit, room: float) -> _Digit | None:
    """The digit once more, from the picture's own pixels within its box and `room` around; None: there is none."""
    left, top, right, bottom = digit.box
    width, height = picture.image.size
    box = (
        max(0, math.floor(left - room)),
        max(0, math.floor(top - room)),
        min(width, math.ceil(right + room)),
        min(height, math.ceil(bottom + room)),
    )
    if min(box[2] - box[0], box[3] - box[1]) < SIDE:
        return None
    try:
        return _look(picture, box)
    except InvalidRequest:
        return None


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the True part."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _grown(mask: Mask) -> Mask:
    """`mask` and its eight neighbours: a stroke's soft edge belongs to it."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return np.asarray(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])


def _fit(ink: Plane, mask: Mask) -> tuple[Plane, bool]:
    """The crop with its longer side at `BOX` pixels and full contrast; whether its strokes had to be thickened."""
    radius = round((_THIN * max(ink.shape) - _stroke(mask)) / 2)
    if radius > 0:
        ink = dilated(np.pad(ink, radius), 2 * radius + 1)
    image = Image.fromarray(np.round(ink * 255).astype(np.uint8))
    scale = BOX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    digit = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32) / np.float32(255)
    return np.clip(digit / max(float(digit.max()), 1e-3), 0, 1), radius > 0


def _stroke(mask: Mask) -> float:
    """Mean width of the strokes in pixels: twice the area over the length of the outline."""
    padded = np.pad(mask, 1).astype(np.int8)
    outline = int(np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum())
    return 2.0 * float(mask.sum()) / max(outline, 1) * 1.27  # an outline in pixel edges is 4/pi longer on the average


def _centred(digit: Plane) -> Plane:
    """The digit in 28 x 28 with its centre of mass in the middle, as far as the frame allows."""
    rows = np.zeros((SIDE, SIDE), np.float32)
    mass = digit.sum()
    height, width = digit.shape
    y = float((digit.sum(axis=1) * (np.arange(height) + 0.5)).sum() / mass)
    x = float((digit.sum(axis=0) * (np.arange(width) + 0.5)).sum() / mass)
    middle = (SIDE + 1) / 2  # the centre of pixel 14: where the MNIST images have theirs
    top = min(max(round(middle - y), 0), SIDE - height)
    left = min(max(round(middle - x), 0), SIDE - width)
    rows[top : top + height, left : left + width] = digit
    return rows
