"""Operations on whole planes of pixels: grey from colours, block mean, box mean, dilation, erosion.

A plane is float32 (H, W), a mask bool (H, W). Windows are squares of `window` pixels a side, and borders are repeated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.imaging.parameters import PARAMETERS

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


def to_grey(colours: Plane) -> Plane:
    """RGB (H, W, 3) in 0..1 to one plane: lightness, or the principal direction of the colours where it shows more."""
    weights = np.array((0.299, 0.587, 0.114), np.float32)
    step = -(-max(colours.shape) // PARAMETERS.colour_sample_side)
    sample = colours[::step, ::step].reshape(-1, 3)
    sample = sample - np.median(sample, axis=0).astype(np.float32)
    scatter = sample.T @ sample
    values, vectors = np.linalg.eigh(scatter)
    # The share of the greatest variance that lightness keeps: 1 for a grey picture.
    lightness = float(weights @ scatter @ weights) / max(float(values[-1]), 1e-9)
    if lightness >= PARAMETERS.min_lightness_share**2:
        return np.asarray(colours @ weights, np.float32)
    direction = vectors[:, -1].astype(np.float32)
    if direction @ weights < 0:
        direction = -direction
    projection = colours @ direction
    return np.asarray(projection - projection.min(), np.float32)


def block_mean(plane: Plane, side: int) -> Plane:
    """The plane at no more than `side` pixels a side, by the mean of whole blocks."""
    factor = -(-max(plane.shape) // side)
    return plane if factor == 1 else np.asarray(Image.fromarray(plane).reduce(factor), np.float32)


def box_mean(plane: Plane, window: int) -> Plane:
    """The mean within the window around each pixel."""
    for axis in (0, 1):
        pads = [(0, 0), (0, 0)]
        pads[axis] = (window // 2 + 1, window - 1 - window // 2)
        sums = np.pad(plane, pads, mode="edge").swapaxes(0, axis).cumsum(axis=0, dtype=np.float64)
        plane = ((sums[window:] - sums[:-window]) / window).astype(np.float32).swapaxes(0, axis)
    return plane


def dilate(plane: Plane, window: int) -> Plane:
    """The greatest value within the window around each pixel, by steps that double its reach."""
    for axis in (0, 1):
        pads = [(0, 0), (0, 0)]
        pads[axis] = (window // 2, window - 1 - window // 2)
        padded = np.pad(plane, pads, mode="edge").swapaxes(0, axis)
        reach = 1
        while reach < window:
            step = min(reach, window - reach)
            padded = np.maximum(padded[: len(padded) - step], padded[step:])
            reach += step
        plane = padded.swapaxes(0, axis)
    return plane


def erode(plane: Plane, window: int) -> Plane:
    """The least value within the window around each pixel."""
    return -dilate(-plane, window)
