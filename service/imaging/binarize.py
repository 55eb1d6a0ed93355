"""Ink and paper of a picture: the paper under the ink, whether ink is darker than it, and the strength of the ink.

The simplest paper that explains the picture is taken: one level; a smooth surface, as a lamp makes it; or what remains
when narrow strokes are closed, which follows the edge of a shadow. All planes are float32 (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.imaging.decode import View
from service.imaging.filters import Mask, Plane, block_mean, box_mean, dilate, erode
from service.imaging.parameters import PARAMETERS

_CLOSING_WINDOWS = (0.3, 0.15, 0.08)  # shares of the longer side, tried on paper that is not even
_TWO_KINDS = 0.6  # share of variance that two strengths explain in ink of a pen and of printed lines
_ONE_KIND = 0.3  # share of all contrast, that the border of a picture has at most where it shows one level
_ONE_LEVEL = 0.03  # share of the border, that a second level has at most where there is but one
_BORDER_BAND = 0.012  # of its longer side, that what lies along a side of a view is within
_FAINT = 0.2  # strength of hairlines next to broad strokes
_GRAIN = 3.5  # standard deviations of a dark paper's noise, that no more than grain stands out by
_TWO_LEVELS = 0.75  # share of variance that two levels explain in a plane that has no more

Paper = tuple[Plane, str, bool | None]  # the plane, its kind, whether ink is darker than it (None: not decided yet)


@dataclass(frozen=True, slots=True, eq=False)
class Binarized:
    """How far each pixel stands out from the paper: a strength of 1 where the ink is as dark (or bright) as it gets."""

    strength: Plane
    is_dark: bool  # ink is darker than paper
    paper: str  # "even", "smooth" or "uneven"
    contrast: float  # between paper and ink, of the full scale
    level: float  # the strength that separates ink from paper best
    paper_noise: float  # standard deviation of the paper, of the full scale
    light: float = 1.0  # that was divided out of dark ink, of the full scale


@dataclass(frozen=True, slots=True, eq=False)
class Separation:
    """One way to separate ink from paper in a view: the ink, and the mask of all that is stronger than `level`.

    What lies along a side of the view is within `border_band` pixels from it.
    """

    view: View
    ink: Binarized
    level: float
    mask: Mask
    border_band: int


def separations(view: View) -> list[Separation]:
    """The ways to separate ink from paper in `view`, the likeliest first; empty where no ink stands out.

    Those after the first have a margin, of either level. Where there is none of them, and the paper is not even, they
    are those with `other_papers`.
    """
    ink = separate_ink(view.plane)
    if ink is None:
        # Light that changes steeply leaves nothing but narrow strokes to tell ink by.
        ink = _ink_on(view.plane, *_uneven_paper(view.plane, _CLOSING_WINDOWS[-1]))[2]
        return [_separation(view, ink)] if _stands_out(ink) else []
    margin = max(3, max(view.plane.shape) // 6)
    ways = [_separation(view, ink)]
    ways += [
        _separation(View(plane, view.box, margin), ink_on_margin)
        for plane, ink_on_margin in on_margins(view.plane, margin)
    ]
    return ways if len(ways) > 1 else [*ways, *other_papers(view, ink)]


def other_papers(view: View, ink: Binarized, *, is_doubtful: bool = False) -> list[Separation]:
    """The ink on papers that follow light and shadow more closely than that of `ink`, where anything stands out.

    Empty where that paper is even, unless that `is_doubtful`.
    """
    if ink.paper == "even" and not is_doubtful:
        return []
    plane = view.plane
    inks = [_ink_on(plane, *_uneven_paper(plane, share))[2] for share in _CLOSING_WINDOWS]
    return [_separation(view, ink) for ink in inks if _stands_out(ink)]


def _separation(view: View, ink: Binarized) -> Separation:
    level = threshold(ink)
    return Separation(view, ink, level, ink.strength > level, max(1, round(_BORDER_BAND * max(view.plane.shape))))


def faint_ink(plane: Plane, ink: Binarized) -> Binarized:
    """The `ink` of `plane`, on a paper that follows the light closely: faint strokes stand out from that the most.

    `ink` itself where nothing stands out from it, or what does is of the other level.
    """
    on_uneven = _ink_on(plane, *_uneven_paper(plane, _CLOSING_WINDOWS[1]))[2]
    return on_uneven if _stands_out(on_uneven) and on_uneven.is_dark == ink.is_dark else ink


def separate_ink(plane: Plane) -> Binarized | None:
    """The ink of `plane` (0..1), or None where nothing stands out from the paper."""
    best: tuple[float, Binarized] | None = None
    for estimate in (_even_paper, _smooth_paper, _uneven_paper):
        explained, score, ink = _ink_on(plane, *estimate(plane))
        if not _stands_out(ink):
            # A quiet paper without ink explains the picture; a noisy one may have been too stiff for the light.
            if ink.paper_noise < PARAMETERS.quiet_noise or estimate is _uneven_paper:
                return None
            continue
        if explained >= PARAMETERS.sufficient_explained:
            return ink
        # Contrast that a more flexible paper takes away was light and shadow.
        if (
            best is None
            or score > best[0] + PARAMETERS.flexibility_margin
            or ink.contrast < PARAMETERS.shading_contrast * best[1].contrast
        ):
            best = score, ink
    return None if best is None else best[1]


def on_margins(plane: Plane, margin: int) -> list[tuple[Plane, Binarized]]:
    """`plane` with a margin of its bright level around it, and of its dark one, and the ink on either as paper.

    A tight crop of bold strokes shows so little paper that its border does not tell which level that is. Empty where
    the plane has no two levels, or only one of them along its border.
    """
    low, high = float(plane.min()), float(plane.max())
    # Nearly all pictures have but one level along their border, which costs less to see than what levels there are.
    if high - low < PARAMETERS.min_contrast or float(np.ptp(_border_pixels(plane))) < _ONE_KIND * (high - low):
        return []
    split, explained = _otsu(np.asarray((plane - low) / np.float32(high - low), np.float32))
    if explained < _TWO_LEVELS:
        return []
    is_bright = plane > low + split * (high - low)
    if not _ONE_LEVEL < _border_share(is_bright) < 1 - _ONE_LEVEL:
        return []
    padded = []
    for level in (float(np.median(plane[is_bright])), float(np.median(plane[~is_bright]))):
        wider = np.pad(plane, margin, constant_values=level)
        is_dark = level > low + split * (high - low)
        padded.append((wider, _ink_on(wider, np.full(wider.shape, level, np.float32), "even", is_dark)[2]))
    return padded


def stronger_ink(ink: Binarized) -> float | None:
    """The strength between two kinds of ink, such as printed lines and a pen; None where there is but one."""
    above = ink.strength > threshold(ink)
    if not above.any():
        return None
    level, explained = _otsu(ink.strength[above])
    return level if explained > _TWO_KINDS else None


def threshold(ink: Binarized, *, is_faint: bool = False) -> float:
    """The strength at which a stroke has its edge: Otsu's (IEEE Trans. SMC 9, 1979) within bounds, above the noise.

    Where the ink above it is of two kinds and the fainter one runs into the border (a table, printed squares), the
    strength between the two. With `is_faint` the least strength that is no noise: next to broad strokes, hairlines are
    fainter than the edges of these.
    """
    noise_level = min(3.5 * ink.paper_noise / max(ink.contrast, 1e-6), 0.45)
    level = max(_FAINT, noise_level)
    if not is_faint:
        level = float(np.clip(ink.level, max(PARAMETERS.min_threshold, noise_level), 0.5))
    above = ink.strength > level
    on_border = _border_share(above)
    if on_border > PARAMETERS.border_share:
        higher, explained = _otsu(ink.strength[above])
        if explained > PARAMETERS.two_kinds_explained and _border_share(ink.strength > higher) < on_border / 2:
            return min(higher, PARAMETERS.max_threshold)
    return level


def _stands_out(ink: Binarized) -> bool:
    """Whether the ink is stronger than the least contrast, and than the paper's noise."""
    noise_floor = min(PARAMETERS.min_contrast_to_noise * ink.paper_noise, 0.5)
    # On dark paper, dividing its light out makes the contrast stronger, and the noise with it.
    grain = min(_GRAIN * ink.paper_noise / ink.light, 0.5)
    return ink.contrast >= max(PARAMETERS.min_contrast, noise_floor, grain)


