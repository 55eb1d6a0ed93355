"""`python -m benchmarks.digits.sensitivity`: what it costs to change each parameter of the image path.

Every field of `service.imaging.parameters.ImagingParameters` is multiplied by 0.5, 0.8, 1.25 and 2, small integers are
changed by one; all others keep their defaults. Pictures of digits and of empty paper are prepared with the changed
value and read by the committed `digits` model. Writes benchmarks/results/imaging-sensitivity.csv (every figure) and
imaging-sensitivity.md (a table); the docstrings of the fields repeat the figures, and tests/service/imaging/
test_parameters.py holds them to it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks import table
from benchmarks.digits import handwriting, scenes
from benchmarks.digits.handwriting import Drawing, Plane
from benchmarks.digits.preparation import prepare
from benchmarks.digits.readers import Planes, Served
from benchmarks.digits.scenes import SCENES, Generator, Scene
from service.contract.errors import InvalidRequest
from service.contract.types import Floats
from service.imaging import binarize, decode, filters, layout, lines, marks, parameters, search, sheets, strokes
from service.imaging.parameters import ImagingParameters
from training.data import drawn_digits
from training.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CSV = RESULTS / "imaging-sensitivity.csv"
MODULES = (decode, filters, binarize, strokes, lines, layout, marks, sheets, search)  # those that read the parameters
PIXELS = 25_000_000
FACTORS = {"x0.5": 0.5, "x0.8": 0.8, "x1.25": 1.25, "x2": 2.0}
STEPS = {"-1": -1, "+1": 1}
STEPPED_BELOW = 8  # integers below this are changed by one
TOOLS = ("mouse", "pen", "marker")
# Paper without a digit is refused: scenes in which something else than a digit may be taken for one.
EMPTY_SCENES = ("photograph", "shadow", "ruled", "squared", "desk", "form", "distant", "noisy", "dirty")


@dataclass(frozen=True)
class Row:
    """One changed parameter: differences to the defaults in percentage points, and how many pictures it touches."""

    parameter: str
    default: float
    change: str  # a factor or a step
    value: float
    digits_points: float  # change of the share of digits that are read right
    empty_points: float  # change of the share of empty pictures that are refused
    changed: int  # pictures with other rows, another report or another refusal
    digits: int
    empty: int
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image file and the digit on it, or None."""

    data: bytes
    label: int | None


@dataclass(frozen=True)
class Outcome:
    """What the image path makes of a picture: the label read, None for a refusal; rows and report, for comparison."""

    label: int | None
    trace: tuple[object, ...]


# --- pictures --------------------------------------------------------------------------------------------------------


def sheet(ink: Plane, generator: Generator) -> bytes:
    """A bright sheet with a small digit on it, on a dark table that shows on all four sides."""
    paper = scenes.laid(scenes.placed(scenes.resized(ink, generator.uniform(60, 160)), generator), 0.92, 0.15)
    (top, bottom), (start, end) = generator.integers(10, 120, (2, 2))
    table_level = generator.uniform(0.1, 0.6)
    return scenes.file(np.pad(paper, ((top, bottom), (start, end)), constant_values=table_level))


def neighbours(ink: Plane, generator: Generator) -> bytes:
    """The digit and a smaller one at its side."""
    neighbour = handwriting.draw(generator, int(generator.integers(10)), "pen")
    small = scenes.resized(neighbour.ink, generator.uniform(60, 150))
    pair = np.zeros((max(ink.shape[0], small.shape[0]), ink.shape[1] + small.shape[1] + 40), np.float32)
    pair[: ink.shape[0], : ink.shape[1]] = ink
    pair[-small.shape[0] :, -small.shape[1] :] = small
    return scenes.screen(pair, generator)


ALL_SCENES: dict[str, Scene] = {**SCENES, "sheet": sheet, "neighbours": neighbours}


