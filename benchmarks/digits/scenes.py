"""Pictures as the service receives them: ink on paper, on screens, in photographs and scans, each as a file.

A scene takes the ink of one digit (H, W) 0..1 and a generator, and returns the bytes of an image file. Numbers drawn at
random (margins, colours, light) come from the generator alone.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.digits.handwriting import Plane

Generator = np.random.Generator
Scene = Callable[[Plane, Generator], bytes]


def file(pixels: NDArray[Any] | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """`pixels` in 0..1 (grey, RGB) or an image, encoded."""
    if not isinstance(pixels, Image.Image):
        pixels = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    buffer = BytesIO()
    pixels.save(buffer, form, **options)
    return buffer.getvalue()


def resized(ink: Plane, height: float) -> Plane:
    """The ink at another height, proportions kept."""
    width = max(1, round(ink.shape[1] * height / ink.shape[0]))
    image = Image.fromarray(ink).resize(
        (width, max(1, round(height))), Image.Resampling.BOX if height < 100 else Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(image, np.float32), 0, 1)


def placed(ink: Plane, generator: Generator, shape: tuple[int, int] | None = None) -> Plane:
    """The ink somewhere on a sheet of `shape` (default: with margins of 10..60 % of the digit's height around it)."""
    height, width = ink.shape
    if shape is None:
        room = generator.uniform(0.1, 0.6, 4) * max(height, width)
        shape = int(height + room[0] + room[1]), int(width + room[2] + room[3])
        y, x = int(room[0]), int(room[2])
    else:
        y, x = (
            int(generator.integers(0, max(1, big - small + 1))) for big, small in zip(shape, ink.shape, strict=True)
        )
    sheet = np.zeros(shape, np.float32)
    sheet[y : y + height, x : x + width] = ink
    return sheet


def laid(ink: Plane, paper: Any, pen: Any) -> NDArray[np.float32]:
    """Ink of colour `pen` on `paper`: numbers or planes 0..1, or triples of them for RGB."""
    return np.asarray(
        paper + (np.asarray(pen) - paper) * (ink if np.ndim(paper) < 3 and np.ndim(pen) < 1 else ink[..., None]),
        np.float32,
    )


def blurred(plane: Plane, radius: float) -> Plane:
    image = Image.fromarray(np.round(np.clip(plane, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)


def grained(plane: Plane, generator: Generator, spread: float) -> Plane:
    return np.asarray(plane + generator.normal(0, spread, plane.shape), np.float32)


def smooth(generator: Generator, shape: tuple[int, int], cells: int) -> Plane:
    """Random values -1..1 that change slowly over the sheet."""
    coarse = Image.fromarray(generator.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC), np.float32)


def turned(sheet: Plane, degrees: float) -> Plane:
    return np.asarray(Image.fromarray(sheet).rotate(degrees, Image.Resampling.BICUBIC), np.float32).clip(0, 1)


# --- scenes ----------------------------------------------------------------------------------------------------------


def screen(ink: Plane, generator: Generator) -> bytes:
    """Black on white, as a drawing program saves it."""
    return file(1 - placed(ink, generator))


def blackboard(ink: Plane, generator: Generator) -> bytes:
    """Bright on dark."""
    return file(laid(placed(ink, generator), generator.uniform(0, 0.25), generator.uniform(0.7, 1)))


def coloured(ink: Plane, generator: Generator) -> bytes:
    """Any ink on any paper that a reader can tell apart by lightness or by colour alone."""
    while True:
        paper, pen = generator.uniform(0, 1, (2, 3))
        if np.abs(paper - pen).max() > 0.45:
            return file(laid(placed(ink, generator), paper, pen))


def transparent(ink: Plane, generator: Generator) -> bytes:
    """Ink on nothing: the alpha channel is the drawing."""
    sheet = placed(ink, generator)
    layer = np.zeros((*sheet.shape, 4), np.float32)
    layer[..., :3], layer[..., 3] = generator.choice([0.0, 1.0, 0.3]), sheet
    return file(layer)


def photograph(ink: Plane, generator: Generator) -> bytes:
    """A page under a lamp: uneven light, slight turn, out of focus, sensor grain, JPEG."""
    sheet = turned(placed(ink, generator), generator.uniform(-7, 7))
    light = 0.68 + 0.28 * smooth(generator, sheet.shape, 2) + 0.04 * smooth(generator, sheet.shape, 4)
    page = laid(sheet, 0.9, generator.uniform(0.05, 0.35)) * light
    page = grained(blurred(page, generator.uniform(0.3, 2)), generator, generator.uniform(0.01, 0.04))
    return file(page, "JPEG", quality=int(generator.integers(45, 90)))


def shadow(ink: Plane, generator: Generator) -> bytes:
    """The edge of a hand's or a phone's shadow runs over the page, and may run through the digit."""
    sheet = placed(ink, generator)
    y, x = np.mgrid[: sheet.shape[0], : sheet.shape[1]].astype(np.float32)
    angle = generator.uniform(0, 2 * np.pi)
    distance = np.cos(angle) * (x / sheet.shape[1] - generator.uniform(0.2, 0.8)) + np.sin(angle) * (
        y / sheet.shape[0] - generator.uniform(0.2, 0.8)
    )
    edge = 1 / (1 + np.exp(-distance / generator.uniform(0.01, 0.08)))
    light = 1 - generator.uniform(0.3, 0.55) * edge
    page = laid(sheet, 0.92, generator.uniform(0.05, 0.3)) * light + generator.normal(0, 0.015, sheet.shape)
    return file(page, "JPEG", quality=75)


def ruled(ink: Plane, generator: Generator) -> bytes:
    """Paper with printed lines, fainter than the ink; they cross the digit."""
    sheet = placed(ink, generator)
    gap, thick = int(generator.uniform(0.25, 0.6) * ink.shape[0]), int(generator.integers(1, 4))
    paper = np.full((*sheet.shape, 3), 0.95, np.float32)
    colour = np.array(((0.6, 0.7, 0.9), (0.7, 0.7, 0.7), (0.75, 0.85, 0.8))[generator.integers(3)], np.float32)
    lines = np.arange(sheet.shape[0]) % gap < thick
    paper[lines] = colour
    return file(laid(sheet, paper, generator.uniform(0, 0.25, 3)) + generator.normal(0, 0.01, paper.shape))


def squared(ink: Plane, generator: Generator) -> bytes:
    """Squared paper."""
    sheet = placed(ink, generator)
    gap, thick = int(generator.uniform(0.2, 0.45) * ink.shape[0]), int(generator.integers(1, 3))
    lines = (np.arange(sheet.shape[0]) % gap < thick)[:, None] | (np.arange(sheet.shape[1]) % gap < thick)[None]
    paper = np.where(lines, generator.uniform(0.65, 0.82), 0.95).astype(np.float32)
    return file(
        laid(sheet, paper, generator.uniform(0, 0.25)) + generator.normal(0, 0.01, paper.shape), "JPEG", quality=80
    )


def desk(ink: Plane, generator: Generator) -> bytes:
    """A photograph in which the sheet ends and a darker table begins, on one or two sides."""
    sheet = placed(ink, generator)
    high, wide = sheet.shape
    table = generator.uniform(0.25, 0.6)
    page = laid(sheet, 0.9, generator.uniform(0.05, 0.2))
    table_height, table_width = (int(generator.uniform(0.05, 0.25) * high), int(generator.uniform(0.05, 0.25) * wide))
    scene = np.full((high + table_height, wide + table_width), table, np.float32) + 0.03 * smooth(
        generator, (high + table_height, wide + table_width), 12
    )
    scene[table_height:, table_width if generator.random() < 0.5 else 0 :][:high, :wide] = page
    scene = np.asarray(
        Image.fromarray(scene).rotate(generator.uniform(-3, 3), Image.Resampling.BICUBIC, fillcolor=table)
    )
    return file(blurred(scene, 0.8) + generator.normal(0, 0.015, scene.shape), "JPEG", quality=70)


def form(ink: Plane, generator: Generator) -> bytes:
    """A box of a printed form around the digit."""
    height, width = ink.shape
    side = int(max(ink.shape) * generator.uniform(1.25, 1.7))
    sheet, thick = np.zeros((side, side), np.float32), int(generator.integers(2, 6))
    sheet[:thick], sheet[-thick:], sheet[:, :thick], sheet[:, -thick:] = 1, 1, 1, 1
    y, x = (side - height) // 2, (side - width) // 2
    sheet[y : y + height, x : x + width] = np.maximum(sheet[y : y + height, x : x + width], ink)
    return file(1 - 0.9 * np.pad(sheet, int(generator.uniform(0.02, 0.2) * side)))


def distant(ink: Plane, generator: Generator) -> bytes:
    """A large picture of which the digit is a small part."""
    shape = int(generator.integers(900, 1500)), int(generator.integers(1200, 2000))
    sheet = placed(resized(ink, generator.uniform(0.06, 0.14) * shape[0]), generator, shape)
    page = laid(sheet, 0.9, generator.uniform(0.05, 0.3)) * (0.85 + 0.12 * smooth(generator, shape, 2))
    return file(page + generator.normal(0, 0.012, shape), "JPEG", quality=75)


def tiny(ink: Plane, generator: Generator) -> bytes:
    """A few pixels: 14 to 32 high."""
    return file(1 - placed(resized(ink, generator.uniform(14, 32)), generator))


def huge(ink: Plane, generator: Generator) -> bytes:
    """Thousands of pixels."""
    return file(1 - placed(resized(ink, generator.uniform(1800, 2400)), generator), "JPEG", quality=70)


def tight(ink: Plane, generator: Generator) -> bytes:
    """Cut to the digit, nothing left around it, either way round."""
    return file(1 - ink if generator.random() < 0.5 else ink)


def touching(ink: Plane, generator: Generator) -> bytes:
    """The digit lies at one side or in a corner of the sheet and touches its border."""
    sheet = placed(ink, generator)
    rows, columns = np.flatnonzero(sheet.max(axis=1) > 0.1), np.flatnonzero(sheet.max(axis=0) > 0.1)
    cut = generator.integers(0, 4)
    sheet = (sheet[rows[0] :], sheet[: rows[-1] + 1], sheet[:, columns[0] :], sheet[:, : columns[-1] + 1])[cut]
    return file(1 - 0.9 * sheet)


def noisy(ink: Plane, generator: Generator) -> bytes:
    """Strong grain, and salt and pepper."""
    page = laid(placed(ink, generator), 0.85, 0.15)
    page = grained(page, generator, generator.uniform(0.05, 0.14))
    odd = generator.random(page.shape)
    page[odd < 0.01], page[odd > 0.99] = 0, 1
    return file(page)


def compressed(ink: Plane, generator: Generator) -> bytes:
    """A small JPEG of the lowest quality."""
    sheet = placed(resized(ink, generator.uniform(50, 120)), generator)
    return file(laid(sheet, 0.95, 0.1), "JPEG", quality=int(generator.integers(5, 20)))


def pencil(ink: Plane, generator: Generator) -> bytes:
    """A faint grey that leaves out the tooth of the paper."""
    sheet = placed(ink, generator)
    tooth = np.clip(0.75 + 0.8 * generator.normal(0, 1, sheet.shape), 0, 1).astype(np.float32)
    page = laid(sheet * blurred(tooth, 0.7), 0.93, generator.uniform(0.45, 0.65))
    return file(page + generator.normal(0, 0.01, page.shape), "JPEG", quality=85)


def defocused(ink: Plane, generator: Generator) -> bytes:
    """Out of focus: edges as wide as a stroke."""
    sheet = placed(ink, generator)
    return file(laid(blurred(sheet, generator.uniform(4, 9)), 0.9, 0.1), "JPEG", quality=80)


def dirty(ink: Plane, generator: Generator) -> bytes:
    """A photocopy: specks, and a smear at one border."""
    image = Image.fromarray(np.uint8(255 * (1 - placed(ink, generator))))
    pencil_ = ImageDraw.Draw(image)
    for _ in range(int(generator.integers(5, 40))):
        x, y, radius = (
            generator.uniform(0, image.width),
            generator.uniform(0, image.height),
            generator.uniform(0.5, 2.5),
        )
        pencil_.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(generator.integers(0, 120)))
    pencil_.rectangle((0, 0, image.width, int(generator.integers(1, 6))), fill=int(generator.integers(0, 120)))
    return file(image)


SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        screen, blackboard, coloured, transparent, photograph, shadow, ruled, squared, desk, form, distant, tiny, huge,
        tight, touching, noisy, compressed, pencil, defocused, dirty,
    )
}  # fmt: skip
