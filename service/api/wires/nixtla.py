"""The HTTP API of Nixtla's forecasting service, as its own client (`NixtlaClient(base_url=…)`, 0.9) uses it.

All series of a request come flat, one after the other, and so go the answers. Intervals are named by the level in per
cent as it was sent. What the networks do not do (covariates, fine-tuning) is refused, never left out in silence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct
from msgspec.structs import replace

from service.api.access import account_of
from service.api.wires.common import Pipeline, body_of, held, inflate, json_answer, with_errors
from service.codec.large_forecasts import as_arrays
from service.contract.errors import InvalidRequest, UnknownModel
from service.contract.types import Floats, ForecastItem, ForecastResult
from service.registry.served import Served
from service.settings import Settings

R = TypeVar("R")

DEFAULT_MODEL = "forecaster"
DEFAULT_LEVEL = 99.0  # of anomalies
MAX_BYTES = 32 << 20  # of an inflated body: all series of a frame come in one
PIECE = 256 << 10  # bytes of numbers that are lists of Python's at a time
MAX_LEVELS = 100
DEFAULT_CONTEXT = 4096
_THEIRS = ("timegpt", "azureai")

Level = Annotated[float, Meta(ge=0, lt=100)]
NULL = msgspec.Raw(b"null")


class NixtlaSeries(Struct, frozen=True):
    """All series, flat; `sizes` says how long each is. Long lists are decoded once their length is known."""

    y: msgspec.Raw
    sizes: msgspec.Raw
    X: msgspec.Raw = NULL
    X_future: msgspec.Raw = NULL
    categorical_exog: msgspec.Raw = NULL


class NixtlaRequest(Struct, frozen=True):
    """The body of forecasts, cross validations and anomaly detections; unknown members have no effect here."""

    series: NixtlaSeries
    model: str = DEFAULT_MODEL
    h: int = 1
    level: msgspec.Raw = NULL
    n_windows: int = 1
    step_size: int | None = None
    full_history: bool = False
    finetune_steps: int = 0
    finetuned_model_id: msgspec.Raw = NULL
    multivariate: bool = False
    hist_exog: msgspec.Raw = NULL


class Query(NamedTuple):
    """A request that was read."""

    request: NixtlaRequest
    levels: _Levels
    series: list[Floats]


_NEWEST = 1000  # values, of which mostly one is present
_EMPTY_VALUES = (NULL, msgspec.Raw(b"[]"), msgspec.Raw(b"false"))
_decoder = msgspec.json.Decoder(NixtlaRequest)
_numbers_decoder = msgspec.json.Decoder(list[float | None])
_sizes_decoder = msgspec.json.Decoder(list[Annotated[int, Meta(ge=1, le=1 << 40)]])
_levels_decoder = msgspec.json.Decoder(list[Level] | Level | None)


def nixtla_router(pipeline: Pipeline) -> APIRouter:
    """The routes of the client that are served, and refusals of the others."""
    router = APIRouter(include_in_schema=False)
    wire = _Wire(pipeline)
    router.add_api_route("/validate_api_key", wire.validate)
    router.add_api_route("/model_params", with_errors(wire.model_parameters))
    router.add_api_route("/v2/models", wire.models)
    for name in ("forecast", "cross_validation", "anomaly_detection"):
        handler = getattr(wire, name)
        router.add_api_route(f"/v2/{name}", with_errors(handler), methods=["POST"])
    for name in ("online_anomaly_detection", "finetune", "simulate", "explain"):
        router.add_api_route(f"/v2/{name}", with_errors(wire.refuse), methods=["POST"])
    return router


class _Wire:
    """The handlers."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def validate(self, request: Request) -> Response:
        is_keyed = account_of(request.scope) is not None
        return json_answer({"detail": "the key is valid" if is_keyed else "this service needs no key"})

    async def models(self) -> Response:
        models = self._pipeline.registry.models()
        names = sorted({entry.name for entry in models if entry.manifest and entry.manifest.task == "forecast"})
        return json_answer({"models": [{"name": name} for name in names]})

    async def model_parameters(self, request: Request) -> Response:
        contract = self._model(request.query_params.get("model", DEFAULT_MODEL)).manifest.input
        size = contract.context or contract.max_length or DEFAULT_CONTEXT
        return json_answer({"detail": {"input_size": size, "horizon": contract.max_horizon or 1}})

    async def refuse(self, _request: Request) -> Response:
        raise InvalidRequest(
            "this service does not do that: forecasts, cross validation, anomaly detection", code="unknown_field"
        )

    async def forecast(self, request: Request) -> Response:
        query, model = await self._read(request)
        h = query.request.h
        self._check_numbers(len(query.series) * h, query.levels, h, model)
        items = [ForecastItem(values, h, query.levels.computed) for values in query.series]
        return await self._answer(request, model, items, _forecasts, query)

    async def cross_validation(self, request: Request) -> Response:
        query, model = await self._read(request)
        if query.request.full_history:
            return await self._history(request, query, model, anomalies=False)
        n_windows, h = query.request.n_windows, query.request.h
        step = query.request.step_size or h
        if not 1 <= n_windows <= 1000 or step < 1:
            raise InvalidRequest("n_windows and step_size must be positive", code="out_of_range")
        if min(map(len, query.series)) - h - (n_windows - 1) * step < 1:
            raise InvalidRequest("a series is too short for so many windows", code="length_not_supported")
        self._check_numbers(len(query.series) * n_windows * h, query.levels, h, model)
        make = partial(_windows, query, n_windows, step)
        items, positions = await self._in_thread(request, "nixtla windows", n_windows * len(query.series), make)
        return await self._answer(request, model, items, _cross_validation, query, positions)

    async def anomaly_detection(self, request: Request) -> Response:
        query, model = await self._read(request)
        if query.request.level == NULL:
            query = query._replace(levels=_Levels(DEFAULT_LEVEL))
        return await self._history(request, query, model, anomalies=True)

    async def _history(self, request: Request, query: Query, model: Served, *, anomalies: bool) -> Response:
        """One step ahead of every value but the first that the model uses."""
        self._check_numbers(sum(map(len, query.series)), query.levels, 1, model)
        items = [ForecastItem(values, 1, query.levels.computed, history=True) for values in query.series]
        return await self._answer(request, model, items, _history_answer, query, anomalies)

    def _check_numbers(self, steps: int, levels: _Levels, horizon: int, model: Served) -> None:
        """Raise `InvalidRequest` where an answer of `steps`, `horizon` at once, would be too much for the model."""
        contract = model.manifest.input
        if contract.max_horizon is not None and horizon > contract.max_horizon:
            raise InvalidRequest(
                f"'{model.manifest.name}' looks at most {contract.max_horizon} steps ahead", code="out_of_range"
            )
        numbers = steps * (1 + len(levels.computed))
        if numbers > self._pipeline.settings.max_answer_numbers:
            raise InvalidRequest(f"the answer would hold {numbers} numbers: send fewer series", code="too_many_items")

    async def _answer(
        self,
        request: Request,
        model: Served,
        items: list[ForecastItem],
        answer: Callable[..., dict[str, Any]],
        *args: Any,
    ) -> Response:
        """The answer that `answer` makes of the results of `items` and of `args`; long lists in a thread."""
        pipeline = self._pipeline.of(request)
        deadline, size = pipeline.deadline(), len(items)
        cut = await pipeline.in_thread("nixtla items", size, deadline, _cut, items, model)
        results = await pipeline.compute(model, cut, deadline)
        return await pipeline.in_thread("nixtla answer", size, deadline, lambda: json_answer(answer(results, *args)))

    async def _read(self, request: Request) -> tuple[Query, Served]:
        encoding = request.headers.get("content-encoding", "").strip().lower()
        pipeline = self._pipeline.of(request)
        async with body_of(request, pipeline) as content:
            deadline = pipeline.deadline()
            plain = await pipeline.in_thread("inflate", len(content), deadline, inflate, content, encoding, MAX_BYTES)
            with held(pipeline.budget, max(0, len(plain) - len(content))):
                query = await pipeline.in_thread("nixtla", len(plain), deadline, _query, plain, pipeline.settings)
        return query, self._model(query.request.model)

    def _in_thread(self, request: Request, kind: str, size: int, function: Callable[[], R]) -> Awaitable[R]:
        pipeline = self._pipeline.of(request)
        return pipeline.in_thread(kind, size, pipeline.deadline(), function)

    def _model(self, name: str) -> Served:
        """The model of that name; the names of Nixtla's own mean the default forecaster."""
        model = self._pipeline.registry.get(DEFAULT_MODEL if name.startswith(_THEIRS) else name)
        if model.manifest.task != "forecast":
            raise UnknownModel(f"'{model.manifest.name}' makes no forecasts", code="model_not_found")
        return model


