"""Drawings of what is no digit, as strokes: letters of three alphabets, signs, shapes, doodles, and parts put together.

Every drawing is a list of strokes in the unit square, x to the right and y down, drawn anew by an unsteady hand. What
some hand writes as a digit is not among them: O, I, l, S, Z, B, b, g, q, y, Θ, Φ, б, З, Ч and their like, closed rings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from training.data.drawn_digits import DIGITS, NO_DIGITS, Stroke, rounded

Drawing = list[Stroke]

# As in `drawn_digits`: strokes are parted by |, and rounded after ~.
LETTERS: tuple[str, ...] = (
    "0,1 .5,0 1,1|.2,.6 .8,.6",
    "~0,1 .3,.1 .5,-.05 .7,.1 1,1|.12,.62 .88,.62",
    "~.95,.15 .6,-.05 .05,.1 .05,.9 .6,1.05 .95,.85",
    "0,0 0,1|~0,0 .6,0 1,.15 1,.85 .6,1 0,1",
    "1,0 0,0 0,1 1,1|0,.5 .7,.5",
    "1,0 0,0 0,1|0,.5 .7,.5",
    "~.95,.15 .6,-.05 .05,.1 .05,.9 .6,1.05 .95,.95 .95,.55|1,.55 .55,.55",
    "0,0 0,1|1,0 1,1|0,.5 1,.5",
    "~.7,0 .7,.8 .6,1.05 .2,1.05 .0,.75|.35,0 1,0",
    "0,0 0,1|1,0 0,.55 1,1",
    "0,0 0,1 .8,1",
    "0,1 0,0 .5,.6 1,0 1,1",
    "0,1 .2,0 .5,.7 .8,0 1,1",
    "0,1 0,0 1,1 1,0",
    "0,1 0,0|~0,0 .9,.0 .9,.5 0,.55",
    "~.5,0 .05,.1 .05,.9 .5,1 .95,.9 .95,.1 .5,0|.55,.65 1.1,1.1",
    "0,1 0,0|~0,0 .9,.0 .9,.5 0,.55|.3,.55 1,1",
    "0,0 1,0|.5,0 .5,1",
    "~0,0 0,.8 .2,1.05 .8,1.05 1,.8 1,0",
    "0,0 .5,1 1,0",
    "0,0 .25,1 .5,.3 .75,1 1,0",
    "~0,0 .1,1 .45,1 .5,.3 .55,1 .9,1 1,0",
    "0,0 1,1|1,0 0,1",
    "0,0 .5,.5 1,0|.5,.5 .5,1",
    "~.9,.3 .5,.1 .05,.4 .1,.95 .5,1 .9,.6 .9,.3|.9,.2 .9,.8 1.1,1",
    "~.85,.55 .5,.4 .05,.6 .1,1 .5,1.02 .85,.8|.85,0 .85,1",
    "~.08,.55 .95,.55 .9,.1 .4,-.05 .02,.4 .1,.95 .6,1.05 .95,.85",
    "~.95,.12 .6,-.08 .4,.1 .4,.4 .4,1|.1,.42 .8,.42",
    "0,0 0,1|~0,.6 .3,.4 .8,.45 .8,.7 .8,1",
    "0,0 0,1|.75,.4 0,.75|.3,.62 .8,1",
    "0,.3 0,1|~0,.5 .3,.25 .5,.35 .5,.6 .5,1|~.5,.5 .8,.25 1,.35 1,.6 1,1",
    "0,.2 0,1|~0,.5 .4,.15 .85,.25 .85,.6 .85,1",
    "0,0 0,1|~0,.15 .5,-.1 .95,.15 .8,.55 .3,.6 0,.45",
    "0,.2 0,1|~0,.5 .3,.2 .7,.2 .8,.3",
    "~.4,0 .4,.85 .5,1.02 .85,.95|.05,.3 .85,.3",
    "~0,.2 0,.7 .2,1.02 .6,1 .85,.7|.85,.2 .85,1",
    "1,0 0,0 0,1",
    "0,1 .5,0 1,1 0,1",
    "0,1 .5,0 1,1",
    "0,0 1,0|.2,.5 .8,.5|0,1 1,1",
    "0,1 0,0 1,0 1,1",
    "1,.05 1,0 0,0 .55,.5 0,1 1,1 1,.95",
    "~0,0 0,.4 .2,.6 .8,.6 1,.4 1,0|.5,0 .5,1",
    "~0,1 .35,1 .3,.85 .0,.6 .1,.05 .5,-.05 .9,.05 1,.6 .7,.85 .65,1 1,1",
    "~1,.2 .75,.8 .4,1.05 .0,.8 .05,.2 .45,.0 .75,.3 .85,.8 1,1",
    "~0,.15 .2,.0 .3,.2 .3,.65|~.3,.35 .6,-.05 .9,.1 .85,.5 .85,1.1",
    "~0,.05 .2,-.05 .35,.2 .95,1|.45,.42 0,1",
    "0,.2 0,1.1|~0,.2 .05,.8 .4,.9 .75,.6|.75,.2 .8,.8 .95,.8",
    "0,.1 1,.1|.3,.1 .25,1|.7,.1 .7,.9 .85,1",
    "0,.1 1,.1|~.5,.1 .45,.7 .55,1 .75,.95",
    "~.25,.1 .0,.4 .1,1 .45,1 .5,.4|~.5,.4 .55,1 .9,1 1,.4 .75,.1",
    "~0,0 .25,.1 .7,1 1,1|.95,0 .05,1",
    "0,1.2 0,1 1,1 1,1.2|.15,1 .35,0 .85,0 .85,1",
    "0,0 .5,.5 0,1|1,0 .5,.5 1,1|.5,0 .5,1",
    "0,0 0,1 1,0 1,1",
    "0,0 0,1 1,0 1,1|~.25,-.25 .5,-.1 .75,-.25",
    "~0,1 .2,.95 .25,.5 .25,0|.25,0 1,0 1,1",
    "0,0 0,1 .85,1 .85,0|.85,1 1,1 1,1.2",
    "0,0 0,1 1,1 1,0|.5,0 .5,1",
    "0,0 0,1 .9,1 .9,0|.45,0 .45,1|.9,1 1.05,1 1.05,1.2",
    "0,0 .3,0 .3,1|~.3,.5 .8,.45 1,.75 .8,1 .3,1",
    "0,0 0,1|~0,.5 .5,.45 .6,.75 .5,1 0,1|1,0 1,1",
    "0,0 0,1|0,.5 .3,.5|~.65,0 .3,.1 .3,.9 .65,1 1,.9 1,.1 .65,0",
    "1,1 1,0|~1,0 .1,0 .1,.5 1,.5|.5,.5 0,1",
)

SIGNS: tuple[str, ...] = (
    *NO_DIGITS,
    "0,.6 .3,1 1,0",
    "~0,.5 .2,.6 .3,1 .5,.5 1,0",
    ".5,0 .5,1|0,.5 1,.5",
    "0,.35 1,.35|0,.65 1,.65",
    "0,.35 1,.35|0,.65 1,.65|.75,.1 .25,.9",
    "0,.5 1,.5|.5,.15 .5,.2|.5,.8 .5,.85",
    ".5,0 .5,.7|.15,.35 .85,.35|.15,1 .85,1",
    "0,.5 1,.5",
    "1,0 0,.5 1,1",
    "0,0 1,.5 0,1",
    "1,.0 0,.35 1,.7|0,1 1,1",
    "~0,.6 .2,.3 .45,.45 .6,.65 .85,.65 1,.4",
    "0,.5 .5,0 1,.5",
    ".5,0 .5,.8|.1,.2 .9,.6|.9,.2 .1,.6",
    ".35,0 .2,1|.75,0 .6,1|0,.33 1,.33|-.05,.67 .95,.67",
    "~1,.15 .6,-.05 .2,.2 .15,.5 .2,.8 .6,1.05 1,.85|0,.4 .7,.4|0,.6 .65,.6",
    "~.9,.2 .7,-.05 .35,.05 .3,.5 .3,.8 .05,1|.05,1 .95,1|.1,.5 .65,.5",
    "0,0 .5,.5 1,0|.5,.5 .5,1|.15,.55 .85,.55|.15,.75 .85,.75",
    "~.9,.15 .5,-.05 .1,.2 .3,.45 .7,.55 .9,.8 .5,1.05 .1,.85|.5,-.2 .5,1.2",
    "~.85,.35 .5,.15 .1,.35 .1,.75 .5,.9 .85,.75|.55,-.05 .4,1.1",
    "1,0 0,1|~.2,.05 .05,.15 .2,.3 .35,.15 .2,.05|~.8,.7 .65,.85 .8,1 .95,.85 .8,.7",
    "~.1,.25 .3,-.1 .95,.0 .85,.4 .5,.55 .5,.72|.5,.95 .5,1",
    "~1,1 .2,.25 .3,-.05 .65,.05 .55,.35 .05,.7 .1,1 .5,1.05 .9,.6",
    ".4,0 0,0 0,1 .4,1",
    "0,0 .4,0 .4,1 0,1",
    "~.45,0 .2,0 .25,.4 .25,.5 .0,.5|~.0,.5 .25,.5 .25,.6 .2,1 .45,1",
    "~0,0 .25,0 .2,.4 .2,.5 .45,.5|~.45,.5 .2,.5 .2,.6 .25,1 0,1",
    ".1,0 0,.4|.5,0 .4,.4",
    ".5,.1 .5,.12|.5,.88 .5,.9",
    "0,.5 .02,.5|.5,.5 .52,.5|1,.5 1.02,.5",
    ".5,.1 .5,.12|.1,.9 .12,.9|.9,.9 .92,.9",
    "~.75,.65 .5,.3 .25,.5 .4,.7 .7,.5 .75,.3 .75,.7 1,.7 1.05,.3 .6,-.1 .0,.1 .0,.9 .6,1.1 1,.95",
    "~.5,.5 .25,.2 .0,.35 .0,.65 .25,.8 .5,.5 .75,.2 1,.35 1,.65 .75,.8 .5,.5",
)


def letter(generator: Generator) -> Drawing:
    """A letter of the Latin, Greek or Cyrillic alphabet."""
    return written(generator, LETTERS)


def sign(generator: Generator) -> Drawing:
    """Punctuation, arithmetic, currencies, ticks, crosses, brackets."""
    return written(generator, SIGNS)


def written(generator: Generator, drawings: tuple[str, ...]) -> Drawing:
    """One of the `drawings`, each of its points elsewhere by a little."""
    parts = []
    for text in drawings[generator.integers(len(drawings))].split("|"):
        points = np.array([[float(v) for v in pair.split(",")] for pair in text.lstrip("~").split()])
        points = points + generator.normal(0, 0.03, points.shape)
        parts.append(rounded(points) if text.startswith("~") else rounded(points, int(generator.integers(0, 2))))
    return parts


def arc(middle: tuple[float, float], radii: tuple[float, float], start: float, stop: float) -> Stroke:
    """A part of an ellipse, from one angle to another, in degrees clockwise from the right."""
    angles = np.radians(np.linspace(start, stop, max(int(abs(stop - start) / 8), 3)))
    return np.stack([middle[0] + radii[0] * np.cos(angles), middle[1] + radii[1] * np.sin(angles)], axis=1)


def ring(generator: Generator, middle: tuple[float, float], radius: float) -> Stroke:
    """A closed curve that is nearly a circle; the ends nearly meet."""
    start = generator.uniform(0, 360)
    points = arc(middle, (radius * generator.uniform(0.85, 1.15), radius), start, start + generator.uniform(350, 385))
    return points + generator.normal(0, 0.02 * radius, (1, 2))


def polygon(generator: Generator, sides: int, middle: tuple[float, float], radius: float) -> Stroke:
    """A closed polygon with corners at nearly even angles."""
    turn = generator.uniform(0, 2 * np.pi) if generator.random() < 0.5 else np.pi * (0.5 - 1 / sides)
    angles = turn + 2 * np.pi * (np.arange(sides) + generator.normal(0, 0.06, sides)) / sides
    lengths = radius * generator.uniform(0.85, 1.15, sides)
    corners = np.stack([middle[0] + lengths * np.cos(angles), middle[1] + lengths * np.sin(angles)], axis=1)
    return np.concatenate([corners, corners[:1]])


def shape(generator: Generator) -> Drawing:
    """A polygon, alone, with its diagonals, or with something in it; never a plain ring."""
    sides = int(generator.choice([3, 3, 4, 4, 4, 5, 6]))
    outline = polygon(generator, sides, (0.5, 0.5), 0.5)
    kind = generator.integers(5)
    if kind == 0:
        return [outline, *(np.stack([outline[i], outline[i + sides // 2]]) for i in range(sides // 2))]
    if kind == 1:
        return [outline, polygon(generator, sides, (0.5, 0.5), generator.uniform(0.15, 0.3))]
    if kind == 2:
        return [outline, ring(generator, (0.5, 0.5), generator.uniform(0.1, 0.3))]
    return [outline]


def circled(generator: Generator) -> Drawing:
    """A ring with a wide gap, or with something in it or around it, or several rings."""
    middle = (0.5, 0.5)
    outline = ring(generator, middle, 0.5)
    kind = generator.integers(8)
    if kind == 0:  # A gap at the top is a zero written in one stroke.
        start = generator.choice([0, 180, 90]) + generator.normal(0, 15)
        gap = generator.uniform(35, 90)
        return [arc(middle, (0.5, 0.5), start + gap, start + 360 - gap)]
    if kind == 1:
        inner = generator.uniform(0.02, 0.16)
        return [outline, ring(generator, middle, inner), ring(generator, middle, inner / 2)]
    if kind == 2:
        return [outline, ring(generator, middle, generator.uniform(0.2, 0.35))]
    if kind == 3:
        reach = generator.uniform(0.3, 0.5)
        turn = generator.choice([0.0, np.pi / 4])
        ends = [reach * np.array([np.cos(a), np.sin(a)]) for a in (turn, turn + np.pi / 2)]
        return [outline, *(np.stack([middle + end, middle - end]) for end in ends)]
    if kind == 4:
        return [outline, *written(generator, (*LETTERS, *SIGNS))] if generator.random() < 0.3 else _face(generator)
    if kind == 5:  # rays
        return [0.6 * (outline - 0.5) + 0.5, *_rays(generator, int(generator.integers(5, 12)), 0.38, 0.55)]
    if kind == 6:
        offset = generator.uniform(0.25, 0.45)
        return [ring(generator, (0.5 - offset, 0.5), 0.3), ring(generator, (0.5 + offset, 0.5), 0.3)]
    start = generator.uniform(0, 360)
    return [arc(middle, (0.5, 0.5), start, start + generator.uniform(140, 230))]


def _rays(generator: Generator, count: int, inner: float, outer: float) -> Drawing:
    angles = 2 * np.pi * (np.arange(count) + generator.normal(0, 0.1, count)) / count
    ends = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [0.5 + np.stack([inner * end, outer * generator.uniform(0.85, 1.1) * end]) for end in ends]


def _face(generator: Generator) -> Drawing:
    height, offset = generator.uniform(0.33, 0.43), generator.uniform(0.14, 0.22)
    eye = generator.uniform(0.01, 0.07)
    mouth = arc((0.5, generator.uniform(0.5, 0.6)), (0.27, 0.22), 15, 165)
    if generator.random() < 0.3:
        mouth = arc((0.5, 0.85), (0.22, 0.15), 200, 340)
    elif generator.random() < 0.2:
        mouth = np.array([[0.3, 0.72], [0.7, 0.72]])
    eyes = [ring(generator, (0.5 + side * offset, height), eye) for side in (-1, 1)]
    parts = [ring(generator, (0.5, 0.5), 0.5), *eyes, mouth]
    if generator.random() < 0.25:
        parts += [np.array([[0.5 + s * 0.42, 0.2], [0.5 + s * 0.45, -0.15], [0.5 + s * 0.15, 0.02]]) for s in (-1, 1)]
    return parts


def star(generator: Generator) -> Drawing:
    """A star: in one line that crosses itself, by its outline, or of strokes through its middle."""
    points = int(generator.choice([4, 5, 5, 5, 6, 8]))
    kind = generator.integers(3)
    if kind == 0:
        corners = polygon(generator, 5, (0.5, 0.5), 0.5)
        return [corners[[0, 2, 4, 1, 3, 0]]]
    if kind == 1:
        outline = polygon(generator, 2 * points, (0.5, 0.5), 0.5)
        inner = generator.uniform(0.3, 0.55)
        outline[1::2] = 0.5 + inner * (outline[1::2] - 0.5)
        return [outline]
    return _rays(generator, points, generator.choice([0.0, 0.0, 0.12]), 0.5)


def arrow(generator: Generator) -> Drawing:
    """An arrow with an open or closed head, or two heads, straight or bent, any way."""
    turn = generator.choice([0, 90, 180, 270, 45, 135, 225, 315]) + generator.normal(0, 8)
    head, spread = generator.uniform(0.2, 0.45), generator.uniform(0.15, 0.4)
    bend = generator.choice([0.0, 0.0, generator.uniform(-0.4, 0.4)])
    shaft = rounded(np.array([[0.0, 0.0], [0.5, bend], [1.0, 0.0]]))
    tip = np.array([[1 - head, -spread], [1.0, 0.0], [1 - head, spread]])
    if generator.random() < 0.25:
        tip = np.concatenate([tip, tip[:1]])
    parts = [shaft, tip]
    if generator.random() < 0.2:
        parts.append(tip * (-1, 1) + (1, 0))
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return [part @ np.array([[cos, sin], [-sin, cos]]) for part in parts]


def _heart(generator: Generator) -> Drawing:
    dip = generator.uniform(0.15, 0.35)
    half = [(0.5, dip), (0.35, -0.15), (-0.1, -0.05), (0.0, 0.5), (0.5, 1.05)]
    curve = rounded(np.array(half))
    return [curve, curve * (-1, 1) + (1, 0)]


def _house(generator: Generator) -> Drawing:
    eaves = generator.uniform(0.3, 0.5)
    parts = [
        np.array([[0, eaves], [0, 1], [1, 1], [1, eaves], [0, eaves]]),
        np.array([[0, eaves], [0.5, 0], [1, eaves]]),
    ]
    if generator.random() < 0.6:
        parts.append(np.array([[0.35, 1], [0.35, 0.65], [0.6, 0.65], [0.6, 1]]))
    return parts


def _tree(generator: Generator) -> Drawing:
    trunk = np.array([[0.5, generator.uniform(0.5, 0.7)], [0.5, 1.0]])
    if generator.random() < 0.5:
        return [polygon(generator, int(generator.integers(5, 9)), (0.5, 0.35), 0.35), trunk, np.add(trunk, (0.08, 0))]
    layers = int(generator.integers(1, 4))
    tops = np.linspace(0, 0.5, layers + 1)[:-1]
    return [np.array([[0.5, top], [0.05, top + 0.4], [0.95, top + 0.4], [0.5, top]]) for top in tops] + [trunk]


def _spiral(generator: Generator) -> Drawing:
    turns = generator.uniform(2.2, 4.0)
    angles = np.linspace(0, turns * 2 * np.pi, 90) * generator.choice([-1, 1]) + generator.uniform(0, 6.3)
    radii = np.linspace(0.03, 0.5, 90)
    return [0.5 + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)]


def _flower(generator: Generator) -> Drawing:
    count = int(generator.integers(4, 8))
    angles = 2 * np.pi * np.arange(count) / count + generator.uniform(0, 1)
    petals = [ring(generator, (0.5 + 0.3 * np.cos(a), 0.35 + 0.3 * np.sin(a)), 0.17) for a in angles]
    stem = [np.array([[0.5, 0.8], [0.5, 1.2]])] if generator.random() < 0.5 else []
    return [*petals, ring(generator, (0.5, 0.35), 0.12), *stem]


def _cloud(generator: Generator) -> Drawing:
    bumps = int(generator.integers(3, 6))
    centres = np.linspace(0.15, 0.85, bumps)
    tops = [arc((x, 0.4), (0.45 / bumps + 0.05, generator.uniform(0.2, 0.4)), 180, 360) for x in centres]
    return [*tops, np.array([[0.05, 0.42], [0.95, 0.42]])]


def _bolt(generator: Generator) -> Drawing:
    outline = np.array([[0.6, 0], [0.15, 0.55], [0.45, 0.55], [0.3, 1], [0.85, 0.4], [0.52, 0.4], [0.6, 0]])
    return [outline + generator.normal(0, 0.03, outline.shape)]


def _fish(generator: Generator) -> Drawing:
    body = [arc((0.4, 0.5), (0.4, 0.28), 20, 340)]
    tail = np.array([[0.77, 0.4], [1.1, 0.2], [1.1, 0.8], [0.77, 0.6]])
    return [*body, tail, ring(generator, (0.2, 0.42), 0.03)]


def _figure(generator: Generator) -> Drawing:
    arms = generator.uniform(0.3, 0.6)
    return [
        ring(generator, (0.5, 0.13), 0.13),
        np.array([[0.5, 0.26], [0.5, 0.65]]),
        np.array([[0.25, arms], [0.5, 0.4], [0.75, arms]]),
        np.array([[0.28, 1.0], [0.5, 0.65], [0.72, 1.0]]),
    ]


def _cup(generator: Generator) -> Drawing:
    cup = np.array([[0, 0], [0.1, 1], [0.7, 1], [0.8, 0], [0, 0]])
    return [cup, arc((0.78, 0.45), (0.25, 0.25), -80, 100)] if generator.random() < 0.7 else [cup]


def _key(generator: Generator) -> Drawing:
    shaft = np.array([[0.4, 0.5], [1.2, 0.5]])
    teeth = [np.array([[x, 0.5], [x, 0.75]]) for x in (1.0, 1.18)]
    return [ring(generator, (0.2, 0.5), 0.2), shaft, *teeth]


def _envelope(generator: Generator) -> Drawing:
    high = generator.uniform(0.55, 0.8)
    return [np.array([[0, 0], [1, 0], [1, high], [0, high], [0, 0]]), np.array([[0, 0], [0.5, high / 2], [1, 0]])]


def _eye(generator: Generator) -> Drawing:
    lids = arc((0.5, 0.7), (0.55, 0.45), 205, 335), arc((0.5, 0.3), (0.55, 0.45), 25, 155)
    return [*lids, ring(generator, (0.5, 0.5), 0.14)]


def _moon(generator: Generator) -> Drawing:
    inner = generator.uniform(0.2, 0.45)
    return [arc((0.5, 0.5), (0.45, 0.5), 75, 285), arc((0.62, 0.5), (inner, 0.48), 90, 270)]


def _note(generator: Generator) -> Drawing:
    head = ring(generator, (0.2, 0.85), 0.15), ring(generator, (0.2, 0.85), 0.07)
    stem = np.array([[0.35, 0.85], [0.35, 0.0]])
    if generator.random() < 0.5:
        return [*head, stem, rounded(np.array([[0.35, 0.0], [0.7, 0.2], [0.6, 0.45]]))]
    second = [np.add(part, (0.6, 0)) for part in (*head, stem)]
    return [*head, stem, *second, np.array([[0.35, 0.0], [0.95, 0.0]])]


def _flag(generator: Generator) -> Drawing:
    low = generator.uniform(0.4, 0.6)
    return [np.array([[0, 1], [0, 0], [0.9, 0], [0.9, low], [0, low]]), np.array([[0, 0], [0, 1]])]


def _glasses(generator: Generator) -> Drawing:
    rims = [ring(generator, (x, 0.5), 0.22) for x in (0.22, 0.78)]
    return [*rims, np.array([[0.44, 0.45], [0.56, 0.45]])]


def _line_positions(generator: Generator, count: int) -> list[float]:
    """Even places between two random ones."""
    low, high = sorted(generator.uniform(0, 1, 2).tolist())
    return list(np.linspace(low, high, count).tolist())


def _grid(generator: Generator) -> Drawing:
    """Lines from side to side, one or more each way: parts of squared paper and of tables."""
    across, down = generator.integers(0, 4, 2)
    across += down + across == 0
    level, upright = (_line_positions(generator, int(count)) for count in (across, down))
    ends = np.sort(np.add(generator.choice([0.0, 1.0, 0.5], (2, 2)), [-0.1, 0.1]), axis=1)
    parts = [np.array([[-0.1, y], [1.1, y]]) for y in level] + [
        np.array([[x, ends[0, 0]], [x, ends[0, 1]]]) for x in upright
    ]
    # One upright line alone is a one.
    return parts if across else [*parts, np.array([[-0.1, 0.2], [1.1, 0.2]])]


_DOODLES: tuple[Callable[[Generator], Drawing], ...] = (
    _heart, _house, _tree, _spiral, _flower, _cloud, _bolt, _fish, _figure, _cup, _key, _envelope, _eye, _moon, _note,
    _flag, _glasses, _grid, _face,
)  # fmt: skip


def doodle(generator: Generator) -> Drawing:
    """One of the usual things to draw."""
    return _DOODLES[generator.integers(len(_DOODLES))](generator)


def composition(generator: Generator) -> Drawing:
    """Three to five simple shapes and lines at random places, as doodles of any other kind have them."""
    parts: Drawing = []
    for _ in range(int(generator.integers(3, 6))):  # of two, a ring and a line are a zero
        middle = (float(generator.uniform(0.2, 0.8)), float(generator.uniform(0.2, 0.8)))
        radius = float(generator.uniform(0.12, 0.4))
        kind = generator.integers(6)
        if kind == 0:
            parts.append(ring(generator, middle, radius))
        elif kind == 1:
            parts.append(polygon(generator, int(generator.integers(3, 6)), middle, radius))
        elif kind == 2:
            start = generator.uniform(0, 360)
            parts.append(
                arc(middle, (radius, radius * generator.uniform(0.5, 1)), start, start + generator.uniform(90, 250))
            )
        elif kind == 3:
            steps = int(generator.integers(4, 9))
            zigzag = np.stack([np.linspace(-1, 1, steps), 0.6 * (-1.0) ** np.arange(steps)], axis=1)
            turn = generator.uniform(0, np.pi)
            turned = zigzag @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            parts.append(middle + 1.2 * radius * turned)
        else:
            end = radius * 1.5 * generator.normal(0, 1, 2)
            parts.append(np.stack([middle + end, middle - end]))
    return parts


def scrawl(generator: Generator) -> Drawing:
    """A line to and fro over an area, or a long one that crosses itself."""
    count = int(generator.integers(8, 20))
    if generator.random() < 0.5:
        return [rounded(generator.uniform(0, 1, (count, 2)), int(generator.integers(0, 4)))]
    along = np.linspace(0, 1, count)
    across = 0.5 + generator.uniform(0.2, 0.5) * (-1.0) ** np.arange(count) * generator.uniform(0.7, 1.1, count)
    turn = generator.uniform(0, np.pi)
    turned = np.stack([along, across], axis=1) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return [rounded(turned, int(generator.integers(0, 3)))]


def digits_together(generator: Generator) -> Drawing:
    """Two digits, over one another but not in the same place, or side by side: not one of the two."""
    # Over another digit a one is that digit's stem as often as not.
    first, second = generator.choice([0, 2, 3, 4, 5, 6, 7, 8, 9], 2, replace=False)
    offset = generator.uniform(0.2, 0.7) if generator.random() < 0.7 else generator.uniform(1.0, 1.3)
    up, size = generator.uniform(-0.25, 0.25), generator.uniform(0.85, 1.15)
    return [
        *written(generator, DIGITS[int(first)]),
        *(size * np.add(part, (offset, up)) for part in written(generator, DIGITS[int(second)])),
    ]


def mirrored(generator: Generator) -> Drawing:
    """Random curves and their mirror images around a stem, as fruit, insects and tools are drawn."""
    parts: Drawing = []
    for _ in range(int(generator.integers(2, 4))):
        points = generator.uniform((0.0, 0.0), (0.5, 1.0), (int(generator.integers(3, 6)), 2))
        points[-1, 0] = 0.5 if generator.random() < 0.7 else points[-1, 0]
        half = rounded(points, int(generator.integers(0, 4)))
        parts += [half, half * (-1, 1) + (1, 0)]
    if generator.random() < 0.5:
        parts.append(np.stack([[0.5, generator.uniform(-0.2, 0.3)], [0.5, generator.uniform(0.6, 1.1)]]))
    return parts


def crossed(generator: Generator) -> Drawing:
    """A closed line of straight pieces that crosses itself, with bars at its ends or over it, as an hourglass has."""
    high, lean = generator.uniform(0.8, 1.3), generator.normal(0, 0.05)
    outline = np.array([[0, 0], [1, lean], [0, high], [1, high - lean], [0, 0]]) + generator.normal(0, 0.03, (5, 2))
    outline[-1] = outline[0]
    beyond = generator.uniform(0.05, 0.25)
    parts = [outline]
    if generator.random() < 0.85:
        parts += [np.array([[-beyond, y], [1 + beyond, y + lean]]) for y in (0.0, high)]
    if generator.random() < 0.3:
        parts.append(np.array([[-beyond, high / 2], [1 + beyond, high / 2]]))
    turned = generator.random() < 0.3
    return [part[:, ::-1] if turned else part for part in parts]


def curled(generator: Generator) -> Drawing:
    """A spiral or rings in one another that stand on a line, with lines that leave it."""
    turns, flip = generator.uniform(1.3, 3.0), generator.choice([-1.0, 1.0])
    angles = np.linspace(0, turns * 2 * np.pi, 60) + generator.uniform(0, 6.3)
    radii = np.linspace(generator.uniform(0.03, 0.2), 0.4, 60)
    spiral = np.stack([flip * radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    ground = generator.uniform(0.3, 0.5)
    line = [[-0.5, ground], [0.5, ground], [generator.uniform(0.5, 0.8), generator.uniform(-0.2, 0.2)]]
    parts = [spiral, rounded(np.array(line), int(generator.integers(0, 3))) * (flip, 1)]
    if generator.random() < 0.5:
        parts.append(np.array([line[-1], np.add(line[-1], generator.normal(0, 0.15, 2))]) * (flip, 1))
    return parts


def domed(generator: Generator) -> Drawing:
    """Half an ellipse closed by a chord, any way round, with one to three lines at it."""
    parts = [arc((0.5, 0.5), (0.5, generator.uniform(0.3, 0.6)), 180, 360), np.array([[0.0, 0.5], [1.0, 0.5]])]
    for x in generator.uniform(0.15, 0.85, int(generator.integers(1, 4))):
        low = generator.uniform(0.75, 1.2)
        end = arc((x - 0.1, low), (0.1, 0.1), 0, 180) if generator.random() < 0.25 else np.empty((0, 2))
        top = generator.choice([0.5, 0.5, 0.1])
        parts.append(np.concatenate([np.array([[x, top], [x + generator.normal(0, 0.04), low]]), end]))
    turn = int(generator.integers(4)) if generator.random() < 0.5 else 0
    for _ in range(turn):
        parts = [part[:, ::-1] * (-1, 1) for part in parts]
    return parts


def stacked(generator: Generator) -> Drawing:
    """Two to four polygons, boxes, half rings and at most one ring in a row or a pile, as vehicles and towers are."""
    parts: Drawing = []
    height, ring_left = 0.0, True
    count = int(generator.integers(2, 5))
    for index in range(count):
        radius = generator.uniform(0.15, 0.35)
        middle = (float(generator.normal(0.5, 0.08)), height + radius)
        kind = int(generator.integers(4))
        if kind == 0 and ring_left and index:
            parts.append(ring(generator, middle, radius))
            ring_left = False
        elif kind == 1:
            parts.append(arc(middle, (radius * generator.uniform(0.8, 1.8), radius), 180, 360))
        else:
            parts.append(polygon(generator, int(generator.integers(3, 6)), middle, radius))
        height += radius * generator.uniform(1.2, 2.0)
    parts.append(
        np.array([[0.1, height], [0.9, height]]) if generator.random() < 0.6 else parts[0] * (1, -1) + (0.0, height)
    )
    level = generator.random() < 0.4
    return [part[:, ::-1] if level else part for part in parts]


def hatched(generator: Generator) -> Drawing:
    """Three to nine parallel lines, some with others across: textures, barcodes, ladders and fences."""
    count = int(generator.integers(3, 10))
    lines = [np.array([[0.0, y], [1.0, y]]) for y in np.linspace(0, 1, count) + generator.normal(0, 0.02, count)]
    if generator.random() < 0.5:
        lines += [np.array([[x, -0.1], [x, 1.1]]) for x in generator.uniform(0, 1, int(generator.integers(1, 4)))]
    turn = generator.choice([0.0, np.pi / 2, generator.uniform(0, np.pi)])
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return [(line - 0.5) * (1, generator.uniform(0.9, 1.1)) @ rotation for line in lines]
