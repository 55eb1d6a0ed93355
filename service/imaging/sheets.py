"""A sheet of paper within a picture, which may be taken for a mark: the region on which its digit stands."""

from __future__ import annotations

import math

import numpy as np

from service.imaging.filters import Mask, Plane, dilate, erode
from service.imaging.marks import Mark, bounding_slices
from service.imaging.parameters import PARAMETERS

_LEAST_FILLED = 0.4  # share of its box, that a sheet fills, turned as it may be
_LEAST_PIXELS = 28  # of a sheet
_PLATE_EDGE = 0.08  # share of its shorter side, that a plate is searched without at each of its edges
_STRIP = 0.06  # of its shorter side, that a plate is wider than everywhere
_TURN = 5  # degrees between the first turns that are tried
_RECTANGLE, _CORNER, _CORNERS_FILLED = 0.8, 0.1, 0.5  # shares of a turned box: filled, of its sides, of its corners


def region_of_mark(mark: Mark, size: tuple[int, int]) -> Mask | None:
    """The region of a mark that is a sheet within a picture of `size` (width, height); None where it is no sheet."""
    left, top, *right_bottom = mark.box
    is_all = left <= 1 and top <= 1 and tuple(right_bottom) >= (size[0] - 1, size[1] - 1)
    return None if is_all or mark.mask.mean() < _LEAST_FILLED else region_of_sheet(mark.mask)


def region_of_sheet(mask: Mask, fill: float | None = None) -> Mask | None:
    """The pixels of a sheet, less its edges, with all that stands on it; None where its shape is no sheet's.

    More than a share `fill` of them (default: `sheet_fill`) are in `mask`: a number covers more of its plate than a
    digit of its sheet.
    """
    region = _spanned(mask) & _spanned(mask.T).T
    if fill is not None:
        region = _opened(region)
    if not region.any():
        return None
    if mask.sum() <= (PARAMETERS.sheet_fill if fill is None else fill) * region.sum() or not is_rectangle(region):
        return None
    # The sheet is searched without its edges, which a shadow or the table may touch; a number comes near to those of
    # its plate.
    edge = PARAMETERS.sheet_edge * max(mask.shape) if fill is None else _PLATE_EDGE * min(_size(region))
    padded = np.pad(region, 1).astype(np.float32)
    inner = np.asarray(erode(padded, 2 * max(1, round(edge)) + 1)[1:-1, 1:-1] > 0.5)
    return inner if inner.any() else None


def _opened(region: Mask) -> Mask:
    """A region without what is narrower than a strip of it, such as a dark place of the wall that touches a plate."""
    window = 2 * max(1, round(_STRIP * min(_size(region)))) + 1
    padded = np.pad(region, window).astype(np.float32)
    return np.asarray(dilate(erode(padded, window), window)[window:-window, window:-window] > 0.5)


def _size(region: Mask) -> tuple[int, int]:
    """Height and width of the box of a region, which is not empty."""
    rows, columns = bounding_slices(region)
    return rows.stop - rows.start, columns.stop - columns.start


def _spanned(mask: Mask) -> Mask:
    """Of each row, all from its first to its last True pixel."""
    return np.asarray(np.maximum.accumulate(mask, axis=1) & np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1])


def is_rectangle(region: Mask) -> bool:
    """Whether a region without holes fills a rectangle that may be turned, corners included."""
    y, x = (place.astype(np.float32) for place in np.nonzero(region))
    if len(y) < _LEAST_PIXELS:
        return False
    # The box around a wide sheet fits within a degree or has much of the table in its corners.
    coarse = min(range(0, 90, _TURN), key=lambda degrees: _box_area(*_turned(x, y, degrees)))
    degrees = min(range(coarse - _TURN + 1, coarse + _TURN), key=lambda degrees: _box_area(*_turned(x, y, degrees)))
    u, v = _turned(x, y, degrees)
    area = _box_area(u, v)
    u, v = (u - u.min()) / max(np.ptp(u), 1), (v - v.min()) / max(np.ptp(v), 1)
    at_corner = (np.minimum(u, 1 - u) < _CORNER) & (np.minimum(v, 1 - v) < _CORNER)
    corners = float(at_corner.sum()) / ((2 * _CORNER) ** 2 * area)
    return len(y) / area > _RECTANGLE and corners > _CORNERS_FILLED


def _turned(x: Plane, y: Plane, degrees: int) -> tuple[Plane, Plane]:
    """Places in a frame that is turned."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cos * x + sin * y, cos * y - sin * x


def _box_area(u: Plane, v: Plane) -> float:
    """Pixels of the box around places."""
    return float((np.ptp(u) + 1) * (np.ptp(v) + 1))
