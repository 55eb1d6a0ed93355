"""Where the digit in a picture is: the marks that may be it, the likeliest first.

One look at a picture separates ink from paper in the likeliest way, and in others where that is in doubt: on paper that
is not even, where ink reaches the border, where lines run through it. A sheet within the picture and a digit that is a
small part of it are looked at again, in the picture's own pixels. What is the digit among the marks that are found, is
for the network to say; `Mark.prior` is what is known before it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from service.contract.errors import InvalidRequest
from service.imaging.binarize import Binarized, on_margins, other_papers, separate_ink, stronger_ink, threshold
from service.imaging.cell_lines import CellLines, cell_lines
from service.imaging.components import Components, connected_components
from service.imaging.decode import Box, Picture
from service.imaging.filters import Mask, Plane, dilate, erode
from service.imaging.layout import digit_candidates, joined, underlines, without_lines
from service.imaging.outlines import filled
from service.imaging.parameters import PARAMETERS
from service.imaging.strokes import edge_likeness, stroke_width

Bounds = tuple[float, float, float, float]  # left, top, right, bottom

MAX_MARKS = 8  # that are read of one picture
_SMALLEST_CROP = 28  # pixels
_LEAST_IN_CELL = 0.2  # share of a cell's height, that a digit in it has
_SMALL_CROP, _CLEAN = 96, 0.004  # pixels; from pixel to pixel, of the full scale: pictures that may be tight crops
_BROAD = 0.4  # of its longer side, that the strokes of a tight crop are narrower than
_OTHER_HEIGHT = 0.2  # of a crop's height, that nothing else in a tight one has
_SHARP = 0.15  # of the ink's strength from pixel to pixel, that the edges of a tight crop's strokes have at least
_LEAST_FILLED = 0.4  # share of its box, that a sheet fills, turned as it may be
_RECTANGLE, _CORNER, _CORNERS_FILLED = 0.8, 0.1, 0.5  # shares of a turned box: filled, of its sides, of its corners
_LEAST_SHARE = 0.3  # of the ink, that a mark counts with where it has less
_SPANNING, _FRAGMENTS = 0.8, 12  # of a side, that printed lines run along; components that broken ones leave
_THIN_LINE = 0.04  # share of the longer side, that lines through a picture have at most
# Logarithms of weights; 0 is the likeliest. Set by hand on drawn scenes, by how often each way to look is right.
_NO_MARGIN, _OTHER_PAPER, _STRONGER, _OPENED = -1.0, -0.3, -0.2, -0.3
_PERHAPS_TIGHT, _LOOSE, _AFTER_REFUSAL = -0.4, -2.0, -1.0
_WITH_LINES, _WITHOUT_LINES, _JOINED, _WITH_BARS, _FILLED, _SHEET = -0.1, -0.3, -0.2, -1.5, -0.5, -3.0


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What may be the digit: its ink and mask (h, w), and its box in pixels of the decoded image."""

    strength: Plane
    mask: Mask
    box: Bounds
    ink: Binarized
    n_lines: int
    n_noise: int
    n_candidates: int
    at_border: bool
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
        return max(self.box[2] - self.box[0], self.height)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The marks that were found, the likeliest first, and why the picture is blank in the likeliest view of it."""

    marks: list[Mark]
    refusal: InvalidRequest | None
    paper_noise: float = 0.0  # standard deviation of a sheet's paper, of the full scale


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A part of a picture as a plane (H, W): its box in pixels of the decoded image, and the margin added around it."""

    plane: Plane
    box: Box
    margin: int = 0

    @property
    def scale(self) -> float:
        """Pixels of the decoded image in one of the plane."""
        return float((self.box[3] - self.box[1]) / (self.plane.shape[0] - 2 * self.margin))

    def bounds(self, rows: slice, columns: slice) -> Bounds:
        """The box of some rows and columns, in pixels of the decoded image."""
        height, width = (side - 2 * self.margin for side in self.plane.shape)
        x, y = (self.box[2] - self.box[0]) / width, (self.box[3] - self.box[1]) / height
        left, top = max(columns.start - self.margin, 0), max(rows.start - self.margin, 0)
        right, bottom = min(columns.stop - self.margin, width), min(rows.stop - self.margin, height)
        return self.box[0] + left * x, self.box[1] + top * y, self.box[0] + right * x, self.box[1] + bottom * y


