"""Marks: what may be the digit in a view of a picture, with the soft edges of its strokes, and its box.

What the components of a layer are by their arrangement (`layout`) becomes marks here, unless it is shade or no stroke.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from service.contract.errors import InvalidRequest
from service.imaging.binarize import Binarized
from service.imaging.cell_lines import COVERED, cell_lines
from service.imaging.decode import View
from service.imaging.filters import Mask, Plane
from service.imaging.layers import Layer
from service.imaging.layout import Layout
from service.imaging.outlines import is_stroke
from service.imaging.parameters import PARAMETERS
from service.imaging.strokes import stroke_width

Bounds = tuple[float, float, float, float]  # left, top, right, bottom

_SHADE = "nothing but shadows or the edges of paper stands out"
_LEAST_SHARE = 0.3  # of the ink, that a mark counts with where it has less
_FRAME = 0.8  # share of a mark, that lies on lines along the sides where it is nothing else
_FRAME_AREA = 0.3  # share of the picture, that such lines cover at most
# Logarithms of weights: of a body that is perhaps that of a hollow digit, and of the outline of one that surely is.
_FILLED, _OUTLINE = -0.5, -1.0


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What may be the digit: its ink and mask (h, w), and its box in pixels of the decoded image."""

    strength: Plane
    mask: Mask
    box: Bounds
    ink: Binarized
    at_border: bool = False
    n_lines: int = 0
    n_noise: int = 0
    n_candidates: int = 1
    other_height: float = 0.0  # in pixels of the decoded image, of the second highest component in its view
    prior: float = 0.0
    enlarged: bool = False

    @property
    def height(self) -> float:
        """From top to bottom in pixels of the decoded image."""
        return self.box[3] - self.box[1]

    @property
    def longer_side(self) -> float:
        """The longer of width and height in pixels of the decoded image."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The marks of a layer, the likeliest choice of components first; and why there are probably, or surely, none."""

    marks: list[Mark]
    refusal: InvalidRequest | None = None


@dataclass(slots=True, eq=False)
class Reading:
    """The layout of a layer, the masks (H, W) of its choices, and how the likeliest candidate was judged."""

    layer: Layer
    layout: Layout
    masks: list[Mask]
    is_shade: bool = False
    is_wedge: bool = False  # and so perhaps a shadow
    body: Mask | None = None  # of a hollow digit


def marks_of(reading: Reading | None) -> Outcome:
    """The marks of a layer; `reading` is None where none of its components may be the digit."""
    if reading is None:
        return refused("nothing but specks, lines or borders stands out from the paper")
    if reading.is_shade:
        return refused(_SHADE)
    layer, layout = reading.layer, reading.layout
    view, ink = layer.separation.view, layer.separation.ink
    scale = float((view.box[3] - view.box[1]) / (view.plane.shape[0] - 2 * view.margin))
    choices = [
        (ink, mask, choice.n_candidates, choice.prior)
        for mask, choice in zip(reading.masks, layout.choices, strict=True)
    ]
    if reading.body is not None:
        count, prior = layout.choices[layout.first].n_candidates, _FILLED
        if is_stroke(reading.body[layout.box]):
            choices = [(ink, mask, n_candidates, before + _OUTLINE) for ink, mask, n_candidates, before in choices]
            prior = 0.0
        filled = replace(ink, strength=np.maximum(ink.strength, reading.body))
        choices.append((filled, reading.body, count, prior))
    marks = []
    for ink, mask, n_candidates, prior in choices:
        if is_frame(mask, view.margin):
            continue
        share = int(mask.sum()) / max(layout.area, 1)
        marks.append(
            replace(
                mark_of(view, ink, mask),
                at_border=layout.at_border,
                n_lines=layer.n_lines,
                n_noise=layout.n_noise,
                n_candidates=n_candidates,
                other_height=float(layout.other_height) * scale,
                prior=prior + math.log(min(max(share, _LEAST_SHARE), 1.0)),
            )
        )
    if not marks:
        return refused("nothing but lines along the sides stands out")
    mask = marks[0].mask
    if layout.at_border and stroke_width(mask) > PARAMETERS.broad_stroke * max(mask.shape):
        return refused("what stands out from the paper is no stroke")
    return replace(refused(_SHADE), marks=marks) if reading.is_wedge else Outcome(marks)


def is_frame(mask: Mask, margin: int = 0) -> bool:
    """Whether what may be a digit is nothing but lines along the sides of the picture, less the `margin` around it."""
    inner = mask[margin : mask.shape[0] - margin, margin : mask.shape[1] - margin]
    rows, columns = np.flatnonzero(inner.any(axis=1)), np.flatnonzero(inner.any(axis=0))
    if not len(rows):
        return False
    height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
    if height < COVERED * inner.shape[0] and width < COVERED * inner.shape[1]:
        return False
    if inner.sum() > _FRAME_AREA * inner.size:
        return False
    lines = cell_lines(inner)
    return lines is not None and bool((inner & lines.mask).sum() > _FRAME * inner.sum())


def refused(reason: str) -> Outcome:
    """No marks, because of `reason`."""
    return Outcome([], InvalidRequest(reason, code="blank_image"))


def mark_of(view: View, ink: Binarized, mask: Mask) -> Mark:
    """The mark of `mask`, with the soft edges of its strokes."""
    strength = np.where(_with_neighbours(mask), np.maximum(ink.strength, mask * np.float32(0.5)), 0)
    rows, columns = bounding_slices(strength > PARAMETERS.crop_strength)
    return Mark(strength[rows, columns], mask[rows, columns], bounds_of(view, rows, columns), ink)


def bounds_of(view: View, rows: slice, columns: slice) -> Bounds:
    """The box of some rows and columns of `view`, in pixels of the decoded image."""
    margin, box = view.margin, view.box
    height, width = view.plane.shape[0] - 2 * margin, view.plane.shape[1] - 2 * margin
    x, y = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    left, top = max(columns.start - margin, 0), max(rows.start - margin, 0)
    right, bottom = min(columns.stop - margin, width), min(rows.stop - margin, height)
    return box[0] + left * x, box[1] + top * y, box[0] + right * x, box[1] + bottom * y


def bounding_slices(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of the box around the True pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _with_neighbours(mask: Mask) -> Mask:
    """`mask` and its eight neighbours: a stroke's soft edge belongs to it."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return np.asarray(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])
