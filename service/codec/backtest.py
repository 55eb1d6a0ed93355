"""How good a model is on the caller's own series: forecasts from earlier origins, scored with what came then.

The last `windows` stretches of `prediction_length` values are forecast from all that was before each. Scores are the
mean absolute scaled error of the median (MASE, Hyndman and Koehler 2006), the weighted quantile loss at 0.1, 0.2 … 0.9
(WQL, twice the pinball loss over the sum of absolute values), and the share of values in the 80 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType, field
from msgspec.structs import replace

from service.codec.common import ModelAnswer, RequestedModel, Timeout
from service.codec.forecast_types import DEFAULT_MODEL, SeriesInput
from service.codec.simple_methods import METHODS, filled, quantiles
from service.codec.tables.types import TableOptions, TableReading
from service.codec.timeline import Timeline
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest
from service.contract.types import Floats, ForecastItem, ForecastResult

LEVELS: Floats = np.arange(1, 10) / 10
MAX_WINDOWS = 50
_VALUES_OF_WINDOW = 3000  # that are scored in the time that each window takes besides
_MIDDLE, _LOW, _HIGH = 4, 0, 8  # positions of 0.5, 0.1 and 0.9

Windows = Annotated[
    int, Meta(ge=1, le=MAX_WINDOWS, description="origins to forecast from, one prediction_length apart")
]


class BacktestParameters(Struct, forbid_unknown_fields=True, frozen=True):
    """How to test."""

    prediction_length: Annotated[int, Meta(ge=1, le=1_000_000, description="steps ahead")] = 12
    windows: Windows = 3
    season_length: Annotated[int, Meta(ge=1, le=1_000_000, description="observations per season")] | None = None
    timeout_ms: Timeout | None = None
    include: Annotated[list[Literal["forecasts"]], Meta(max_length=8)] = field(default_factory=list)


class BacktestRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /backtest`."""

    inputs: Annotated[list[SeriesInput], Meta(description="series", extra_json_schema={"minItems": 1})]
    model: RequestedModel = DEFAULT_MODEL
    parameters: BacktestParameters = field(default_factory=BacktestParameters)