# --- estimates of the paper ------------------------------------------------------------------------------------------


def _even_paper(plane: Plane) -> Paper:
    """The commonest level; the border counts as much as all that it encloses."""
    top = max(float(plane.max()), 1e-6)
    border = _histogram(np.asarray(_border_pixels(plane) / np.float32(top), np.float32))
    counts = _histogram(np.asarray(plane / np.float32(top), np.float32))
    density = np.convolve(counts / counts.sum() + border / border.sum(), (0.5, 1, 1, 1, 0.5), "same")
    level = (int(density.argmax()) + 0.5) / PARAMETERS.histogram_bins * top
    near = np.abs(plane - np.float32(level)) < 0.06
    level = float(plane[near].mean()) if near.any() else level
    return np.full(plane.shape, level, np.float32), "even", None


def _histogram(values: Plane) -> NDArray[np.int64]:
    """How many of the values, 0..1, fall into each of the ranges of equal width."""
    bins = PARAMETERS.histogram_bins
    indices = np.minimum(values * np.float32(bins), bins - 1).astype(np.uint8)
    return np.bincount(indices.ravel(), minlength=bins)


def _smooth_paper(plane: Plane) -> Paper:
    """A quadratic surface, fitted in turns to the pixels that the surface of the turn before comes near to."""
    step = -(-max(plane.shape) // PARAMETERS.paper_side)
    rows, columns = (slice(min(step // 2, size - 1), None, step) for size in plane.shape)
    coarse = plane[rows, columns].ravel()
    basis = _quadratic_basis(plane.shape)
    design = basis[rows, columns].reshape(len(coarse), -1)
    border = (np.abs(design[:, 1:3]) > 0.85).any(axis=1)
    inliers = border if border.sum() >= 3 * design.shape[1] else np.ones(len(coarse), np.bool_)
    level = float(np.median(coarse[inliers]))
    inliers = inliers & (np.abs(coarse - level) < 0.25)
    weights = np.array((level, 0, 0, 0, 0, 0), np.float32)
    for _ in range(4):
        if inliers.sum() < 3 * design.shape[1]:
            break
        fitted = design[inliers]
        ridge = np.float32(1e-4 * len(fitted)) * np.eye(design.shape[1], dtype=np.float32)
        weights = np.linalg.solve(fitted.T @ fitted + ridge, fitted.T @ coarse[inliers])
        residual = np.abs(coarse - design @ weights)
        inliers = residual < max(0.04, 2.5 * float(np.median(residual[inliers])))
    return np.asarray(basis @ weights, np.float32), "smooth", None


def _quadratic_basis(shape: tuple[int, ...]) -> Plane:
    """(H, W, 6): 1, x, y, x2, xy, y2 with x and y in -1..1."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij")
    return np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=-1)


def _uneven_paper(plane: Plane, share: float | None = None) -> Paper:
    """What remains when dark strokes are closed, or bright ones opened, by a window wider than they are.

    `share`: of the longer side, that the window has.
    """
    small = block_mean(plane, 2 * PARAMETERS.paper_side)
    window = max(3, round((PARAMETERS.closing_window if share is None else share) * max(small.shape)))
    is_dark = _is_dark(small - box_mean(small, window))
    paper = erode(dilate(small, window), window) if is_dark else dilate(erode(small, window), window)
    large = Image.fromarray(paper).resize(plane.shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(large, np.float32), "uneven", is_dark


# --- ink on a paper --------------------------------------------------------------------------------------------------


def _ink_on(plane: Plane, paper: Plane, kind: str, is_dark: bool | None) -> tuple[float, float, Binarized]:
    """The ink that stands out from `paper`: how much that explains, its score among other papers, and the ink."""
    distance = plane - paper
    is_dark = _is_dark(distance) if is_dark is None else is_dark
    strength = np.maximum(-distance if is_dark else distance, 0)
    light = 1.0
    if is_dark:
        level_of_light = np.maximum(paper, PARAMETERS.min_paper_level)
        strength, light = strength / level_of_light, float(level_of_light.mean())
    contrast = _contrast(strength)
    near = np.abs(distance)[np.abs(distance) < max(0.5 * contrast, 1e-6)]
    # The median absolute deviation of a normal distribution, times 1.4826, is its standard deviation.
    paper_noise = 1.4826 * float(np.median(near)) if near.size else 0.0
    strength = np.minimum(strength / np.float32(max(contrast, 1e-6)), 1)
    level, explained = _otsu(strength)
    mask = strength > level
    on_border, ink_share = _border_share(mask), float(mask.mean())
    explained -= PARAMETERS.border_penalty * on_border
    if ink_share > PARAMETERS.majority_share and on_border > PARAMETERS.border_share:
        explained -= PARAMETERS.majority_penalty
    sharpness = min(_sharpness(strength, mask), PARAMETERS.max_sharpness)
    score = explained - PARAMETERS.ink_share_penalty * ink_share + sharpness
    return explained, score, Binarized(strength, is_dark, kind, contrast, level, paper_noise, light)


def _border_share(mask: Mask) -> float:
    """The share of the border that is ink: small where the estimate of the paper is right."""
    return float(_border_pixels(mask).mean())


def _border_pixels(plane: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate((plane[0], plane[-1], plane[:, 0], plane[:, -1]))


def _sharpness(strength: Plane, mask: Mask) -> float:
    """The mean step of the strength at the edge of the mask: a stroke's edge is sharper than that of a shadow."""
    steps, count = 0.0, 0
    for axis in (0, 1):
        edge = np.diff(mask, axis=axis)
        steps += float(np.abs(np.diff(strength, axis=axis))[edge].sum())
        count += int(edge.sum())
    return steps / max(count, 1)


def _is_dark(distance: Plane) -> bool:
    """Whether ink is darker than paper: ink stands out further than the paper's noise, so the third moment shows it."""
    return float(np.vdot(distance * distance, distance)) < 0


def _contrast(distance: Plane) -> float:
    """How far the ink stands out where it is strongest; single pixels do not count."""
    count = int(np.clip(PARAMETERS.strongest_share * distance.size, 1, PARAMETERS.strongest_pixels))
    # Only the upper half can hold the strongest ones, nearly always; partitioning the paper as well takes far longer.
    strongest = distance[distance > 0.5 * float(distance.max(initial=0))]
    if strongest.size < count:
        strongest = distance.ravel()
    return float(np.partition(strongest, -count)[-count])


def _otsu(strength: Plane) -> tuple[float, float]:
    """Otsu's level of values in 0..1, and the share of their variance that two classes, split there, explain."""
    bins = PARAMETERS.histogram_bins
    counts = _histogram(strength)
    centres = (np.arange(bins) + 0.5) / bins
    below = np.cumsum(counts)
    above = below[-1] - below
    mass = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    between = np.nan_to_num(between)
    split = int(np.argmax(between))
    mean = mass[-1] / below[-1]
    total = float((counts * (centres - mean) ** 2).sum()) * float(below[-1])
    return (split + 1) / bins, float(between[split]) / max(total, 1e-12)
