"""Forecasts for people: a table for the terminal, and a plot in one file of HTML that needs nothing else."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from service.codec.tables.types import Table, TableReading

MAX_ROWS = 60  # of the table on a terminal
MAX_PLOTS = 200  # series that a file of plots shows
_PAST = 4  # values of the past that a plot shows for each step ahead, and some
_WIDTH, _HEIGHT, _LEFT_MARGIN, _BOTTOM, _TOP = 720, 240, 64, 24, 8
_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--paper:#fff;--line:#0b6bcb;--band:11,107,203;--faint:#8884}
@media(prefers-color-scheme:dark){
:root{--ink:#e6edf3;--paper:#0d1117;--line:#6cb6ff;--band:108,182,255}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
body{max-width:46rem;margin:2rem auto;padding:0 1rem}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-size:11px}
h2{font-size:1rem;margin:1.5rem 0 .25rem}
.grid{stroke:var(--faint)}.past{fill:none;stroke:var(--ink);stroke-width:1.5}.ahead{fill:none;stroke:var(--line);stroke-width:2}
.band{fill:rgba(var(--band),.22)}small{opacity:.75}
"""

Predictions = Sequence[Mapping[str, Any]]


def summary(reading: TableReading, name: str) -> str:
    """What was understood of a file, in a line or two."""
    parts = [f"{reading.layout} table", f"{reading.rows} rows", f"{reading.series} series"]
    for word, columns in (("id", reading.id), ("time", reading.time), ("value", reading.value)):
        if columns and reading.header:
            listed = ", ".join(columns[:4]) + (" …" if len(columns) > 4 else "")
            parts.append(f"{word}: {listed}")
    parts += [f"step: {reading.freq}"] if reading.freq else []
    parts += [f"decimal {reading.decimal}"] if reading.decimal == "," else []
    parts += [f"encoding {reading.encoding}"] if reading.encoding != "utf-8" else []
    return "\n".join([f"{name}: {'; '.join(parts)}", *(f"note: {note}" for note in reading.notes)])


def text_table(predictions: Predictions) -> str:
    """The forecasts as a table of equal columns, of long ones the first rows."""
    header, *rows = _rows(predictions)
    lines = _aligned([header, *rows[:MAX_ROWS]], 2)
    hidden_rows = len(rows) - MAX_ROWS
    return "\n".join(lines + ([f"… {hidden_rows} more rows: --output csv has all"] if hidden_rows > 0 else []))


def score_table(document: Mapping[str, Any]) -> str:
    """The scores of a backtest, the best method first, and a sentence about them."""
    rows = [["method", "MASE", "WQL", "coverage of 80 %"]]
    ranked = sorted(document["methods"].items(), key=lambda entry: (entry[1]["mase"] is None, entry[1]["mase"]))
    for name, scores in ranked:
        rows.append(
            [name, *("-" if scores[key] is None else f"{scores[key]:.3f}" for key in ("mase", "wql", "coverage"))]
        )
    windows = sum(series["windows"] for series in document["series"])
    scored = sum(bool(series["windows"]) for series in document["series"])
    summary_line = (
        f"{windows} forecasts of {document['prediction_length']} steps, of {scored} of {len(document['series'])} series"
    )
    best = f"; the least error has {document['best']}" if document["best"] else ""
    return "\n".join([*_aligned(rows, 1), summary_line + best])


