"""Fifteen kinds of corruption, each at moderate strength, by which a digit reader's robustness is measured.

The code is separate from the augmentation of training images (`training.digits.augment`) and uses numpy alone, so that
a score here is not a score on training's own code. Images are (N, 28, 28) uint8, 0 = paper, 255 = ink.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.data.arrays import Floats, Images

SIDE = 28
MIDDLE = (SIDE - 1) / 2

Generator = np.random.Generator

_Y, _X = np.mgrid[:SIDE, :SIDE].astype(np.float64)


def corrupted(images: Images, kind: str, seed: int = 0) -> Images:
    """`images` with one kind of corruption, drawn anew for each image; the same for the same seed.

    Raises `KeyError` for a kind that is not in `KINDS`.
    """
    corruption = _CORRUPTIONS[kind]
    floats = corruption(images.astype(np.float64) / 255, np.random.default_rng([seed, KINDS.index(kind)]))
    return np.round(np.clip(floats, 0, 1) * 255).astype(np.uint8)


def _sampled(images: Floats, y: Floats, x: Floats) -> Floats:
    """Each image read at the positions y, x (N, 28, 28) in pixels, bilinearly; paper outside."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    y, x = np.clip(y + 1, 0, SIDE + 0.999), np.clip(x + 1, 0, SIDE + 0.999)
    row, column = y.astype(np.int64), x.astype(np.int64)
    down, right = y - row, x - column
    n = np.arange(len(images))[:, None, None]
    above = padded[n, row, column] * (1 - right) + padded[n, row, column + 1] * right
    below = padded[n, row + 1, column] * (1 - right) + padded[n, row + 1, column + 1] * right
    return np.asarray(above * (1 - down) + below * down)


def _mapped(images: Floats, yy: Floats | float, yx: Floats | float, xy: Floats | float, xx: Floats | float) -> Floats:
    """Each image under the linear map, about its middle, with the INVERSE matrix [[yy, yx], [xy, xx]]."""
    parts = [np.broadcast_to(np.asarray(part, np.float64), len(images))[:, None, None] for part in (yy, yx, xy, xx)]
    dy, dx = _Y - MIDDLE, _X - MIDDLE
    return _sampled(images, parts[0] * dy + parts[1] * dx + MIDDLE, parts[2] * dy + parts[3] * dx + MIDDLE)


def _signed(generator: Generator, count: int, low: float, high: float) -> Floats:
    """`count` numbers in low..high with either sign."""
    return generator.uniform(low, high, count) * generator.choice([-1.0, 1.0], count)


def _rotated(images: Floats, generator: Generator) -> Floats:
    """By 12 to 20 degrees either way."""
    angle = np.radians(_signed(generator, len(images), 12, 20))
    return _mapped(images, np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))


def _shifted(images: Floats, generator: Generator) -> Floats:
    """Two or three pixels up or down and as many to the left or right."""
    dy, dx = (np.round(_signed(generator, len(images), 1.5, 3.5))[:, None, None] for _ in range(2))
    return _sampled(images, _Y + dy, _X + dx)


def _shrunk(images: Floats, generator: Generator) -> Floats:
    """To 65..80 % of its size."""
    scale = 1 / generator.uniform(0.65, 0.8, len(images))
    return _mapped(images, scale, 0, 0, scale)


def _slanted(images: Floats, generator: Generator) -> Floats:
    """By a shear of 0.25..0.45 either way."""
    return _mapped(images, 1, 0, _signed(generator, len(images), 0.25, 0.45), 1)


def _stretched(images: Floats, generator: Generator) -> Floats:
    """Wider and lower, or narrower and higher, by a fifth each."""
    by = np.exp(_signed(generator, len(images), 0.12, 0.2))
    return _mapped(images, by, 0, 0, 1 / by)


