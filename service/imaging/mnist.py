"""Preparation of one image: any picture of a dark or bright digit becomes 28 rows as MNIST has them.

The file becomes a plane of grey (`service.imaging.decode`), that becomes ink on its paper (`binarize`), and some of the
marks there may be the digit (`search`): each is one hypothesis. Then follows the recipe of the MNIST collection
(http://yann.lecun.com/exdb/mnist/): crop, thin strokes thickened, the longer side to 20 pixels, centre of mass to the
middle of 28 x 28. `Preparation` reports what was done. Pillow and numpy only.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from PIL import Image

from service.contract.errors import InvalidRequest
from service.imaging.decode import Box, Picture, decode
from service.imaging.filters import Mask, Plane, dilate
from service.imaging.parameters import PARAMETERS
from service.imaging.search import Mark, search
from service.imaging.strokes import stroke_width

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


def prepare(data: bytes, max_pixels: int) -> tuple[Plane, Preparation]:
    """Rows (28, 28), ink 0..1, and the report, of the likeliest hypothesis; raises as `decode` and `hypotheses`."""
    found, refusal = hypotheses(decode(data, max_pixels))
    if refusal is not None:
        raise refusal
    return found[0].rows, found[0].report


def hypotheses(picture: Picture) -> tuple[list[Hypothesis], InvalidRequest | None]:
    """The ways to see a digit in `picture`, the likeliest first, and why it is blank in the likeliest view of it.

    Raises `InvalidRequest` (`blank_image`) where it is blank in all of them.
    """
    look = search(picture)
    found: dict[bytes, Hypothesis] = {}
    for mark in look.marks:
        hypothesis = _hypothesis(picture, mark)
        # Of two ways that come to the same rows, the likelier one.
        found.setdefault(hypothesis.rows.tobytes(), hypothesis)
    return list(found.values()), look.refusal


def rows_of(picture: Picture, mark: Mark) -> tuple[Plane, Box, bool]:
    """The rows (28, 28) of a mark, its box in pixels of the upright source, and whether its strokes were thickened."""
    rows, thickened = _scaled(mark.strength, mark.mask)
    scales = (picture.size[0] / picture.image.width, picture.size[1] / picture.image.height) * 2
    x0, y0, x1, y1 = (round(side * scale) for side, scale in zip(mark.box, scales, strict=True))
    return _centred(rows), (x0, y0, x1, y1), thickened


def _hypothesis(picture: Picture, mark: Mark) -> Hypothesis:
    """The rows of a mark, and the report."""
    rows, box, thickened = rows_of(picture, mark)
    report = Preparation(
        source_size=picture.size,
        inverted=mark.ink.is_dark,
        box=box,
        frames=picture.frames,
        rotated=picture.rotated,
        uneven_paper=mark.ink.paper != "even",
        contrast=round(mark.ink.contrast, 3),
        lines=mark.n_lines,
        specks=mark.n_noise,
        enlarged=mark.enlarged,
        thickened=thickened,
        digits=mark.n_candidates,
    )
    return Hypothesis(rows, report, mark.prior)


# --- MNIST's recipe --------------------------------------------------------------------------------------------------


def _scaled(strength: Plane, mask: Mask) -> tuple[Plane, bool]:
    """The crop with its longer side at `BOX` pixels and full contrast; whether its strokes had to be thickened."""
    radius = round((PARAMETERS.thin_stroke * max(strength.shape) - stroke_width(mask)) / 2)
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
