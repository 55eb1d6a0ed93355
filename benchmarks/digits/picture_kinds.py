"""Pictures of digits as people send them, by kinds, for the acceptance suite and `benchmarks.digits.kinds`.

A kind makes the file of a picture from the ink of a digit (H, W), 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from benchmarks.digits.handwriting import Plane
from benchmarks.digits.scenes import file, resized
from training.data.display_digits import SEGMENTS, segment_ends


def paper(ink: Plane, margin: float = 0.4) -> Plane:
    """Dark ink on white with a margin, a share of the longer side."""
    return np.asarray(1 - np.pad(ink, round(margin * max(ink.shape))), np.float32)


def tilted(sheet: Plane, degrees: float, table: float) -> Plane:
    """A sheet on a table, turned."""
    image, shape = (Image.fromarray(np.uint8(255 * plane)) for plane in (sheet, np.ones_like(sheet)))
    image, shape = (part.rotate(degrees, Image.Resampling.BICUBIC, expand=True) for part in (image, shape))
    picture = Image.new("L", (round(1.5 * image.width), round(1.3 * image.height)), round(255 * table))
    picture.paste(image, ((picture.width - image.width) // 2, (picture.height - image.height) // 2), shape)
    return np.asarray(np.asarray(picture, np.float32) / 255, np.float32)


# --- kinds: from the ink of a digit to a file ------------------------------------------------------------------------


def tight(ink: Plane, generator: Generator) -> bytes:
    """What segmentation cuts out: no margin, either way round."""
    small = resized(ink, float(generator.integers(28, 90)))
    return file(1 - small if generator.random() < 0.5 else small)


def sheet_on_a_table(ink: Plane, generator: Generator) -> bytes:
    small = resized(ink, 120)
    sheet = paper(small, 0.5) * 0.9
    return file(tilted(sheet, float(generator.uniform(-20, 20)), float(generator.uniform(0.2, 0.45))))


def box_of_a_form(ink: Plane, generator: Generator) -> bytes:
    """In a printed box, with a margin around that."""
    side = int(generator.integers(50, 120))
    plane = np.ones((side, side), np.float32)
    small = resized(ink, side * float(generator.uniform(0.5, 0.62)))
    y, x = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    plane[y : y + small.shape[0], x : x + small.shape[1]] -= small
    near, line = int(generator.integers(2, 6)), int(generator.integers(1, 3))
    for edge in (slice(near, near + line), slice(side - near - line, side - near)):
        plane[edge, near : side - near] = plane[near : side - near, edge] = 0.1
    return file(plane.clip(0, 1))


def underlined_twice(ink: Plane, generator: Generator) -> bytes:
    small = resized(ink, 120)
    plane = paper(small)
    margin = round(0.4 * max(small.shape))
    below = margin + small.shape[0] + int(generator.integers(8, 14))
    for start in (below, below + int(generator.integers(12, 20))):
        plane[start : start + 5, margin - 10 : margin + small.shape[1] + 10] = 0.1
    return file(plane)


def ruled(ink: Plane, generator: Generator) -> bytes:
    """Squared paper, printed darkly, turned by up to 4 degrees."""
    side, gap = 260, int(generator.integers(30, 60))
    lines = np.full((side, side), 0.95, np.float32)
    lines[::gap] = lines[1::gap] = 0.55
    lines[:, ::gap] = lines[:, 1::gap] = 0.55
    image = Image.fromarray(np.uint8(255 * lines)).rotate(float(generator.uniform(-4, 4)), Image.Resampling.BICUBIC)
    plane = np.asarray(image, np.float32)[30:-30, 30:-30] / 255
    small = resized(ink, 100)
    y, x = (200 - small.shape[0]) // 2, (200 - small.shape[1]) // 2
    part = plane[y : y + small.shape[0], x : x + small.shape[1]].copy()
    plane = plane.copy()
    plane[y : y + small.shape[0], x : x + small.shape[1]] = part * (1 - small) + 0.12 * small
    return file(plane)


def soft_shadow(ink: Plane, generator: Generator) -> bytes:
    """A shadow over one half of the paper."""
    plane = paper(resized(ink, 120), 0.5)
    shade = np.ones(plane.shape, np.float32)
    shade[:, int(plane.shape[1] * generator.uniform(0.3, 0.7)) :] = float(generator.uniform(0.45, 0.65))
    soft = Image.fromarray(np.uint8(255 * shade)).filter(ImageFilter.GaussianBlur(float(generator.uniform(1, 6))))
    return file(np.asarray(0.9 * plane * np.asarray(soft, np.float32) / 255 + generator.normal(0, 0.01, plane.shape)))


def hollow(ink: Plane, _: Generator) -> bytes:
    """The outline of broad strokes alone."""
    shape = Image.fromarray(np.uint8(255 * (np.pad(resized(ink, 180), 30) > 0.5)))
    outer, inner = shape.filter(ImageFilter.MaxFilter(3)), shape.filter(ImageFilter.MinFilter(5))
    return file(1 - np.asarray(ImageChops.subtract(outer, inner), np.float32) / 255)


def turned_photograph(ink: Plane, generator: Generator) -> bytes:
    """A photograph by a camera that was held sideways, without EXIF."""
    plane = 0.85 * paper(resized(ink, 150), 0.5)
    lit = plane * np.linspace(0.85, 1, plane.shape[1], dtype=np.float32)
    quarters = 1 if generator.random() < 0.5 else 3
    return file(np.rot90(lit, quarters) + generator.normal(0, 0.01, np.rot90(lit, quarters).shape), "JPEG", quality=85)


# Of each kind the pictures, and the least share of them that is read.
DIGITS: dict[str, tuple[Callable[[Plane, Generator], bytes], float]] = {
    "tight": (tight, 0.95),
    "sheet on a table": (sheet_on_a_table, 0.95),
    "box of a form": (box_of_a_form, 0.95),
    "underlined twice": (underlined_twice, 0.95),
    "squared paper, turned": (ruled, 0.95),
    "soft shadow": (soft_shadow, 0.9),
    "hollow": (hollow, 0.9),
    "turned photograph": (turned_photograph, 0.8),
}
# The pen of a kind, where it is no ordinary one.
TOOLS = {"hollow": "marker"}


def display(label: int, thick: int, wide: int) -> bytes:
    """A digit of seven segments, black on white."""
    left, right, top, middle, bottom = 80, 80 + wide, 80, 180, 280
    ends = segment_ends(left, top, right, middle, bottom)
    image = Image.new("L", (right + 80, bottom + 80), 255)
    pencil = ImageDraw.Draw(image)
    for letter in SEGMENTS[label][0]:
        pencil.line(ends[letter], fill=10, width=thick)
    return file(np.asarray(image, np.float32) / 255)


def upstroke(reach: float, generator: Generator) -> bytes:
    """A one with a long upstroke, whose width is a share `reach` of the picture's."""
    image = Image.new("L", (260, 280), 255)
    fall = reach * generator.uniform(0.9, 1.5)
    points = [(150 - 180 * reach, 40 + 180 * fall), (150, 40), (150 + generator.normal(0, 6), 240)]
    ImageDraw.Draw(image).line([(float(x), float(y)) for x, y in points], fill=20, width=12, joint="curve")
    return file(np.asarray(image, np.float32) / 255)
