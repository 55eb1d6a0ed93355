"""Pictures of what is no digit, by kinds, for the acceptance suite and `benchmarks.digits.kinds`.

The drawings are this module's own; letters are typed in fonts that training has never seen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.digits import handwriting
from benchmarks.digits.scenes import file
from training.data.typeset_digits import HELD_OUT_FONTS

SIDE = 240

LETTERS = "ACDEFGHJKLMNPQRTUVWXYaefhkmnrtuvwx"
Point = tuple[float, float]


class Sheet:
    """A white sheet and a pen; places are shares of its side, moved a little as hands do."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.image = Image.new("L", (SIDE, SIDE), 255)
        self.pencil = ImageDraw.Draw(self.image)
        self.width = int(generator.integers(4, 15))

    def line(self, *points: Point) -> None:
        """A line through the points, with round ends."""
        moved = [tuple((p + self.generator.normal(0, 0.008, 2)) * SIDE) for p in np.array(points)]
        corners = [(float(x), float(y)) for x, y in moved]
        self.pencil.line(corners, fill=15, width=self.width, joint="curve")
        reach = self.width / 2
        for x, y in (corners[0], corners[-1]):
            self.pencil.ellipse((x - reach, y - reach, x + reach, y + reach), fill=15)

    def arc(self, x: float, y: float, wide: float, high: float, start: float = 0, stop: float = 360) -> None:
        """A part of an ellipse around a place, from one angle to another, clockwise from the right."""
        box = (SIDE * (x - wide), SIDE * (y - high), SIDE * (x + wide), SIDE * (y + high))
        self.pencil.arc(box, start, stop, fill=15, width=self.width)

    def disc(self, x: float, y: float, reach: float) -> None:
        """A filled circle."""
        box = (SIDE * (x - reach), SIDE * (y - reach), SIDE * (x + reach), SIDE * (y + reach))
        self.pencil.ellipse(box, fill=15)

    def file(self) -> bytes:
        """A PNG of it, turned by a few degrees."""
        turned = self.image.rotate(self.generator.normal(0, 4), Image.Resampling.BICUBIC, fillcolor=255)
        return file(np.asarray(turned.filter(ImageFilter.GaussianBlur(0.6)), np.float32) / 255)


# --- doodles ---------------------------------------------------------------------------------------------------------


def _mushroom(sheet: Sheet) -> None:
    sheet.arc(0.5, 0.5, 0.3, 0.28, 180, 360)
    sheet.line((0.2, 0.5), (0.8, 0.5))
    sheet.line((0.42, 0.5), (0.4, 0.82), (0.6, 0.82), (0.58, 0.5))


def _umbrella(sheet: Sheet) -> None:
    sheet.arc(0.5, 0.45, 0.32, 0.28, 180, 360)
    sheet.line((0.18, 0.45), (0.82, 0.45))
    sheet.line((0.5, 0.2), (0.5, 0.8))
    sheet.arc(0.44, 0.8, 0.06, 0.06, 0, 180)


def _boat(sheet: Sheet) -> None:
    sheet.line((0.15, 0.65), (0.28, 0.85), (0.72, 0.85), (0.85, 0.65), (0.15, 0.65))
    sheet.line((0.5, 0.65), (0.5, 0.15), (0.78, 0.58), (0.5, 0.58))


def _car(sheet: Sheet) -> None:
    sheet.line((0.12, 0.65), (0.12, 0.5), (0.3, 0.5), (0.4, 0.33), (0.65, 0.33), (0.75, 0.5), (0.9, 0.52), (0.9, 0.65))
    sheet.line((0.12, 0.65), (0.9, 0.65))
    for x in (0.3, 0.72):
        sheet.arc(x, 0.68, 0.08, 0.08)


def _snail(sheet: Sheet) -> None:
    for reach, start, stop in ((0.22, 180, 360), (0.16, 0, 180), (0.1, 180, 360)):
        sheet.arc(0.5, 0.5, reach, reach, start, stop)
    sheet.line((0.25, 0.72), (0.8, 0.72), (0.88, 0.5), (0.93, 0.4))


def _apple(sheet: Sheet) -> None:
    sheet.arc(0.38, 0.55, 0.2, 0.27, 60, 300)
    sheet.arc(0.62, 0.55, 0.2, 0.27, 240, 480)
    sheet.line((0.5, 0.32), (0.56, 0.15))
    sheet.line((0.56, 0.2), (0.7, 0.15))


def _ladder(sheet: Sheet) -> None:
    sheet.line((0.35, 0.1), (0.3, 0.9))
    sheet.line((0.65, 0.1), (0.7, 0.9))
    for y in (0.25, 0.42, 0.6, 0.77):
        sheet.line((0.33, y), (0.67, y))


def _face(sheet: Sheet) -> None:
    sheet.arc(0.5, 0.5, 0.33, 0.35)
    for x in (0.38, 0.62):
        sheet.disc(x, 0.42, 0.03)
    sheet.arc(0.5, 0.55, 0.16, 0.13, 20, 160)


