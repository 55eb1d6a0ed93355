"""Draws seven.png, the digit of the README's example: a 7 as if written with a broad pen on light paper."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

SIZE = (160, 200)  # width, height
STROKE = [(38, 52), (70, 44), (122, 42), (112, 78), (92, 122), (78, 168)]
PEN = 15
FINER = 4  # drawn this many times larger, so that the edges come out smooth


def seven() -> Image.Image:
    """The picture: grey values, ink dark on light."""
    image = Image.new("L", (SIZE[0] * FINER, SIZE[1] * FINER), 244)
    pen = ImageDraw.Draw(image)
    stroke = [(x * FINER, y * FINER) for x, y in STROKE]
    pen.line(stroke, fill=28, width=PEN * FINER, joint="curve")
    for x, y in stroke:
        reach = PEN * FINER / 2
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=28)
    return image.resize(SIZE, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    seven().save(Path(__file__).with_suffix(".png"), optimize=True)
