from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from service.imaging.cell_lines import cell_lines
from service.imaging.filters import Mask


def frame(side: int = 60, margin: int = 3, thickness: int = 2, sides: str = "ltrb") -> Mask:
    mask = np.zeros((side, side), np.bool_)
    end, far = margin + thickness, side - margin
    for name, place in (
        ("l", np.s_[:, margin:end]),
        ("t", np.s_[margin:end]),
        ("r", np.s_[:, far - thickness : far]),
        ("b", np.s_[far - thickness : far]),
    ):
        if name in sides:
            mask[place] = True
    return mask


@pytest.mark.parametrize("sides", ["l", "t", "r", "b", "lt", "rb", "lr", "ltrb"])
@pytest.mark.parametrize("degrees", [0, 3, -3])
def test_lines_along_the_sides_are_found(sides: str, degrees: float) -> None:
    mask = frame(sides=sides)
    turned = np.asarray(Image.fromarray(mask).rotate(degrees))
    lines = cell_lines(turned)
    assert lines is not None
    assert [name for name, found in zip("ltrb", lines.sides, strict=True) if found] == [s for s in "ltrb" if s in sides]
    assert (turned & ~lines.mask).sum() < 0.25 * turned.sum()


def test_what_crosses_a_line_stays() -> None:
    mask = frame(sides="t")
    mask[2:50, 28:34] = True
    lines = cell_lines(mask)
    assert lines is not None
    assert (mask & ~lines.mask)[6:50, 28:34].all()


@pytest.mark.parametrize(
    "place",
    [np.s_[5:50, 20:28], np.s_[10:14, 20:44], np.s_[:, 20:40], np.s_[25:28]],
    ids=["a one", "the top of a seven", "broad", "in the middle"],
)
def test_strokes_are_no_lines_of_a_cell(place: tuple[slice, ...]) -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[place] = True
    assert cell_lines(mask) is None


def test_a_ring_that_fills_the_picture_is_no_cell() -> None:
    y, x = np.mgrid[-1:1:60j, -1:1:40j]
    radius = np.hypot(x, y)
    assert cell_lines((radius < 1) & (radius > 0.7)) is None
