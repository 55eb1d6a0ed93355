"""Plots of forecasts and backtests, as a page of HTML that needs nothing else or as a PNG picture.

A plot is made of shapes in steps and values; `plot_page` and `plot_picture` put them on paper.
"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.codec.tables.types import Table

MAX_PLOTS = 200  # series that a page shows
MAX_PICTURE_PLOTS = 24  # that a picture shows
_PAST = 4  # values of the past that a plot shows for each step ahead, and some
_WIDTH, _HEIGHT, _LEFT_MARGIN, _BOTTOM, _TOP = 720, 240, 64, 24, 8
_TITLE = 26  # height of the name above a plot
_SCALE = 2  # pixels of a picture for each unit of a page
_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--paper:#fff;--line:#0b6bcb;--band:11,107,203;--faint:#8884}
@media(prefers-color-scheme:dark){
:root{--ink:#e6edf3;--paper:#0d1117;--line:#6cb6ff;--band:108,182,255}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
body{max-width:46rem;margin:2rem auto;padding:0 1rem}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-size:11px}
h2{font-size:1rem;margin:1.5rem 0 .25rem}pre{overflow-x:auto}
.grid{stroke:var(--faint)}.past{fill:none;stroke:var(--ink);stroke-width:1.5}.ahead{fill:none;stroke:var(--line);stroke-width:2}
.band{fill:rgba(var(--band),.22)}small{opacity:.75}
"""
_INK, _LINE, _BAND = (31, 35, 40, 255), (11, 107, 203, 255), (11, 107, 203, 56)

Kind = Literal["band", "past", "ahead"]
Predictions = Sequence[Mapping[str, Any]]


class Shape(NamedTuple):
    """A line or an area, its points as (step, value)."""

    kind: Kind
    points: list[tuple[int, float]]


class Plot(NamedTuple):
    """The plot of one series; `times` are what its steps are called."""

    name: str
    words: str  # what it shows, for readers of screens
    shapes: list[Shape]
    times: Sequence[str]


def forecast_plots(table: Table, predictions: Predictions) -> list[Plot]:
    """The past, the median or mean ahead, and the intervals from the widest to the inner ones, of each series."""
    plots = []
    for number, (series, timeline, prediction) in enumerate(
        zip(table.inputs, table.timelines, predictions, strict=False), start=1
    ):
        horizon = len(prediction["mean"])
        past = series.target[-max(60, _PAST * horizon) :]
        first = len(series.target) - len(past)
        times = _times(timeline, first, len(past) + horizon)
        name = prediction["item_id"] or f"series {number}"
        mean = prediction["mean"]
        words = f"{name}: {mean[0]:.4g} at {times[-horizon]}, {mean[-1]:.4g} at {times[-1]}"
        levels = sorted(prediction["quantiles"], key=float)
        rows = [prediction["quantiles"][level] for level in levels]
        shapes = [_band(low, high, len(past)) for low, high in zip(rows[: len(rows) // 2], rows[::-1], strict=False)]
        shapes += _lines(past)
        centre = prediction["quantiles"].get("0.5", mean)
        shapes.append(Shape("ahead", [(len(past) + step, value) for step, value in enumerate(centre)]))
        plots.append(Plot(name, words, shapes, times))
    return plots


def backtest_plots(table: Table, scores: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """What came, and the median and 80 % interval that had been forecast from each origin, of each series."""
    plots = []
    for number, (series, timeline, entry) in enumerate(
        zip(table.inputs, table.timelines, scores, strict=True), start=1
    ):
        forecasts = entry["forecasts"]
        if not forecasts:
            continue
        horizon = len(forecasts[0]["median"])
        first = max(0, forecasts[0]["index"] - max(60 - horizon * len(forecasts), horizon))
        past = series.target[first:]
        shapes = [_band(window["lower"], window["upper"], window["index"] - first) for window in forecasts]
        shapes += _lines(past)
        for window in forecasts:
            start = window["index"] - first
            shapes.append(Shape("ahead", [(start + step, value) for step, value in enumerate(window["median"])]))
        name = entry["item_id"] or f"series {number}"
        words = f"{name}: {len(forecasts)} forecasts of {horizon} steps beside what came"
        plots.append(Plot(name, words, shapes, _times(timeline, first, len(past))))
    return plots


def plot_page(plots: Sequence[Plot], title: str, notes: Sequence[str], table: str = "") -> str:
    """A page with `plots`, the `notes` about them and a `table` of text above them."""
    left_out = len(plots) - MAX_PLOTS
    notes = [*notes, *([f"{left_out} more series are not shown"] if left_out > 0 else [])]
    remarks = "".join(f"<p><small>{html.escape(note)}</small></p>" for note in notes)
    remarks += f"<pre>{html.escape(table)}</pre>" if table else ""
    parts = "".join(f"<h2>{html.escape(plot.name)}</h2>{_svg(plot)}" for plot in plots[:MAX_PLOTS])
    name = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name}</title><style>{_STYLE}</style><h1>{name}</h1>{remarks}{parts}</html>\n"
    )


def plot_picture(plots: Sequence[Plot]) -> bytes:
    """A PNG with the first of `plots` below each other."""
    shown = plots[:MAX_PICTURE_PLOTS]
    height = len(shown) * (_HEIGHT + _TITLE) + (20 if len(shown) < len(plots) else 0)
    picture = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), "white")
    for number, plot in enumerate(shown):
        picture.paste(_drawn(plot), (0, number * (_HEIGHT + _TITLE) * _SCALE))
    if len(shown) < len(plots):
        text = f"{len(plots) - len(shown)} more series are not shown"
        position = (_LEFT_MARGIN * _SCALE, (height - 18) * _SCALE)
        ImageDraw.Draw(picture).text(position, text, _INK, ImageFont.load_default(11 * _SCALE))
    target = io.BytesIO()
    picture.save(target, "PNG", optimize=True)
    return target.getvalue()


