"""Ink and paper of a picture: one plane of grey, the paper under the ink, which of the two is darker, and how much ink.

The simplest paper that explains the picture is taken: one level; a smooth surface, as a lamp makes it; or whatever
remains when narrow strokes are closed, which follows the edge of a shadow. All planes are float32 (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
Paper = tuple[Plane, str, bool | None]  # the plane, its kind, whether ink is darker than it (None: to be found out)

_BINS = 64  # of histograms
_COARSE = 64  # the paper is estimated on at most this many pixels a side
_WINDOW = 0.3  # strokes narrower than this share of the picture are closed where the paper is not smooth
_DARKEST = 0.25  # light is divided out of ink down to this level of paper
_COLOURED = 0.3  # lightness is used unless it shows less than this share of what colours differ by

# Which paper is taken. Of a picture, the share that two levels, ink and paper, explain (Otsu's criterion), less …
_CONTACT = 0.6  # … this much where the whole border is ink
_PAPER, _MISTAKEN = 0.55, 0.5  # … this much where "ink" is more than half of the picture and reaches its border
_EXPLAINED = 0.82  # a paper that leaves at least so much is taken at once; else the best by this, and also less …
_SHARE = 0.4  # … this much where all is ink
_SHARP = 0.3  # … and more by the sharpness of its edges, up to this
_SIMPLER = 0.12  # a more flexible paper must be better by so much …
_LIGHT = 0.35  # … or leave less than this share of the contrast: the rest was light and shadow

_STRONGEST = 0.002  # the share of the picture, but at most 16 pixels, that the strength of the ink is taken from
_LEAST_CONTRAST = 0.06  # ink nearer to the paper than this (of the full scale) is none
_NOISE = 6.0  # … or than this many standard deviations of the paper
_QUIET = 0.01  # a paper with less noise than this was understood
_LEAST_LEVEL, _HIGHEST_LEVEL = 0.3, 0.7  # of the threshold
_TOUCHING = 0.12  # ink on more of the border than this is of two kinds …
_TWO_KINDS = 0.75  # … if two levels explain this share of it


@dataclass(frozen=True, slots=True, eq=False)
class Binarized:
    """How far the picture stands off from its paper: 1 where the ink is as dark (or bright) as it gets."""

    ink: Plane
    dark: bool  # ink is darker than paper
    paper: str  # "even", "smooth" or "uneven"
    contrast: float  # between paper and ink, of the full scale
    level: float  # that tells ink from paper best
    noise: float  # standard deviation of the paper


def grey(colours: Plane) -> Plane:
    """(H, W, 3) in 0..1 to one plane: lightness, or where that hardly differs the direction in which colours do."""
    weights = np.array((0.299, 0.587, 0.114), np.float32)
    step = -(-max(colours.shape) // _COARSE)
    sample = colours[::step, ::step].reshape(-1, 3)
    sample = sample - np.median(sample, axis=0).astype(np.float32)
    scatter = sample.T @ sample
    values, vectors = np.linalg.eigh(scatter)
    # What lightness shows of the greatest difference; grey pictures show all of it.
    shown = float(weights @ scatter @ weights) / max(float(values[-1]), 1e-9)
    if shown >= _COLOURED**2:
        return np.asarray(colours @ weights, np.float32)
    direction = vectors[:, -1].astype(np.float32)
    if direction @ weights < 0:
        direction = -direction
    along = colours @ direction
    return np.asarray(along - along.min(), np.float32)


def find(plane: Plane) -> Binarized | None:
    """The ink of `plane` (0..1), or None where nothing stands out from the paper."""
    best: tuple[float, Binarized] | None = None
    for paper in (_even, _smooth, _uneven):
        explained, score, ink = _against(plane, *paper(plane))
        if ink.contrast < max(_LEAST_CONTRAST, min(_NOISE * ink.noise, 0.5)):
            # Quiet: this paper explains all there is. Else it may have been too stiff for the light.
            if ink.noise < _QUIET or paper is _uneven:
                return None
            continue
        if explained >= _EXPLAINED:
            return ink
        # Contrast that a more flexible paper takes away was light and shadow.
        if best is None or score > best[0] + _SIMPLER or ink.contrast < _LIGHT * best[1].contrast:
            best = score, ink
    return None if best is None else best[1]


def threshold(ink: Binarized) -> float:
    """The level at which a stroke has its edge: Otsu's (IEEE Trans. SMC 9, 1979) within bounds, and above the noise.

    Where what lies above that is of two kinds and the fainter one runs into the border (a table, printed squares), the
    level between the two.
    """
    level = float(np.clip(ink.level, max(_LEAST_LEVEL, min(3.5 * ink.noise / ink.contrast, 0.45)), 0.5))
    above = ink.ink > level
    contact = _contact(above)
    if contact > _TOUCHING:
        higher, explained = _otsu(ink.ink[above])
        if explained > _TWO_KINDS and _contact(ink.ink > higher) < contact / 2:
            return min(higher, _HIGHEST_LEVEL)
    return level


# --- paper -----------------------------------------------------------------------------------------------------------


def _even(plane: Plane) -> Paper:
    """The commonest level; the border counts as much as all that it encloses."""
    top = max(float(plane.max()), 1e-6)
    border = _counts(np.asarray(_border(plane) / np.float32(top), np.float32))
    counts = _counts(np.asarray(plane / np.float32(top), np.float32))
    near = np.convolve(counts / counts.sum() + border / border.sum(), (0.5, 1, 1, 1, 0.5), "same")
    level = (int(near.argmax()) + 0.5) / _BINS * top
    close = np.abs(plane - np.float32(level)) < 0.06
    level = float(plane[close].mean()) if close.any() else level
    return np.full(plane.shape, level, np.float32), "even", None


def _counts(values: Plane) -> NDArray[np.int64]:
    """How many of the values, 0..1, fall into each of `_BINS` equal ranges."""
    places = np.minimum(values * np.float32(_BINS), _BINS - 1).astype(np.uint8)
    return np.bincount(places.ravel(), minlength=_BINS)


def _smooth(plane: Plane) -> Paper:
    """A quadratic surface fitted again and again without the pixels that stand off from it."""
    step = -(-max(plane.shape) // _COARSE)
    coarse = plane[step // 2 :: step, step // 2 :: step].ravel()
    basis = _basis(plane.shape)
    design = basis[step // 2 :: step, step // 2 :: step].reshape(len(coarse), -1)
    border = (np.abs(design[:, 1:3]) > 0.85).any(axis=1)
    keep = border if border.sum() >= 3 * design.shape[1] else np.ones(len(coarse), np.bool_)
    level = float(np.median(coarse[keep]))
    keep = keep & (np.abs(coarse - level) < 0.25)
    weights = np.array((level, 0, 0, 0, 0, 0), np.float32)
    for _ in range(4):
        if keep.sum() < 3 * design.shape[1]:
            break
        kept = design[keep]
        ridge = np.float32(1e-4 * len(kept)) * np.eye(design.shape[1], dtype=np.float32)
        weights = np.linalg.solve(kept.T @ kept + ridge, kept.T @ coarse[keep])
        residual = np.abs(coarse - design @ weights)
        keep = residual < max(0.04, 2.5 * float(np.median(residual[keep])))
    return np.asarray(basis @ weights, np.float32), "smooth", None


def _basis(shape: tuple[int, ...]) -> Plane:
    """(H, W, 6): 1, x, y, x2, xy, y2 with x and y in -1..1."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij")
    return np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=-1)


