"""Digits of displays as MNIST would show them: seven segments of many shapes, and matrices of dots.

Signs that the same displays show and that no reader takes for a digit go with them.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from training.data.arrays import Images, Labels
from training.data.drawn_digits import NO_DIGIT, SIDE
from training.data.typeset_digits import boxed

HIGH = 120  # pixels of a glyph before it is made small
MARGIN = 60

# Segments by their usual letters, a at the top and then clockwise, g in the middle. Sevens, sixes and nines differ.
SEGMENTS: dict[int, tuple[str, ...]] = {
    0: ("abcdef",),
    1: ("bc",),
    2: ("abged",),
    3: ("abgcd",),
    4: ("fgbc",),
    5: ("afgcd",),
    6: ("afgedc", "afgedc", "afgedc", "fgedc"),
    7: ("abc", "abc", "abcf"),
    8: ("abcdefg",),
    9: ("abcdfg", "abcdfg", "abcdfg", "abcfg"),
}
NO_DIGIT_SEGMENTS = (
    "abcefg",
    "afgde",
    "afge",
    "bcefg",
    "fed",
    "abfge",
    "bcdef",
    "afed",
    "g",
    "ad",
    "agd",
    "gd",
    "cegd",
)

# Five columns and seven rows, from the top.
DOTS: dict[int, tuple[str, ...]] = {
    0: ("01110 10001 10001 10001 10001 10001 01110", "01110 10001 10011 10101 11001 10001 01110"),
    1: ("00100 01100 00100 00100 00100 00100 01110", "00100 01100 10100 00100 00100 00100 00100"),
    2: ("01110 10001 00001 00010 00100 01000 11111", "01110 10001 00001 01110 10000 10000 11111"),
    3: ("01110 10001 00001 00110 00001 10001 01110", "11111 00010 00100 00010 00001 10001 01110"),
    4: ("00010 00110 01010 10010 11111 00010 00010", "10001 10001 10001 11111 00001 00001 00001"),
    5: ("11111 10000 11110 00001 00001 10001 01110", "11111 10000 10000 11110 00001 00001 11110"),
    6: ("00110 01000 10000 11110 10001 10001 01110", "01110 10000 10000 11110 10001 10001 01110"),
    7: ("11111 00001 00010 00100 01000 01000 01000", "11111 00001 00001 00010 00100 00100 00100"),
    8: ("01110 10001 10001 01110 10001 10001 01110",),
    9: ("01110 10001 10001 01111 00001 00010 01100", "01110 10001 10001 01111 00001 10001 01110"),
}


def display_digits(count: int, seed: int) -> tuple[Images, Labels]:
    """`count` digits of displays, classes in turn, three of four of segments: images (count, 28, 28) and labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = []
    for label in labels:
        if generator.random() < 0.75:
            ways = SEGMENTS[int(label)]
            images.append(_boxed(generator, segments(generator, ways[generator.integers(len(ways))])))
        else:
            ways = DOTS[int(label)]
            images.append(_boxed(generator, dots(generator, ways[generator.integers(len(ways))])))
    return np.array(images, np.uint8).reshape(-1, SIDE, SIDE), labels.astype(np.int64)


def display_others(count: int, seed: int) -> tuple[Images, Labels]:
    """`count` letters and signs of seven segments; labels `NO_DIGIT`."""
    generator = np.random.default_rng(seed)
    lit = [NO_DIGIT_SEGMENTS[i] for i in generator.integers(len(NO_DIGIT_SEGMENTS), size=count)]
    images = [_boxed(generator, segments(generator, letters)) for letters in lit]
    return np.array(images, np.uint8).reshape(-1, SIDE, SIDE), np.full(count, NO_DIGIT, np.int64)


def segment_ends(
    left_edge: float, top: float, right_edge: float, middle: float, bottom: float
) -> dict[str, tuple[float, float, float, float]]:
    """The two corners (x, y, x, y) that each of the seven segments joins, by its letter."""
    return {
        "a": (left_edge, top, right_edge, top),
        "b": (right_edge, top, right_edge, middle),
        "c": (right_edge, middle, right_edge, bottom),
        "d": (left_edge, bottom, right_edge, bottom),
        "e": (left_edge, middle, left_edge, bottom),
        "f": (left_edge, top, left_edge, middle),
        "g": (left_edge, middle, right_edge, middle),
    }


def segments(generator: np.random.Generator, lit: str) -> Images:
    """(H, W), 255 = ink: the segments `lit`, with pointed, cut or round ends, apart or touching, upright or slanted."""
    high, wide = float(HIGH), HIGH * generator.uniform(0.42, 0.8)
    thick = HIGH * generator.uniform(0.05, 0.16)
    gap = thick * generator.choice([0.0, generator.uniform(0.02, 0.35)])
    point = thick * generator.choice([0.5, 0.5, 0.0, generator.uniform(0.1, 0.5)])
    slant = generator.choice([0.0, generator.uniform(0.0, 0.22)])
    canvas = Image.new("L", (round(wide) + 2 * MARGIN, HIGH + 2 * MARGIN))
    pencil = ImageDraw.Draw(canvas)
    left_edge, right_edge, top, bottom = thick / 2, wide - thick / 2, thick / 2, high - thick / 2
    middle = high * generator.uniform(0.46, 0.54)
    ends = segment_ends(left_edge, top, right_edge, middle, bottom)
    for letter in lit:
        outline = _segment(*ends[letter], thick, gap, point)
        pencil.polygon([(x + slant * (high - y) + MARGIN / 2, y + MARGIN) for x, y in outline], fill=255)
    return _cropped(canvas)


def _segment(
    x0: float, y0: float, x1: float, y1: float, thick: float, gap: float, point: float
) -> list[tuple[float, float]]:
    """The outline of a segment between two corners, `gap` short of each, its ends pointed over a length of `point`."""
    length = np.hypot(x1 - x0, y1 - y0)
    along = np.array([x1 - x0, y1 - y0]) / length
    across = np.array([-along[1], along[0]]) * thick / 2
    start, end = np.array([x0, y0]) + gap * along, np.array([x1, y1]) - gap * along
    if point == 0:  # the ends are cut straight: outer corners are filled
        start, end = start - along * (thick / 2 - gap), end + along * (thick / 2 - gap)
    a, b = start + point * along, end - point * along
    corners = (start, a - across, b - across, end, b + across, a + across)
    return [(float(x), float(y)) for x, y in corners]


def dots(generator: np.random.Generator, pattern: str) -> Images:
    """(H, W), 255 = ink: a matrix of round or square dots that touch or do not."""
    pitch = HIGH / 7
    narrow = generator.uniform(0.75, 1.05)
    radius = pitch * generator.uniform(0.28, 0.52)
    is_round = generator.random() < 0.6
    canvas = Image.new("L", (HIGH + 2 * MARGIN, HIGH + 2 * MARGIN))
    pencil = ImageDraw.Draw(canvas)
    for row, line in enumerate(pattern.split()):
        for column, dot in enumerate(line):
            if dot == "0":
                continue
            x, y = MARGIN + (column + 0.5) * pitch * narrow, MARGIN + (row + 0.5) * pitch
            box = (x - radius * narrow, y - radius, x + radius * narrow, y + radius)
            if is_round:
                pencil.ellipse(box, fill=255)
            else:
                pencil.rectangle(box, fill=255)
    return _cropped(canvas)


def _cropped(canvas: Image.Image) -> Images:
    return np.asarray(canvas.crop(canvas.getbbox()))


def _boxed(generator: np.random.Generator, ink: Images) -> Images:
    return boxed(generator, ink, (0.8, 1.2))
