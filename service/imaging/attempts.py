"""What each way to separate ink from paper shows: the marks in its layers, stage by stage for all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from service.imaging.cell_lines import CellLines
from service.imaging.components import connected_components
from service.imaging.decode import View
from service.imaging.filters import Mask, dilate
from service.imaging.layers import LEAST_IN_CELL, WITH_FAINT, Layer
from service.imaging.layout import layout_of
from service.imaging.marks import Mark, Outcome, Reading, marks_of, refused
from service.imaging.outlines import body_of
from service.imaging.strokes import is_shade, is_thin_outline, is_wedge

# Logarithms of weights of a digit in a cell with the cell's lines, and without them; 0 is where it touches none.
_WITH_LINES, _WITHOUT_LINES = -0.1, -0.3
ALONG_BORDER = 0.7  # of its longer side, that what is no stroke lies along the border with
_BESIDE_LINE = 0.16  # share of a cell's shorter side: what stands within that of a side is none of its digit
_THIN, _BESIDE_LINE_THIN = 0.08, 0.2  # the same, of what is thinner than that
_ONLY_LINES = "nothing but the lines of a cell stands out from the paper"
# Logarithms of weights, of what is found next to shade or next to a mark at the border, and of that one then.
_BESIDE_SHADE, _AT_BORDER = -0.25, -1.0
# Of its height, and of the longer side of the view, that what stands free next to it has at least one of.
_LEAST_BESIDE, _LEAST_FREE = 0.3, 0.075


def find_attempts(layers: Sequence[Sequence[Layer]]) -> list[Outcome]:
    """The marks in the `layers` of each way to separate ink, and why there are none of the first one's."""
    outcomes = iter(_find_marks(list(itertools.chain.from_iterable(layers))))
    attempts = []
    for first, *variants in layers:
        base = next(outcomes)
        if first.cell is not None:
            base = _in_cell(first, base)
        marks, further = list(base.marks), []
        for layer in variants:
            found = lowered(next(outcomes).marks, layer.prior)
            if layer.is_without_faint and found:
                marks = lowered(marks, WITH_FAINT)
            further += found
        marks += further
        if first.cell is not None:
            view = first.separation.view
            marks = [mark for mark in marks if _is_high(mark, view) and not _is_line_beside(mark, view)]
        attempts.append(Outcome(marks, base.refusal) if marks or base.refusal else refused(_ONLY_LINES))
    return attempts


def _find_marks(layers: Sequence[Layer], *, is_first: bool = True) -> list[Outcome]:
    """What is found in each of the `layers`; `is_first`: and what else, where that is shade."""
    readings: list[Reading | None] = []
    layouts = list(map(layout_of, [layer.components for layer in layers]))
    for layer, layout in zip(layers, layouts, strict=True):
        masks: list[Mask] = []
        for choice in () if layout is None else layout.choices:
            mask = layer.components.mask(choice.selected)
            masks.append(mask)
        readings.append(None if layout is None else Reading(layer, layout, masks))
    for reading in readings:
        if reading is not None:
            way, layout, first = reading.layer.separation, reading.layout, reading.masks[reading.layout.first]
            reading.is_shade = is_shade(
                way.view.plane, way.ink, first, layout.box, layout.n_noise, at_border=layout.at_border
            )
            reading.is_wedge = not reading.is_shade and is_wedge(way.ink, first, layout.box)
            if not reading.is_shade and is_thin_outline(first[layout.box]):
                reading.body = body_of(first, layout.box)
    outcomes = list(map(marks_of, readings))
    if is_first:
        for index, reading in enumerate(readings):
            if reading is None:
                continue
            if (
                reading.is_shade
                or reading.layout.border_gap < reading.layer.separation.border_band
                or (reading.layer.cell is not None and _is_edge_in_cell(reading))
            ):
                outcomes[index] = _beside_shade(reading, outcomes[index])
    return outcomes


def _is_edge_in_cell(reading: Reading) -> bool:
    """Whether the likeliest candidate in a cell is what was left of a line along its side, or of the edge of a page."""
    height, width = reading.masks[0].shape
    (rows, columns), reach = reading.layout.box, _BESIDE_LINE * min(height, width)
    return bool(min(rows.stop, columns.stop) < reach or rows.start > height - reach or columns.start > width - reach)


def _beside_shade(reading: Reading, outcome: Outcome) -> Outcome:
    """What stands free next to what `reading` found in the first place, after the marks of `outcome`."""
    layer, components = reading.layer, reading.layer.components
    band, (height, width) = layer.separation.border_band, components.shape
    is_free = (components.left >= band) & (components.right <= width - band)
    is_free &= (components.top >= band) & (components.bottom <= height - band)
    if reading.layout.border_gap >= band:
        is_free &= ~reading.layout.choices[reading.layout.first].selected
    if not is_free.any():
        return outcome
    free = replace(layer, components=connected_components(components.mask(is_free)))
    (found,) = _find_marks([free], is_first=False)
    min_height = min(
        _LEAST_BESIDE * (reading.layout.box[0].stop - reading.layout.box[0].start), _LEAST_FREE * max(height, width)
    )
    high = [mark for mark in found.marks if mark.mask.shape[0] > min_height]
    first = lowered(outcome.marks, _AT_BORDER) if high else outcome.marks
    return Outcome([*first, *lowered(high, _BESIDE_SHADE)], outcome.refusal)


def lowered(marks: Iterable[Mark], prior: float) -> list[Mark]:
    """The marks, each less likely by `prior`."""
    return [replace(mark, prior=mark.prior + prior) for mark in marks]


def _in_cell(layer: Layer, outcome: Outcome) -> Outcome:
    """The marks in a cell with lines along its sides, which `outcome` leaves out."""
    cell, view = layer.cell, layer.separation.view
    if cell is None or outcome.refusal is not None:
        return outcome
    lines = cell.lines
    inside = [mark for mark in outcome.marks if _is_high(mark, view) and not _is_beside_line(mark, view)]
    if not inside:
        return refused(_ONLY_LINES)
    near_lines = dilate(np.pad(lines.mask, 1).astype(np.float32), 3)[1:-1, 1:-1] > 0
    if _is_free(inside[0], view, lines) and not (near_lines & cell.mask & ~lines.mask).any():
        return Outcome(inside)
    # The line may be a stroke of a digit that fills the picture, such as the top of a 7.
    (outcome_with_lines,) = _find_marks([Layer(layer.separation, connected_components(cell.mask), cell.n_lines)])
    return Outcome([*lowered(outcome_with_lines.marks, _WITH_LINES), *lowered(inside, _WITHOUT_LINES)])


def _is_high(mark: Mark, view: View) -> bool:
    """Whether a mark in a cell is high enough for its digit."""
    size = view.plane.shape[0] - 2 * view.margin
    # A picture that was reduced is no cell that was cut out: the lines may be the edges of a page.
    is_reduced = view.box[3] - view.box[1] > size
    return bool(is_reduced or mark.mask.shape[0] >= LEAST_IN_CELL * size)


def _is_line_beside(mark: Mark, view: View) -> bool:
    """Whether a mark in a cell was left of a line beside one of its sides: what is thin may lie a little further in."""
    left, top, right, bottom = view.box
    thickness = min(mark.box[2] - mark.box[0], mark.box[3] - mark.box[1])
    is_thin = thickness < _THIN * min(right - left, bottom - top)
    return _is_beside_line(mark, view, _BESIDE_LINE_THIN if is_thin else _BESIDE_LINE)


def _is_beside_line(mark: Mark, view: View, share: float = _BESIDE_LINE) -> bool:
    """Whether a mark in a cell lies so near to one of its sides that it is what was left of the line there."""
    left, top, right, bottom = view.box
    reach = share * min(right - left, bottom - top)
    return (
        mark.box[2] < left + reach
        or mark.box[0] > right - reach
        or mark.box[3] < top + reach
        or mark.box[1] > bottom - reach
    )


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
