"""Digits drawn with unusual pens as MNIST would show them: hair lines to markers, hollow, broken, cut; typed ones too.

The shapes are those of `drawn_digits` and the fonts of `typeset_digits`, ones with a long upstroke besides.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.data.arrays import Images, Labels
from training.data.drawn_digits import DIGITS, SIDE, Stroke, rounded
from training.data.typeset_digits import TRAINED_FONTS, boxed, glyph

HIGH = 96  # pixels of a glyph before it is made small
MARGIN = 40
KINDS = ("pen", "pen", "hollow", "broken", "cut", "typed", "typed hollow", "upstroke")


def pen_digits(count: int, seed: int) -> tuple[Images, Labels]:
    """`count` digits, classes in turn, of `KINDS` in turn: images (count, 28, 28) and labels."""
    generator = np.random.default_rng(seed)
    images, labels = [], np.arange(count) % 10
    for index in range(count):
        kind = KINDS[index // 10 % len(KINDS)]
        if kind == "upstroke":
            labels[index] = 1
        images.append(boxed(generator, _glyph(generator, int(labels[index]), kind), (0.8, 1.15)))
    return np.array(images, np.uint8).reshape(-1, SIDE, SIDE), labels.astype(np.int64)


def _glyph(generator: np.random.Generator, label: int, kind: str) -> Images:
    """(H, W), 255 = ink, with no paper around it."""
    if kind.startswith("typed"):
        ink = Image.fromarray(np.pad(glyph(str(generator.choice(TRAINED_FONTS)), str(label), HIGH), MARGIN))
        for _ in range(int(generator.integers(0, 3))):
            ink = ink.filter(ImageFilter.MaxFilter(3) if generator.random() < 0.6 else ImageFilter.MinFilter(3))
        ink = _hollow(generator, ink) if kind == "typed hollow" else ink
    elif kind == "upstroke":
        ink = stroked(_long_upstroke(generator), HIGH * generator.uniform(0.04, 0.14))
    else:
        parts = _strokes(generator, label)
        if kind == "broken":
            parts = _broken(generator, parts)
        width = {"pen": np.exp(generator.uniform(np.log(0.02), np.log(0.3))), "hollow": generator.uniform(0.13, 0.26)}
        ink = stroked(parts, HIGH * float(width.get(kind, generator.uniform(0.05, 0.12))))
        ink = _hollow(generator, ink) if kind == "hollow" else ink
    pixels = np.asarray(ink.crop(ink.getbbox()))
    return _cut(generator, pixels) if kind == "cut" else pixels


def _strokes(generator: np.random.Generator, label: int) -> list[Stroke]:
    """The strokes of one way to write `label` by an unsteady hand, slanted, in pixels."""
    drawing = str(generator.choice(DIGITS[label]))
    aspect, slant = generator.uniform(0.5, 0.85), generator.normal(0, 0.12)
    parts = []
    for text in drawing.split("|"):
        points = np.array([[float(v) for v in pair.split(",")] for pair in text.lstrip("~").split()])
        points = points + generator.normal(0, 0.02, points.shape)
        points = rounded(points) if text.startswith("~") else rounded(points, 1)
        parts.append(np.stack([aspect * points[:, 0] + slant * (1 - points[:, 1]), points[:, 1]], 1) * HIGH)
    return parts


def _long_upstroke(generator: np.random.Generator) -> list[Stroke]:
    """A one as it is taught on the continent: an upstroke of a quarter to three quarters of the stem, and the stem."""
    reach, fall = generator.uniform(0.15, 0.75), generator.uniform(0.75, 2.2)
    across = reach / np.hypot(1, fall)
    lean, slant = generator.normal(0, 0.03), generator.uniform(-0.05, 0.3)
    points = np.array([[-across, fall * across], [0.0, 0.0], [lean, 1.0]])
    points = points + generator.normal(0, 0.015, points.shape)
    if generator.random() < 0.3:  # a bent upstroke
        bend = (points[0] + points[1]) / 2 + np.array([generator.uniform(0, 0.08), generator.uniform(0, 0.06)])
        points = np.concatenate([points[:1], bend[None], points[1:]])
    points[:, 0] += slant * (1 - points[:, 1])
    parts = [rounded(points, 1) * HIGH]
    if generator.random() < 0.15:
        foot = generator.uniform(0.15, 0.35)
        parts.append(np.array([[lean - foot, 1.0], [lean + foot, 1.0]]) * HIGH)
    return parts


def stroked(parts: list[Stroke], width: float) -> Image.Image:
    """The strokes, in pixels, by a round pen; 255 = ink."""
    low = np.concatenate(parts).min(axis=0)
    high = np.concatenate(parts).max(axis=0)
    size = np.ceil(high - low).astype(int) + 2 * MARGIN
    canvas = Image.new("L", (int(size[0]), int(size[1])))
    pencil = ImageDraw.Draw(canvas)
    pen = max(round(width), 1)
    for part in parts:
        points = [(float(x), float(y)) for x, y in part - low + MARGIN]
        pencil.line(points, fill=255, width=pen, joint="curve")
        for x, y in points if pen > 2 else ():
            pencil.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return canvas


def _hollow(generator: np.random.Generator, ink: Image.Image) -> Image.Image:
    """The outline of the ink alone."""
    inner = ink
    for _ in range(int(generator.integers(1, 4))):
        inner = inner.filter(ImageFilter.MinFilter(3))
    return ImageChops.subtract(ink.filter(ImageFilter.MaxFilter(3)), inner)


def _broken(generator: np.random.Generator, parts: list[Stroke]) -> list[Stroke]:
    """The strokes with a gap in each of some, and ends that do not meet."""
    pieces = []
    for part in parts:
        steps = np.linalg.norm(np.diff(part, axis=0), axis=1)
        distances = np.concatenate([[0.0], np.cumsum(steps)])
        even = np.arange(0, distances[-1], 2.0)
        points = np.stack([np.interp(even, distances, part[:, i]) for i in (0, 1)], 1)
        gap = int(HIGH * generator.uniform(0.06, 0.2) / 2)
        if len(points) < 4 * gap or generator.random() < 0.25:
            pieces.append(part)
            continue
        at = int(generator.integers(gap, len(points) - 2 * gap))
        pieces += [points[:at], points[at + gap :]]
    return [piece for piece in pieces if len(piece) > 1]


def _cut(generator: np.random.Generator, ink: Images) -> Images:
    """The ink without up to a tenth on one side, as bad segmentation leaves it."""
    turns = int(generator.integers(4))
    turned = np.rot90(ink, turns)
    n_cut = int(len(turned) * generator.uniform(0.02, 0.1))
    return np.rot90(turned[n_cut:], -turns)
