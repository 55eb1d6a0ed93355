"""`python -m benchmarks.digits.kinds`: which share of each kind of picture does the newest `digits` answer rightly?

The kinds are those of the acceptance suite (`picture_kinds`, `no_digits`), with 30 pictures each. They are prepared,
read and answered as the service does it, without HTTP between. Writes benchmarks/results/digits-kinds.csv, .md and
.png: the rates, and of each kind the picture that was answered worst.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from typing import Any, cast

import numpy as np
from PIL import Image, ImageDraw

from benchmarks import table
from benchmarks.digits import handwriting, no_digits, picture_kinds
from benchmarks.digits.command import circumstances, newest_reader, options_of
from benchmarks.digits.picture_kinds import box_of_a_form, sheet_on_a_table
from benchmarks.digits.scenes import Scene, file, resized
from service.backend.model import LoadedModel
from service.codec.common import Body
from service.codec.digits import DigitCodec
from service.codec.state_tokens import StateTokens
from service.contract.errors import InvalidRequest
from service.contract.types import DigitResult
from service.settings import Settings

COUNT = 30
DOUBT = 0.5
NO_DIGIT = ""
Prediction = dict[str, Any]
_CODEC = DigitCodec(Settings(), StateTokens([b"a key of a benchmark, long enough"]))
_TILE, _LABEL = 150, 34  # pixels


@cache
def newest() -> LoadedModel:
    """The newest committed version of `digits`."""
    return newest_reader()


def answer(model: LoadedModel, data: bytes, query: bytes = b"") -> Prediction | None:
    """The prediction for a picture; None: it is blank."""
    try:
        call = _CODEC.to_items(_CODEC.decode(Body(data, "image/png", query_string=query)), model.manifest)
        results = cast("list[DigitResult]", model.run(call.items))
        prediction: Prediction = json.loads(_CODEC.encode(call, results))["predictions"][0]
    except InvalidRequest as error:
        if error.code != "blank_image":
            raise
        return None
    return prediction


def is_doubted(prediction: Prediction | None) -> bool:
    """Whether a picture is blank, has no label, or one with a score below a half."""
    return prediction is None or prediction["label"] is None or float(prediction["score"]) < DOUBT


# --- pictures of each kind, with the digits on them ------------------------------------------------------------------


def digit_pictures(kind: str, count: int) -> Iterator[tuple[str, bytes]]:
    """Digits and files of one of `picture_kinds.DIGITS`."""
    scene, _ = picture_kinds.DIGITS[kind]
    generator = np.random.default_rng(len(kind))
    for drawing in handwriting.drawings(count, picture_kinds.TOOLS.get(kind, "pen"), 7):
        yield str(drawing.label), scene(drawing.ink, generator)


def display_pictures(count: int) -> Iterator[tuple[str, bytes]]:
    """Digits of seven segments, of three thicknesses in turn."""
    for index in range(count):
        thick = (16, 22, 30)[index // 10 % 3]
        yield str(index % 10), picture_kinds.display(index % 10, thick, 110 + thick)


def upstroke_pictures(count: int) -> Iterator[tuple[str, bytes]]:
    """Ones whose upstroke is longer from one to the next."""
    generator = np.random.default_rng(8)
    for reach in np.linspace(0.15, 0.6, count):
        yield "1", picture_kinds.upstroke(float(reach), generator)


def empty_pictures(scene: Scene, count: int) -> Iterator[tuple[str, bytes]]:
    """A scene without any ink."""
    generator = np.random.default_rng(5)
    for _ in range(count):
        yield NO_DIGIT, scene(np.zeros((200, 140), np.float32), generator)


def no_digit_pictures(kind: str, count: int) -> Iterator[bytes]:
    """Files of one of `no_digits.KINDS`."""
    picture, _ = no_digits.KINDS[kind]
    generator = np.random.default_rng(len(kind))
    for _ in range(count):
        yield picture(generator)


def number_pictures(n_digits: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Numbers of so many digits by one pen, on one line."""
    generator = np.random.default_rng(n_digits)
    drawings = handwriting.drawings(30, "pen", 11)
    for _ in range(count):
        chosen = [drawings[int(index)] for index in generator.integers(len(drawings), size=n_digits)]
        inks = [resized(drawing.ink, 80) for drawing in chosen]
        height, gap = max(ink.shape[0] for ink in inks), int(generator.integers(10, 24))
        parts = [np.pad(ink, ((0, height - ink.shape[0]), (0, gap))) for ink in inks]
        plane = 0.95 - 0.85 * np.pad(np.concatenate(parts, axis=1), int(generator.integers(10, 60)))
        yield "".join(str(drawing.label) for drawing in chosen), file(plane)


