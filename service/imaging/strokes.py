"""Whether a mark is a stroke, with paper on both sides, or an edge: of a shadow, of a sheet on a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.imaging.binarize import Mask, Plane

_ACROSS = 2.0  # a run of ink up to this many strokes wide crosses the stroke and does not run along it
_BESIDE = 0.8  # paper is looked for so many strokes' widths beside a run
_ONE_SIDED = 0.35  # a run is one-sided where one side stands out from it by less than this share of the other

Ints = NDArray[np.intp]


def one_sided(plane: Plane, mask: Mask, *, dark: bool, stroke: float, border: bool) -> float:
    """The share, 0..1, of the runs of ink across a mark's strokes with paper on one side only; 0 if there are none.

    plane, mask (H, W); `dark`: ink is darker than paper; `stroke` is the mean width of the strokes in pixels. Runs that
    end at the `border` of the picture are one-sided, or else are not looked at.
    """
    height = plane if dark else -plane  # paper is higher than ink
    reach = max(2, round(_BESIDE * stroke))
    found = np.concatenate(
        [_ratios(height, mask, reach, _ACROSS * stroke), _ratios(height.T, mask.T, reach, _ACROSS * stroke)]
    )
    if not border:
        found = found[~np.isnan(found)]
    return 1 - float((found >= _ONE_SIDED).mean()) if len(found) else 0.0


def _ratios(height: Plane, mask: Mask, reach: int, longest: float) -> NDArray[np.float64]:
    """Of each run across, within the rows of `mask`: its lower side over its higher, both from the run's mean.

    NaN for a run that ends at the border.
    """
    row, start, end = _runs(mask)
    across = end - start <= longest
    row, start, end = row[across], start[across], end[across]
    sums = np.pad(np.cumsum(height, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    mean = (sums[row, end] - sums[row, start]) / (end - start)
    padded = np.pad(height, ((0, 0), (reach, reach)), mode="edge")
    beside = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1)
    left, right = beside[row, start].max(axis=1) - mean, beside[row, end + reach].max(axis=1) - mean
    ratio = np.minimum(left, right) / np.maximum(np.maximum(left, right), 1e-6)
    return np.where((start > 0) & (end < mask.shape[1]), ratio, np.nan)


def _runs(mask: Mask) -> tuple[Ints, Ints, Ints]:
    """Row, first column and the column after the last of each run."""
    change = np.diff(mask.astype(np.int8), axis=1, prepend=0, append=0)
    row, start = np.nonzero(change == 1)
    return row, start, np.nonzero(change == -1)[1]