def _aligned(rows: Sequence[Sequence[str]], n_left: int) -> list[str]:
    """Rows as lines of equal columns, the first `n_left` of them flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if index < n_left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _rows(predictions: Predictions) -> list[list[str]]:
    levels = list(predictions[0]["quantiles"])
    rows = [["item_id", "timestamp" if "timestamps" in predictions[0] else "step", "mean", *levels]]
    for number, prediction in enumerate(predictions, start=1):
        for step, mean in enumerate(prediction["mean"]):
            times = prediction.get("timestamps")
            when = times[step] if times else str(step + 1)
            values = [mean, *(prediction["quantiles"][level][step] for level in levels)]
            rows.append([prediction["item_id"] or str(number), when, *(f"{value:.6g}" for value in values)])
    return rows


def plot_page(table: Table, predictions: Predictions, title: str) -> str:
    """A page with the past, the median or mean ahead and the widest and inner intervals of each series."""
    parts = list(_plots(table, predictions[:MAX_PLOTS]))
    left_out = len(predictions) - MAX_PLOTS
    notes = [*table.reading.notes, *([f"{left_out} more series are not shown"] if left_out > 0 else [])]
    remarks = "".join(f"<p><small>{html.escape(note)}</small></p>" for note in notes)
    name = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name}</title><style>{_STYLE}</style><h1>{name}</h1>{remarks}{''.join(parts)}</html>\n"
    )


def _plots(table: Table, predictions: Predictions) -> Iterator[str]:
    for number, (series, timeline, prediction) in enumerate(
        zip(table.inputs, table.timelines, predictions, strict=False), 1
    ):
        horizon = len(prediction["mean"])
        past = series.target[-max(60, _PAST * horizon) :]
        first = len(series.target) - len(past)
        times = (
            timeline.texts(first, len(past) + horizon)
            if timeline
            else [str(first + i + 1) for i in range(len(past) + horizon)]
        )
        name = prediction["item_id"] or f"series {number}"
        yield f"<h2>{html.escape(name)}</h2>{_plot(past, prediction, times, name)}"


def _plot(past: Sequence[float | None], prediction: Mapping[str, Any], times: Sequence[str], name: str) -> str:
    """One plot as SVG, with its numbers in words for readers of screens."""
    levels = sorted(prediction["quantiles"], key=float)
    rows = [prediction["quantiles"][level] for level in levels]
    centre = prediction["quantiles"].get("0.5", prediction["mean"])
    numbers = [value for value in past if value is not None] + [value for row in [*rows, centre] for value in row]
    axis = _Axis(min(numbers), max(numbers), len(times))
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(_words(name, prediction, times))}">'
    ]
    parts += axis.grid(times)
    start = len(past)
    for low, high in zip(rows[: len(rows) // 2], rows[::-1], strict=False):
        points = [axis.point(start + i, value) for i, value in enumerate(low)]
        points += [axis.point(start + i, value) for i, value in reversed(list(enumerate(high)))]
        parts.append(f'<polygon class="band" points="{" ".join(points)}"/>')
    for line in _lines(past):
        parts.append(f'<polyline class="past" points="{" ".join(axis.point(i, value) for i, value in line)}"/>')
    parts.append(
        f'<polyline class="ahead" points="{" ".join(axis.point(start + i, value) for i, value in enumerate(centre))}"/>'
    )
    return "".join([*parts, "</svg>"])


def _words(name: str, prediction: Mapping[str, Any], times: Sequence[str]) -> str:
    horizon = len(prediction["mean"])
    return f"{name}: {prediction['mean'][0]:.4g} at {times[-horizon]}, {prediction['mean'][-1]:.4g} at {times[-1]}"


def _lines(past: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """The stretches of the past that have no gap; a value alone is drawn as a short line."""
    line: list[tuple[int, float]] = []
    for index, value in enumerate([*past, None]):
        if value is not None:
            line.append((index, value))
        elif line:
            yield line if len(line) > 1 else [line[0], (line[0][0], line[0][1])]
            line = []


class _Axis:
    """Places of steps and values on the canvas."""

    def __init__(self, low: float, high: float, count: int) -> None:
        margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
        self._low, self._high = low - margin, high + margin
        self._count = max(count - 1, 1)

    def point(self, step: int, value: float) -> str:
        """`x,y` of a value."""
        x = _LEFT_MARGIN + step / self._count * (_WIDTH - _LEFT_MARGIN - 8)
        return f"{x:.1f},{self._y(value):.1f}"

    def _y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    def grid(self, times: Sequence[str]) -> Iterator[str]:
        """Lines at round values, and the first, middle and last time."""
        for value in _round_values(self._low, self._high):
            y = self._y(value)
            yield f'<line class="grid" x1="{_LEFT_MARGIN}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{_LEFT_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>'
        for step, anchor in ((0, "start"), (len(times) // 2, "middle"), (len(times) - 1, "end")):
            x = self.point(step, self._low).partition(",")[0]
            yield f'<text x="{x}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{html.escape(times[step])}</text>'


def _round_values(low: float, high: float) -> list[float]:
    """Three to six round values within low..high."""
    size = (high - low) / 4
    unit = 10 ** math.floor(math.log10(size)) if size > 0 and math.isfinite(size) else 1.0
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= size * 0.8)
    values: list[float] = np.arange(math.ceil(low / step), math.floor(high / step) + 1).astype(float).tolist()
    return [value * step for value in values]