class BacktestOptions(TableOptions, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The query of `POST /backtest` with a table."""

    prediction_length: Annotated[int, Meta(ge=1, le=1_000_000, description="steps ahead")] = 12
    windows: Windows = 3
    include: Annotated[Literal["forecasts"], Meta(description="also answer what the model forecast")] | None = None  # type: ignore[assignment]


class WindowForecast(Struct, frozen=True):
    """What the model forecast from one origin: the median and the 80 % interval."""

    index: Annotated[int, Meta(description="of the first step in the series, from 0, gaps counted")]
    median: list[float]
    lower: list[float]
    upper: list[float]
    timestamps: list[str] | UnsetType = UNSET


class Scores(Struct, frozen=True):
    """Errors of one method, less is better; null where they cannot be computed (all values equal, or zero)."""

    mase: float | None
    wql: float | None
    coverage: Annotated[float | None, Meta(description="share of values in the 80 % interval")]


class SeriesScores(Struct, frozen=True):
    """The scores on one series."""

    item_id: str | None
    windows: int
    season_length: int
    methods: dict[str, Scores]
    warnings: list[str]
    forecasts: Annotated[list[WindowForecast], Meta(description="the oldest first, where asked for")] | UnsetType = (
        UNSET
    )


class BacktestAnswer(ModelAnswer, frozen=True, kw_only=True):
    """The answer: scores of the model and of simple methods, over all series and for each."""

    prediction_length: int
    methods: Annotated[dict[str, Scores], Meta(description="means over the series; the model by its name")]
    best: Annotated[str | None, Meta(description="the method with the least MASE")]
    series: list[SeriesScores]
    table: TableReading | UnsetType = UNSET


class Window(Struct, frozen=True, eq=False):
    """One stretch to forecast: of series `series`, the values behind the first `cut`."""

    series: int
    past: Floats
    actual: Floats
    cut: int


class Backtest(Struct, frozen=True, eq=False):
    """A test of one model: its windows and the items that forecast them."""

    manifest: Manifest
    parameters: BacktestParameters
    inputs: list[SeriesInput]
    timelines: Sequence[Timeline | None]
    seasons: list[int]  # stated or suggested, 0 where the model looks for it
    windows: list[Window]
    items: list[ForecastItem]


class WindowErrors(NamedTuple):
    """What the scores of one method add up over windows."""

    scaled: float | None  # mean distance of the median, in usual changes of the series; None where it never changes
    loss: float  # pinball losses, doubled
    size: float  # of the values together
    covered: int  # values in the 80 % interval
    n_values: int


def plan(
    inputs: Sequence[SeriesInput],
    timelines: Sequence[Timeline | None],
    seasons: Sequence[int],
    parameters: BacktestParameters,
    manifest: Manifest,
) -> Backtest:
    """The windows of all series that are long enough; raises `InvalidRequest` where none is, or the model cannot."""
    contract, horizon = manifest.input, parameters.prediction_length
    if contract.max_horizon is not None and horizon > contract.max_horizon:
        detail = f"'{manifest.name}' looks at most {contract.max_horizon} steps ahead"
        raise InvalidRequest(detail, code="out_of_range")
    windows: list[Window] = []
    items: list[ForecastItem] = []
    for index, series in enumerate(inputs):
        values = np.array(series.target, np.float64)
        if not contract.missing and np.isnan(values).any():
            raise InvalidRequest(f"'{manifest.name}' cannot read missing values (null)", code="wrong_type")
        for cut in range(len(values) - parameters.windows * horizon, len(values) - horizon + 1, horizon):
            past = values[max(0, cut - (contract.context or cut)) : cut] if cut > 0 else values[:0]
            past = past[-contract.max_length :] if contract.max_length else past
            actual = values[cut : cut + horizon] if cut > 0 else values[:0]
            if len(past) < max(2, contract.min_length) or np.isfinite(past).sum() < 2 or np.isnan(actual).all():
                continue
            windows.append(Window(index, past, actual, cut))
            season = seasons[index] if contract.season else 0
            items.append(ForecastItem(past, horizon, LEVELS, season))
    if not windows:
        detail = f"no series is long enough: {horizon} values to forecast, and at least two before them"
        raise InvalidRequest(f"{detail}; state a smaller prediction_length", code="out_of_range")
    return Backtest(manifest, parameters, list(inputs), timelines, list(seasons), windows, items)


def parts_of(test: Backtest, max_values: int) -> list[slice]:
    """Which windows are scored at once: few enough that nothing else waits long, `max_values` in the past of them."""
    parts: list[slice] = []
    first, values = 0, 0
    for index, window in enumerate(test.windows):
        values += _VALUES_OF_WINDOW + len(window.past)
        if values > max_values:
            parts.append(slice(first, index + 1))
            first, values = index + 1, 0
    return [*parts, slice(first, len(test.windows))] if first < len(test.windows) else parts


def seasons_of(test: Backtest, results: Sequence[ForecastResult]) -> list[int]:
    """The season of each series: stated or suggested, else that which the model saw at last."""
    last = {window.series: result.season for window, result in zip(test.windows, results, strict=True)}
    return [season or last.get(series, 1) for series, season in enumerate(test.seasons)]


@np.errstate(over="ignore", invalid="ignore")
def window_errors(
    test: Backtest, results: Sequence[ForecastResult], seasons: Sequence[int], part: slice
) -> list[dict[str, WindowErrors]]:
    """The errors of the model and of the simple methods in a part of the windows.

    `results` are those of all windows, `seasons` those of `seasons_of`.
    """
    errors = []
    for window, result in zip(test.windows[part], results[part], strict=True):
        season = seasons[window.series]
        forecasts = {name: _simple(name, window.past, len(window.actual), season) for name in METHODS}
        forecasts[test.manifest.name] = result.quantiles
        scale = _scale(window.past, season)
        errors.append({name: _errors(window, forecasts[name], scale) for name in _names(test.manifest)})
    return errors


@np.errstate(over="ignore", invalid="ignore")
def score(
    test: Backtest,
    results: Sequence[ForecastResult],
    seasons: Sequence[int],
    errors: Sequence[dict[str, WindowErrors]],
) -> BacktestAnswer:
    """The scores of the model and of the simple methods; `errors`: `window_errors` of all windows."""
    manifest, names = test.manifest, _names(test.manifest)
    members: dict[int, list[int]] = {}
    for index, window in enumerate(test.windows):
        members.setdefault(window.series, []).append(index)
    per_series: list[SeriesScores] = []
    for number, series in enumerate(test.inputs):
        indices = members.get(number, [])
        scores = {name: _scores([errors[index][name] for index in indices]) for name in names} if indices else {}
        warnings = [] if len(indices) == test.parameters.windows else ["fewer_windows" if indices else "too_short"]
        entry = SeriesScores(series.item_id, len(indices), seasons[number], scores, warnings)
        if test.parameters.include:
            pairs = [(test.windows[index], results[index]) for index in indices]
            entry = replace(entry, forecasts=_forecasts(pairs, test.timelines[number]))
        per_series.append(entry)
    scored = [entry.methods for entry in per_series if entry.methods]
    overall = {name: _mean_scores([methods[name] for methods in scored]) for name in names}
    ranked = [(scores.mase, name) for name, scores in overall.items() if scores.mase is not None]
    return BacktestAnswer(
        model=manifest.name,
        model_version=str(manifest.version),
        model_digest=manifest.digest,
        prediction_length=test.parameters.prediction_length,
        methods=overall,
        best=min(ranked)[1] if ranked else None,
        series=per_series,
    )


def _names(manifest: Manifest) -> list[str]:
    return [manifest.name, *(name for name in METHODS if name != manifest.name)]


def _forecasts(pairs: Sequence[tuple[Window, ForecastResult]], timeline: Timeline | None) -> list[WindowForecast]:
    return [
        WindowForecast(
            window.cut,
            result.quantiles[_MIDDLE].tolist(),
            result.quantiles[_LOW].tolist(),
            result.quantiles[_HIGH].tolist(),
            timeline.texts(window.cut, len(window.actual)) if timeline is not None else UNSET,
        )
        for window, result in pairs
    ]


def _errors(window: Window, forecast: Floats, scale: float) -> WindowErrors:
    """The errors of the quantiles (Q, H) of one method in a window, in the past of which values change by `scale`."""
    present = np.isfinite(window.actual)
    actual, forecast = window.actual[present], forecast[:, present]
    gap = actual - forecast
    loss = float(2 * np.maximum(LEVELS[:, None] * gap, (LEVELS[:, None] - 1) * gap).mean(0).sum())
    covered = int(((actual >= forecast[_LOW]) & (actual <= forecast[_HIGH])).sum())
    scaled = float(np.abs(gap[_MIDDLE]).mean() / scale) if scale > 0 else None
    return WindowErrors(scaled, loss, float(np.abs(actual).sum()), covered, len(actual))


def _scores(errors: Sequence[WindowErrors]) -> Scores:
    """The scores of one method on the windows of one series."""
    scaled = [entry.scaled for entry in errors if entry.scaled is not None]
    size, count = sum([entry.size for entry in errors]), sum([entry.n_values for entry in errors])
    return Scores(
        _finite(float(np.mean(scaled))) if scaled else None,
        _finite(sum([entry.loss for entry in errors]) / size) if size > 0 else None,
        sum([entry.covered for entry in errors]) / count if count else None,
    )


def _simple(name: str, past: Floats, horizon: int, season: int) -> Floats:
    return quantiles(METHODS[name](filled(past), horizon, season), LEVELS)


def _scale(past: Floats, season: int) -> float:
    """The mean change over a season in the past; over one step where there is no season, or nothing changes in one."""
    for lag in (season, 1):
        changes = np.abs(past[lag:] - past[:-lag])
        changes = changes[np.isfinite(changes)]
        if len(changes) and changes.mean() > 0:
            return float(changes.mean())
    return 0.0


def _finite(score: float) -> float | None:
    """None for a score of values so large that their distance is none of those that floats hold."""
    return score if math.isfinite(score) else None


def _mean_scores(scores: Sequence[Scores]) -> Scores:
    def mean(name: str) -> float | None:
        values = [getattr(entry, name) for entry in scores]
        present = [value for value in values if value is not None]
        return _finite(float(np.mean(present))) if present else None

    return Scores(mean("mase"), mean("wql"), mean("coverage"))
