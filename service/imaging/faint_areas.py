"""Broad areas that are fainter than a pen's strokes: shadows with edges, tinted boxes, what shows through the paper."""

from __future__ import annotations

import numpy as np

from service.imaging.binarize import Binarized, stronger_ink
from service.imaging.filters import Mask, Plane, dilate, erode

_FAINT = 0.75  # strength of ink, of the full one: below it is faint
_LEAST_SHARE = 0.15  # of the ink, that is faint where there are such areas
_EDGE = 5  # pixels: the soft edges on both sides of a stroke are narrower
_BROAD_SHARE = 0.03  # of the ink, that is faint and no edge where there are such areas
_LEAST_STEP = 0.05  # of strength from pixel to pixel between them and a pen's: a stroke that fades has none


def faint_core(ink: Binarized, mask: Mask) -> Plane | None:
    """The inner pixels (1, else 0) of the broad areas of `mask` that are faint; None where there are none."""
    count = int(mask.sum())
    faint = mask & (ink.strength < _FAINT)
    if faint.sum() < _LEAST_SHARE * count:
        return None
    plane: Plane = faint.astype(ink.strength.dtype)
    core = erode(plane, _EDGE)
    return core if (core > 0).sum() >= _BROAD_SHARE * count else None


def without_faint_areas(ink: Binarized, mask: Mask, level: float, core: Plane | None = None) -> Mask | None:
    """What remains of `mask`, all stronger than `level`, where broad areas of it are fainter than the rest.

    None where there are no such areas: the soft edges of strokes are faint, but narrow. `core` is their `faint_core`,
    if that is known.
    """
    core = faint_core(ink, mask) if core is None else core
    if core is None:
        return None
    stronger = stronger_ink(ink)
    if stronger is None or stronger <= level:
        return None
    strong = mask & (ink.strength > stronger)
    return strong if _step_between(ink.strength, strong, dilate(core, _EDGE) > 0) > _LEAST_STEP else None


def _step_between(strength: Plane, strong: Mask, faint: Mask) -> float:
    """The median step of the strength from faint pixels to strong ones next to them; 0 where none touch."""
    steps = []
    for plane, high, low in ((strength, strong, faint), (strength.T, strong.T, faint.T)):
        touch = (high[:-1] & low[1:]) | (low[:-1] & high[1:])
        steps.append(np.abs(np.diff(plane, axis=0))[touch])
    between = np.concatenate(steps)
    return float(np.median(between)) if len(between) else 0.0