def _check_values(values: Floats, model: Served) -> None:
    """Raise `InvalidRequest` where the model cannot read a series."""
    contract, name, length = model.manifest.input, model.manifest.name, len(values)
    has_value = np.isfinite(values[-_NEWEST:]).any() or np.isfinite(values).any()  # windows share most of their values
    if not has_value:
        raise InvalidRequest("a series has no value that the model reads", code="out_of_range")
    if not contract.missing and np.isnan(values).any():
        raise InvalidRequest(f"'{name}' cannot read missing values", code="wrong_type")
    if length < contract.min_length or (contract.max_length and length > contract.max_length):
        raise InvalidRequest(f"'{name}' does not read {length} values", code="length_not_supported")


class _Levels:
    """Levels of intervals in per cent, as they were sent, and the quantiles that they need."""

    def __init__(self, level: list[float] | float | None) -> None:
        levels = [] if level is None else [level] if isinstance(level, int | float) else level
        self._levels = list(dict.fromkeys(levels))
        self._sides = {side: _sides(side) for side in self._levels}
        bounds = {bound for sides in self._sides.values() for bound in sides}
        self.computed = np.array(sorted(bounds) or [0.5])

    def named(self, rows: Floats) -> dict[str, list[float]] | None:
        """`rows` (Q, …) by the names of the bounds, None where no level was sent."""
        if not self._levels:
            return None
        position = {bound: index for index, bound in enumerate(self.computed.tolist())}
        named = {}
        for side, (low, high) in self._sides.items():
            text = f"{side:g}" if side != int(side) else str(int(side))
            named[f"lo-{text}"], named[f"hi-{text}"] = rows[position[low]].tolist(), rows[position[high]].tolist()
        return named


