"""`POST /backtest` and `POST /anomalies`: a model judged on the caller's own series, as JSON or as a table.

Both compute what `POST /forecast` would, for many origins or every value, in parts that the queue of the model takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from service.api.model_route import ModelRoute, compute_in_parts, digest_header
from service.api.problems import Answer
from service.api.request import RawRequest
from service.codec.anomalies import (
    AnomalyAnswer,
    AnomalyOptions,
    AnomalyParameters,
    AnomalyRequest,
    anomaly_items,
    find_anomalies,
)
from service.codec.backtest import (
    BacktestAnswer,
    BacktestOptions,
    BacktestParameters,
    BacktestRequest,
    WindowErrors,
    parts_of,
    plan,
    score,
    seasons_of,
    window_errors,
)
from service.codec.common import JSON, READ_TABLES, Body
from service.codec.forecast import ForecastCall, ForecastCodec, season_of
from service.codec.forecast_types import ForecastParameters, ForecastRequest, SeriesInput, SeriesOpening
from service.codec.query import decode_query, refuse_query
from service.codec.strict_json import FieldErrors, StrictDecoder
from service.codec.tables.codec import TEXT_OPTIONS, TableCodec
from service.codec.tables.types import TableOptions, TableReading
from service.codec.timeline import Timeline
from service.contract.errors import InvalidRequest
from service.registry.registry import Registry
from service.registry.served import Served
from service.runtime.fair_pool import FairPool
from service.runtime.fair_share import Client
from service.settings import Settings

ParametersT = TypeVar("ParametersT", BacktestParameters, AnomalyParameters)
Request = BacktestRequest | AnomalyRequest

_SCORED_AT_ONCE = 500_000  # values; about a tenth of a second

_encoder = msgspec.json.Encoder()


class EvaluationInput(Struct, Generic[ParametersT], frozen=True, eq=False):
    """The series of a request on their grids, and how to judge a model on them."""

    inputs: list[SeriesInput]
    timelines: Sequence[Timeline | None]
    seasons: list[int]  # stated, or suggested by a frequency and shown by the values; else 0
    parameters: ParametersT
    model: str
    table: TableReading | UnsetType

    @property
    def size(self) -> int:
        """Values of all series."""
        return sum([len(series.target) for series in self.inputs])


class EvaluationEndpoint(ModelRoute[ForecastRequest, ForecastCall, SeriesOpening], Generic[ParametersT]):
    """A direct route that judges a model on series; subclasses say which requests they read and what they answer."""

    request_decoder: StrictDecoder[Any]
    options_decoder: StrictDecoder[Any]

    def __init__(self, codec: ForecastCodec, registry: Registry, settings: Settings, pool: FairPool) -> None:
        super().__init__(codec, registry, settings, pool, pool)
        self.media_types = (JSON, *READ_TABLES)
        self._forecasts = codec
        self._settings = settings
        self._tables = TableCodec(codec, settings)

    def parameters_of(self, options: Any) -> ParametersT:
        """What the query of a table asks for."""
        raise NotImplementedError

    async def judge(
        self, evaluation: EvaluationInput[ParametersT], model: Served, client: Client, deadline: float
    ) -> BacktestAnswer | AnomalyAnswer:
        """The answer, but for how a table was read."""
        raise NotImplementedError

    async def __call__(self, request: RawRequest, body: Body) -> Answer:
        """The answer; raises the errors of the domain."""
        client, limit = request.client, self._deadline_of(request)
        evaluation = await self._in_thread("table", len(body.content), client, limit, self._read, body)
        model, deadline = self._find(request, evaluation.model, evaluation.parameters.timeout_ms)
        answer = replace(await self.judge(evaluation, model, client, deadline), table=evaluation.table)
        content = await self._in_thread("encode", evaluation.size, client, deadline, _encoder.encode, answer)
        return Answer(200, [(b"content-type", JSON.encode()), digest_header(model.manifest.sha256)], content)

    def _read(self, body: Body) -> EvaluationInput[ParametersT]:
        if body.media_type != JSON:
            return self._read_table(body)
        if body.query_string:
            refuse_query(body.query_string)
        request = self.request_decoder.decode(body.content)
        _refuse_states(request.inputs)
        horizon = getattr(request.parameters, "prediction_length", 1)
        timed = self._forecasts.to_grids(
            ForecastRequest(request.inputs, parameters=ForecastParameters(prediction_length=horizon))
        )
        stated = request.parameters.season_length
        seasons = [stated or season_of(entry.series, entry.season) for entry in timed]
        timelines = [entry.timeline for entry in timed]
        return EvaluationInput(
            [entry.series for entry in timed], timelines, seasons, request.parameters, request.model, UNSET
        )

    def _read_table(self, body: Body) -> EvaluationInput[ParametersT]:
        options: TableOptions = decode_query(body.query_string, self.options_decoder, TEXT_OPTIONS)
        _refuse_options(options)
        table = self._tables.read(body, options)
        hints = zip(table.inputs, table.seasons, strict=True)
        seasons = [options.season_length or season_of(series, season) for series, season in hints]
        parameters = self.parameters_of(options)
        return EvaluationInput(table.inputs, table.timelines, seasons, parameters, table.model, table.reading)


class BacktestEndpoint(EvaluationEndpoint[BacktestParameters]):
    """`POST /backtest`."""

    request_decoder = StrictDecoder(BacktestRequest)
    options_decoder = StrictDecoder(BacktestOptions)

    def parameters_of(self, options: BacktestOptions) -> BacktestParameters:
        """What the query of a table asks for."""
        season, include = options.season_length, [options.include] if options.include is not None else []
        return BacktestParameters(options.prediction_length, options.windows, season, options.timeout_ms, include)

    async def judge(
        self, evaluation: EvaluationInput[BacktestParameters], model: Served, client: Client, deadline: float
    ) -> BacktestAnswer:
        """The scores of the model next to simple methods."""
        test = await self._in_thread(
            "plan",
            evaluation.size,
            client,
            deadline,
            plan,
            evaluation.inputs,
            evaluation.timelines,
            evaluation.seasons,
            evaluation.parameters,
            model.manifest,
        )
        results = await compute_in_parts(model, test.items, self._settings, client, deadline)
        size, seasons = len(results), seasons_of(test, results)
        errors: list[dict[str, WindowErrors]] = []
        for part in parts_of(test, _SCORED_AT_ONCE):
            errors += await self._in_thread(
                "windows", _SCORED_AT_ONCE, client, deadline, window_errors, test, results, seasons, part
            )
        return await self._in_thread("score", size, client, deadline, score, test, results, seasons, errors)


class AnomalyEndpoint(EvaluationEndpoint[AnomalyParameters]):
    """`POST /anomalies`."""

    request_decoder = StrictDecoder(AnomalyRequest)
    options_decoder = StrictDecoder(AnomalyOptions)

    def parameters_of(self, options: AnomalyOptions) -> AnomalyParameters:
        """What the query of a table asks for."""
        return AnomalyParameters(options.level, options.season_length, options.timeout_ms)

    async def judge(
        self, evaluation: EvaluationInput[AnomalyParameters], model: Served, client: Client, deadline: float
    ) -> AnomalyAnswer:
        """The values outside their intervals."""
        manifest, level = model.manifest, evaluation.parameters.level
        size = evaluation.size
        items = await self._in_thread(
            "plan", size, client, deadline, anomaly_items, evaluation.inputs, evaluation.seasons, level, manifest
        )
        results = await compute_in_parts(model, items, self._settings, client, deadline)
        anomalies = await self._in_thread(
            "score",
            size,
            client,
            deadline,
            lambda: list(map(find_anomalies, evaluation.inputs, items, results, evaluation.timelines)),
        )
        return AnomalyAnswer(
            model=manifest.name,
            model_version=str(manifest.version),
            model_digest=manifest.digest,
            level=level,
            predictions=anomalies,
        )


def _refuse_states(inputs: Sequence[SeriesInput]) -> None:
    errors = FieldErrors()
    for index, series in enumerate(inputs):
        if series.state is not None:
            errors.add(f"#/inputs/{index}/state", "unknown_field", "send the whole series: a state has no past values")
    errors.check()


def _refuse_options(options: TableOptions) -> None:
    """Raise `InvalidRequest` for options of forecasts that have no meaning here."""
    for name in ("quantile_levels", "include"):
        if getattr(options, name) not in {None, "forecasts"}:
            raise InvalidRequest(f"this route takes no {name}", code="unknown_field")
