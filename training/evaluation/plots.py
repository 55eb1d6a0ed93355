"""Figures as small PNG files: curves of a run, forecasts in a grid, confusion, accuracy against rows read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from service.contract.types import Floats

INK = "0.25"
DPI = 72
COLOURS = ("#1b6ca8", "#d1603d", "#4f8a5b", "#8a5fa8", "#a8893a", "#5f5f5f", "#b0447a", "#2e9c9c", "#7a4a2a")


def training_curves(
    rows: Sequence[Mapping[str, float]], pairs: Mapping[str, tuple[str, str]], path: Path, title: str
) -> None:
    """One panel per measure: `pairs` maps its name to the columns for training and for validation; x is the epoch."""
    figure = Figure((4.2 * len(pairs), 3), DPI)
    axes = figure.subplots(1, len(pairs), squeeze=False)
    epochs = np.arange(1, len(rows) + 1)
    for axis, (measure, columns) in zip(axes[0], pairs.items(), strict=True):
        for column, label, colour in zip(columns, ("train", "validation"), COLOURS, strict=False):
            axis.plot(epochs, [row[column] for row in rows], marker=".", color=colour, label=label)
        axis.set(xlabel="epoch", ylabel=measure)
        axis.legend(frameon=False)
    figure.suptitle(title)
    _save(figure, path)


@dataclass(frozen=True)
class Forecasts:
    """N series with a model's forecasts of them: past (N, T); actual, mean, low and high (N, H)."""

    past: Floats
    actual: Floats
    mean: Floats
    low: Floats
    high: Floats


def progress(rows: Sequence[Mapping[str, float]], panels: Mapping[str, Sequence[str]], path: Path, title: str) -> None:
    """One panel per measure: `panels` maps its name to columns of the curves; x is the step."""
    figure = Figure((4.2 * len(panels), 3), DPI)
    axes = figure.subplots(1, len(panels), squeeze=False)
    steps = [row["step"] for row in rows]
    for axis, (measure, columns) in zip(axes[0], panels.items(), strict=True):
        for column, colour in zip(columns, COLOURS, strict=False):
            axis.plot(steps, [row[column] for row in rows], marker=".", color=colour, label=column)
        axis.set(xlabel="step", ylabel=measure)
        axis.legend(frameon=False)
    figure.suptitle(title)
    _save(figure, path)


def forecast_grid(forecasts: Forecasts, path: Path, title: str) -> None:
    """Fifteen forecasts, 3 x 5, each with its interval from low to high."""
    figure = Figure((13, 6.2), DPI)
    axes = figure.subplots(3, 5, sharex=True, sharey=True)
    past_times = np.arange(forecasts.past.shape[1])
    times = len(past_times) + np.arange(forecasts.actual.shape[1])
    for k, axis in enumerate(axes.flat):
        axis.plot(past_times, forecasts.past[k], color=INK, linewidth=0.9)
        axis.fill_between(times, forecasts.low[k], forecasts.high[k], color=COLOURS[0], alpha=0.25, linewidth=0)
        axis.plot(times, forecasts.mean[k], color=COLOURS[0], linewidth=1.4)
        axis.plot(times, forecasts.actual[k], "x", color=COLOURS[1], markersize=4)
    figure.suptitle(f"{title}: forecast and 80 % interval (blue), what came (crosses)")
    _save(figure, path)


@dataclass(frozen=True)
class Comparison:
    """One series with two forecasts of its end: past (T,), actual (H,), and `low`, `median`, `high` (H,) of each."""

    name: str
    past: Floats
    actual: Floats
    first: Floats  # (H, 3)
    second: Floats  # (H, 3)


