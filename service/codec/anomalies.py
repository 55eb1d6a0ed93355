"""Which past values fall outside the interval that was forecast for them one step before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType, field

from service.codec.common import ModelAnswer, RequestedModel, Timeout
from service.codec.forecast_types import DEFAULT_MODEL, Anomaly, SeriesInput
from service.codec.tables.types import TableOptions, TableReading
from service.codec.timeline import Timeline
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest
from service.contract.types import Floats, ForecastItem, ForecastResult

WARM_UP = 8  # observed values at the beginning of a series that are not judged: too little is known before them

_MAX_SCORE = 1e6
_LEAST_LEVEL = 1e-10  # of a quantile: at 0 it is none that models have

IntervalLevel = Annotated[float, Meta(gt=0, lt=1, description="share of ordinary values that the interval holds")]


class AnomalyParameters(Struct, forbid_unknown_fields=True, frozen=True):
    """What counts as an anomaly."""

    level: IntervalLevel = 0.99
    season_length: Annotated[int, Meta(ge=1, le=1_000_000, description="observations per season")] | None = None
    timeout_ms: Timeout | None = None


class AnomalyRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /anomalies`."""

    inputs: Annotated[list[SeriesInput], Meta(description="series", extra_json_schema={"minItems": 1})]
    model: RequestedModel = DEFAULT_MODEL
    parameters: AnomalyParameters = field(default_factory=AnomalyParameters)


class AnomalyOptions(TableOptions, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The query of `POST /anomalies` with a table."""

    level: IntervalLevel = 0.99


class SeriesAnomalies(Struct, frozen=True):
    """The anomalies of one series, the oldest first."""

    item_id: str | None
    judged: Annotated[int, Meta(description="values that an interval was forecast for")]
    anomalies: list[Anomaly]


class AnomalyAnswer(ModelAnswer, frozen=True, kw_only=True):
    """The answer; one entry per input, in the order of the inputs."""

    level: float
    predictions: list[SeriesAnomalies]
    table: TableReading | UnsetType = UNSET


def anomaly_items(
    inputs: Sequence[SeriesInput], seasons: Sequence[int], level: float, manifest: Manifest
) -> list[ForecastItem]:
    """The items, with the intervals in their histories; raises `InvalidRequest` for what the model cannot read."""
    contract = manifest.input
    lower = max(round((1 - level) / 2, 10), _LEAST_LEVEL)
    levels = np.array([lower, 0.5, round(1 - lower, 10)])
    items = []
    for series, season in zip(inputs, seasons, strict=True):
        values = np.array(series.target, np.float64)
        if not contract.missing and np.isnan(values).any():
            raise InvalidRequest(f"'{manifest.name}' cannot read missing values (null)", code="wrong_type")
        values = values[-(contract.context or len(values)) :]
        if len(values) < contract.min_length or (contract.max_length and len(values) > contract.max_length):
            raise InvalidRequest(f"'{manifest.name}' does not read {len(values)} values", code="length_not_supported")
        if not np.isfinite(values).any():
            raise InvalidRequest("no value is present: at least one must be a number", code="out_of_range")
        items.append(ForecastItem(values, 1, levels, season if contract.season else 0, history=True))
    return items


def find_anomalies(
    series: SeriesInput, item: ForecastItem, result: ForecastResult, timeline: Timeline | None
) -> SeriesAnomalies:
    """The values of `item` outside the intervals in the history of `result`."""
    history = result.history if result.history is not None else np.zeros((0, 4))
    judged, anomalies = outside(item.values, history[:, 1:4], 0, len(series.target) - len(item.values), timeline)
    return SeriesAnomalies(series.item_id, judged, anomalies)


def outside(
    values: Floats, interval: Floats, before: int, first: int, timeline: Timeline | None
) -> tuple[int, list[Anomaly]]:
    """How many of `values` are judged, and those outside of their `interval` (T, 3): lower end, median, upper end.

    `before` values were observed earlier; the first of `values` has the index `first`.
    """
    lower, middle, upper = interval.T
    observed = before + np.isfinite(values).cumsum()
    judged = np.isfinite(values) & np.isfinite(middle) & (observed > WARM_UP)
    found = np.flatnonzero(judged & ((values < lower) | (values > upper)))
    scores = _scores(values, lower, middle, upper)
    times: Sequence[str | UnsetType] = [UNSET] * len(found)
    if timeline is not None:
        times = timeline.texts_at(first + found)
    anomalies = [
        Anomaly(
            first + index,
            float(values[index]),
            float(lower[index]),
            float(upper[index]),
            float(scores[index]),
            time,
        )
        for index, time in zip(found.tolist(), times, strict=True)
    ]
    return int(judged.sum()), anomalies


def _scores(values: Floats, lower: Floats, middle: Floats, upper: Floats) -> Floats:
    """The distance from the median in widths of the half interval on that side, at most `_MAX_SCORE`."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width = np.where(values > middle, upper - middle, middle - lower)
        scores = np.minimum(np.abs(values - middle) / width, _MAX_SCORE)
    return np.nan_to_num(scores, nan=_MAX_SCORE)  # of distances that are more than floats hold
