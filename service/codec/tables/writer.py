"""Predictions to a long table: one row for each series and step ahead."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from service.codec.forecast_types import SeriesPrediction


def columns_of(predictions: Sequence[SeriesPrediction]) -> dict[str, list[Any]]:
    """The columns of the table: `item_id`, `timestamp` or `step`, `mean`, and one for each level.

    Series without a name are numbered from 1. Steps ahead count from 1, where not all series have times.
    """
    levels = list(predictions[0].quantiles)
    has_times = all(prediction.timestamps is not UNSET for prediction in predictions)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("item_id", "timestamp" if has_times else "step", "mean", *levels)
    }
    for number, prediction in enumerate(predictions, start=1):
        horizon = len(prediction.mean)
        columns["item_id"] += [prediction.item_id if prediction.item_id is not None else str(number)] * horizon
        if prediction.timestamps is not UNSET and has_times:
            columns["timestamp"] += prediction.timestamps
        else:
            columns["step"] += range(1, horizon + 1)
        columns["mean"] += prediction.mean
        for level in levels:
            columns[level] += prediction.quantiles[level]
    return columns


def write_csv(predictions: Sequence[SeriesPrediction]) -> bytes:
    """The table as CSV (RFC 4180) in UTF-8, with decimal points."""
    columns = columns_of(predictions)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()
