"""The plots of benchmarks/results/digits.png, and the sheet of all digits that a reader misread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from benchmarks.digits.metrics import Floats
from benchmarks.digits.rows import Rows
from training.data.mnist import Digits

DPI = 96
ZOOM, ACROSS = 4, 12  # of the sheet: pixels for one, digits in a line
_SIDE = 28 * ZOOM


def draw(rows: Rows, file: Path) -> None:
    """Accuracy against rows read, reliability, and accuracy under each kind of damage."""
    figure = Figure((15, 4.6), DPI)
    accuracy, reliability, damage = figure.subplots(1, 3, width_ratios=(1, 0.8, 1.5))
    names = rows.readers()
    for index, name in enumerate(names):
        _curve(accuracy, rows, name, f"C{index}")
        points = [(float(row.case), row.value) for row in rows.section("reliability", name)]
        reliability.plot(*zip(*points, strict=True), marker=".", color=f"C{index}", label=name)
    reliability.plot((0, 1), (0, 1), color="0.6", linestyle=":")
    accuracy.set(xlabel="rows read", ylabel="accuracy", ylim=(0, 1.01), title="rows")
    reliability.set(xlabel="mean score", ylabel="accuracy", title="reliability of the answers after every row")
    accuracy.legend(frameon=False, fontsize=8, loc=(0.42, 0.5))
    _bars(damage, rows, names)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(file)


def _curve(axes: Axes, rows: Rows, name: str, colour: str) -> None:
    points = rows.section("rows", name)
    if len(points) > 1:
        axes.plot([int(row.case) for row in points], [row.value for row in points], color=colour, label=name)
    else:
        axes.plot(28, points[0].value, marker="*", markersize=9, linestyle="", color=colour, label=name)


def _bars(axes: Axes, rows: Rows, names: list[str]) -> None:
    cases = rows.cases("damage")
    width = 0.8 / max(len(names), 1)
    for index, name in enumerate(names):
        values = [rows.value(name, "damage", case) or 0.0 for case in cases]
        axes.bar(np.arange(len(cases)) + (index + 0.5) * width - 0.4, values, width, color=f"C{index}", label=name)
    axes.set_xticks(np.arange(len(cases)), cases, rotation=60, ha="right")
    axes.set(ylim=(0, 1.01), ylabel="accuracy", title="damage of moderate strength")
    axes.grid(axis="y", alpha=0.3)


def sheet(digits: Digits, answers: Floats, file: Path) -> int:
    """Draw every digit with a wrong answer (N, 10), with its number, label, answer and score; returns their number."""
    wrong = np.flatnonzero(answers.argmax(axis=1) != digits.labels)
    wrong = wrong[np.argsort(-answers[wrong].max(axis=1))]  # the surest first
    lines = -(-len(wrong) // ACROSS)
    image = Image.new("L", (ACROSS * (_SIDE + 8) + 8, max(1, lines) * (_SIDE + 34) + 8), 255)
    pencil = ImageDraw.Draw(image)
    for index, number in enumerate(wrong.tolist()):
        x, y = 8 + index % ACROSS * (_SIDE + 8), 8 + index // ACROSS * (_SIDE + 34)
        image.paste(Image.fromarray(digits.images[number]).resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (x, y))
        answer = int(answers[number].argmax())
        caption = f"{digits.labels[number]} read as {answer}\n{answers[number, answer]:.3f}  #{number}"
        pencil.text((x, y + _SIDE + 2), caption, fill=0)
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
    return len(wrong)
