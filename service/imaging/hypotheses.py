"""The way from a picture to what may be its digit, each as 28 rows like MNIST's, with a report of what was done.

The stages, each entered once for all that may be the digit: `decode` makes a plane of grey, `binarize` separates ink
from paper, `lines` and `cell_lines` take printed lines away, `components` and `layout` select what may be the digit,
`strokes` refuses shade, `marks` cuts out what remains (`search` calls these in turn), and `mnist` makes the rows.
Pillow and numpy only.
"""

from __future__ import annotations

from msgspec import Struct

from service.contract.errors import InvalidRequest
from service.imaging.decode import Box, Picture
from service.imaging.filters import Plane
from service.imaging.marks import Bounds, Mark
from service.imaging.mnist import normalized
from service.imaging.search import search
from service.imaging.strokes import thickened


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


def hypotheses(picture: Picture) -> tuple[list[Hypothesis], InvalidRequest | None]:
    """The ways to see a digit in `picture`, the likeliest first, and why it is blank in the likeliest view of it.

    Raises `InvalidRequest` (`blank_image`) where it is blank in all of them.
    """
    look = search(picture)
    inks = []
    for mark in look.marks:
        ink = thickened(mark.strength, mark.mask)
        inks.append(ink)
    rows = []
    for strength, _ in inks:
        plane = normalized(strength)
        rows.append(plane)
    found: dict[bytes, Hypothesis] = {}
    for mark, plane, (_, is_thickened) in zip(look.marks, rows, inks, strict=True):
        # Of two ways that come to the same rows, the likelier one.
        found.setdefault(plane.tobytes(), Hypothesis(plane, _report(picture, mark, is_thickened), mark.prior))
    return list(found.values()), look.refusal


def source_box(picture: Picture, bounds: Bounds) -> Box:
    """`bounds` in pixels of the decoded image as a box in pixels of the upright source."""
    scales = (picture.size[0] / picture.image.width, picture.size[1] / picture.image.height) * 2
    x0, y0, x1, y1 = [round(side * scale) for side, scale in zip(bounds, scales, strict=True)]
    return x0, y0, x1, y1


def _report(picture: Picture, mark: Mark, is_thickened: bool) -> Preparation:
    return Preparation(
        source_size=picture.size,
        inverted=mark.ink.is_dark,
        box=source_box(picture, mark.box),
        frames=picture.frames,
        rotated=picture.rotated,
        uneven_paper=mark.ink.paper != "even",
        contrast=round(mark.ink.contrast, 3),
        lines=mark.n_lines,
        specks=mark.n_noise,
        enlarged=mark.enlarged,
        thickened=is_thickened,
        digits=mark.n_candidates,
    )
