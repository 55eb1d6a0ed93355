"""Glyphs drawn by the project: digits in several hands, letters, shapes and scribbles, as strokes and as images.

They join MNIST in training (other hands, and images of no digit) and make the golden samples, which may not be MNIST's.
A stroke is a polyline in the unit square, x to the right and y down; `~` strokes are rounded, others keep corners.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.arrays import Floats, Images, Labels

SIDE = 28
BOX = 20  # MNIST's digits fill a box of 20 x 20, their centre of mass in the middle of 28 x 28

NO_DIGIT = -1

Stroke = NDArray[np.float64]  # (P, 2): x, y

# Several ways to write each digit: with and without a bar, open and closed, with a foot or a flag.
DIGITS: dict[int, tuple[str, ...]] = {
    0: (
        "~.5,0 .1,.15 .05,.5 .12,.88 .5,1 .88,.88 .95,.5 .9,.12 .5,0",
        "~.6,0 .2,.1 .1,.6 .3,1 .7,.95 .9,.5 .75,.08 .45,.03",
    ),
    1: (
        ".5,0 .5,1",
        ".25,.25 .55,0 .55,1",
        ".2,.3 .5,0 .5,1|.2,1 .8,1",
        ".1,.45 .55,0 .5,1",
        ".6,0 .4,1",
        ".25,.15 .5,.02 .5,0 .5,1",
        ".3,.12 .55,.1 .55,0 .55,1",
        ".35,.2 .6,0 .4,1",
    ),
    2: (
        "~.08,.25 .2,.02 .75,.0 .92,.3 .6,.6 .05,1 .05,1|.05,1 .95,1",
        "~.1,.2 .5,-.05 .9,.2 .6,.6 .1,.95 .15,.7 .4,.85 .95,1",
        "~.1,.2 .45,0 .85,.15 .75,.5 .1,1 .1,1|~.1,1 .5,.9 .95,.98",
    ),
    3: (
        "~.1,.1 .5,-.05 .9,.15 .8,.4 .4,.48 .4,.48|~.4,.48 .9,.5 1,.8 .6,1.05 .05,.9",
        ".1,0 .9,0 .45,.4|~.45,.4 .95,.5 .95,.9 .5,1.05 .05,.9",
    ),
    4: (
        ".6,0 .05,.65 .95,.65|.65,.3 .65,1",
        ".1,0 .1,.5 .85,.5|.85,0 .8,1",
        ".7,1 .7,0 .05,.7 .95,.7",
        "~.2,0 .1,.3 .12,.5 .5,.55 .85,.45|.85,0 .8,1",
    ),
    5: (
        ".9,0 .2,0 .15,.45|~.15,.45 .6,.35 1,.65 .75,1 .05,.95",
        ".2,0 .2,.42|~.2,.42 .7,.4 .95,.7 .6,1.05 .05,.9|.2,0 .95,.02",
        "~.95,.0 .3,.0 .2,.35 .65,.45 .95,.75 .5,1.05 .05,.9",
    ),
    6: (
        "~.8,0 .3,.3 .05,.75 .3,1.05 .85,.95 .9,.6 .5,.5 .1,.75",
        "~.45,0 .2,.4 .1,.85 .5,1.05 .85,.85 .7,.58 .35,.6 .12,.8",
        "~.85,.1 .5,-.05 .1,.3 .05,.75 .4,1.05 .9,.9 .85,.55 .4,.5 .08,.7",
    ),
    7: (
        ".05,0 .95,0 .4,1",
        ".05,0 .95,0 .4,1|.25,.5 .85,.5",
        ".05,.2 .08,0 .92,.02 .35,1",
        "~.05,.1 .3,.0 .95,.0 .9,.1 .6,.5 .5,1",
        "~.05,.08 .5,0 .95,.02 .6,.5 .45,1|.3,.52 .8,.48",
    ),
    8: (
        "~.5,.48 .1,.3 .15,.02 .5,0 .85,.02 .9,.3 .5,.48 .05,.65 .1,.98 .5,1 .9,.98 .95,.65 .5,.48",
        "~.9,.1 .5,-.05 .1,.2 .4,.45 .9,.7 .7,1.03 .25,1 .1,.75 .5,.5 .9,.25 .85,.05",
    ),
    9: (
        "~.9,.3 .6,.55 .15,.5 .1,.15 .5,-.05 .9,.15 .9,.35 .9,.35|.9,.3 .8,1",
        "~.88,.25 .5,.55 .1,.4 .2,.05 .6,-.03 .9,.2 .9,.6 .7,.95 .2,.97",
        "~.88,.1 .5,-.05 .12,.25 .45,.5 .85,.3 .9,.05 .85,.5 .75,1",
    ),
}

# Letters and signs that no writer means as a digit, and no reader takes for one.
NO_DIGITS: tuple[str, ...] = (
    "0,1 .5,0 1,1|.2,.6 .8,.6",
    "1,0 0,0 0,1 1,1|0,.5 .7,.5",
    "1,0 0,0 0,1|0,.5 .7,.5",
    "0,0 0,1|1,0 1,1|0,.5 1,.5",
    "0,0 0,1|1,0 0,.55 1,1",
    "0,1 0,0 .5,.6 1,0 1,1",
    "0,1 0,0 1,1 1,0",
    "0,1 0,0|~0,0 .9,.0 .9,.5 0,.55",
    "0,1 0,0|~0,0 .9,.0 .9,.5 0,.55|.3,.55 1,1",
    "0,0 1,0|.5,0 .5,1",
    "~0,0 0,.8 .2,1.05 .8,1.05 1,.8 1,0",
    "0,0 .25,1 .5,.3 .75,1 1,0",
    "0,0 1,1|1,0 0,1",
    "0,0 .5,.5 1,0|.5,.5 .5,1",
    "0,1 .5,0 1,1 0,1",
    ".5,0 .5,1|0,.5 1,.5",
    ".5,0 .5,1|0,.25 1,.75|1,.25 0,.75",
    "~1,.35 .5,.2 .0,.5 .1,1 .6,.9 .9,.5 .9,.4|.9,.3 1,1",
    ".2,0 .0,1|.7,0 .5,1|0,.3 1,.3|-.1,.7 .9,.7",
    "0,.5 .35,1 1,0",
    "0,0 .5,1 1,0|.15,.3 .85,.3",
    "0,.3 1,.3|0,.7 1,.7",
    "~0,.5 .25,.2 .5,.5 .75,.8 1,.5",
)


def strokes(drawing: str) -> list[Stroke]:
    """The polylines of a drawing as written in this module."""
    parts = []
    for text in drawing.split("|"):
        points = np.array([[float(v) for v in pair.split(",")] for pair in text.lstrip("~").split()])
        parts.append(rounded(points) if text.startswith("~") else points)
    return parts


def rounded(points: Stroke, rounds: int = 3) -> Stroke:
    """Corners cut at a quarter from each end, `rounds` times (Chaikin, 1974): a smooth curve with the same ends."""
    for _ in range(rounds):
        a, b = points[:-1], points[1:]
        inner = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], inner, points[-1:]])
    return points


def draw(parts: list[Stroke], *, width: float = 2.4, box: float = BOX, aspect: float = 0.75) -> NDArray[np.float32]:
    """The strokes as MNIST would show them: (28, 28) float32, ink 0..1, anti-aliased, centre of mass in the middle.

    `width` is the pen's in pixels, `aspect` the width of the unit square relative to its height; the longer side of
    what was drawn fills `box` pixels with the pen.
    """
    points = [part * (aspect, 1.0) for part in parts]
    joined = np.concatenate(points)
    low, high = joined.min(axis=0), joined.max(axis=0)
    scale = (box - width) / max(float((high - low).max()), 1e-6)
    starts = np.concatenate([p[:-1] for p in points]) * scale
    ends = np.concatenate([p[1:] for p in points]) * scale
    middle = (low + high) / 2 * scale
    first = _ink(starts - middle + SIDE / 2, ends - middle + SIDE / 2, width)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    total = first.sum()
    mass = np.array([(first * x).sum(), (first * y).sum()]) / total
    shift = SIDE / 2 - middle - np.clip(mass - SIDE / 2, -4, 4)
    return _ink(starts + shift, ends + shift, width).astype(np.float32)


def _ink(starts: Stroke, ends: Stroke, width: float) -> Floats:
    """(28, 28): how far each pixel's middle lies inside the pen's trace, over one pixel of soft edge."""
    middles = np.arange(SIDE) + 0.5
    along_x, along_y = (ends - starts).T
    from_x, from_y = middles[None, :, None] - starts[:, 0], middles[:, None, None] - starts[:, 1]
    length = np.maximum(along_x**2 + along_y**2, 1e-9)
    position = np.clip((from_x * along_x + from_y * along_y) / length, 0, 1)
    square = (from_x - position * along_x) ** 2 + (from_y - position * along_y) ** 2
    distance = np.sqrt(square.min(axis=-1))
    return np.clip(0.5 + width / 2 - distance, 0, 1)


def digit_images(count: int, seed: int) -> tuple[Images, Labels]:
    """`count` drawn digits, classes in turn, no two alike: images (count, 28, 28) and labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = [_shaky(generator, str(generator.choice(DIGITS[int(label)]))) for label in labels]
    return _bytes(images), labels.astype(np.int64)