def search(picture: Picture) -> Look:
    """The marks that may be the digit in `picture`; raises `InvalidRequest` (`blank_image`) where there is none."""
    look = _look(picture, picture.full_box)
    found, refusal = look.marks, look.refusal
    n_candidates = found[0].n_candidates
    inner = _on_sheet(picture, found[0])
    if inner:
        n_candidates, refusal = inner[0].n_candidates, None
        found = [*inner, *_lowered(found, _SHEET)]
    digit, longer_side = found[0], max(picture.image.size)
    if digit.longer_side < PARAMETERS.small_digit * longer_side and longer_side > PARAMETERS.plane_side:
        margin = PARAMETERS.crop_margin * digit.longer_side + 2 * longer_side / PARAMETERS.plane_side
        closer = _look_within(picture, digit.box, margin)
        if closer is not None:
            # What stands beside the digit is not in the crop, so it was counted before.
            found = [replace(mark, n_candidates=n_candidates, enlarged=True) for mark in closer.marks]
            refusal = closer.refusal
    return Look(sorted(found, key=lambda mark: -mark.prior)[:MAX_MARKS], refusal)


def _lowered(found: Iterable[Mark], prior: float) -> list[Mark]:
    """The marks, each less likely by `prior`."""
    return [replace(mark, prior=mark.prior + prior) for mark in found]


# --- one look --------------------------------------------------------------------------------------------------------


def _look(picture: Picture, box: Box) -> Look:
    """The marks within `box`; raises `blank_image`."""
    return _look_at(View(picture.plane(box), box))


def _look_at(view: View) -> Look:
    """The marks on a plane, ink separated in the likeliest way and, where that is in doubt, in others."""
    ink = separate_ink(view.plane)
    if ink is None:
        raise InvalidRequest("no ink stands out from the paper", code="blank_image")
    found, refusal = _attempt(view, ink)
    on_margin = _marks_on_margin(view)
    if on_margin and on_margin[0].prior > _PERHAPS_TIGHT:  # what is found without a margin may be the digit's hole
        found = _lowered(found, _NO_MARGIN)
    elif ink.paper != "even":
        for other in other_papers(view.plane, ink):
            found = [*found, *_lowered(_attempt(view, other)[0], _AFTER_REFUSAL if refusal else _OTHER_PAPER)]
    found = [*found, *on_margin]
    if not found:
        raise refusal or InvalidRequest("nothing stands out from the paper", code="blank_image")
    return Look(sorted(found, key=lambda mark: -mark.prior), refusal)


def _attempt(view: View, ink: Binarized) -> tuple[list[Mark], InvalidRequest | None]:
    """The marks that the ink shows, lines left out; and why there are none of the likeliest lines."""
    level = threshold(ink)
    all_ink = ink.strength > level
    lines = lines_of_cell(all_ink, view.margin)
    mask, n_lines = without_lines(all_ink)
    found: list[Mark] = []
    refusal: InvalidRequest | None = None
    rest = mask if lines is None else mask & ~lines.mask
    components = connected_components(rest)
    for variant, prior in _without_thin_lines(ink, mask, level, components, is_cell=lines is not None):
        try:
            if variant is not mask:
                marks = _marks_of_mask(view, ink, variant if lines is None else variant & ~lines.mask, n_lines + 1)
            elif lines is None:
                marks = _marks_of_components(view, ink, components, n_lines)
            else:
                marks = _marks_in_cell(view, ink, mask, lines, n_lines)
            found += _lowered(marks, prior)
        except InvalidRequest as error:
            refusal = error if variant is mask else refusal
    return found, refusal