def _windows(images: Floats) -> Floats:
    """(N, 28, 28, 9): each pixel and its neighbours."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    return np.stack([padded[:, i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)], axis=-1)


def _thick(images: Floats, _: Generator) -> Floats:
    """A pen about a pixel and a half wider."""
    wide = _windows(images)
    return 0.25 * wide.max(axis=-1) + 0.75 * np.maximum(images, wide[..., [1, 3, 4, 5, 7]].max(axis=-1))


def _thin(images: Floats, _: Generator) -> Floats:
    """A pen about a pixel narrower that leaves a third of the ink everywhere."""
    return np.maximum(_windows(images)[..., [1, 3, 4, 5, 7]].min(axis=-1), 0.35 * images)


def _blurred(images: Floats, generator: Generator) -> Floats:
    """Out of focus: a Gaussian of 0.9 to 1.3 pixels."""
    spread = generator.uniform(0.9, 1.3, len(images))[:, None]
    taps = np.exp(-0.5 * (np.arange(-4, 5) / spread) ** 2)
    taps /= taps.sum(axis=1, keepdims=True)
    for axis in (1, 2):
        pads = [(0, 0), (0, 0), (0, 0)]
        pads[axis] = (4, 4)
        padded = np.pad(images, pads)
        parts = [padded.take(range(i, i + SIDE), axis=axis) * taps[:, i, None, None] for i in range(9)]
        images = np.sum(parts, axis=0)
    return images


def _grainy(images: Floats, generator: Generator) -> Floats:
    """Normal noise of 0.15..0.25 of full ink on every pixel."""
    return images + generator.uniform(0.15, 0.25, len(images))[:, None, None] * generator.normal(size=images.shape)


def _speckled(images: Floats, generator: Generator) -> Floats:
    """One pixel in twenty all ink or all paper."""
    chance = generator.random(images.shape)
    return np.where(chance < 0.025, 1.0, np.where(chance > 0.975, 0.0, images))


def _faint(images: Floats, generator: Generator) -> Floats:
    """A third to a half of the ink on paper that is not quite clean."""
    return 0.08 + generator.uniform(0.33, 0.5, len(images))[:, None, None] * images


def _covered(images: Floats, generator: Generator) -> Floats:
    """A patch of paper, five pixels a side, with its middle on the ink."""
    answer = images.copy()
    for image in answer:
        ys, xs = np.nonzero(image > 0.5)
        index = int(generator.integers(max(len(ys), 1)))
        y, x = (int(ys[index]), int(xs[index])) if len(ys) else (0, 0)
        image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = 0
    return answer


def _struck(images: Floats, generator: Generator) -> Floats:
    """A line of one pixel across the image, in any direction, within five pixels of its middle."""
    angle, offset = generator.uniform(0, np.pi, len(images)), generator.uniform(-5, 5, len(images))
    cos, sin = (part[:, None, None] for part in (np.cos(angle), np.sin(angle)))
    distance = np.abs((_Y - MIDDLE) * cos + (_X - MIDDLE) * sin - offset[:, None, None])
    return np.maximum(images, np.clip(1 - distance, 0, 1))


def _wavy(images: Floats, generator: Generator) -> Floats:
    """Rows and columns displaced by waves of 1.2..1.8 pixels and 12..20 pixels of length."""
    size, length = (
        generator.uniform(1.2, 1.8, (2, len(images), 1, 1)),
        generator.uniform(12, 20, (2, len(images), 1, 1)),
    )
    phase = generator.uniform(0, 2 * np.pi, (2, len(images), 1, 1))
    dy = size[0] * np.sin(2 * np.pi * _X / length[0] + phase[0])
    dx = size[1] * np.sin(2 * np.pi * _Y / length[1] + phase[1])
    return _sampled(images, _Y + dy, _X + dx)


def _coarse(images: Floats, _: Generator) -> Floats:
    """As if scanned at half the resolution: blocks of 2 x 2 averaged, and read between them again."""
    half = images.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
    padded = np.pad(half, ((0, 0), (0, SIDE // 2), (0, SIDE // 2)))
    y, x = (np.broadcast_to(plane / 2 - 0.25, images.shape) for plane in (_Y, _X))
    return _sampled(padded, y, x)


_CORRUPTIONS: dict[str, Callable[[Floats, Generator], Floats]] = {
    "rotated": _rotated,
    "shifted": _shifted,
    "shrunk": _shrunk,
    "slanted": _slanted,
    "stretched": _stretched,
    "thick": _thick,
    "thin": _thin,
    "blurred": _blurred,
    "grainy": _grainy,
    "speckled": _speckled,
    "faint": _faint,
    "covered": _covered,
    "struck": _struck,
    "wavy": _wavy,
    "coarse": _coarse,
}

KINDS = tuple(_CORRUPTIONS)