def other_images(count: int, seed: int) -> tuple[Images, Labels]:
    """`count` images of no digit (letters and signs, scribbles, noise, blots, blank, textures), labels `NO_DIGIT`."""
    generator = np.random.default_rng(seed)
    kinds = (_sign, _sign, _sign, _scribble, _scribble, _noise, _blot, _blank, _texture)
    images = [kinds[i % len(kinds)](generator) for i in range(count)]
    return _bytes(images), np.full(count, NO_DIGIT, np.int64)


def _shaky(generator: np.random.Generator, drawing: str) -> NDArray[np.float32]:
    """A drawing by an unsteady hand with a pen of random width."""
    parts = []
    for text in drawing.split("|"):
        points = np.array([[float(v) for v in pair.split(",")] for pair in text.lstrip("~").split()])
        points = points + generator.normal(0, 0.035, points.shape)
        parts.append(rounded(points) if text.startswith("~") else rounded(points, 1))
    width, aspect = generator.uniform(1.3, 4.2), generator.uniform(0.5, 0.95)
    return draw(parts, width=width, box=generator.uniform(18, 21), aspect=aspect)


def _sign(generator: np.random.Generator) -> NDArray[np.float32]:
    return _shaky(generator, NO_DIGITS[generator.integers(len(NO_DIGITS))])


