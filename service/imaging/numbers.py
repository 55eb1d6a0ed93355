"""All digits of a picture: the characters of its lines, and the ways to cut them into digits.

Characters of like height are grouped into lines and ordered as they are read. Two near ones may be strokes of one
digit, and a wide one several that touch, so a line is a lattice of pieces: places between them are numbered, and each
piece leads from one to a later one. Which way through it is the number is for the network to say.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from service.imaging.binarize import Binarized, faint_ink, separate_ink, threshold
from service.imaging.cell_lines import cell_lines
from service.imaging.components import Components, Ints, connected_components
from service.imaging.decode import Box, Picture, View
from service.imaging.filters import Mask, Plane
from service.imaging.layout import digit_candidates
from service.imaging.lines import without_lines
from service.imaging.marks import Bounds, bounding_slices, bounds_of, mark_of
from service.imaging.mnist import normalized
from service.imaging.parameters import PARAMETERS
from service.imaging.report import source_box
from service.imaging.sheets import region_of_sheet
from service.imaging.strokes import stroke_width, thickened

MAX_PIECES = 64  # that are read of one picture
_JOINED_GAP = 0.12  # share of the height, that strokes of one digit are apart at most
_JOINED_WIDTH = 0.85  # of the height, that a digit of two strokes has at most
_WIDE = 0.95  # of the height: a character that is wider may be several digits
_NARROWEST, _BROADEST = 0.15, 1.1  # of the height, that digits which touch have
_CUT_DISTANCE, _MOST_CUTS = 0.15, 5  # of the height, that two cuts are apart; and their number
_SEAM_REACH, _SHIFT_COST = 0.2, 0.02  # of the height, that a seam is within; and pixels of ink, that its edge is worth
_MOST_TALL = 4
_PLATE_FILL = 0.45  # of a plate's area, that the digits on it leave free at least
_TALL = 0.75  # of a character's height, that strokes have which may be digits of their own
_JOINED, _CUT = -1.0, -0.2  # logarithms of weights; 0 is a character as it stands
_WHOLE_OF_TALL = -1.0  # what several strokes as high as digits are lowered by, taken for one
_JOINED_APART, _JOINED_NEAR = 15.0, 0.04  # what a wider gap than this share of the height lowers the first one by
_LOW_SIGN = 0.35  # of a character's height, that a point or dash next to it is lower than
_LEAST_SIGN, _SIGN_BELOW = 0.1, 0.25  # of the height, that a point is large, and that a comma reaches below a line
_EDGE = 0.06  # of the height, that the edges of strokes move by at most from one look to the next
_SAME_LINE = 0.5  # share of the lower height, that characters of one line have in common


class Piece(Struct, frozen=True, eq=False, gc=False):
    """What may be one digit: rows (28, 28), box in pixels of the upright source, and the places it leads between."""

    rows: Plane
    box: Box
    start: int
    stop: int
    prior: float


class Line(Struct, frozen=True, eq=False, gc=False):
    """The pieces of one line; its places are 0 to `places`. `has_signs`: lower marks stand among them.

    `is_faint`: it is of the look at the picture that takes faint strokes for ink, too, and not of the usual one.
    """

    pieces: tuple[Piece, ...]
    places: int
    has_signs: bool = False
    is_faint: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A part of a character that may be a digit, as a mask (H, W), and the places within it that it leads between."""

    start: int
    stop: int
    mask: Mask


@dataclass(frozen=True, slots=True, eq=False)
class _Characters:
    """The characters of a view, each as a mask (H, W), and the boxes of all other marks: rows and columns."""

    view: View
    ink: Binarized
    masks: list[Mask]
    others: list[tuple[slice, slice]]

    def bounds(self) -> Bounds:
        """The box of them all, in pixels of the decoded image."""
        return bounds_of(self.view, *bounding_slices(np.any(self.masks, axis=0)))


