"""The HTTP API of Nixtla's forecasting service, as its own client (`NixtlaClient(base_url=…)`, 0.9) uses it.

All series of a request come flat, one after the other, and so go the answers. Intervals are named by the level in per
cent as it was sent. What the networks do not do (covariates, fine-tuning) is refused, never left out in silence.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct
from msgspec.structs import replace

from service.api.access import account_of
from service.api.wires.common import Pipeline, body_of, inflate, json_answer, with_errors
from service.contract.errors import InvalidRequest, UnknownModel
from service.contract.types import Floats, ForecastItem, ForecastResult
from service.registry.served import Served

DEFAULT_MODEL = "forecaster"
DEFAULT_LEVEL = 99.0  # of anomalies
MAX_BYTES = 64 << 20  # of an inflated body: all series of a frame come in one
DEFAULT_CONTEXT = 4096
_THEIRS = ("timegpt", "azureai")

Level = Annotated[float, Meta(ge=0, lt=100)]
Numbers = list[float | None]


class NixtlaSeries(Struct, frozen=True):
    """All series, flat; `sizes` says how long each is."""

    y: Numbers
    sizes: list[int]
    X: Any = None
    X_future: Any = None
    categorical_exog: Any = None


class NixtlaRequest(Struct, frozen=True):
    """The body of forecasts, cross validations and anomaly detections; unknown members have no effect here."""

    series: NixtlaSeries
    model: str = DEFAULT_MODEL
    h: int = 1
    level: list[Level] | float | None = None
    n_windows: int = 1
    step_size: int | None = None
    full_history: bool = False
    finetune_steps: int = 0
    finetuned_model_id: Any = None
    multivariate: bool = False
    hist_exog: Any = None


_decoder = msgspec.json.Decoder(NixtlaRequest)


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
        query, series, model = await self._read(request)
        levels = _Levels(query.level)
        results = await self._compute(
            request, model, [ForecastItem(values, query.h, levels.computed) for values in series], query.h
        )
        mean = np.concatenate([result.mean for result in results])
        rows = np.concatenate([result.quantiles for result in results], axis=1)
        return json_answer(
            {"mean": mean.tolist(), "intervals": levels.named(rows), "weights_x": None, "feature_contributions": None}
        )

    async def cross_validation(self, request: Request) -> Response:
        query, series, model = await self._read(request)
        if query.full_history:
            return await self._history(request, query, series, model, anomalies=False)
        levels = _Levels(query.level)
        step = query.step_size or query.h
        if not 1 <= query.n_windows <= 1000 or step < 1:
            raise InvalidRequest("n_windows and step_size must be positive", code="out_of_range")
        items: list[ForecastItem] = []
        positions: list[int] = []
        sizes: list[int] = []
        start = 0
        for values in series:
            first = len(values) - query.h - (query.n_windows - 1) * step
            if first < 1:
                raise InvalidRequest("a series is too short for so many windows", code="length_not_supported")
            for cut in range(first, len(values) - query.h + 1, step):
                items.append(ForecastItem(values[:cut], query.h, levels.computed))
                positions += range(start + cut, start + cut + query.h)
            sizes.append(query.n_windows * query.h)
            start += len(values)
        results = await self._compute(request, model, items, query.h)
        mean = np.concatenate([result.mean for result in results])
        rows = np.concatenate([result.quantiles for result in results], axis=1)
        return json_answer({"idxs": positions, "sizes": sizes, "mean": mean.tolist(), "intervals": levels.named(rows)})

    async def anomaly_detection(self, request: Request) -> Response:
        query, series, model = await self._read(request)
        return await self._history(
            request,
            replace(query, level=99.0 if query.level is None else query.level),
            series,
            model,
            anomalies=True,
        )

    async def _history(
        self, request: Request, query: NixtlaRequest, series: list[Floats], model: Served, *, anomalies: bool
    ) -> Response:
        """One step ahead of every value but the first that the model uses."""
        levels = _Levels(query.level)
        results = await self._compute(
            request, model, [ForecastItem(values, 1, levels.computed, history=True) for values in series], 1
        )
        parts, sizes, actual = [], [], []
        for values, result in zip(series, results, strict=True):
            history = result.history if result.history is not None else np.zeros((0, 1 + len(levels.computed)))
            observed = values[len(values) - len(history) :]
            finite = np.isfinite(history).all(axis=1)
            first = int(finite.argmax()) if finite.any() else len(history)
            parts.append(history[first:])
            actual.append(observed[first:])
            sizes.append(len(history) - first)
        rows = np.concatenate(parts)
        answer: dict[str, Any] = {"sizes": sizes, "mean": rows[:, 0].tolist(), "intervals": levels.named(rows[:, 1:].T)}
        if anomalies:
            values = np.concatenate(actual)
            low, high = rows[:, 1], rows[:, -1]
            answer |= {"anomaly": ((values < low) | (values > high)).tolist(), "weights_x": None}
        return json_answer(answer)

    async def _compute(
        self, request: Request, model: Served, items: list[ForecastItem], horizon: int
    ) -> list[ForecastResult]:
        pipeline = self._pipeline.of(request)
        contract = model.manifest.input
        if contract.max_horizon is not None and horizon > contract.max_horizon:
            raise InvalidRequest(
                f"'{model.manifest.name}' looks at most {contract.max_horizon} steps ahead", code="out_of_range"
            )
        width = 1 + len(items[0].levels)
        numbers = width * sum(len(item.values) if item.history else item.horizon for item in items)
        if numbers > self._pipeline.settings.max_answer_numbers:
            raise InvalidRequest(f"the answer would hold {numbers} numbers: send fewer series", code="too_many_items")
        cut = [replace(item, values=item.values[-(contract.context or len(item.values)) :]) for item in items]
        for item in cut:
            _check_values(item.values, model)
        return cast(list[ForecastResult], await pipeline.compute(model, cut, pipeline.deadline()))

    async def _read(self, request: Request) -> tuple[NixtlaRequest, list[Floats], Served]:
        encoding = request.headers.get("content-encoding", "").strip().lower()
        pipeline = self._pipeline.of(request)
        async with body_of(request, pipeline) as content:
            deadline = pipeline.deadline()
            query, series = await pipeline.in_thread("nixtla", len(content), deadline, _series, content, encoding)
        return query, series, self._model(query.model)

    def _model(self, name: str) -> Served:
        """The model of that name; the names of Nixtla's own mean the default forecaster."""
        model = self._pipeline.registry.get(DEFAULT_MODEL if name.startswith(_THEIRS) else name)
        if model.manifest.task != "forecast":
            raise UnknownModel(f"'{model.manifest.name}' makes no forecasts", code="model_not_found")
        return model


