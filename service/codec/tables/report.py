"""Forecasts for people: tables for the terminal, and what was understood of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.codec.tables.types import TableReading

MAX_ROWS = 60  # of the table on a terminal
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


def digit_table(predictions: Predictions) -> str:
    """What was read in each image: the digit or number, how sure that is, and what was made of the picture."""
    rows = [["file", "reads", "score", "rows", "picture"]]
    for number, prediction in enumerate(predictions, start=1):
        is_number = "number" in prediction
        text, score = (
            prediction["number" if is_number else "label"],
            prediction["number_score" if is_number else "score"],
        )
        if not is_number and prediction.get("name") is not None:  # of a label that is no digit
            text = prediction["name"]
        reading = "-" if text in {None, ""} else str(text).replace("\n", " / ")
        found = prediction["preprocessing"] or {}
        remarks = [*(["light on dark"] if found.get("inverted") is False else []), *prediction["warnings"]]
        score_text = "-" if score is None else f"{score:.3f}"
        name = prediction["item_id"] or str(number)
        rows.append([name, reading, score_text, str(prediction["rows_used"]), ", ".join(remarks)])
    return "\n".join(_aligned(rows, 2))