def lines_of_digits(picture: Picture) -> list[Line]:
    """The lines of a picture, from top to bottom; empty where there are none, or more than can be read.

    Where the strokes of one pen are fainter than those of another, those of a second look follow, at faint strokes too.
    """
    usual, faint = (_lines(picture, is_faint=is_faint) for is_faint in (False, True))
    if usual and (_are_alike(usual, faint) or sum(len(line.pieces) for line in (*usual, *faint)) > MAX_PIECES):
        faint = []
    lines = usual + faint
    return lines if sum(len(line.pieces) for line in lines) <= MAX_PIECES else []


def _lines(picture: Picture, *, is_faint: bool) -> list[Line]:
    """The lines of one look at a picture."""
    characters = _characters(picture.whole, is_faint=is_faint)
    if characters is None:
        return []
    closer = _closer(picture, characters, is_faint=is_faint)
    characters = closer if closer is not None and len(closer.masks) >= len(characters.masks) else characters
    boxes = [bounding_slices(mask) for mask in characters.masks]
    return [replace(_line(picture, characters, members), is_faint=is_faint) for members in _grouped(boxes)]


def _are_alike(first: Sequence[Line], second: Sequence[Line]) -> bool:
    """Whether the lines of two looks have characters in the same boxes, but for the edges of their strokes."""
    boxes, others = (
        [piece.box for line in lines for piece in line.pieces if piece.prior != _CUT] for lines in (first, second)
    )
    if len(boxes) != len(others):
        return False
    reach = _EDGE * max(bottom - top for _, top, _, bottom in boxes)
    return bool(np.abs(np.subtract(boxes, others)).max() <= reach)


def _characters(view: View, *, is_faint: bool) -> _Characters | None:
    """All characters of a view that have about the height of the likeliest one."""
    ink = separate_ink(view.plane)
    if ink is None:
        return None
    if is_faint:
        ink = faint_ink(view.plane, ink)
    mask = without_lines(ink.strength > threshold(ink, is_faint=is_faint))[0]
    lines = cell_lines(mask)
    if lines is not None and (mask & ~lines.mask).any():
        mask &= ~lines.mask
    components = connected_components(mask)
    candidates = digit_candidates(components)[0]
    if not candidates:
        return None
    others = [
        (
            slice(int(components.top[i]), int(components.bottom[i])),
            slice(int(components.left[i]), int(components.right[i])),
        )
        for i in np.flatnonzero(~np.any(candidates, axis=0) & (components.contact == 0))
    ]
    return _Characters(view, ink, [components.mask(candidate) for candidate in candidates], others)


def _closer(picture: Picture, characters: _Characters, *, is_faint: bool) -> _Characters | None:
    """The characters in the picture's own pixels: on a sheet that was taken for one, or where they are small."""
    left, top, right, bottom = characters.bounds()
    height, width = picture.image.height, picture.image.width
    if len(characters.masks) == 1 and (region := region_of_sheet(characters.masks[0], _PLATE_FILL)) is not None:
        plate = region & characters.masks[0]
        level = np.float32(np.median(characters.view.plane[plate if plate.any() else region]))
        plane = np.where(region, characters.view.plane, level)
        return _characters(View(plane, characters.view.box), is_faint=is_faint)
    if max(width, height) <= PARAMETERS.plane_side or max(right - left, bottom - top) > max(width, height) / 2:
        return None
    margin = PARAMETERS.crop_margin * (bottom - top)
    box = (
        max(0, int(left - margin)),
        max(0, int(top - margin)),
        min(width, int(right + margin) + 1),
        min(height, int(bottom + margin) + 1),
    )
    return _characters(picture.view(box), is_faint=is_faint)


def _grouped(boxes: Sequence[tuple[slice, slice]]) -> list[list[int]]:
    """The characters of each line, from left to right, the lines from top to bottom."""
    lines: list[list[int]] = []
    for index in sorted(range(len(boxes)), key=lambda i: boxes[i][0].start + boxes[i][0].stop):
        rows = boxes[index][0]
        for line in lines:
            last_rows = boxes[line[-1]][0]
            common = min(rows.stop, last_rows.stop) - max(rows.start, last_rows.start)
            if common > _SAME_LINE * min(rows.stop - rows.start, last_rows.stop - last_rows.start):
                line.append(index)
                break
        else:
            lines.append([index])
    return [sorted(line, key=lambda i: boxes[i][1].start) for line in lines]


