"""Pictures of digits, drawn by the tests themselves: no image of any data set is kept in the repository."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.imaging.filters import Mask

Box = tuple[int, int, int, int]

STROKE: Box = (40, 20, 50, 80)  # a box on a `sheet`: 600 pixels, 60 high, free on all sides


def drawn(digit: str = "7", *, size: int = 280, paper: int = 255, ink: int = 20, mode: str = "L") -> Image.Image:
    """A rendered digit in the middle of a square of paper."""
    image = Image.new("L", (size, size), paper)
    font = ImageFont.load_default(size=size * 0.7)
    ImageDraw.Draw(image).text((size / 2, size / 2), digit, font=font, fill=ink, anchor="mm")
    return image.convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The file."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def sheet(*boxes: Box, size: int = 100) -> Mask:
    """A mask with filled boxes: x0, y0, x1, y1."""
    mask = np.zeros((size, size), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask
