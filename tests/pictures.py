"""Pictures of digits, drawn by the tests themselves: no image of any data set is kept in the repository."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw, ImageFont


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
