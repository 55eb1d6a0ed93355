"""Layers: the ink of a view less its printed lines, in the ways that it may have some, each as its components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.imaging.binarize import Separation
from service.imaging.cell_lines import CellLines, cell_lines
from service.imaging.components import Components, connected_components
from service.imaging.faint_areas import faint_core, without_faint_areas
from service.imaging.filters import Mask
from service.imaging.lines import without_lines
from service.imaging.thin_lines import without_thin_lines

LEAST_IN_CELL = 0.2  # share of a cell's height, that a digit in it has
# Logarithms of weights of ink with and without broad areas that are fainter.
WITH_FAINT, _WITHOUT_FAINT = -1.0, -0.1


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """The lines along the sides of a view, the mask with them, and how many other lines were taken away."""

    lines: CellLines
    mask: Mask
    n_lines: int


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Components of ink among which marks are looked for, and the number of lines that were taken away."""

    separation: Separation
    components: Components
    n_lines: int
    prior: float = 0.0
    cell: Cell | None = None
    is_without_faint: bool = False
    has_faint_areas: bool = False  # broad ones


def layers_of(separations: Sequence[Separation]) -> list[list[Layer]]:
    """The layers of each of the `separations`: first the one without lines along its sides, or from side to side.

    Where other lines run through that, or broad areas are fainter, those follow that have none of them.
    """
    cleared = list(map(without_lines, [separation.mask for separation in separations]))
    cells: list[Cell | None] = []
    for separation, (mask, n_lines) in zip(separations, cleared, strict=True):
        lines = cell_lines(separation.mask, separation.view.margin)
        cells.append(None if lines is None else Cell(lines, mask, n_lines))
    layers_by_way: list[list[Layer]] = []
    for separation, (mask, n_lines), cell in zip(separations, cleared, cells, strict=True):
        # A printed line from side to side may be one of a cell's as well.
        count = n_lines if cell is None else max(n_lines, cell.lines.count)
        components = connected_components(mask if cell is None else mask & ~cell.lines.mask)
        layers_by_way.append([Layer(separation, components, count, cell=cell)])
    for layers, (mask, n_lines) in zip(layers_by_way, cleared, strict=True):
        cell, min_height = layers[0].cell, None if layers[0].cell is None else LEAST_IN_CELL * mask.shape[0]
        separation = layers[0].separation
        for cleaned, prior in without_thin_lines(
            separation.ink, mask, separation.level, layers[0].components, min_height
        ):
            components = connected_components(cleaned if cell is None else cleaned & ~cell.lines.mask)
            layers.append(Layer(separation, components, n_lines + 1, prior))
        core = faint_core(separation.ink, mask)
        if core is None:
            continue
        layers[0] = replace(layers[0], has_faint_areas=True)
        strong = without_faint_areas(separation.ink, mask, separation.level, core)
        if strong is not None:
            layers.append(
                Layer(separation, connected_components(strong), n_lines, _WITHOUT_FAINT, is_without_faint=True)
            )
    return layers_by_way