def _sides(level: float) -> tuple[float, float]:
    """The quantiles at both ends of an interval, rounded: (1 - 80 / 100) / 2 is 0.0999…98."""
    low = max(round((1 - level / 100) / 2, 8), 1e-8)
    return low, round(1 - low, 8)


def _query(content: bytes, settings: Settings) -> Query:
    """The request in a body, its levels and its series; raises `InvalidRequest`."""
    try:
        query = _decoder.decode(content)
        levels = _levels_of(query.level)
        sizes = _sizes_of(query.series.sizes, settings.max_queue_items)
        values = _values_of(query.series.y, settings.max_queue_observations)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        code = "wrong_type" if isinstance(error, msgspec.ValidationError) else "malformed_json"
        raise InvalidRequest(f"the request cannot be read: {error}", code=code) from error
    flat = query.series
    for name, value in (("X", flat.X), ("X_future", flat.X_future), ("categorical_exog", flat.categorical_exog)):
        if value != NULL:
            raise InvalidRequest(f"{name}: exogenous variables are not read by these networks", code="unknown_field")
    is_tuned = query.finetune_steps > 0 or query.finetuned_model_id != NULL or query.multivariate
    if is_tuned or query.hist_exog not in _EMPTY_VALUES:
        raise InvalidRequest(
            "fine-tuning, exogenous and multivariate series are not offered here", code="unknown_field"
        )
    if not sizes or sum(sizes) != len(values):
        raise InvalidRequest("sizes must be the lengths of the series in y", code="out_of_range")
    if query.h < 1:
        raise InvalidRequest("h must be at least 1", code="out_of_range")
    return Query(query, levels, np.split(values, np.cumsum(sizes)[:-1]))