def _scribble(generator: np.random.Generator) -> NDArray[np.float32]:
    """A long line that crosses itself several times, or a few loose strokes."""
    if generator.random() < 0.5:
        parts = [rounded(generator.uniform(0, 1, (int(generator.integers(9, 16)), 2)))]
    else:
        parts = [generator.uniform(0, 1, (2, 2)) for _ in range(int(generator.integers(4, 8)))]
    return draw(parts, width=generator.uniform(1.3, 3.0), aspect=generator.uniform(0.7, 1.2))


def _noise(generator: np.random.Generator) -> NDArray[np.float32]:
    """Grain of one to seven pixels, faint or strong, over the whole image."""
    size = int(generator.integers(1, 8))
    cells = -(-SIDE // size)
    grain = np.kron(generator.random((cells, cells)) ** generator.uniform(0.5, 4), np.ones((size, size)))
    return (grain[:SIDE, :SIDE] * generator.uniform(0.2, 1)).astype(np.float32)


def _blot(generator: np.random.Generator) -> NDArray[np.float32]:
    """One to three filled discs or rectangles."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.zeros((SIDE, SIDE))
    for _ in range(int(generator.integers(1, 4))):
        (cy, cx), (ry, rx) = generator.uniform(6, 22, 2), generator.uniform(3, 10, 2)
        u, v = np.abs(y - cy) / ry, np.abs(x - cx) / rx
        image[(np.maximum(u, v) if generator.random() < 0.5 else np.hypot(u, v)) < 1] = generator.uniform(0.4, 1)
    return image.astype(np.float32)


def _texture(generator: np.random.Generator) -> NDArray[np.float32]:
    """Waves in one direction or two crossed ones, soft or hard: hatching, grids, checks, moire."""
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = []
    for _ in range(int(generator.integers(1, 3))):
        angle, phase = generator.uniform(0, np.pi), generator.uniform(0, 2 * np.pi)
        along = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / generator.uniform(3, 12)
        waves.append(np.sin(along + phase))
    wave = np.clip(np.prod(waves, axis=0) * generator.uniform(0.5, 4), -1, 1)
    return (generator.uniform(0.3, 1) * (0.5 + 0.5 * wave)).astype(np.float32)


def _blank(generator: np.random.Generator) -> NDArray[np.float32]:
    """Paper, clean or slightly grey."""
    return np.full((SIDE, SIDE), max(0.0, generator.uniform(-0.2, 0.2)), np.float32)


def _bytes(images: list[NDArray[np.float32]]) -> Images:
    return np.round(np.array(images).reshape(-1, SIDE, SIDE) * 255).astype(np.uint8)