def _heart(sheet: Sheet) -> None:
    sheet.arc(0.36, 0.38, 0.14, 0.14, 150, 350)
    sheet.arc(0.64, 0.38, 0.14, 0.14, 190, 390)
    sheet.line((0.23, 0.43), (0.5, 0.8), (0.77, 0.43))


def _house(sheet: Sheet) -> None:
    sheet.line((0.25, 0.45), (0.25, 0.85), (0.75, 0.85), (0.75, 0.45))
    sheet.line((0.18, 0.5), (0.5, 0.15), (0.82, 0.5))
    sheet.line((0.42, 0.85), (0.42, 0.65), (0.56, 0.65), (0.56, 0.85))


def _fir(sheet: Sheet) -> None:
    for top, wide in ((0.12, 0.15), (0.3, 0.22), (0.5, 0.28)):
        sheet.line((0.5, top), (0.5 - wide, top + 0.25), (0.5 + wide, top + 0.25), (0.5, top))
    sheet.line((0.5, 0.75), (0.5, 0.9))


def _sun(sheet: Sheet) -> None:
    sheet.arc(0.5, 0.5, 0.18, 0.18)
    for angle in np.arange(8) * np.pi / 4:
        near, far = (0.5 + reach * np.array([np.cos(angle), np.sin(angle)]) for reach in (0.25, 0.38))
        sheet.line((near[0], near[1]), (far[0], far[1]))


def _triangle(sheet: Sheet) -> None:
    sheet.line((0.5, 0.18), (0.2, 0.8), (0.8, 0.8), (0.5, 0.18))


def _square(sheet: Sheet) -> None:
    sheet.line((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75), (0.25, 0.25))


def _hourglass(sheet: Sheet) -> None:
    sheet.line((0.25, 0.15), (0.75, 0.15), (0.25, 0.85), (0.75, 0.85), (0.25, 0.15))
    sheet.line((0.2, 0.15), (0.8, 0.15))
    sheet.line((0.2, 0.85), (0.8, 0.85))


def _kite(sheet: Sheet) -> None:
    sheet.line((0.5, 0.1), (0.75, 0.4), (0.5, 0.75), (0.25, 0.4), (0.5, 0.1))
    sheet.line((0.5, 0.1), (0.5, 0.75))
    sheet.line((0.25, 0.4), (0.75, 0.4))
    sheet.line((0.5, 0.75), (0.58, 0.82), (0.46, 0.88), (0.55, 0.95))


DOODLES: tuple[Callable[[Sheet], None], ...] = (
    _mushroom,
    _umbrella,
    _boat,
    _car,
    _snail,
    _apple,
    _ladder,
    _face,
    _heart,
    _house,
    _fir,
    _sun,
    _triangle,
    _square,
    _hourglass,
    _kite,
)


# --- kinds: a picture -----------------------------------------------------------------------------------------------


def typed_letter(generator: Generator) -> bytes:
    """A letter that is no digit in any hand, in a font that training did not have."""
    font = (
        Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{HELD_OUT_FONTS[generator.integers(len(HELD_OUT_FONTS))]}.ttf"
    )
    ink = handwriting.letter(font, LETTERS[generator.integers(len(LETTERS))])
    return file(1 - np.pad(ink, round(0.3 * max(ink.shape))))


def drawn_letter(generator: Generator) -> bytes:
    """A letter of straight strokes and arcs."""
    sheet = Sheet(generator)
    left, right, top, middle, bottom = 0.28, 0.72, 0.15, 0.5, 0.85
    letters: dict[str, tuple[tuple[Point, ...], ...]] = {
        "A": (((left, bottom), (0.5, top), (right, bottom)), ((0.36, 0.6), (0.64, 0.6))),
        "E": (((right, top), (left, top), (left, bottom), (right, bottom)), ((left, middle), (0.62, middle))),
        "F": (((right, top), (left, top), (left, bottom)), ((left, middle), (0.6, middle))),
        "H": (((left, top), (left, bottom)), ((right, top), (right, bottom)), ((left, middle), (right, middle))),
        "K": (((left, top), (left, bottom)), ((right, top), (left, middle), (right, bottom))),
        "L": (((left, top), (left, bottom), (right, bottom)),),
        "M": (((left, bottom), (left, top), (0.5, 0.6), (right, top), (right, bottom)),),
        "N": (((left, bottom), (left, top), (right, bottom), (right, top)),),
        "T": (((left, top), (right, top)), ((0.5, top), (0.5, bottom))),
        "V": (((left, top), (0.5, bottom), (right, top)),),
        "W": (((0.15, top), (0.33, bottom), (0.5, 0.4), (0.67, bottom), (0.85, top)),),
        "X": (((left, top), (right, bottom)), ((right, top), (left, bottom))),
        "Д": (((0.2, 0.95), (0.2, 0.8), (0.8, 0.8), (0.8, 0.95)), ((0.3, 0.8), (0.45, top), (0.7, top), (0.7, 0.8))),
        "Ж": (((0.2, top), (0.8, bottom)), ((0.8, top), (0.2, bottom)), ((0.5, top), (0.5, bottom))),
        "И": (((left, top), (left, bottom), (right, top), (right, bottom)),),
        "П": (((left, bottom), (left, top), (right, top), (right, bottom)),),
        "Ш": (((0.2, top), (0.2, bottom), (0.8, bottom), (0.8, top)), ((0.5, top), (0.5, bottom))),
        "Σ": (((right, top), (left, top), (0.55, middle), (left, bottom), (right, bottom)),),
        "Λ": (((left, bottom), (0.5, top), (right, bottom)),),
        "Ψ": (((0.5, top), (0.5, bottom)), ((0.25, top), (0.28, 0.5), (0.5, 0.6), (0.72, 0.5), (0.75, top))),
    }
    for stroke in letters[str(generator.choice(list(letters)))]:
        sheet.line(*stroke)
    return sheet.file()