def _line(picture: Picture, characters: _Characters, members: Sequence[int]) -> Line:
    """The lattice of one line."""
    pieces: list[Piece] = []
    position = 0
    previous: tuple[Mask, int] | None = None
    has_signs = False
    for index in members:
        mask, sign = _without_sign(characters.masks[index])
        has_signs |= sign
        tall = _tall_parts(mask)
        parts = [_Part(part, part + 1, part_mask) for part, part_mask in enumerate(tall)] or _parts(mask)
        stop = position + max([part.stop for part in parts], default=1)
        pieces.append(_piece(picture, characters, mask, position, stop, _WHOLE_OF_TALL if tall else 0.0))
        pieces += [
            _piece(picture, characters, part.mask, position + part.start, position + part.stop, _CUT) for part in parts
        ]
        if previous is not None and (gap := _gap_in_one(previous[0], mask)) is not None:
            prior = _JOINED - _JOINED_APART * max(gap - _JOINED_NEAR, 0.0)
            pieces.append(_piece(picture, characters, previous[0] | mask, previous[1], stop, prior))
        previous, position = (mask, position), stop
    boxes = [bounding_slices(characters.masks[index]) for index in members]
    return Line(tuple(pieces), position, has_signs or _has_signs(boxes, characters.others))


def _without_sign(mask: Mask) -> tuple[Mask, bool]:
    """A character less a low mark next to it, such as a decimal point, and whether there was one."""
    components = connected_components(mask)
    tallest = int(components.height.argmax())
    height = components.height[tallest]
    is_sign = (components.height < _LOW_SIGN * height) & (
        (components.left >= components.right[tallest]) | (components.right <= components.left[tallest])
    )
    return (components.mask(~is_sign), True) if is_sign.any() else (mask, False)


def _has_signs(boxes: Sequence[tuple[slice, slice]], others: Sequence[tuple[slice, slice]]) -> bool:
    """Whether lower marks, such as points and dashes, stand among the characters in `boxes` or just before them."""
    top, bottom = min(rows.start for rows, _ in boxes), max(rows.stop for rows, _ in boxes)
    left, right = min(columns.start for _, columns in boxes), max(columns.stop for _, columns in boxes)
    height = bottom - top
    return any(
        max(rows.stop - rows.start, columns.stop - columns.start) > _LEAST_SIGN * height
        and top <= rows.start
        and rows.stop <= bottom + _SIGN_BELOW * height
        and left - height <= columns.start
        and columns.stop <= right
        for rows, columns in others
    )


def _gap_in_one(first: Mask, second: Mask) -> float | None:
    """How far apart two neighbours are that may be strokes of one digit, as a share of the height; None: they are not.

    They are near, and together no wider than a digit.
    """
    rows, columns = bounding_slices(first | second)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    gap = bounding_slices(second)[1].start - bounding_slices(first)[1].stop
    return gap / height if gap <= _JOINED_GAP * height and width <= _JOINED_WIDTH * height else None


def _parts(mask: Mask) -> list[_Part]:
    """The parts of a wide character that may be digits: those between any two of the seams through it."""
    rows, columns = bounding_slices(mask)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if width < _WIDE * height:
        return []
    ink = mask[rows, columns]
    reach = max(1, round(_SEAM_REACH * height))
    seams = [_seam(ink, column, reach) for column in _cuts(ink)]
    edges = [np.zeros(height, np.int64), *seams, np.full(height, width)]
    places = np.arange(width)
    parts = []
    for start, stop in itertools.combinations(range(len(edges)), 2):
        if not _NARROWEST * height < float(np.mean(edges[stop] - edges[start])) < _BROADEST * height:
            continue
        within = ink & (places >= edges[start][:, None]) & (places < edges[stop][:, None])
        if within.any():
            part = np.zeros_like(mask)
            part[rows, columns] = within
            parts.append(_Part(start, stop, part))
    return parts