def pictures(count: int, empty: int) -> list[Picture]:
    """`count` digits in each scene, from all sources in turn, and `empty` sheets in each of `EMPTY_SCENES`."""
    collection = []
    sources = [handwriting.drawings(10 * count, tool, seed) for seed, tool in enumerate(TOOLS, 101)]
    images, labels = drawn_digits.digit_images(10 * count, 104)
    small = zip(images / np.float32(255), labels.tolist(), strict=True)
    sources.append([handwriting.enlarged(image, label, "drawn") for image, label in small])
    for name, scene in ALL_SCENES.items():
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        for index in range(count):
            drawing = _pick(sources[index % len(sources)], generator)
            collection.append(Picture(scene(drawing.ink, generator), drawing.label))
        if name in EMPTY_SCENES:
            blanks = [np.zeros((200, int(width)), np.float32) for width in generator.integers(60, 220, empty)]
            collection += [Picture(scene(blank, generator), None) for blank in blanks]
    return collection


def _pick(drawings: Sequence[Drawing], generator: Generator) -> Drawing:
    return drawings[int(generator.integers(len(drawings)))]


# --- measurement -----------------------------------------------------------------------------------------------------


@contextmanager
def parameters_in_use(changed: ImagingParameters) -> Iterator[None]:
    """The modules of the image path read `changed` instead of the defaults."""
    for module in MODULES:
        vars(module)["PARAMETERS"] = changed
    try:
        yield
    finally:
        for module in MODULES:
            vars(module)["PARAMETERS"] = parameters.PARAMETERS


class DigitReader(Protocol):
    """The part of `benchmarks.digits.readers.Reader` that is used here."""

    def trace(self, digits: Planes) -> Floats:
        """Probabilities after every row (N, T, 10)."""


class ImagePath:
    """The image path and the model behind it; rows that were read before are not read again."""

    def __init__(self, reader: DigitReader) -> None:
        self.reader = reader
        self.labels: dict[bytes, int] = {}

    def outcomes(self, chosen: ImagingParameters, collection: Sequence[Picture]) -> list[Outcome]:
        """One for each picture."""
        with parameters_in_use(chosen):
            prepared = [_prepared(picture.data) for picture in collection]
        unread = {
            rows.tobytes(): rows for rows, _ in prepared if rows is not None and rows.tobytes() not in self.labels
        }
        if unread:
            answers = self.reader.trace(np.stack(list(unread.values())))[:, -1]
            self.labels.update(zip(unread, answers.argmax(axis=1).tolist(), strict=True))
        return [
            Outcome(None, (report,)) if rows is None else Outcome(self.labels[rows.tobytes()], (rows.tobytes(), report))
            for rows, report in prepared
        ]


def _prepared(data: bytes) -> tuple[Plane | None, object]:
    try:
        return prepare(data, PIXELS)
    except InvalidRequest as error:
        return None, error.detail


def variants(default: float) -> Iterator[tuple[str, float]]:
    """The changes of a value, and what each makes of it."""
    if isinstance(default, int) and default < STEPPED_BELOW:
        yield from ((change, default + step) for change, step in STEPS.items())
    else:
        for change, factor in FACTORS.items():
            yield change, round(default * factor) if isinstance(default, int) else default * factor


def measure(path: ImagePath, collection: Sequence[Picture], names: Sequence[str]) -> Iterator[Row]:
    """A row for each change of each of the parameters `names`."""
    defaults = parameters.PARAMETERS
    reference = path.outcomes(defaults, collection)
    digits = [index for index, picture in enumerate(collection) if picture.label is not None]
    empty = [index for index, picture in enumerate(collection) if picture.label is None]
    read, refused = _points(reference, collection, digits), _points(reference, collection, empty)
    yield Row("defaults", 0, "", 0, read, refused, 0, len(digits), len(empty))
    for name in names:
        default = getattr(defaults, name)
        for change, value in variants(default):
            changed: dict[str, Any] = {name: value}
            outcomes = path.outcomes(replace(defaults, **changed), collection)
            yield Row(
                name,
                default,
                change,
                value,
                _points(outcomes, collection, digits) - read,
                _points(outcomes, collection, empty) - refused,
                sum(a != b for a, b in zip(outcomes, reference, strict=True)),
                len(digits),
                len(empty),
            )


