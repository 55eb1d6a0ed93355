"""The report of what was done to a picture, for the answer."""

from __future__ import annotations

from msgspec import Struct

from service.imaging.decode import Box, Picture
from service.imaging.marks import Bounds, Mark


class Preparation(Struct, frozen=True, gc=False):
    """What was done to an image; `box` is left, top, right, bottom in pixels of the upright source.

    `contrast` is the ink's, of the full scale; `lines` are printed ones that were removed, `specks` other marks that
    were left out; `digits` is how many marks look like one each: the likeliest is read. `turned` is by how many
    degrees, clockwise, the digit was turned before it was read: 0, 90, 180 or 270.
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
    turned: int = 0


def source_box(picture: Picture, bounds: Bounds) -> Box:
    """`bounds` in pixels of the decoded image as a box in pixels of the upright source."""
    scales = (picture.size[0] / picture.image.width, picture.size[1] / picture.image.height) * 2
    x0, y0, x1, y1 = [round(side * scale) for side, scale in zip(bounds, scales, strict=True)]
    return x0, y0, x1, y1


def preparation_of(picture: Picture, mark: Mark, is_thickened: bool) -> Preparation:
    """What was done to `picture` to read `mark`."""
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
