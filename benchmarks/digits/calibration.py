"""`python -m benchmarks.digits.calibration`: is a score of 0.99 right in 99 of 100, on each group of material?

Pictures in scenes and by seeds that neither training nor the fit of `service.imaging.trust` uses, read by the newest
`digits` as the service reads them. Writes benchmarks/results/digits-calibration.csv, .md and .png: of each group the
answers with a score of 0.99 or more and how many of them are right, and the curve of accuracy over score.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from benchmarks import table
from benchmarks.digits import handwriting
from benchmarks.digits.command import circumstances, newest_reader, options_of
from benchmarks.digits.handwriting import Drawing
from benchmarks.digits.scenes import SCENES, Scene, blurred, file, placed, resized, smooth
from benchmarks.digits.trust import SURE, answer_to
from service.backend.model import LoadedModel
from service.imaging.filters import Plane
from training.data.typeset_digits import HELD_OUT_FONTS

SEED = 60_000
NONE = "no digit"
EDGES = (0.0, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 1.0)  # of the ranges of score for which accuracy is drawn
_LETTERS = "ACDEFHJKMNPRTUVWXYadefhkmnprtwx@#&%?"  # none is a digit in any hand
_NO_INK = np.zeros((20, 14), np.float32)


@dataclass(frozen=True)
class CalibrationRow:
    """A group: how many pictures, how many blank or right, how many sure and right of these; or a range of score.

    Of a range, `low` and `high` bound it, and `score` is the mean; of a whole group they are empty.
    """

    group: str
    low: float | None
    high: float | None
    count: int
    blank: int
    right: int
    sure: int
    sure_right: int
    score: float | None
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Read:
    """A picture of a group: whether it was read, the score, and whether it is right."""

    score: float
    is_right: bool
    is_blank: bool = False


# --- scenes of its own: other papers and shadows than those that the trust was fitted on ------------------------------


def striped_shadow(ink: Plane, generator: Generator) -> bytes:
    """The light falls through blinds."""
    plane = 1 - generator.uniform(0.6, 0.85) * placed(resized(ink, 120), generator)
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
    angle, pitch = generator.uniform(-0.5, 0.5), generator.uniform(50, 110)
    stripes = ((np.cos(angle) * y + np.sin(angle) * x) % pitch < 0.4 * pitch).astype(np.float32)
    shade = blurred(1 - float(generator.uniform(0.3, 0.5)) * stripes, float(generator.uniform(1.5, 8)))
    return file(0.92 * plane * shade + generator.normal(0, 0.012, plane.shape), "JPEG", quality=80)


def round_shadow(ink: Plane, generator: Generator) -> bytes:
    """Leaves and fingers throw round shadows."""
    plane = 1 - generator.uniform(0.6, 0.85) * placed(resized(ink, 120), generator)
    shade = Image.new("L", plane.shape[::-1], 255)
    pencil, level = ImageDraw.Draw(shade), round(255 * generator.uniform(0.4, 0.65))
    for _ in range(int(generator.integers(1, 4))):
        x, y = generator.uniform(0, 1, 2) * shade.size
        wide, high = generator.uniform(15, 90, 2)
        pencil.ellipse((x - wide, y - high, x + wide, y + high), fill=level)
    soft = np.asarray(shade.filter(ImageFilter.GaussianBlur(float(generator.uniform(1, 9)))), np.float32) / 255
    light = 1 + 0.15 * smooth(generator, plane.shape, 3)
    return file(0.85 * plane * soft * light + generator.normal(0, 0.012, plane.shape), "JPEG", quality=80)


def notebook(ink: Plane, generator: Generator) -> bytes:
    """A page of a squared notebook on a table, turned by up to 12 degrees: blue squares, a blue or black pen."""
    high, wide = 480, 640
    page = np.full((high, wide, 3), (0.96, 0.95, 0.9), np.float32)
    gap = int(generator.uniform(0.05, 0.1) * high)
    page[int(generator.integers(gap)) :: gap] = page[:, int(generator.integers(gap)) :: gap] = (0.6, 0.68, 0.85)
    small = resized(ink, gap * float(generator.uniform(1.8, 3)))
    top, left = (generator.uniform(0.25, 0.65, 2) * (high, wide)).astype(int)
    part = page[top : top + small.shape[0], left : left + small.shape[1]]
    pen = np.array(((0.1, 0.1, 0.12), (0.12, 0.16, 0.5))[int(generator.integers(2))], np.float32)
    cut = small[: part.shape[0], : part.shape[1], None]
    part[:] = part * (1 - cut) + pen * cut
    image = Image.fromarray(np.uint8(255 * page))
    turn, table_colour = float(generator.uniform(-12, 12)), tuple(generator.integers(50, 140, 3).tolist())
    image = image.rotate(turn, Image.Resampling.BICUBIC, fillcolor=table_colour)
    image = image.filter(ImageFilter.GaussianBlur(float(generator.uniform(0.4, 1.2))))
    light = (0.85 + 0.15 * smooth(generator, (high, wide), 3))[..., None]
    scene = np.asarray(image, np.float32) / 255 * light + generator.normal(0, 0.012, page.shape)
    return file(scene, "JPEG", quality=80)


def grid_cell(ink: Plane, generator: Generator) -> bytes:
    """A cell cut out of a photographed table, with lines along some of its sides."""
    side = int(generator.integers(30, 90))
    plane = np.full((side, side), generator.uniform(0.7, 0.95), np.float32)
    near, thick = int(generator.integers(0, side // 10 + 1)), int(generator.integers(1, max(2, side // 12)))
    for turn in range(4):
        if generator.random() < 0.7:
            np.rot90(plane, turn)[near : near + thick] = generator.uniform(0.1, 0.4)
    small = resized(ink, side * float(generator.uniform(0.45, 0.62)))
    top, left = ((side - np.array(small.shape)) * generator.uniform(0.4, 0.6, 2)).astype(int).clip(0)
    part = plane[top : top + small.shape[0], left : left + small.shape[1]]
    part *= 1 - 0.8 * small[: part.shape[0], : part.shape[1]]
    image = Image.fromarray(np.uint8(255 * plane.clip(0, 1)))
    image = image.rotate(float(generator.normal(0, 1.5)), Image.Resampling.BICUBIC, fillcolor=150)
    light = 1 + 0.1 * smooth(generator, plane.shape, 2)
    soft = blurred(np.asarray(image, np.float32) / np.float32(255), float(generator.uniform(0.3, 0.9)))
    return file(soft * light + generator.normal(0, 0.012, plane.shape), "JPEG", quality=80)


def texture(_: Plane, generator: Generator) -> bytes:
    """Wood, cloth, clouds: no ink at all."""
    y, x = np.mgrid[:200, :240].astype(np.float32)
    bend = 3 * smooth(generator, (200, 240), 8)
    plane = 0.55 + 0.12 * np.sin(y / generator.uniform(3, 9) + bend)
    if generator.random() < 0.5:
        plane = 0.55 + sum(0.1 * smooth(generator, (200, 240), cells) for cells in (4, 8, 16, 32))
    elif generator.random() < 0.5:
        plane = 0.55 + 0.1 * np.sin(x * generator.uniform(0.4, 1.5)) * np.sin(y * generator.uniform(0.4, 1.5))
    return file(plane + generator.normal(0, 0.02, plane.shape), "JPEG", quality=80)


def doodle(_: Plane, generator: Generator) -> bytes:
    """A polygon, a face, a scribble, a fan of lines."""
    image = Image.new("L", (240, 240), 255)
    pencil, kind = ImageDraw.Draw(image), int(generator.integers(4))
    if kind == 0:
        pencil.polygon([(float(x), float(y)) for x, y in generator.uniform(30, 210, (5, 2))], outline=20, width=4)
    elif kind == 1:
        for box in ((50, 50, 190, 190), (90, 95, 105, 110), (135, 95, 150, 110)):
            pencil.ellipse(box, outline=10, width=5)
        pencil.arc((85, 100, 155, 165), 20, 160, fill=10, width=5)
    else:
        steps = (
            generator.normal(0, 18, (25, 2)).cumsum(axis=0) + 120 if kind == 2 else generator.uniform(20, 220, (9, 2))
        )
        pencil.line([(float(x), float(y)) for x, y in steps.clip(10, 230)], fill=20, width=5)
    return file(np.asarray(image, np.float32) / 255)


def empty(_: Plane, generator: Generator) -> bytes:
    """Paper, a page, a cell or a shadow without any ink."""
    return (striped_shadow, round_shadow, notebook, grid_cell)[int(generator.integers(4))](_NO_INK, generator)


GROUPS: dict[str, tuple[Scene, ...]] = {
    "drawn": tuple(SCENES[name] for name in ("screen", "blackboard", "coloured", "transparent", "tiny", "tight")),
    "print": tuple(SCENES[name] for name in ("screen", "form", "dirty", "compressed", "photograph")),
    "cells": (grid_cell,),
    "photographs": (*(SCENES[name] for name in ("photograph", "desk", "defocused", "pencil")), notebook),
    "shadows": (striped_shadow, round_shadow, SCENES["shadow"]),
    NONE: (texture, doodle, empty),
}


def letters() -> list[Drawing]:
    """Letters and signs in fonts held out of training; the label stands for none."""
    fonts = [Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf" for name in HELD_OUT_FONTS]
    return [Drawing(handwriting.letter(font, sign), -1, f"{font.stem} {sign}") for font in fonts for sign in _LETTERS]


def material(group: str, count: int) -> Iterator[tuple[int, bytes]]:
    """The label of each picture of a group, -1 for none, and the picture; `count` in each scene."""
    hands = [drawing for tool in ("mouse", "pen", "marker") for drawing in handwriting.drawings(count, tool, SEED)]
    fonts = [Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf" for name in HELD_OUT_FONTS]
    printed = [drawing for font in fonts for drawing in handwriting.typeset(font)]
    for scene in GROUPS[group]:
        generator = np.random.default_rng([SEED, zlib.crc32(f"{group} {scene.__name__}".encode())])
        drawings = printed if group == "print" else [*hands, *printed] if group == "cells" else hands
        for index in generator.permutation(max(len(drawings), count))[:count].tolist():
            drawing = drawings[index % len(drawings)]
            yield (-1 if group == NONE else drawing.label), scene(drawing.ink, generator)
    if group == NONE:
        generator = np.random.default_rng(SEED)
        for index in generator.permutation(len(signs := letters()))[:count].tolist():
            yield -1, SCENES["screen"](signs[index].ink, generator)


def read_all(model: LoadedModel, group: str, count: int) -> list[Read]:
    """The answers to the pictures of a group."""
    reads = []
    for label, data in material(group, count):
        answer = answer_to(model, group, data, label)
        reads.append(Read(0.0, label < 0, is_blank=True) if answer is None else Read(answer.tempered, answer.is_right))
    return reads


def rows_of(group: str, reads: Sequence[Read], shared: dict[str, Any]) -> list[CalibrationRow]:
    """The row of the whole group, and those of its ranges of score."""
    answered = [read for read in reads if not read.is_blank]
    rows = [_row(group, None, None, reads, shared)]
    for low, high in itertools.pairwise(EDGES):
        within = [read for read in answered if low <= read.score < high or read.score == high == 1]
        if within:
            rows.append(_row(group, low, high, within, shared))
    return rows


def _row(
    group: str, low: float | None, high: float | None, reads: Sequence[Read], shared: dict[str, Any]
) -> CalibrationRow:
    sure = [read for read in reads if read.score >= SURE]
    return CalibrationRow(
        group,
        low,
        high,
        len(reads),
        sum(read.is_blank for read in reads),
        sum(read.is_right and not read.is_blank for read in reads),
        len(sure),
        sum(read.is_right for read in sure),
        None if low is None else float(np.mean([read.score for read in reads])),
        **shared,
    )


def page(rows: Sequence[CalibrationRow]) -> str:
    """The table of the groups, as Markdown."""
    lines = [
        "# Is a score of 0.99 right in 99 of 100?",
        "",
        f"Written by `{rows[0].command}` on {rows[0].date} (commit {rows[0].commit[:7]}).",
        "No drawing of these was used to fit the trust in the preparation; cells and most shadows are other scenes.",
        "",
        "![accuracy over score, by group](digits-calibration.png)",
        "",
        "| material | pictures | blank | right, of those read | 0.99 or more | right, of these | right ones with it |",
        f"|{' --- |' * 7}",
    ]
    for row in (row for row in rows if row.low is None and row.group != NONE):
        read = row.count - row.blank
        lines.append(
            f"| {row.group} | {row.count} | {row.blank} | {_share(row.right, read)} | {row.sure} "
            f"| {_share(row.sure_right, row.sure)} | {_share(row.sure_right, row.right)} |"
        )
    ranges = [row for row in rows if row.group == NONE]
    if ranges:
        whole = ranges[0]
        high = sum(row.count for row in ranges[1:] if (row.low or 0) >= 0.5)
        lines += [
            "",
            f"Of {whole.count} pictures of no digit (letters, doodles, textures, empty paper and cells) "
            f"{whole.blank} are refused as blank, {whole.count - whole.blank - high} read with a score below 0.5, "
            f"{high} with a higher one ({whole.sure} with 0.99 or more): {_share(whole.count - high, whole.count)}.",
        ]
    return "\n".join(lines) + "\n"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def plot(rows: Sequence[CalibrationRow], path: Path) -> None:
    """Accuracy over score, a curve for each group of digits."""
    figure = Figure((7, 5), 96)
    axes = figure.subplots()
    groups = [name for name in GROUPS if name != NONE and any(row.group == name for row in rows)]
    for index, group in enumerate(groups):
        own = [row for row in rows if row.group == group and row.score is not None and row.count >= 5]
        axes.plot(
            [row.score or 0.0 for row in own],
            [row.right / row.count for row in own],
            marker=".",
            label=group,
            color=f"C{index}",
        )
    axes.plot((0, 1), (0, 1), color="0.6", linestyle=":")
    axes.set(xlabel="mean score", ylabel="share right", title="digits: calibration by material (ranges of 5 or more)")
    axes.legend(frameon=False)
    figure.tight_layout()
    FigureCanvasAgg(figure)
    figure.savefig(path)


def main() -> None:
    options = options_of("benchmarks.digits.calibration", __doc__, 100, "pictures of each scene")
    model, shared = newest_reader(options.folder), circumstances("benchmarks.digits.calibration")
    rows: list[CalibrationRow] = []
    for group in GROUPS:
        rows += rows_of(group, read_all(model, group, options.count), shared)
        whole = next(row for row in rows if row.group == group)
        print(
            f"{group:12s} {whole.count} pictures, {whole.blank} blank, {whole.right} right, "
            f"{whole.sure_right}/{whole.sure} sure",
            flush=True,
        )
        # After each group, since a shared machine may end a long run.
        table.write(options.output / "digits-calibration.csv", CalibrationRow, rows)
        (options.output / "digits-calibration.md").write_text(page(rows), encoding="utf-8")
        plot(rows, options.output / "digits-calibration.png")


if __name__ == "__main__":
    main()