def _levels_of(raw: msgspec.Raw) -> _Levels:
    if _n_commas(raw) >= MAX_LEVELS:
        raise InvalidRequest(f"level: at most {MAX_LEVELS} of them", code="out_of_range")
    return _Levels(_levels_decoder.decode(raw))


def _sizes_of(raw: msgspec.Raw, limit: int) -> list[int]:
    if _n_commas(raw) >= limit:
        raise InvalidRequest(f"at most {limit} series in one request", code="too_many_items")
    return _sizes_decoder.decode(raw)


def _values_of(raw: msgspec.Raw, limit: int) -> Floats:
    """The numbers in a list, of which only a part at a time is a list of Python's: that takes 32 bytes a number."""
    if _n_commas(raw) >= limit:
        raise InvalidRequest(f"at most {limit} values in one request", code="too_many_items")
    if len(memoryview(raw)) <= PIECE:
        (values,) = as_arrays([_numbers_decoder.decode(raw)])
        return values[0]
    content = bytes(raw).strip()
    parts: list[Floats] = []
    start = 0
    while start < len(content):
        comma = content.find(b",", start + PIECE)
        end = comma if comma >= 0 else len(content)
        piece = (b"" if start == 0 else b"[") + content[start:end] + (b"]" if comma >= 0 else b"")
        parts.append(as_arrays([_numbers_decoder.decode(piece)])[0][0])
        start = end + 1
    return np.concatenate(parts)


def _n_commas(raw: msgspec.Raw) -> int:
    return int(np.count_nonzero(np.frombuffer(raw, np.uint8) == ord(",")))


def _cut(items: list[ForecastItem], model: Served) -> list[ForecastItem]:
    """`items` with as many values as the model uses; raises `InvalidRequest` for those that it cannot read."""
    context = model.manifest.input.context
    cut = [replace(item, values=item.values[-(context or len(item.values)) :]) for item in items]
    for item in cut:
        _check_values(item.values, model)
    return cut


def _windows(query: Query, n_windows: int, step: int) -> tuple[list[ForecastItem], list[int]]:
    """An item for each window of each series, and the places in y of all values that they forecast."""
    h, levels = query.request.h, query.levels.computed
    items: list[ForecastItem] = []
    positions: list[int] = []
    start = 0
    for values in query.series:
        for cut in range(len(values) - h - (n_windows - 1) * step, len(values) - h + 1, step):
            items.append(ForecastItem(values[:cut], h, levels))
            positions += range(start + cut, start + cut + h)
        start += len(values)
    return items, positions


def _forecasts(results: list[ForecastResult], query: Query) -> dict[str, Any]:
    mean = np.concatenate([result.mean for result in results])
    rows = np.concatenate([result.quantiles for result in results], axis=1)
    return {
        "mean": mean.tolist(),
        "intervals": query.levels.named(rows),
        "weights_x": None,
        "feature_contributions": None,
    }


def _cross_validation(results: list[ForecastResult], query: Query, positions: list[int]) -> dict[str, Any]:
    forecasts = _forecasts(results, query)
    sizes = [query.request.n_windows * query.request.h] * len(query.series)
    return {"idxs": positions, "sizes": sizes, "mean": forecasts["mean"], "intervals": forecasts["intervals"]}


def _history_answer(results: list[ForecastResult], query: Query, anomalies: bool) -> dict[str, Any]:
    parts, sizes, actual = [], [], []
    for values, result in zip(query.series, results, strict=True):
        history = result.history if result.history is not None else np.zeros((0, 1 + len(query.levels.computed)))
        observed = values[len(values) - len(history) :]
        finite = np.isfinite(history).all(axis=1)
        first = int(finite.argmax()) if finite.any() else len(history)
        parts.append(history[first:])
        actual.append(observed[first:])
        sizes.append(len(history) - first)
    rows = np.concatenate(parts)
    intervals = query.levels.named(rows[:, 1:].T)
    answer: dict[str, Any] = {"sizes": sizes, "mean": rows[:, 0].tolist(), "intervals": intervals}
    if anomalies:
        values = np.concatenate(actual)
        low, high = rows[:, 1], rows[:, -1]
        answer |= {"anomaly": ((values < low) | (values > high)).tolist(), "weights_x": None}
    return answer
