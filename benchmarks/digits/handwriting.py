"""Digits from other sources than training's: written with mouse, pen and marker, typeset in fonts, 8 x 8 scans.

A drawing is a plane of ink (H, W) float32, 0..1, about 200 pixels high with no paper around it; pictures are made of it
by `benchmarks.digits.scenes`. Curves are Catmull-Rom splines through the points below (unit square, y down); none of
these drawings is in `training.data.drawn_digits`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Plane = NDArray[np.float32]
Points = NDArray[np.float64]
HEIGHT = 200


@dataclass(frozen=True, eq=False)
class Drawing:
    """The ink of one digit, its label and its source."""

    ink: Plane
    label: int
    source: str  # "mouse", "pen", "marker", a font's name …


# `|` lifts the pen; a stroke that begins with `-` has corners, the others are curves.
STROKES: dict[int, tuple[str, ...]] = {
    0: (
        ".55,.02 .25,.12 .08,.5 .25,.9 .55,.98 .85,.8 .93,.45 .8,.12 .55,.02 .45,.04",
        ".8,.15 .5,0 .15,.25 .05,.65 .3,1 .7,.95 .95,.6 .9,.25 .7,.05 .6,.03",
        ".5,0 .2,.2 .15,.7 .45,1 .8,.85 .85,.3 .55,0",
    ),
    1: (
        "-.5,0 .48,1",
        "-.28,.2 .52,0 .5,1",
        "-.62,.0 .38,1",
        ".5,0 .53,.3 .5,.7 .52,1",
        "-.3,.22 .5,.02 .5,.98|-.25,1 .75,.98",
    ),
    2: (
        ".12,.22 .4,0 .8,.08 .85,.35 .5,.68 .08,.98 .1,.98 .5,.97 .95,.95",
        ".1,.28 .25,.05 .65,0 .85,.22 .7,.5 .35,.8 .1,.97|-.1,.97 .95,1",
        ".15,.2 .5,0 .85,.2 .65,.6 .2,.95 .08,.85 .25,.78 .55,.92 .95,.95",
    ),
    3: (
        ".15,.1 .5,0 .85,.15 .75,.4 .4,.48 .8,.58 .92,.8 .6,1 .1,.92",
        ".1,.15 .45,0 .8,.12 .75,.38 .35,.5|.35,.5 .8,.55 .9,.8 .55,1 .08,.88",
        ".12,.05 .6,0 .85,.2 .45,.45 .38,.47 .75,.55 .85,.85 .4,1 .08,.85",
    ),
    4: (
        "-.55,0 .08,.6 .92,.62|-.66,.32 .62,1",
        "-.2,.02 .12,.52 .88,.5|-.75,.05 .7,1",
        ".25,0 .15,.3 .15,.5 .45,.55 .85,.48|-.8,0 .72,1",
        "-.68,.98 .7,.02 .05,.68 .98,.68",
    ),
    5: (
        "-.85,.02 .25,.02 .2,.42|.2,.42 .55,.35 .88,.6 .75,.92 .4,1 .08,.9",
        "-.25,0 .2,.45|.2,.45 .5,.38 .85,.55 .85,.85 .5,1 .1,.93|-.25,0 .9,.03",
        ".9,0 .3,.02 .22,.38 .5,.37 .85,.6 .8,.9 .4,1 .05,.88",
    ),
    6: (
        ".75,.0 .35,.25 .1,.65 .25,.95 .6,1 .88,.8 .75,.58 .4,.58 .15,.75",
        ".55,0 .25,.4 .12,.8 .45,1 .8,.85 .7,.6 .35,.62 .15,.8",
        ".85,.08 .5,.02 .18,.35 .1,.75 .4,1 .8,.9 .85,.65 .55,.5 .2,.65 .12,.75",
    ),
    7: (
        "-.08,.04 .92,.04 .38,1",
        "-.1,.03 .9,.0 .6,.5 .45,1|-.3,.48 .8,.46",
        ".1,.1 .4,.06 .9,.03 .65,.4 .48,.7 .42,1",
        "-.1,.18 .12,.04 .88,.04 .42,1",
    ),
    8: (
        ".8,.12 .5,0 .2,.15 .35,.42 .7,.6 .85,.82 .5,1 .15,.85 .3,.6 .65,.4 .82,.15 .75,.08",
        ".5,.46 .2,.25 .48,0 .8,.2 .5,.46 .15,.75 .5,1 .87,.75 .5,.46",
        ".55,.02 .25,.15 .4,.42 .75,.65 .75,.92 .4,1 .2,.8 .45,.5 .78,.25 .6,.03 .5,.03",
    ),
    9: (
        ".85,.25 .6,.02 .2,.1 .15,.38 .45,.5 .78,.35 .85,.2 .82,.6 .72,1",
        ".8,.3 .5,.5 .15,.35 .25,.05 .65,0 .85,.25 .82,.6 .6,.92 .2,.97",
        ".82,.08 .45,.0 .15,.25 .35,.48 .75,.35 .85,.08|-.85,.05 .78,1",
    ),
}


def curve(points: Points, steps: int = 12) -> Points:
    """The Catmull-Rom spline through `points` (P, 2): (steps * (P - 1) + 1, 2)."""
    ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(steps) / steps)[:, None, None]
    a, b, c, d = ends[:-3], ends[1:-2], ends[2:-1], ends[3:]
    inner = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.concatenate([inner.transpose(1, 0, 2).reshape(-1, 2), points[-1:]])


def write_strokes(generator: np.random.Generator, label: int) -> list[Points]:
    """The strokes of one digit by an unsteady hand: its own slant, proportions and wobble, in the unit square."""
    drawing = STROKES[label][generator.integers(len(STROKES[label]))]
    slant, turn = generator.normal(0, 0.12), generator.normal(0, 0.08)
    strokes = []
    for text in drawing.split("|"):
        points = np.array([[float(number) for number in pair.split(",")] for pair in text.lstrip("-").split()])
        points = points + generator.normal(0, 0.018, points.shape) - 0.5
        if not text.startswith("-"):
            points = curve(points)
        x, y = points[:, 0] - slant * points[:, 1], points[:, 1]
        strokes.append(np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1))
    return strokes


def draw(generator: np.random.Generator, label: int, tool: str) -> Drawing:
    """A digit by `mouse` (hard edges, tremor), `pen` (width changes along the stroke) or `marker` (broad)."""
    width = {"mouse": generator.uniform(5, 16), "pen": generator.uniform(3, 9), "marker": generator.uniform(18, 34)}[
        tool
    ]
    aspect = generator.uniform(0.55, 0.9)
    strokes = [points * (HEIGHT * aspect, HEIGHT) for points in write_strokes(generator, label)]
    if tool == "mouse":
        strokes = [np.round(points + generator.normal(0, 1.1, points.shape)) for points in strokes]
    fine = 1 if tool == "mouse" else 3
    low = np.min([points.min(axis=0) for points in strokes], axis=0) - width
    size = np.max([points.max(axis=0) for points in strokes], axis=0) + width - low
    image = Image.new("L", (int(size[0] * fine) + 1, int(size[1] * fine) + 1))
    pencil = ImageDraw.Draw(image)
    for points in strokes:
        spread = (
            np.interp(np.arange(len(points)), *_pressure(generator, len(points)))
            if tool == "pen"
            else np.ones(len(points))
        )
        _stroke(pencil, (points - low) * fine, width * fine * spread)
    image = image.resize((max(1, image.width // fine), max(1, image.height // fine)), Image.Resampling.BOX)
    return Drawing(cropped(np.asarray(image, np.float32) / np.float32(255)), label, tool)


def _pressure(generator: np.random.Generator, count: int) -> tuple[Points, Points]:
    return np.linspace(0, count, 6), generator.uniform(0.65, 1.35, 6)


def _stroke(pencil: ImageDraw.ImageDraw, points: Points, widths: Points) -> None:
    """Discs along the line, close enough to be one stroke with round ends."""
    for start, end, a, b in zip(points[:-1], points[1:], widths[:-1], widths[1:], strict=True):
        count = max(2, int(np.hypot(*(end - start)) / max(0.15 * a, 0.5)))
        for share in np.linspace(0, 1, count):
            (x, y), radius = start + share * (end - start), (a + share * (b - a)) / 2
            pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def typeset(file: Path, index: int = 0) -> Iterator[Drawing]:
    """The ten digits of a font."""
    font = ImageFont.truetype(file, HEIGHT, index)
    for label in range(10):
        image = Image.new("L", (2 * HEIGHT, 2 * HEIGHT))
        ImageDraw.Draw(image).text((HEIGHT, HEIGHT), str(label), font=font, fill=255, anchor="mm")
        ink = np.asarray(image, np.float32) / np.float32(255)
        if ink.max() > 0:
            yield Drawing(cropped(ink), label, file.stem)


def letter(file: Path, sign: str) -> Plane:
    """The ink of any sign of a font."""
    image = Image.new("L", (3 * HEIGHT, 3 * HEIGHT))
    pencil = ImageDraw.Draw(image)
    pencil.text((1.5 * HEIGHT, 1.5 * HEIGHT), sign, font=ImageFont.truetype(file, HEIGHT), fill=255, anchor="mm")
    return cropped(np.asarray(image, np.float32) / np.float32(255))


def enlarged(image: NDArray[np.number], label: int, source: str) -> Drawing:
    """A small raster (8 x 8, 28 x 28 …, ink 0..1) made large by a smooth kernel, paper cut off."""
    scale = HEIGHT / image.shape[0]
    small = Image.fromarray(np.asarray(image, np.float32))
    large = small.resize((round(image.shape[1] * scale), HEIGHT), Image.Resampling.BICUBIC)
    return Drawing(cropped(np.clip(np.asarray(large, np.float32), 0, 1)), label, source)


def cropped(ink: Plane) -> Plane:
    """Without the paper around it."""
    rows, columns = np.flatnonzero((ink > 0.1).any(axis=1)), np.flatnonzero((ink > 0.1).any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def drawings(count: int, tool: str, seed: int) -> list[Drawing]:
    """`count` digits by one tool, labels in turn."""
    generator = np.random.default_rng(seed)
    return [draw(generator, index % 10, tool) for index in range(count)]


def fonts(folders: Sequence[Path]) -> list[Drawing]:
    """The digits of every TrueType or OpenType font under `folders` that has them."""
    files = sorted(
        file for folder in folders for end in ("ttf", "otf") for file in folder.rglob(f"*.{end}") if file.is_file()
    )
    return [drawing for file in files for drawing in typeset(file)]