def _check_values(values: Floats, model: Served) -> None:
    """Raise `InvalidRequest` where the model cannot read a series."""
    contract, name, length = model.manifest.input, model.manifest.name, len(values)
    if not np.isfinite(values).any():
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
    low = round((1 - level / 100) / 2, 8)
    return low, round(1 - low, 8)


def _series(content: bytes, encoding: str) -> tuple[NixtlaRequest, list[Floats]]:
    """The request in a body and its series; raises `InvalidRequest`."""
    try:
        query = _decoder.decode(inflate(content, encoding, MAX_BYTES))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        code = "wrong_type" if isinstance(error, msgspec.ValidationError) else "malformed_json"
        raise InvalidRequest(f"the request cannot be read: {error}", code=code) from error
    flat = query.series
    for name, value in (("X", flat.X), ("X_future", flat.X_future), ("categorical_exog", flat.categorical_exog)):
        if value is not None:
            raise InvalidRequest(f"{name}: exogenous variables are not read by these networks", code="unknown_field")
    if query.finetune_steps > 0 or query.finetuned_model_id is not None or query.multivariate or query.hist_exog:
        raise InvalidRequest(
            "fine-tuning, exogenous and multivariate series are not offered here", code="unknown_field"
        )
    if not flat.sizes or min(flat.sizes) < 1 or sum(flat.sizes) != len(flat.y):
        raise InvalidRequest("sizes must be the lengths of the series in y", code="out_of_range")
    if query.h < 1:
        raise InvalidRequest("h must be at least 1", code="out_of_range")
    values = np.array(flat.y, np.float64)
    return query, np.split(values, np.cumsum(flat.sizes)[:-1])