def _uneven(plane: Plane) -> Paper:
    """What remains when dark strokes are closed, or bright ones opened, by a window wider than they are."""
    small = _shrunk(plane, 2 * _COARSE)
    window = max(3, round(_WINDOW * max(small.shape)))
    dark = _is_dark(small - _blurred(small, window))
    paper = _eroded(dilated(small, window), window) if dark else dilated(_eroded(small, window), window)
    large = Image.fromarray(paper).resize(plane.shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(large, np.float32), "uneven", dark


def _blurred(plane: Plane, window: int) -> Plane:
    """The mean within a square window."""
    for axis in (0, 1):
        pads = [(0, 0), (0, 0)]
        pads[axis] = (window // 2 + 1, window - 1 - window // 2)
        sums = np.pad(plane, pads, mode="edge").swapaxes(0, axis).cumsum(axis=0, dtype=np.float64)
        plane = ((sums[window:] - sums[:-window]) / window).astype(np.float32).swapaxes(0, axis)
    return plane


def _shrunk(plane: Plane, side: int) -> Plane:
    factor = -(-max(plane.shape) // side)
    return plane if factor == 1 else np.asarray(Image.fromarray(plane).reduce(factor), np.float32)


def dilated(plane: Plane, window: int) -> Plane:
    """The greatest value within a square window, by doubling steps."""
    for axis in (0, 1):
        pads = [(0, 0), (0, 0)]
        pads[axis] = (window // 2, window - 1 - window // 2)
        wide = np.pad(plane, pads, mode="edge").swapaxes(0, axis)
        reach = 1
        while reach < window:
            step = min(reach, window - reach)
            wide = np.maximum(wide[: len(wide) - step], wide[step:])
            reach += step
        plane = wide.swapaxes(0, axis)
    return plane


def _eroded(plane: Plane, window: int) -> Plane:
    return -dilated(-plane, window)


# --- ink against a paper ---------------------------------------------------------------------------------------------


def _against(plane: Plane, paper: Plane, kind: str, dark: bool | None) -> tuple[float, float, Binarized]:
    """The ink that stands off from `paper`: how much that explains, its score among other papers, and the ink."""
    distance = plane - paper
    dark = _is_dark(distance) if dark is None else dark
    ink = np.maximum(-distance if dark else distance, 0)
    if dark:
        ink = ink / np.maximum(paper, _DARKEST)
    core = _core(ink)
    close = np.abs(distance)[np.abs(distance) < max(0.5 * core, 1e-6)]
    noise = 1.4826 * float(np.median(close)) if close.size else 0.0
    ink = np.minimum(ink / np.float32(max(core, 1e-6)), 1)
    level, explained = _otsu(ink)
    mask = ink > level
    contact, share = _contact(mask), float(mask.mean())
    explained -= _CONTACT * contact
    if share > _PAPER and contact > _TOUCHING:
        explained -= _MISTAKEN
    score = explained - _SHARE * share + min(_sharpness(ink, mask), _SHARP)
    return explained, score, Binarized(ink, dark, kind, core, level, noise)


def _contact(mask: Mask) -> float:
    """The share of the border that is ink: little of it where the paper was understood."""
    return float(_border(mask).mean())


def _border(plane: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate((plane[0], plane[-1], plane[:, 0], plane[:, -1]))


def _sharpness(ink: Plane, mask: Mask) -> float:
    """The mean step of the ink at the edge of its mask: a stroke's edge is sharper than that of light and shadow."""
    steps, count = 0.0, 0
    for axis in (0, 1):
        edge = np.diff(mask, axis=axis)
        steps += float(np.abs(np.diff(ink, axis=axis))[edge].sum())
        count += int(edge.sum())
    return steps / max(count, 1)


def _is_dark(distance: Plane) -> bool:
    """Ink stands off further than paper's grain does: the third moment has its sign."""
    return float(np.vdot(distance * distance, distance)) < 0


def _core(ink: Plane) -> float:
    """How far the ink stands off where it is strongest; single pixels do not count."""
    count = int(np.clip(_STRONGEST * ink.size, 1, 16))
    return float(np.partition(ink.ravel(), -count)[-count])


def _otsu(ink: Plane) -> tuple[float, float]:
    """Otsu's level of values in 0..1, and the share of their variance that two classes, split there, explain."""
    counts = _counts(ink)
    centres = (np.arange(_BINS) + 0.5) / _BINS
    below = np.cumsum(counts)
    above = below[-1] - below
    mass = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    between = np.nan_to_num(between)
    place = int(np.argmax(between))
    mean = mass[-1] / below[-1]
    whole = float((counts * (centres - mean) ** 2).sum()) * float(below[-1])
    return (place + 1) / _BINS, float(between[place]) / max(whole, 1e-12)