def _marks_on_margin(view: View) -> list[Mark]:
    """The marks on a margin of either level, the likeliest first: in a tight crop, one that reaches all its sides."""
    margin = max(3, max(view.plane.shape) // 6)
    planes = on_margins(view.plane, margin)
    if not planes:
        return []
    is_small = max(view.plane.shape) <= _SMALL_CROP
    prior = 0.0 if is_small or float(np.median(np.abs(np.diff(view.plane, axis=1)))) < _CLEAN else _PERHAPS_TIGHT
    found = [
        replace(mark, prior=mark.prior + (prior if _is_tight(mark, view) else _LOOSE))
        for plane, ink in planes
        for mark in _attempt(View(plane, view.box, margin), ink)[0]
    ]
    return sorted(found, key=lambda mark: -mark.prior)


def _is_tight(mark: Mark, view: View) -> bool:
    """Whether a mark reaches all four sides of a view, as one stroke that is sharp and not too broad."""
    is_stroke = stroke_width(mark.mask) < _BROAD * max(mark.mask.shape)
    if not is_stroke or mark.other_height > _OTHER_HEIGHT * (view.box[3] - view.box[1]):
        return False
    x, y = (
        1.5 * (view.box[2] - view.box[0]) / view.plane.shape[1],
        1.5 * (view.box[3] - view.box[1]) / view.plane.shape[0],
    )
    box, whole = mark.box, view.box
    reaches = box[0] <= whole[0] + x and box[2] >= whole[2] - x and box[1] <= whole[1] + y and box[3] >= whole[3] - y
    return reaches and float(np.median(_steps(mark.mask, mark.strength))) > _SHARP


def lines_of_cell(mask: Mask, margin: int) -> CellLines | None:
    """The lines along the sides of a picture that has a margin around it."""
    if not margin:
        return cell_lines(mask)
    inner = cell_lines(mask[margin:-margin, margin:-margin])
    return None if inner is None else CellLines(np.pad(inner.mask, margin), inner.sides)


def _marks_in_cell(view: View, ink: Binarized, mask: Mask, lines: CellLines, n_lines: int) -> list[Mark]:
    """The marks in a cell with `lines` along its sides; raises `blank_image` where it is empty."""
    # A printed line from side to side may be one of a cell's as well.
    inside = _marks_of_mask(view, ink, mask & ~lines.mask, max(n_lines, lines.count))
    size = view.plane.shape[0] - 2 * view.margin
    inside = [mark for mark in inside if mark.mask.shape[0] >= _LEAST_IN_CELL * size]
    if not inside:
        raise InvalidRequest("nothing but the lines of a cell stands out from the paper", code="blank_image")
    beside = dilate(np.pad(lines.mask, 1).astype(np.float32), 3)[1:-1, 1:-1] > 0
    if _is_free(inside[0], view, lines) and not (beside & mask & ~lines.mask).any():
        return inside
    # The line may be a stroke of a digit that fills the picture, such as the top of a 7.
    try:
        whole = _marks_of_mask(view, ink, mask, n_lines)
    except InvalidRequest:
        whole = []
    return [
        *(replace(mark, prior=mark.prior + _WITH_LINES) for mark in whole),
        *(replace(mark, prior=mark.prior + _WITHOUT_LINES) for mark in inside),
    ]


def _is_free(mark: Mark, view: View, lines: CellLines) -> bool:
    """Whether a mark in a cell touches no side of the picture but those with a line."""
    box, reach = view.box, 1.5 * (view.box[2] - view.box[0]) / (view.plane.shape[1] - 2 * view.margin)
    touched = (
        mark.box[0] < box[0] + reach,
        mark.box[1] < box[1] + reach,
        mark.box[2] > box[2] - reach,
        mark.box[3] > box[3] - reach,
    )
    return not any(side and not line for side, line in zip(touched, lines.sides, strict=True))


def _without_thin_lines(
    ink: Binarized, mask: Mask, level: float, component: Components, *, is_cell: bool
) -> Iterator[tuple[Mask, float]]:
    """`mask`, and where thin lines run from side to side, what remains without them, with priors.

    Printed lines are fainter than a pen, or thinner: of strokes that are broader, opening leaves them as they are.
    `component`: those of the mask, less the lines along the sides of a cell, which say nothing of others that cross it.
    """
    yield mask, 0.0
    height, width = mask.shape
    spanning = (component.width >= _SPANNING * width) | (component.height >= _SPANNING * height)
    is_filled = bool((component.height >= _LEAST_IN_CELL * height).any())
    if not spanning.any() and len(spanning) < _FRAGMENTS and not (is_cell and is_filled):
        return
    stronger = stronger_ink(ink)
    if stronger is not None and stronger > level:
        yield without_lines(ink.strength > stronger)[0], _STRONGER
    thickness = stroke_width(component.mask(spanning) if spanning.any() else mask)
    if thickness < _THIN_LINE * max(height, width):
        window = math.ceil(thickness) + 1
        plane = mask.astype(np.float32)
        opened = dilate(erode(plane, window), window) > 0.5
        if opened.any():
            yield opened, _OPENED


# --- marks of a mask -------------------------------------------------------------------------------------------------


def _marks_of_mask(view: View, ink: Binarized, mask: Mask, n_lines: int) -> list[Mark]:
    """The marks of the components of `mask`; raises `blank_image`."""
    return _marks_of_components(view, ink, connected_components(mask), n_lines)


def _marks_of_components(view: View, ink: Binarized, components: Components, n_lines: int) -> list[Mark]:
    """The likeliest mark, and the same with and without what may belong to it; raises `blank_image`."""
    candidates, n_noise = digit_candidates(components)
    if not candidates:
        raise InvalidRequest("nothing but specks, lines or borders stands out from the paper", code="blank_image")
    first = components.mask(candidates[0])
    at_border = bool(components.contact[candidates[0]].any())
    if _is_shade(view.plane, first, ink, n_noise, at_border=at_border):
        raise InvalidRequest("nothing but shadows or the edges of paper stands out", code="blank_image")
    total = int(components.area[(components.contact == 0) | np.any(candidates, axis=0)].sum())
    found = []
    for variant, extra, prior in _variants(components, candidates, first):
        share = int(variant.sum()) / max(total, 1)
        beside = np.sort(components.height)[-2] if len(components.height) > 1 else 0
        mark = mark_of(view, ink, variant, at_border=at_border)
        found.append(
            replace(
                mark,
                n_lines=n_lines,
                n_noise=n_noise,
                n_candidates=len(candidates) - extra,
                other_height=float(beside) * view.scale,
                prior=prior + math.log(min(max(share, _LEAST_SHARE), 1.0)),
            )
        )
    mask = found[0].mask
    if at_border and stroke_width(mask) > PARAMETERS.broad_stroke * max(mask.shape):
        raise InvalidRequest("what stands out from the paper is no stroke", code="blank_image")
    return found


def _variants(components: Components, candidates: list[Mask], first: Mask) -> Iterator[tuple[Mask, int, float]]:
    """Masks of the likeliest candidate as it is, joined with a near one, without bars below it, and filled.

    With each come how many candidates fewer there are, and a prior.
    """
    bars = underlines(components, candidates[0])
    is_wider = bars is not None and bars[1] > 1.05
    if bars is not None:
        yield components.mask(candidates[0] & ~bars[0]), 0, 0.0
    yield first, 0, _WITH_BARS if is_wider else 0.0
    both = joined(components, candidates)
    if both is not None:
        n_joined = sum(bool((both[0] & candidate).any()) for candidate in candidates)
        yield components.mask(both[0]), n_joined - 1, _JOINED
    rows, columns = bounding_slices(first)
    box = first[rows, columns]
    if stroke_width(box) < 0.07 * max(box.shape):
        body = filled(box)
        if body.sum() > 1.5 * box.sum():
            whole = np.zeros_like(first)
            whole[rows, columns] = body
            yield whole, 0, _FILLED


def mark_of(view: View, ink: Binarized, mask: Mask, *, at_border: bool) -> Mark:
    """The mark of `mask`, with the soft edges of its strokes."""
    strength = np.where(_with_neighbours(mask), np.maximum(ink.strength, mask * np.float32(0.5)), 0)
    rows, columns = bounding_slices(strength > PARAMETERS.crop_strength)
    return Mark(
        strength[rows, columns], mask[rows, columns], view.bounds(rows, columns), ink, 0, 0, 1, at_border=at_border
    )


def _is_shade(plane: Plane, mask: Mask, ink: Binarized, n_noise: int, *, at_border: bool) -> bool:
    """Whether a mark is shade or the edge of something; even paper under a mark that stands free has none."""
    is_even = ink.paper == "even"
    if is_even and not at_border:
        return False
    if at_border and not is_even and n_noise > PARAMETERS.shade_noise_count:
        return True
    if not is_even and _shadow_likeness(mask, ink) > 0:
        return True
    likeness = edge_likeness(
        plane, mask, is_dark=ink.is_dark, stroke_width=stroke_width(mask), count_border=not is_even
    )
    return likeness > PARAMETERS.max_edge_likeness


def _shadow_likeness(mask: Mask, ink: Binarized) -> float:
    """How much a mark on uneven paper is like a shadow: soft, faint and broad; a stroke's is below 0."""
    rows, columns = bounding_slices(mask)
    mask, strength = mask[rows, columns], ink.strength[rows, columns]
    softness = 0.22 - float(np.median(_steps(mask, strength)))
    breadth = stroke_width(mask) / max(mask.shape) - 0.12
    return float(12 * (0.6 - ink.contrast) + 20 * softness + 10 * breadth)


def _steps(mask: Mask, strength: Plane) -> Plane:
    """How much the strength changes from pixel to pixel, at the edges of `mask`."""
    mask, strength = np.pad(mask, 1), np.pad(strength, 1)
    down, across = np.gradient(strength)
    edge = np.zeros_like(mask)
    edge[1:] |= mask[1:] != mask[:-1]
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return np.asarray(np.hypot(down, across)[edge])


# --- further looks ---------------------------------------------------------------------------------------------------


def _on_sheet(picture: Picture, sheet: Mark) -> list[Mark]:
    """What stands on a sheet of paper that was taken for the digit, if that is a digit."""
    is_all = sheet.box[0] <= 1 and sheet.box[1] <= 1 and sheet.box[2:] >= tuple(s - 1 for s in picture.image.size)
    if is_all or sheet.mask.mean() < _LEAST_FILLED or not (region := region_of_sheet(sheet.mask)).any():
        return []
    look = _look_on_region(picture, sheet, region)
    if look is None:
        return []
    digit, noise = look.marks[0], look.paper_noise
    edge = 1.01 * PARAMETERS.sheet_edge * sheet.longer_side + 1
    is_free = (
        digit.box[0] > sheet.box[0] + edge
        and digit.box[1] > sheet.box[1] + edge
        and digit.box[2] < sheet.box[2] - edge
        and digit.box[3] < sheet.box[3] - edge
    )
    is_high = digit.height > PARAMETERS.sheet_digit_height * sheet.height
    if noise > PARAMETERS.sheet_noise * digit.ink.contrast or not is_high or not is_free:
        return []
    return [replace(mark, enlarged=True) for mark in look.marks if not mark.at_border]


def region_of_sheet(mask: Mask) -> Mask:
    """The pixels of a sheet, less its edges, with all that stands on it; none where its shape is no sheet's."""
    region = _spanned(mask) & _spanned(mask.T).T
    if mask.sum() <= PARAMETERS.sheet_fill * region.sum() or not is_rectangle(region):
        return np.zeros_like(mask)
    # The sheet is searched without its edges, which a shadow or the table may touch.
    edge = max(1, round(PARAMETERS.sheet_edge * max(mask.shape)))
    padded = np.pad(region, 1).astype(np.float32)
    return np.asarray(erode(padded, 2 * edge + 1)[1:-1, 1:-1] > 0.5)


def _spanned(mask: Mask) -> Mask:
    """Of each row, all from its first to its last True pixel."""
    return np.asarray(np.maximum.accumulate(mask, axis=1) & np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1])