def _times(timeline: Any, first: int, count: int) -> Sequence[str]:
    if timeline is not None:
        texts: list[str] = timeline.texts(first, count)
        return texts
    return [str(first + index + 1) for index in range(count)]


def _band(low: Sequence[float], high: Sequence[float], start: int) -> Shape:
    points = [(start + step, value) for step, value in enumerate(low)]
    return Shape("band", points + [(start + step, value) for step, value in reversed(list(enumerate(high)))])


def _lines(past: Sequence[float | None]) -> list[Shape]:
    """The stretches of the past that have no gap; a value alone is drawn as a short line."""
    shapes: list[Shape] = []
    line: list[tuple[int, float]] = []
    for index, value in enumerate([*past, None]):
        if value is not None:
            line.append((index, value))
        elif line:
            shapes.append(Shape("past", line if len(line) > 1 else [line[0], line[0]]))
            line = []
    return shapes


class _Axis:
    """Places of steps and values on a plot."""

    def __init__(self, plot: Plot) -> None:
        numbers = [value for shape in plot.shapes for _, value in shape.points]
        low, high = min(numbers), max(numbers)
        margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
        self._low, self._high = low - margin, high + margin
        self._count = max(len(plot.times) - 1, 1)

    def place(self, step: int, value: float) -> tuple[float, float]:
        """The place of a value, from the left and from the top."""
        share = (value - self._low) / (self._high - self._low)
        x = _LEFT_MARGIN + step / self._count * (_WIDTH - _LEFT_MARGIN - 8)
        return x, _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    def values(self) -> list[tuple[float, str]]:
        """Where round values are from the top, and what they are."""
        return [(self.place(0, value)[1], f"{value:.6g}") for value in _round_values(self._low, self._high)]

    def times(self, times: Sequence[str]) -> Iterator[tuple[float, str, str]]:
        """Where the first, middle and last time are from the left, how they are set, and what they are."""
        for step, anchor in ((0, "start"), (len(times) // 2, "middle"), (len(times) - 1, "end")):
            yield self.place(step, self._low)[0], anchor, times[step]


def _svg(plot: Plot) -> str:
    axis = _Axis(plot)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(plot.words)}">']
    for y, text in axis.values():
        parts.append(f'<line class="grid" x1="{_LEFT_MARGIN}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for x, anchor, text in axis.times(plot.times):
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{html.escape(text)}</text>')
    for shape in plot.shapes:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axis.place(*point) for point in shape.points))
        parts.append(f'<{"polygon" if shape.kind == "band" else "polyline"} class="{shape.kind}" points="{points}"/>')
    return "".join([*parts, "</svg>"])


def _drawn(plot: Plot) -> Image.Image:
    """A plot with its name above it, as pixels."""
    axis, top = _Axis(plot), _TITLE * _SCALE
    size = (_WIDTH * _SCALE, (_HEIGHT + _TITLE) * _SCALE)
    picture = Image.new("RGBA", size, "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(11 * _SCALE)
    draw.text((_LEFT_MARGIN * _SCALE, 6 * _SCALE), plot.name[:100], _INK, ImageFont.load_default(14 * _SCALE))
    for y, text in axis.values():
        height = y * _SCALE + top
        draw.line([(_LEFT_MARGIN * _SCALE, height), (_WIDTH * _SCALE, height)], (225, 225, 225, 255), _SCALE)
        draw.text(((_LEFT_MARGIN - 6) * _SCALE, height), text, _INK, font, anchor="rm")
    for x, anchor, text in axis.times(plot.times):
        place = (x * _SCALE, (_HEIGHT - 4) * _SCALE + top)
        draw.text(place, text, _INK, font, anchor={"start": "ls", "middle": "ms", "end": "rs"}[anchor])
    for shape in plot.shapes:
        points = [(x * _SCALE, y * _SCALE + top) for x, y in (axis.place(*point) for point in shape.points)]
        if shape.kind == "band":
            layer = Image.new("RGBA", size)
            ImageDraw.Draw(layer).polygon(points, _BAND)
            picture = Image.alpha_composite(picture, layer)
            draw = ImageDraw.Draw(picture)
        else:
            draw.line(points, _INK if shape.kind == "past" else _LINE, 3 if shape.kind == "past" else 4, "curve")
    return picture.convert("RGB")


def _round_values(low: float, high: float) -> list[float]:
    """Three to six round values within low..high."""
    size = (high - low) / 4
    unit = 10 ** math.floor(math.log10(size)) if size > 0 and math.isfinite(size) else 1.0
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= size * 0.8)
    values: list[float] = np.arange(math.ceil(low / step), math.floor(high / step) + 1).astype(float).tolist()
    return [value * step for value in values]