def _points(outcomes: Sequence[Outcome], collection: Sequence[Picture], indices: Sequence[int]) -> float:
    """Per cent of these pictures with the right outcome: the digit's label, or a refusal where there is none."""
    return 100 * sum(outcomes[index].label == collection[index].label for index in indices) / max(len(indices), 1)


# --- report ----------------------------------------------------------------------------------------------------------


def by_parameter(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each parameter, without the row of the defaults."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        if row.change:
            grouped.setdefault(row.parameter, []).append(row)
    return grouped


def sentence(rows: Sequence[Row]) -> str:
    """What the docstring of a parameter says of its rows."""
    span = f"{rows[0].change} to {rows[-1].change}"
    largest = max(row.changed for row in rows)
    if not largest:
        return f"No picture changes, {span}."
    if all(_rounded(row.digits_points) == _rounded(row.empty_points) == "0.0" for row in rows):
        return f"No answer changes, {span}; rows or reports of at most {largest} pictures do."
    changes = (f"{row.change} {_rounded(row.digits_points)}/{_rounded(row.empty_points)}" for row in rows)
    return f"Digits/empty: {', '.join(changes)} points."


def _rounded(points: float) -> str:
    text = f"{points:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def page(rows: Sequence[Row]) -> str:
    """The Markdown page."""
    reference = rows[0]
    lines = [
        "# Image path: sensitivity to its parameters, measured",
        "",
        f"{reference.date}, {reference.machine}, {reference.cores} cores, commit {reference.commit}: "
        f"`{reference.command}`.",
        "",
        f"With the defaults, the `digits` model reads {reference.digits_points:.1f} % of {reference.digits} digits "
        f"right ({len(ALL_SCENES)} scenes), and {reference.empty_points:.1f} % of {reference.empty} pictures of "
        "empty paper are refused. Each line changes one field of `service/imaging/parameters.py`: change of the digits "
        "read right / of the empty pictures refused, in percentage points, and the number of pictures with other rows, "
        f"report or refusal. One picture is {100 / max(reference.digits, 1):.2f} points of the digits and "
        f"{100 / max(reference.empty, 1):.2f} of the empty ones.",
        "",
    ]
    lines += table.head(["parameter", "default", "change 1", "change 2", "change 3", "change 4"])
    for name, changes in by_parameter(rows).items():
        cells = [
            f"{row.change}: {_rounded(row.digits_points)} / {_rounded(row.empty_points)} ({row.changed})"
            for row in changes
        ]
        lines.append(table.line([f"`{name}`", f"{changes[0].default:.4g}", *cells, *[""] * (4 - len(cells))]))
    return "\n".join(lines) + "\n"


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    command = ("python -m benchmarks.digits.sensitivity " + shlex.join(sys.argv[1:])).strip()
    shared: dict[str, Any] = {**table.circumstances(command)}
    path = ImagePath(Served(evaluate.folders(ROOT / "models", ["digits"])[0]))
    collection = pictures(options.digits, options.empty)
    rows = []
    for row in measure(path, collection, options.parameter):
        rows.append(replace(row, **shared))
        figures = f"{row.digits_points:+6.1f} {row.empty_points:+6.1f} {row.changed:5}"
        print(f"{row.parameter:<22} {row.change:<6} {figures}", flush=True)
    table.write(options.output / CSV.name, Row, rows)
    (options.output / CSV.name).with_suffix(".md").write_text(page(rows), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits.sensitivity", description=__doc__)
    names = [field.name for field in fields(ImagingParameters)]
    parser.add_argument("--parameter", nargs="+", default=names, choices=names, metavar="NAME", help="[all]")
    parser.add_argument("--digits", type=int, default=24, help="pictures of digits in each scene [24]")
    parser.add_argument("--empty", type=int, default=16, help="pictures of empty paper in each scene that has any [16]")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results [benchmarks/results]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