def is_rectangle(region: Mask) -> bool:
    """Whether a region without holes fills a rectangle that may be turned, corners included."""
    y, x = np.nonzero(region)
    if len(y) < _SMALLEST_CROP:
        return False
    turns = [math.radians(degrees) for degrees in range(0, 90, 5)]
    along = [(math.cos(t) * x + math.sin(t) * y, math.cos(t) * y - math.sin(t) * x) for t in turns]
    areas = [float((np.ptp(u) + 1) * (np.ptp(v) + 1)) for u, v in along]
    area = min(areas)
    u, v = along[areas.index(area)]
    u, v = (u - u.min()) / max(np.ptp(u), 1), (v - v.min()) / max(np.ptp(v), 1)
    at_corner = (np.minimum(u, 1 - u) < _CORNER) & (np.minimum(v, 1 - v) < _CORNER)
    corners = float(at_corner.sum()) / ((2 * _CORNER) ** 2 * area)
    return len(y) / area > _RECTANGLE and corners > _CORNERS_FILLED


def _look_on_region(picture: Picture, sheet: Mark, region: Mask) -> Look | None:
    """The marks in the picture's own pixels within a region of a mark, all else as bright as the paper there."""
    box = _box_within(picture, sheet.box, 0)
    if box is None:
        return None
    plane = picture.plane(box)
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
        return _look(picture, box)
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


# --- masks -----------------------------------------------------------------------------------------------------------


def bounding_slices(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns of the box around the True pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _with_neighbours(mask: Mask) -> Mask:
    """`mask` and its eight neighbours: a stroke's soft edge belongs to it."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return np.asarray(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])
