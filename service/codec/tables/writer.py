"""Predictions to a long table: one row for each series and step ahead."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from service.codec.common import CSV, JSON
from service.codec.forecast_types import SeriesPrediction
from service.codec.tables import parquet

_encoder = msgspec.json.Encoder()


def columns_of(predictions: Sequence[SeriesPrediction], first: int = 0) -> dict[str, list[Any]]:
    """The columns of the table: `item_id`, `timestamp` or `step`, `mean`, and one for each level.

    Series without a name are numbered from 1, after the `first` ones. Steps ahead count from 1 where not all series
    have times.
    """
    levels = list(predictions[0].quantiles)
    has_times = all(prediction.timestamps is not UNSET for prediction in predictions)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("item_id", "timestamp" if has_times else "step", "mean", *levels)
    }
    for number, prediction in enumerate(predictions, start=first + 1):
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


class PartWriter:
    """Writes an answer part by part, in one of three types: JSON, CSV or Parquet."""

    def __init__(self, media_type: str, head: dict[str, Any], tail: Callable[[], dict[str, Any]]) -> None:
        """`head` and `tail`: members of an answer in JSON before and after its predictions."""
        self._media_type = media_type
        self._head, self._tail = head, tail
        self._count = 0
        self._file: parquet.GrowingFile | None = None

    def part(self, predictions: Sequence[SeriesPrediction]) -> bytes:
        """The bytes of further predictions, after those before."""
        first, self._count = self._count, self._count + len(predictions)
        if self._media_type == JSON:
            entries = _encoder.encode(list(predictions))[1:-1]
            return b"," + entries if first else _encoder.encode(self._head)[:-1] + b',"predictions":[' + entries
        columns = columns_of(predictions, first)
        if self._media_type == CSV:
            text = io.StringIO()
            writer = csv.writer(text)
            if not first:
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
            return text.getvalue().encode()
        if self._file is None:
            self._file = parquet.GrowingFile(columns)
        return self._file.append(columns)

    def end(self) -> bytes:
        """The bytes after the last part."""
        if self._media_type == JSON:
            return b"]," + _encoder.encode(self._tail())[1:]
        return self._file.end() if self._file is not None else b""
