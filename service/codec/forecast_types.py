"""The JSON of forecasts, as `msgspec` structures: requests, answers, and the messages of live connections."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from service.codec.common import (
    ItemId,
    ModelAnswer,
    ModelReference,
    Opening,
    RequestedModel,
    Reset,
    ReturnState,
    StateToken,
    Timeout,
)

DEFAULT_MODEL = "forecaster"

Level = Annotated[float, Meta(gt=0, lt=1)]
Season = Annotated[int, Meta(ge=1, le=1_000_000)]
Bound = Annotated[
    float | UnsetType | None,
    Meta(description="bound of mean and quantiles; null: none; absent: zero for a series that never was below it"),
]

# Names of other forecasting tools, with what they are called here.
_IN_PARAMETERS = {
    name: f"use 'prediction_length' in 'parameters', not '{name}'"
    for name in ("horizon", "h", "steps", "n_steps", "periods", "fh", "forecast_horizon", "horizon_length")
} | {
    name: f"use 'quantile_levels' in 'parameters' (0.1 and 0.9 are the ends of the 80 % interval), not '{name}'"
    for name in ("level", "levels", "quantiles", "confidence", "interval", "alpha")
}
_SEASONS = {
    name: f"use 'season_length' in 'parameters', the number of observations in a season, not '{name}'"
    for name in ("seasonality", "season", "period", "seasonal_periods", "season_lengths")
} | {
    name: f"use 'freq' with 'start' in an entry of 'inputs', or 'season_length' in 'parameters', not '{name}'"
    for name in ("freq", "frequency")
}
_TARGETS = {
    name: f"use 'target', a list of numbers and null, in an entry of 'inputs', not '{name}'"
    for name in ("values", "data", "series", "y", "history", "observations", "context", "past_values")
}
_BELONGS = "it belongs in 'parameters'"
_SERIES = '{"target": [1, 2, 3]}'
_REQUEST = f'{{"inputs": [{_SERIES}]}}'


class SeriesInput(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One series."""

    target: Annotated[
        list[float | None],
        Meta(description="oldest first; null is a missing value; with state only the new values, or none"),
    ]
    item_id: ItemId | None = None
    state: StateToken | None = None
    start: Annotated[str, Meta(max_length=64, description="time of the first value, ISO 8601; needs freq")] | None = (
        None
    )
    freq: Annotated[str, Meta(max_length=32, description="step between values, a name of pandas: D, h, MS")] | None = (
        None
    )
    timestamps: (
        Annotated[list[str], Meta(description="time of each value, ISO 8601; a step left out is a missing value")]
        | None
    ) = None
    lower: Bound = UNSET
    upper: Bound = UNSET

    example: ClassVar[str] = _SERIES
    hints: ClassVar[dict[str, str]] = {
        **_IN_PARAMETERS,
        **{name: hint for name, hint in _SEASONS.items() if name != "freq"},
        **_TARGETS,
        **dict.fromkeys(("prediction_length", "quantile_levels", "season_length", "return_state", "include"), _BELONGS),
        "id": "use 'item_id'",
        "unique_id": "use 'item_id'",
        **dict.fromkeys(
            ("ds", "date", "dates", "time", "times", "datetime", "timestamp", "index"),
            "use 'timestamps', a list of ISO 8601 times, or 'start' with 'freq'",
        ),
    }


class ForecastParameters(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What to answer."""

    prediction_length: Annotated[int, Meta(ge=1, le=1_000_000, description="steps ahead")] = 1
    quantile_levels: Annotated[list[Level], Meta(max_length=99)] = field(default_factory=lambda: [0.1, 0.5, 0.9])
    season_length: Annotated[
        Season | Annotated[list[Season], Meta(min_length=1, max_length=2)] | None,
        Meta(description="observations per season; two where there are two, such as [24, 168]"),
    ] = None
    return_state: ReturnState = False
    include: Annotated[list[Literal["history", "anomaly"]], Meta(max_length=8)] = field(default_factory=list)
    timeout_ms: Timeout | None = None
    lower: Bound = UNSET
    upper: Bound = UNSET

    hints: ClassVar[dict[str, str]] = {**_IN_PARAMETERS, **_SEASONS, **_TARGETS}


class ForecastRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /forecast`."""

    inputs: Annotated[
        list[SeriesInput],
        Meta(description="series of any, different lengths", extra_json_schema={"minItems": 1}),
    ]
    model: RequestedModel = DEFAULT_MODEL
    parameters: ForecastParameters = field(default_factory=ForecastParameters)

    example: ClassVar[str] = _REQUEST
    hints: ClassVar[dict[str, str]] = {
        **_IN_PARAMETERS,
        **_SEASONS,
        **_TARGETS,
        **dict.fromkeys(
            ("prediction_length", "quantile_levels", "season_length", "return_state", "include", "lower", "upper"),
            _BELONGS,
        ),
        "target": f"it belongs in an entry of 'inputs': {_REQUEST}",
        "instances": "use 'inputs'",
    }


class History(Struct, frozen=True, gc=False):
    """One-step-ahead predictions at every past point that was used; null where nothing had been observed yet."""

    median: list[float | None]
    mean: list[float | None]
    quantiles: dict[str, list[float | None]]
    timestamps: list[str] | UnsetType = UNSET


class Context(Struct, frozen=True, gc=False):
    """What of the series was there, and what was used; with state: of the whole series."""

    observations: int
    missing: int
    used: int
    season_length: int


class Anomaly(Struct, frozen=True):
    """A value outside its interval; `score` is its distance from the median in widths of that side, above 1."""

    index: Annotated[int, Meta(description="in the series, from 0, gaps counted; with state: in the new values")]
    value: float
    lower: float
    upper: float
    score: float
    timestamp: str | UnsetType = UNSET


class SeriesPrediction(Struct, frozen=True, gc=False):
    """The forecast of one series; every list has `prediction_length` entries."""

    item_id: str | None
    mean: list[float]
    quantiles: dict[str, list[float]]
    context: Context
    state: str | None
    history: History | None
    warnings: list[str]
    timestamps: Annotated[list[str], Meta(description="of the steps ahead; where the input has times")] | UnsetType = (
        UNSET
    )
    warning_details: dict[str, str] | UnsetType = UNSET
    anomalies: (
        Annotated[
            list[Anomaly], Meta(description="of the values sent, those outside their 99 % interval, if asked for")
        ]
        | UnsetType
    ) = UNSET


class ForecastAnswer(ModelAnswer, frozen=True):
    """The body of the answer; one prediction per input, in the order of the inputs."""

    predictions: list[SeriesPrediction]


class SeriesOpening(Opening, forbid_unknown_fields=True, frozen=True):
    """The first message of a live series."""

    model: ModelReference = DEFAULT_MODEL
    parameters: ForecastParameters = field(default_factory=ForecastParameters)
    target: list[float | None] | None = None
    start: Annotated[str, Meta(max_length=64, description="time of the first value that comes; needs freq")] | None = (
        None
    )
    freq: Annotated[str, Meta(max_length=32, description="step between values, as in a request")] | None = None


class NewValues(Struct, forbid_unknown_fields=True, frozen=True):
    """A later message of a live series: the values since the last one; none asks for the forecast again."""

    target: list[float | None] | None = None
    reset: Reset = False
