"""The recipe of the MNIST collection (http://yann.lecun.com/exdb/mnist/): from the ink of a digit to 28 x 28 pixels.

Crop, the longer side to 20 pixels, centre of mass to the middle of 28 x 28.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from service.imaging.filters import Plane

SIDE, BOX = 28, 20  # pixels of MNIST's images, and of the digit inside


def normalized(strength: Plane) -> Plane:
    """Rows (28, 28), ink 0..1, of the strength (h, w) of a digit's ink, cut to its box."""
    return _centred(_scaled(strength))


def _scaled(strength: Plane) -> Plane:
    """The crop with its longer side at `BOX` pixels and full contrast."""
    image = Image.fromarray(np.round(strength * 255).astype(np.uint8))
    scale = BOX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    digit = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32) / np.float32(255)
    full: Plane = np.clip(digit / max(float(digit.max()), 1e-3), 0, 1)
    return full


def _centred(digit: Plane) -> Plane:
    """The digit in 28 x 28 with its centre of mass in the middle, as far as the frame allows."""
    rows = np.zeros((SIDE, SIDE), np.float32)
    mass = digit.sum()
    height, width = digit.shape
    y = float((digit.sum(axis=1) * (np.arange(height) + 0.5)).sum() / mass)
    x = float((digit.sum(axis=0) * (np.arange(width) + 0.5)).sum() / mass)
    middle = (SIDE + 1) / 2  # the centre of pixel 14: where the MNIST images have theirs
    top = min(max(round(middle - y), 0), SIDE - height)
    start = min(max(round(middle - x), 0), SIDE - width)
    rows[top : top + height, start : start + width] = digit
    return rows