def doodle(generator: Generator) -> bytes:
    """A doodle, most of them of things that training does not draw."""
    sheet = Sheet(generator)
    DOODLES[generator.integers(len(DOODLES))](sheet)
    return sheet.file()


def ring(generator: Generator) -> bytes:
    """A ring with a wide gap, or with a dot, a ring, a cross or a filling in it."""
    sheet = Sheet(generator)
    kind = generator.integers(5)
    if kind == 0:
        start = float(generator.choice([0, 180])) + float(generator.uniform(35, 70))
        sheet.arc(0.5, 0.5, 0.33, 0.35, start, start + float(generator.uniform(200, 270)))
        return sheet.file()
    sheet.arc(0.5, 0.5, 0.35, 0.35)
    if kind == 1:
        sheet.disc(0.5, 0.5, float(generator.uniform(0.05, 0.1)))
    elif kind == 2:
        sheet.arc(0.5, 0.5, 0.2, 0.2)
    elif kind == 3:
        sheet.line((0.15, 0.5), (0.85, 0.5))
        sheet.line((0.5, 0.15), (0.5, 0.85))
    else:
        sheet.disc(0.5, 0.5, 0.35)
    return sheet.file()


def sign(generator: Generator) -> bytes:
    """A tick, a cross, an arrow, a star, an equals or a hash sign."""
    sheet = Sheet(generator)
    kind = generator.integers(6)
    if kind == 0:
        sheet.line((0.2, 0.55), (0.42, 0.8), (0.82, 0.2))
    elif kind == 1:
        sheet.line((0.5, 0.2), (0.5, 0.8))
        sheet.line((0.2, 0.5), (0.8, 0.5))
    elif kind == 2:
        sheet.line((0.15, 0.5), (0.85, 0.5))
        sheet.line((0.62, 0.3), (0.85, 0.5), (0.62, 0.7))
    elif kind == 3:
        corners = [0.5 + 0.38 * np.array([np.sin(a), -np.cos(a)]) for a in np.arange(6) * 0.8 * np.pi]
        sheet.line(*((float(x), float(y)) for x, y in corners))
    elif kind == 4:
        sheet.line((0.22, 0.4), (0.78, 0.4))
        sheet.line((0.22, 0.62), (0.78, 0.62))
    else:
        for at in (0.38, 0.62):
            sheet.line((at + 0.05, 0.15), (at - 0.05, 0.85))
            sheet.line((0.15, at), (0.85, at))
    return sheet.file()


def scribble(generator: Generator) -> bytes:
    """A pen that goes to and fro."""
    sheet = Sheet(generator)
    steps = generator.uniform(0.15, 0.85, (int(generator.integers(8, 16)), 2))
    if generator.random() < 0.5:
        steps[:, 0] = np.linspace(0.15, 0.85, len(steps))
    sheet.line(*((float(x), float(y)) for x, y in steps))
    return sheet.file()


@functools.cache
def _written_digits() -> list[handwriting.Drawing]:
    """Digits by a pen, without ones, which hide in other digits."""
    return [drawing for drawing in handwriting.drawings(60, "pen", 23) if drawing.label != 1]


def two_digits_in_one_place(generator: Generator) -> bytes:
    """A digit that was written over another one."""
    drawings = _written_digits()
    first, second = (drawings[index] for index in generator.choice(len(drawings), 2, replace=False))
    plane = np.zeros((300, 300), np.float32)
    for drawing, left in ((first, 40), (second, 40 + int(generator.integers(45, 80)))):
        high, wide = drawing.ink.shape
        wide = min(wide, 300 - left)
        part = plane[40 : 40 + high, left : left + wide]
        np.maximum(part, drawing.ink[: part.shape[0], :wide], out=part)
    return file(1 - 0.9 * plane)


# Of each kind the pictures, and the least share of them that has a score below a half or is blank.
KINDS: dict[str, tuple[Callable[[Generator], bytes], float]] = {
    "typed letter": (typed_letter, 0.9),
    "drawn letter": (drawn_letter, 0.9),
    "doodle": (doodle, 0.9),
    "ring": (ring, 0.85),
    "sign": (sign, 0.9),
    "scribble": (scribble, 0.9),
    "two digits in one place": (two_digits_in_one_place, 0.8),
}
