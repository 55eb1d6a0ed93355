"""`python -m benchmarks.digits.tesseract`: whole numbers, this project's reader and Tesseract on the same pictures.

Tesseract (Debian's `tesseract-ocr`) reads a single line of digits only. Numbers of two to six digits by three hands and
in fonts held out of training, on clean paper and photographed, and plates as houses have them. Writes
benchmarks/results/digits-numbers.csv and .md.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import matplotlib as mpl
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from benchmarks import table
from benchmarks.digits import handwriting
from benchmarks.digits.command import circumstances, newest_reader, options_of
from benchmarks.digits.scenes import blurred, file, resized, smooth
from service.backend.model import LoadedModel
from service.codec.common import Body
from service.codec.digits import DigitCodec
from service.codec.state_tokens import StateTokens
from service.contract.errors import InvalidRequest
from service.contract.types import DigitResult
from service.imaging.filters import Plane
from service.settings import Settings
from training.data.typeset_digits import HELD_OUT_FONTS

SEED = 50_000
CODEC = DigitCodec(Settings(), StateTokens([b"a key of a benchmark, long enough"]))
TESSERACT = ("tesseract", "stdin", "stdout", "--psm", "7", "-c", "tessedit_char_whitelist=0123456789")


@dataclass(frozen=True)
class NumberRow:
    """How many numbers of one group are read whole by one reader."""

    reader: str
    group: str
    right: float
    count: int
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""


def line_of(inks: list[Plane], generator: Generator) -> Plane:
    """The inks side by side, about as high as one another, with margins."""
    inks = [resized(ink, 80 * float(generator.uniform(0.9, 1.1))) for ink in inks]
    height, gap = max(ink.shape[0] for ink in inks), int(generator.integers(8, 22))
    parts = [np.pad(ink, ((height - ink.shape[0], 0), (0, gap))) for ink in inks]
    return np.pad(np.concatenate(parts, axis=1), int(generator.integers(20, 60)))


def clean(ink: Plane, _: Generator) -> bytes:
    """Black on white."""
    return file(1 - ink)


def photographed(ink: Plane, generator: Generator) -> bytes:
    """Under a lamp, slightly turned and out of focus."""
    plane = (0.9 - 0.7 * ink) * (1 + 0.15 * smooth(generator, ink.shape, 3))
    image = Image.fromarray(np.uint8(255 * plane.clip(0, 1)))
    image = image.rotate(float(generator.normal(0, 2)), Image.Resampling.BICUBIC, fillcolor=215)
    plane = blurred(np.asarray(np.asarray(image) / 255, np.float32), float(generator.uniform(0.5, 1.5)))
    return file(plane + generator.normal(0, 0.015, plane.shape), "JPEG", quality=80)


def plate(ink: Plane, generator: Generator) -> bytes:
    """A plate on a wall: bright on dark or dark on bright, turned, in the sun, out of focus."""
    paper, pen = (0.2, 0.9) if generator.random() < 0.5 else (0.9, 0.15)
    plane = paper + (pen - paper) * ink
    image = Image.fromarray(np.uint8(255 * plane))
    shape = Image.new("L", image.size, 255)
    angle = float(generator.normal(0, 3))
    image, shape = (one.rotate(angle, Image.Resampling.BICUBIC, expand=True) for one in (image, shape))
    wide, high = round(1.4 * image.width), round(1.6 * image.height)
    wall = 0.5 + 0.06 * smooth(generator, (high, wide), 30) + generator.normal(0, 0.03, (high, wide))
    whole = Image.fromarray(np.uint8(255 * wall.clip(0, 1)))
    whole.paste(image, ((wide - image.width) // 2, (high - image.height) // 2), shape)
    whole = whole.filter(ImageFilter.GaussianBlur(float(generator.uniform(0.5, 1.5))))
    light = 1 + 0.2 * smooth(generator, (high, wide), 2)
    return file(0.85 * light * np.asarray(whole, np.float32) / 255, "JPEG", quality=75)


def groups() -> dict[str, tuple[list[handwriting.Drawing], Callable[[Plane, Generator], bytes]]]:
    """Group -> the digits that its numbers consist of, and how they are shown."""
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    printed = [drawing for name in HELD_OUT_FONTS for drawing in handwriting.typeset(fonts / f"{name}.ttf")]
    drawn = {tool: handwriting.drawings(200, tool, SEED) for tool in ("mouse", "pen", "marker")}
    hands = [drawing for drawings in drawn.values() for drawing in drawings]
    return {
        **{f"drawn, {tool}": (drawings, clean) for tool, drawings in drawn.items()},
        "drawn, photographed": (hands, photographed),
        "printed": (printed, clean),
        "printed, photographed": (printed, photographed),
        "plates of houses": (printed, plate),
    }


def pictures(name: str, count: int) -> list[tuple[str, bytes]]:
    """`count` numbers of a group, of two to six digits each, and their pictures."""
    digits, scene = groups()[name]
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    sources = sorted({digit.source for digit in digits})
    made = []
    for _ in range(count):
        source = str(generator.choice(sources))
        own = [digit for digit in digits if digit.source == source]
        chosen = [own[int(index)] for index in generator.integers(len(own), size=int(generator.integers(2, 7)))]
        number = "".join(str(digit.label) for digit in chosen)
        made.append((number, scene(line_of([digit.ink for digit in chosen], generator), generator)))
    return made


def read_by_model(model: LoadedModel, data: bytes) -> str:
    """The number as the service reads it, nothing where the picture is blank."""
    try:
        call = CODEC.to_items(CODEC.decode(Body(data, "image/png", query_string=b"digits=all")), model.manifest)
        answer = CODEC.encode(call, cast("list[DigitResult]", model.run(call.items)))
    except InvalidRequest:
        return ""
    return str(json.loads(answer)["predictions"][0].get("number", ""))


def read_by_tesseract(data: bytes) -> str:
    """The digits that Tesseract reads in one line."""
    process = subprocess.run(TESSERACT, input=data, check=False, capture_output=True)
    return "".join(process.stdout.decode().split())


def main() -> None:
    options = options_of("benchmarks.digits.tesseract", __doc__, 60, "numbers of each group")
    model, shared = newest_reader(options.folder), circumstances("benchmarks.digits.tesseract")
    readers: dict[str, Callable[[bytes], str]] = {
        f"digits@{model.manifest.version}": lambda data: read_by_model(model, data)
    }
    if shutil.which(TESSERACT[0]):
        version = subprocess.run(["tesseract", "--version"], check=True, capture_output=True, text=True).stdout
        readers[" ".join(version.split()[:2])] = read_by_tesseract
    rows = []
    for group in groups():
        made = pictures(group, options.count)
        for name, read in readers.items():
            right = float(np.mean([read(data) == number for number, data in made]))
            rows.append(NumberRow(name, group, right, len(made), **shared))
            print(f"{group:24s} {name:20s} {100 * right:.1f} %", flush=True)
    table.write(options.output / "digits-numbers.csv", NumberRow, rows)
    (options.output / "digits-numbers.md").write_text(_page(rows, list(readers)), encoding="utf-8")


def _page(rows: list[NumberRow], readers: list[str]) -> str:
    lines = [
        "# Whole numbers, beside Tesseract",
        "",
        f"Written by `{rows[0].command}` on {rows[0].date} (commit {rows[0].commit[:7]}).",
        "Numbers of two to six digits; right means every digit and nothing else. Tesseract reads one line of digits.",
        "",
        f"| numbers | {' | '.join(f'{reader}, %' for reader in readers)} |",
        f"| --- |{' --- |' * len(readers)}",
    ]
    for group in dict.fromkeys(row.group for row in rows):
        shares = {row.reader: row.right for row in rows if row.group == group}
        count = next(row.count for row in rows if row.group == group)
        lines.append(f"| {group} ({count}) | {' | '.join(f'{100 * shares[reader]:.1f}' for reader in readers)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