def _drawn_no_digits(kind: str, count: int) -> Iterator[tuple[str, bytes]]:
    return ((NO_DIGIT, data) for data in no_digit_pictures(kind, count))


PICTURES: dict[str, Callable[[int], Iterator[tuple[str, bytes]]]] = {
    **{kind: partial(digit_pictures, kind) for kind in picture_kinds.DIGITS},
    "seven segments": display_pictures,
    "one with a long upstroke": upstroke_pictures,
    **{f"number of {count} digits": partial(number_pictures, count) for count in (2, 3, 5)},
    "empty box": partial(empty_pictures, box_of_a_form),
    "empty sheet": partial(empty_pictures, sheet_on_a_table),
    **{kind: partial(_drawn_no_digits, kind) for kind in no_digits.KINDS},
}


# --- rates -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KindRow:
    """A kind: how many pictures, how many of them answered rightly, and the worst answer."""

    kind: str
    count: int
    right: int
    worst: str
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""


def graded(model: LoadedModel, truth: str, data: bytes) -> tuple[float, str]:
    """How good an answer is, from 0 or more where it is right and below 0 where it is not; and the answer in words.

    What is no digit is to be doubted, see `is_doubted`; a number of several digits is to be right as a whole.
    """
    prediction = answer(model, data, b"digits=all" if len(truth) > 1 else b"")
    if prediction is None or prediction["label"] is None:
        return (1.0, "blank") if truth == NO_DIGIT else (-1.0, f"{truth} as blank")
    label, score = str(prediction["number"] if len(truth) > 1 else prediction["label"]), float(prediction["score"])
    if truth == NO_DIGIT:
        return DOUBT - score if score < DOUBT else -score, f"{label}, {score:.2f}"
    return (score if label == truth else -score), f"{truth} as {label}, {score:.2f}"


def sheet_of(worst: dict[str, tuple[str, bytes]]) -> Image.Image:
    """The worst picture of each kind, with the answer below it, six in a row."""
    wide = 6
    sheet = Image.new("L", (wide * _TILE, -(-len(worst) // wide) * (_TILE + _LABEL)), 255)
    pencil = ImageDraw.Draw(sheet)
    for index, (kind, (answer, data)) in enumerate(worst.items()):
        x, y = index % wide * _TILE, index // wide * (_TILE + _LABEL)
        picture = Image.open(BytesIO(data)).convert("L")
        picture.thumbnail((_TILE - 10, _TILE - 10))
        sheet.paste(picture, (x + 5, y + 5))
        pencil.rectangle((x + 4, y + 4, x + 5 + picture.width, y + 5 + picture.height), outline=190)
        pencil.text((x + 5, y + _TILE - 2), f"{kind}\n{answer}", fill=0)
    return sheet


def page(rows: list[KindRow]) -> str:
    """The rates as Markdown."""
    lines = [
        "# Which kinds of pictures are read?",
        "",
        f"Written by `{rows[0].command}` on {rows[0].date} (commit {rows[0].commit[:7]}).",
        "Right is: the digit, the whole number, or for what is no digit a score below a half, or blank.",
        "",
        "| kind | pictures | right | worst answer |",
        "| --- | --- | --- | --- |",
        *(f"| {row.kind} | {row.count} | {100 * row.right / row.count:.0f} % | {row.worst} |" for row in rows),
        "",
        "The picture of each kind that was answered worst, and the answer (digit, what it was read as, score):",
        "",
        "![the worst picture of each kind](digits-kinds.png)",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = options_of("benchmarks.digits.kinds", __doc__, COUNT, "pictures of each kind")
    model, shared = newest_reader(options.folder), circumstances("benchmarks.digits.kinds")
    rows, worst = [], {}
    for kind, pictures in PICTURES.items():
        grades = [(*graded(model, truth, data), data) for truth, data in pictures(options.count)]
        _, answer, data = min(grades, key=lambda grade: grade[0])
        right = sum(grade >= 0 for grade, *_ in grades)
        worst[kind] = answer, data
        rows.append(KindRow(kind, len(grades), right, answer, **shared))
        print(f"{kind:28s} {right} of {len(grades)} right, worst: {answer}", flush=True)
    table.write(options.output / "digits-kinds.csv", KindRow, rows)
    (options.output / "digits-kinds.md").write_text(page(rows), encoding="utf-8")
    sheet_of(worst).quantize(16).save(options.output / "digits-kinds.png", optimize=True)


if __name__ == "__main__":
    main()
