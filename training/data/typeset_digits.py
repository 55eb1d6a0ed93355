"""Typed characters as MNIST would show them: digits, letters and signs in the fonts that matplotlib brings along.

The fonts of one family stay out of training, so that they can tell how well typed digits of an unknown kind are read.
"""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.arrays import Images, Labels
from training.data.drawn_digits import NO_DIGIT, SIDE

TRAINED_FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)
HELD_OUT_FONTS = ("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10")  # Computer Modern

# Without those that are some digit in some hand: O and 0, I and 1, S and 5, Z and 2, B and 8, b and 6, q and 9 …
LETTERS = "ACEFHKMNPRTUVWXadefhkmnprtuwx"
SIGNS = "?@#%$+=*^~<>{}"
_POINTS = 64  # pixels of a line: about three times more than the answer holds


def glyph(font: str, text: str, points: int = _POINTS) -> Images:
    """`text` in one of the fonts, (H, W), 255 = ink, with no paper around it."""
    face = _face(font, points)
    x0, y0, x1, y1 = face.getbbox(text)
    canvas = Image.new("L", (round(x1 - x0) + 8, round(y1 - y0) + 8))
    ImageDraw.Draw(canvas).text((4 - x0, 4 - y0), text, fill=255, font=face)
    return np.asarray(canvas.crop(canvas.getbbox()))


def typed_digits(count: int, seed: int, fonts: tuple[str, ...] = TRAINED_FONTS) -> tuple[Images, Labels]:
    """`count` digits, classes in turn, of random fonts, sizes and widths: images (count, 28, 28) and labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = [boxed(generator, glyph(str(generator.choice(fonts)), str(label))) for label in labels]
    return np.array(images, np.uint8).reshape(-1, SIDE, SIDE), labels.astype(np.int64)


def footless_ones(count: int, seed: int) -> tuple[Images, Labels]:
    """`count` ones as a grotesque has them, a stem and a flag: the fonts at hand all give theirs a foot."""
    generator = np.random.default_rng(seed)
    images = [boxed(generator, _footless_one(generator)) for _ in range(count)]
    return np.array(images, np.uint8).reshape(-1, SIDE, SIDE), np.ones(count, np.int64)


def _footless_one(generator: np.random.Generator) -> Images:
    """(H, W): a stem, and from its top a flag down to the left, neither level nor long: that would make a seven."""
    high = 4.0 * _POINTS
    stem, slant = generator.uniform(0.06, 0.28) * high, max(generator.uniform(-0.15, 0.22), 0.0)
    reach = generator.uniform(0.08, 0.32 - 0.5 * slant) * high
    fall = generator.uniform(0.3, 1.0) * reach
    low = generator.uniform(0.0, 0.1) * high
    thick = generator.uniform(0.55, 1.1) * stem
    outline = [(stem, 0.0), (stem, high), (0.0, high), (0.0, low + thick), (-reach, low + fall + thick)]
    outline += [(-reach, low + fall), (generator.uniform(0.0, 0.6) * stem, 0.0)]
    slanted = [(x + slant * (high - y), y) for x, y in outline]
    x0, x1 = min(x for x, _ in slanted), max(x for x, _ in slanted)
    canvas = Image.new("L", (round(x1 - x0) + 8, round(high) + 8))
    ImageDraw.Draw(canvas).polygon([(x - x0 + 4, y + 4) for x, y in slanted], fill=255)
    return np.asarray(canvas.crop(canvas.getbbox()))


def typed_others(count: int, seed: int, fonts: tuple[str, ...] = TRAINED_FONTS) -> tuple[Images, Labels]:
    """`count` images of letters, signs, and two or three characters side by side; labels `NO_DIGIT`."""
    generator = np.random.default_rng(seed)
    kinds = (_letter, _letter, _letter, _sign, _several)
    images = [
        boxed(generator, glyph(str(generator.choice(fonts)), kinds[i % len(kinds)](generator))) for i in range(count)
    ]
    return np.array(images, np.uint8).reshape(-1, SIDE, SIDE), np.full(count, NO_DIGIT, np.int64)


def _letter(generator: np.random.Generator) -> str:
    return str(generator.choice(list(LETTERS)))


def _sign(generator: np.random.Generator) -> str:
    return str(generator.choice(list(SIGNS)))


def _several(generator: np.random.Generator) -> str:
    return "".join(generator.choice(list("0123456789" + LETTERS), int(generator.integers(2, 4))))


def boxed(generator: np.random.Generator, ink: Images, widths: tuple[float, float] = (0.6, 1.2)) -> Images:
    """The ink, a little wider or narrower, in a box of about 20 pixels, its centre of mass in the middle of 28 x 28."""
    width = ink.shape[1] * generator.uniform(*widths)
    scale = generator.uniform(18, 21) / max(width, ink.shape[0])
    size = max(round(width * scale), 2), max(round(ink.shape[0] * scale), 2)
    small = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BOX), np.float64)
    answer = np.zeros((SIDE, SIDE), np.uint8)
    corner = []
    for axis, length in enumerate(small.shape):
        mass = (small.sum(axis=1 - axis) * (np.arange(length) + 0.5)).sum() / small.sum()
        corner.append(int(np.clip(round(SIDE / 2 - mass), 0, SIDE - length)))
    answer[corner[0] : corner[0] + small.shape[0], corner[1] : corner[1] + small.shape[1]] = np.round(small)
    return answer


@functools.cache
def _face(font: str, points: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf", points)
