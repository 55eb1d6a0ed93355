"""Whether a mark is a stroke, with paper on both sides, or an edge: of a shadow, of a sheet on a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.ink import Mask, Plane

_ACROSS = 2.0  # a run of ink up to this many strokes wide crosses the stroke and does not run along it
_BESIDE = 0.8  # paper is looked for so many strokes' widths beside a run
_ONE_SIDED = 0.35  # a run is one-sided where one side stands out from it by less than this share of the other

Ints = NDArray[np.intp]


def one_sided(plane: Plane, mask: Mask, *, dark: bool, stroke: float) -> float:
    """The share, 0..1, of the runs of ink across a mark's strokes that have paper on one side only.

    plane, mask (H, W); `dark`: ink is darker than paper; `stroke` is the mean width of the strokes in pixels. Runs that
    end at the border of the picture tell nothing; 0 where there are no others.
    """
    height = plane if dark else -plane  # paper is higher than ink
    reach = max(2, round(_BESIDE * stroke))
    found = np.concatenate(
        [_ratios(height, mask, reach, _ACROSS * stroke), _ratios(height.T, mask.T, reach, _ACROSS * stroke)]
    )
    return float((found < _ONE_SIDED).mean()) if len(found) else 0.0


def _ratios(height: Plane, mask: Mask, reach: int, longest: float) -> NDArray[np.float64]:
    """Of each run within the rows of `mask`, the lower of its sides over the higher, both from the run's mean."""
    row, start, end = _runs(mask)
    inside = (end - start <= longest) & (start > 0) & (end < mask.shape[1])
    row, start, end = row[inside], start[inside], end[inside]
    sums = np.pad(np.cumsum(height, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    mean = (sums[row, end] - sums[row, start]) / (end - start)
    padded = np.pad(height, ((0, 0), (reach, reach)), mode="edge")
    beside = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1)
    left, right = beside[row, start].max(axis=1) - mean, beside[row, end + reach].max(axis=1) - mean
    return np.asarray(np.minimum(left, right) / np.maximum(np.maximum(left, right), 1e-6))


def _runs(mask: Mask) -> tuple[Ints, Ints, Ints]:
    """Row, first column and the column after the last of each run."""
    change = np.diff(mask.astype(np.int8), axis=1, prepend=0, append=0)
    row, start = np.nonzero(change == 1)
    return row, start, np.nonzero(change == -1)[1]