def comparison_grid(panels: Sequence[Comparison], labels: tuple[str, str], path: Path, title: str) -> None:
    """Up to fifteen comparisons, five in a row, each on a scale of its own."""
    columns = min(5, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure((max(2.7 * columns, 5.4), 2.1 * rows + 0.8), DPI)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        times = len(panel.past) + np.arange(len(panel.actual))
        axis.plot(panel.past, color=INK, linewidth=0.8)
        axis.plot(times, panel.actual, "x", color=INK, markersize=3)
        for answer, colour, label in zip((panel.first, panel.second), (COLOURS[1], COLOURS[0]), labels, strict=True):
            axis.fill_between(times, answer[:, 0], answer[:, 2], color=colour, alpha=0.2, linewidth=0)
            axis.plot(times, answer[:, 1], color=colour, linewidth=1.2, label=label)
        axis.set_title(panel.name, fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
    axes.flat[0].legend(frameon=False, fontsize=7)
    figure.suptitle(f"{title}: forecasts with 80 % intervals, what came (crosses)")
    _save(figure, path)


def value_grid(past: Floats, actual: Floats, path: Path, title: str, predicted: Floats | None = None) -> None:
    """Fifteen series (15, T), 3 x 5, the value after each (15,), and the predicted one with its deviation above.

    The tutorial's own plot: a cross for the value to predict, a circle for the prediction.
    """
    figure = Figure((13, 6.2), DPI)
    axes = figure.subplots(3, 5, sharex=True, sharey=True)
    next_step = past.shape[1]
    for k, axis in enumerate(axes.flat):
        axis.plot(past[k], ".-", color=INK, linewidth=0.8, markersize=3)
        axis.plot(next_step, actual[k], "x", color=COLOURS[1], markersize=8, label="value")
        if predicted is not None:
            axis.plot(next_step, predicted[k], "o", color=COLOURS[0], markersize=5, label="prediction")
            axis.set_title(f"deviation {predicted[k] - actual[k]:+.3f}", fontsize=8)
        axis.grid(alpha=0.3)
    axes.flat[0].legend(frameon=False, fontsize=7)
    figure.suptitle(title)
    _save(figure, path)


def one_digit(image: NDArray[np.float32], path: Path, title: str) -> None:
    """One digit (28, 28), ink 0..1, as the tutorial shows it."""
    figure = Figure((3, 3.2), DPI)
    axis = figure.subplots()
    axis.imshow(image, cmap="gray")
    axis.set_title(title)
    _save(figure, path)


def series_grid(values: Floats, captions: Sequence[str], path: Path, title: str) -> None:
    """Nine series (9, T), 3 x 3, each on a scale of its own with its caption above it."""
    figure = Figure((11, 5.4), DPI)
    axes = figure.subplots(3, 3, sharex=True)
    for axis, series, caption in zip(axes.flat, values, captions, strict=True):
        axis.plot(series, color=COLOURS[0], linewidth=0.9)
        axis.set_title(caption, fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
    figure.suptitle(title)
    _save(figure, path)


def confusion(table: NDArray[np.int64], path: Path, title: str, labels: Sequence[str] | None = None) -> None:
    """Counts (C, C), row = label, column = answer; shaded by the logarithm, so that single errors can be seen.

    `labels` are the names of the classes, where they are not their numbers.
    """
    scale = max(len(table) / 10, 1.0)
    figure = Figure((4.6 * scale**0.8, 4.4 * scale**0.8), DPI)
    axis = figure.subplots()
    axis.imshow(np.log1p(table), cmap="Blues")
    top = np.log1p(table).max()
    for (row, column), count in np.ndenumerate(table):
        if not count and scale > 1:  # the zeros of many classes would hide what there is
            continue
        colour = "white" if np.log1p(count) > 0.6 * top else INK
        axis.text(column, row, str(count), ha="center", va="center", fontsize=7 / scale**0.2, color=colour)
    ticks = range(len(table))
    axis.set(xlabel="answer", ylabel="label", xticks=ticks, yticks=ticks, title=title)
    if labels is not None:
        axis.set(xticklabels=labels, yticklabels=labels)
        if max(map(len, labels)) * len(labels) > 40:
            axis.tick_params(axis="x", rotation=90)
    _save(figure, path)


def digit_grid(images: NDArray[np.float32], captions: Sequence[str], path: Path, title: str) -> None:
    """Digits (N, 28, 28), ink 0..1, five in a row, each with its caption above it."""
    rows = -(-len(images) // 5)
    figure = Figure((8, 1.9 * rows + 0.6), DPI)
    axes = figure.subplots(rows, 5, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, caption in zip(axes.flat, images, captions, strict=False):
        axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(caption, fontsize=8)
    figure.suptitle(title)
    _save(figure, path)


def accuracy_by_row(curves: Mapping[str, Floats], path: Path) -> None:
    """Test accuracy after each row: model -> (28,), 0..1."""
    figure = Figure((6, 3.8), DPI)
    axis = figure.subplots()
    for (name, accuracy), colour in zip(curves.items(), COLOURS, strict=False):
        axis.plot(np.arange(1, len(accuracy) + 1), 100 * accuracy, marker=".", color=colour, label=name)
    axis.set(xlabel="rows read", ylabel="test accuracy, %", ylim=(0, 101))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    _save(figure, path)


def digit_answer(image: NDArray[np.float32], probabilities: Floats, path: Path, title: str) -> None:
    """One digit (28, 28) and its ten probabilities."""
    figure = Figure((5.6, 2.6), DPI)
    image_axis, bar_axis = figure.subplots(1, 2, width_ratios=(1, 1.4))
    image_axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    image_axis.set_axis_off()
    bar_axis.barh(range(10), probabilities, color=COLOURS[0])
    bar_axis.set(yticks=range(10), xlim=(0, 1), xlabel="probability")
    bar_axis.invert_yaxis()
    figure.suptitle(title)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG of 64 colours, a third of the size; the same figure gives the same bytes."""
    canvas = FigureCanvasAgg(figure)
    figure.tight_layout()
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