def _cuts(ink: Mask) -> list[int]:
    """The columns near which a character (h, w) may be cut, from left to right: those with the least ink."""
    height, width = ink.shape
    around = max(1, round(_CUT_DISTANCE * height))
    counts = ink.sum(axis=0)
    cuts: list[int] = []
    for column in np.argsort(counts, kind="stable").tolist():
        is_apart = all(abs(column - other) >= around for other in cuts)
        if is_apart and around <= column <= width - around:
            cuts.append(column)
        if len(cuts) == _MOST_CUTS:
            break
    return sorted(cuts)


def _seam(ink: Mask, column: int, reach: int) -> Ints:
    """Of each row of a character (h, w), the column at which a path from top to bottom crosses it.

    The path has as little ink as there is within `reach` of `column`, and steps aside by one column a row at most.
    """
    left, right = max(0, column - reach), min(ink.shape[1], column + reach + 1)
    distance = np.abs(np.arange(left, right) - column)
    cost = ink[:, left:right] + _SHIFT_COST * distance / max(reach, 1)
    total = np.empty_like(cost)
    total[0] = cost[0]
    for row in range(1, len(cost)):
        above = np.pad(total[row - 1], 1, constant_values=np.inf)
        total[row] = cost[row] + np.minimum(np.minimum(above[:-2], above[1:-1]), above[2:])
    path = np.empty(len(cost), np.int64)
    crossing = int(total[-1].argmin())
    for row in range(len(cost) - 1, -1, -1):
        if row < len(cost) - 1:
            low = max(crossing - 1, 0)
            crossing = low + int(total[row, low : crossing + 2].argmin())
        path[row] = left + crossing
    return path


def _tall_parts(mask: Mask) -> list[Mask]:
    """The digits of a character, from left to right, where several strokes are as high as digits that lean over others.

    Lower strokes that stand over one another are one more digit where they are as high together, and belong to the
    nearest one where they are not.
    """
    components = connected_components(mask)
    rows, _ = bounding_slices(mask)
    least = _TALL * (rows.stop - rows.start)
    is_tall = components.height >= least
    if is_tall.sum() < 2:
        return []
    digits = [[index] for index in np.flatnonzero(is_tall).tolist()]
    for pile in _piles(components, np.flatnonzero(~is_tall)):
        if components.bottom[pile].max() - components.top[pile].min() >= least:
            digits.append(pile)
        else:
            min(digits, key=lambda digit: _distance(components, digit, pile)).extend(pile)
    if len(digits) > _MOST_TALL:
        return []
    digits.sort(key=lambda digit: components.left[digit].min())
    indices = np.arange(len(components.area))
    return [components.mask(np.isin(indices, digit)) for digit in digits]


def _piles(components: Components, members: Ints) -> list[list[int]]:
    """The `members` in groups, from left to right, of which each has columns in common with the one before it."""
    piles: list[list[int]] = []
    for index in sorted(members.tolist(), key=lambda index: int(components.left[index])):
        if piles and components.left[index] < components.right[piles[-1]].max():
            piles[-1].append(index)
        else:
            piles.append([index])
    return piles


def _distance(components: Components, first: list[int], second: list[int]) -> float:
    """Pixels between the middles of two groups of components, along their line."""
    middles = [components.left[group].min() + components.right[group].max() for group in (first, second)]
    return abs(float(middles[0] - middles[1])) / 2


def _piece(picture: Picture, characters: _Characters, mask: Mask, start: int, stop: int, prior: float) -> Piece:
    mark = mark_of(characters.view, characters.ink, mask)
    strength, _ = thickened(mark.strength, stroke_width(mark.mask))
    return Piece(normalized(strength), source_box(picture, mark.box), start, stop, prior)
