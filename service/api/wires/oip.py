"""Open Inference Protocol v2 over HTTP with the binary extension, as tritonclient and kserve use it.

Forecasters take `target` (series, values; NaN or null = missing), with `lengths` of series that are padded on the
right, and answer `mean` and `quantiles`; readers of digits take `rows` (digits, rows, 28) and answer `label` and
`probabilities`. `state` goes in and, with the parameter `return_state`, out.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from typing import Any, cast

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response
from msgspec import Struct

from service.api.wires.common import Pipeline, body_of, encode, inflate, json_answer, parse_json, with_errors
from service.api.wires.tensors import Tensor, bad, datatype_of, parameters_of, parse_tensors, to_bytes
from service.codec.digit_items import DigitBatch
from service.codec.digit_types import DigitInput, DigitParameters
from service.codec.forecast_types import ForecastParameters, ForecastRequest, SeriesInput
from service.codec.large_forecasts import StoredValues
from service.codec.strict_json import suggestion
from service.contract.errors import InvalidRequest, UnknownModel
from service.contract.manifest import Manifest
from service.registry.served import ModelVersion, Served
from service.runtime.version import version

HEADER_LENGTH = "Inference-Header-Content-Length"
_LENGTH = re.compile(r"[0-9]{1,12}")  # other digits than those of ASCII may be in a header, too
_FORECAST_OPTIONS = ("prediction_length", "season_length", "quantile_levels", "return_state")
_DIGIT_OPTIONS = ("return_state",)
_OF_CLIENTS = ("sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "binary_data_output")
_INPUTS = {"forecast": ("target", "lengths", "state"), "classify-digit": ("rows", "lengths", "state")}
_OUTPUTS = {"forecast": ("mean", "quantiles", "state"), "classify-digit": ("label", "probabilities", "state")}


class Infer(Struct, frozen=True, eq=False):
    """A request for inference: its inputs by name, its parameters, and what is requested back."""

    head: dict[str, Any]
    tensors: dict[str, Tensor]
    parameters: dict[str, Any]


def oip_router(pipeline: Pipeline) -> APIRouter:
    """All routes of the protocol."""
    router = APIRouter(include_in_schema=False)
    protocol = _Protocol(pipeline)
    for path in ("/v2", "/v2/"):
        router.add_api_route(path, protocol.server)
    router.add_api_route("/v2/health/live", protocol.live)
    router.add_api_route("/v2/health/ready", protocol.ready)
    router.add_api_route("/v2/models/stats", protocol.all_stats)
    router.add_api_route("/v2/repository/index", protocol.index, methods=["POST"])
    for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{number}"):
        router.add_api_route(model, with_errors(protocol.metadata))
        router.add_api_route(f"{model}/ready", with_errors(protocol.model_ready))
        router.add_api_route(f"{model}/stats", with_errors(protocol.stats))
        router.add_api_route(f"{model}/infer", with_errors(protocol.infer), methods=["POST"])
    return router


class _Protocol:
    """The handlers."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._counts: Counter[tuple[str, str]] = Counter()  # items inferred by model and version

    async def server(self) -> Response:
        extensions = ["binary_tensor_data", "classification", "model_repository", "statistics"]
        return json_answer({"name": "ritmo", "version": version(), "extensions": extensions})

    async def live(self) -> Response:
        return json_answer({"live": True})

    async def ready(self) -> Response:
        is_ready = self._pipeline.registry.health().ready
        return json_answer({"ready": is_ready}, 200 if is_ready else 503)

    async def index(self) -> Response:
        models = self._pipeline.registry.models()
        return json_answer([_index_entry(entry) for entry in models])

    async def metadata(self, request: Request) -> Response:
        manifest = self._model(request).manifest
        versions = [str(entry.version) for entry in self._pipeline.registry.models() if entry.name == manifest.name]
        tensors = _declared_tensors(manifest)
        document = {"name": manifest.name, "versions": versions, "platform": "ritmo_torchscript", **tensors}
        return json_answer(document)

    async def model_ready(self, request: Request) -> Response:
        manifest = self._model(request).manifest
        return json_answer({"name": manifest.name, "ready": True})

    async def stats(self, request: Request) -> Response:
        manifest = self._model(request).manifest
        return json_answer({"model_stats": [self._stats(manifest.name, str(manifest.version))]})

    async def all_stats(self) -> Response:
        models = self._pipeline.registry.models()
        return json_answer({"model_stats": [self._stats(entry.name, str(entry.version)) for entry in models]})

    async def infer(self, request: Request) -> Response:
        model = self._model(request)
        limit = self._pipeline.settings.max_body_bytes
        pipeline = self._pipeline.of(request)
        async with body_of(request, pipeline) as content:
            size, deadline, headers = len(content), pipeline.deadline(), dict(request.headers)
            parsed = await pipeline.in_thread("tensors", size, deadline, _parse, content, headers, limit, model)
            outputs = await self._outputs(pipeline, size, parsed, model)
            answer = await pipeline.in_thread("answer", size, deadline, _answer, parsed, outputs, model)
        return _encoded(answer, request.headers.get("accept-encoding", ""))

    async def _outputs(self, pipeline: Pipeline, size: int, parsed: Infer, model: Served) -> dict[str, Tensor]:
        timeout = parsed.parameters.get("timeout")  # in microseconds
        timeout_ms = max(1, timeout // 1000) if type(timeout) is int and timeout > 0 else None
        deadline = pipeline.deadline(timeout_ms)
        manifest = model.manifest
        make = self._forecast_call if manifest.task == "forecast" else self._digit_call
        call = await pipeline.in_thread("items", size, deadline, make, parsed, model, deadline)
        results = await pipeline.compute(model, call.items, deadline)
        self._counts[manifest.name, str(manifest.version)] += len(results)
        codec: Any = pipeline.forecasts if manifest.task == "forecast" else pipeline.digits
        return await pipeline.in_thread(
            "encode",
            call.answer_size,
            deadline,
            lambda: _tensors(msgspec.json.decode(codec.encode(call, results)), manifest.task),
        )

    def _forecast_call(self, parsed: Infer, model: Served, _deadline: float) -> Any:
        options = parsed.parameters
        levels = options.get("quantile_levels", "0.1,0.5,0.9")
        try:
            parameters = ForecastParameters(
                prediction_length=_positive_integer(options, "prediction_length", 1),
                quantile_levels=[float(level) for level in str(levels).split(",")],
                season_length=_positive_integer(options, "season_length", None),
                return_state=_flag(options, "return_state"),
            )
        except ValueError as error:
            raise InvalidRequest("quantile_levels are numbers with commas between", code="wrong_type") from error
        if not all(0 < level < 1 for level in parameters.quantile_levels) or len(parameters.quantile_levels) > 99:
            raise InvalidRequest("quantile_levels are up to 99 numbers between 0 and 1", code="out_of_range")
        rows, states = (
            _sequences(parsed.tensors, "target", 2, self._pipeline.settings.max_items),
            _states(parsed.tensors),
        )
        inputs = [
            SeriesInput(cast("list[float | None]", StoredValues(row)), None, state)
            for row, state in zip(rows, states or [None] * len(rows), strict=True)
        ]
        if any(np.isinf(row).any() for row in rows):
            raise InvalidRequest("target: every value must be finite, or NaN where it is missing", code="not_finite")
        request = ForecastRequest(inputs, parameters=parameters)
        self._pipeline.forecasts.check_limits(request)
        return self._pipeline.forecasts.to_items(request, model.manifest)

    def _digit_call(self, parsed: Infer, model: Served, deadline: float) -> Any:
        rows, states = _sequences(parsed.tensors, "rows", 3, self._pipeline.settings.max_items), _states(parsed.tensors)
        if any(not np.isfinite(row).all() or (row < 0).any() or (row > 255).any() for row in rows):
            raise InvalidRequest("rows: every number must be in 0..255", code="out_of_range")
        inputs = [
            DigitInput(rows=row.tolist(), state=state)
            for row, state in zip(rows, states or [None] * len(rows), strict=True)
        ]
        parameters = DigitParameters(return_state=_flag(parsed.parameters, "return_state"))
        batch = DigitBatch(model.manifest.name, inputs, parameters)
        self._pipeline.digits.check_inputs(batch)
        return self._pipeline.digits.to_items(batch, model.manifest, deadline)

    def _model(self, request: Request) -> Served:
        name, number = request.path_params["name"], request.path_params.get("number")
        try:
            return self._pipeline.registry.get(f"{name}@{number}" if number else name)
        except UnknownModel as error:
            if error.code == "version_not_found":
                raise
            names = [entry.name for entry in self._pipeline.registry.models()]
            raise UnknownModel(f"there is no model '{name[:64]}'{suggestion(name, names)}", code=error.code) from error

    def _stats(self, name: str, number: str) -> dict[str, Any]:
        count = self._counts[name, number]
        return {"name": name, "version": number, "inference_count": count, "execution_count": count}


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def _declared_tensors(manifest: Manifest) -> dict[str, list[dict[str, Any]]]:
    """The inputs and outputs of a model."""
    tensors = _TENSORS[manifest.task]
    if manifest.task == "forecast":
        return tensors
    probabilities = _tensor("probabilities", "FP64", [-1, manifest.classes])
    return {**tensors, "outputs": [t if t["name"] != "probabilities" else probabilities for t in tensors["outputs"]]}


_STATE = _tensor("state", "BYTES", [-1])
_LENGTHS = _tensor("lengths", "INT64", [-1])
_TENSORS = {
    "forecast": {
        "inputs": [_tensor("target", "FP64", [-1, -1]), _LENGTHS, _STATE],
        "outputs": [_tensor("mean", "FP64", [-1, -1]), _tensor("quantiles", "FP64", [-1, -1, -1]), _STATE],
    },
    "classify-digit": {
        "inputs": [_tensor("rows", "FP32", [-1, -1, 28]), _LENGTHS, _STATE],
        "outputs": [_tensor("label", "INT64", [-1]), _tensor("probabilities", "FP64", [-1, 10]), _STATE],
    },
}


def _index_entry(entry: ModelVersion) -> dict[str, str]:
    state = {"ready": "READY", "loading": "LOADING"}.get(entry.state, "UNAVAILABLE")
    return {"name": entry.name, "version": str(entry.version), "state": state, "reason": entry.reason or ""}


def _parse(content: bytes, headers: dict[str, str], limit: int, model: Served) -> Infer:
    """The request in a body; raises `InvalidRequest`."""
    content = inflate(content, headers.get("content-encoding", "").strip().lower(), limit)
    length = headers.get(HEADER_LENGTH.lower())
    split = len(content)
    if length is not None:
        if _LENGTH.fullmatch(length) is None or int(length) > len(content):
            raise InvalidRequest(
                f"{HEADER_LENGTH} is not the number of bytes of the JSON in this body", code="bad_binary_header"
            )
        split = int(length)
    try:
        head = parse_json(content[:split])
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the head of the request is no JSON", code="malformed_json") from error
    if not isinstance(head, dict):
        raise bad("the request must be an object")
    parameters = parameters_of(head)
    task = model.manifest.task
    allowed = (*(_FORECAST_OPTIONS if task == "forecast" else _DIGIT_OPTIONS), *_OF_CLIENTS)
    _refuse_unknown("parameter", list(parameters), allowed)
    tensors = parse_tensors(head, content[split:])
    _refuse_unknown("input", list(tensors), _INPUTS[task])
    outputs = head.get("outputs") or []
    if not isinstance(outputs, list) or not all(isinstance(entry, dict) for entry in outputs):
        raise bad("outputs must be a list of objects")
    names = [str(entry.get("name")) for entry in outputs]
    _refuse_unknown("output", names, _OUTPUTS[task])
    if len(set(names)) < len(names):
        raise bad("outputs: each may be asked for once")
    _check_classification(outputs)
    return Infer(head, tensors, parameters)


def _check_classification(outputs: list[dict[str, Any]]) -> None:
    for entry in outputs:
        count = parameters_of(entry).get("classification")
        if count and (type(count) is not int or count < 1 or entry["name"] != "probabilities"):
            raise bad("classification: a number of classes, of the output 'probabilities'")


def _refuse_unknown(kind: str, names: list[str], allowed: tuple[str, ...]) -> None:
    for name in names:
        if name not in allowed:
            detail = f"there is no {kind} '{name[:64]}'{suggestion(name, list(allowed))}"
            raise InvalidRequest(detail, code="unknown_field")


def _sequences(tensors: dict[str, Tensor], name: str, dimensions: int, max_rows: int) -> list[Tensor]:
    """The rows of input `name`, at most `max_rows`, each cut to its length."""
    if name not in tensors:
        raise InvalidRequest(f"the input '{name}' is required", code="missing_field")
    tensor = tensors[name]
    if tensor.ndim != dimensions or tensor.dtype == object:
        raise bad(f"{name}: must have {dimensions} dimensions, and numbers")
    if len(tensor) > max_rows:
        raise InvalidRequest(f"{name}: at most {max_rows} rows in one request", code="too_many_items")
    if "lengths" not in tensors:
        return list(tensor)
    lengths = tensors["lengths"]
    is_whole = lengths.dtype != object and lengths.shape == (len(tensor),) and (lengths == np.floor(lengths)).all()
    if not is_whole or (lengths < 0).any() or (lengths > tensor.shape[1]).any():
        raise bad(f"lengths: one whole number for each of {name}, at most {tensor.shape[1]}")
    return [row[: int(length)] for row, length in zip(tensor, lengths.tolist(), strict=True)]


def _states(tensors: dict[str, Tensor]) -> list[str | None] | None:
    if "state" not in tensors:
        return None
    state = tensors["state"]
    series = tensors.get("target", tensors.get("rows"))
    if state.dtype != object or series is None or state.shape != (len(series),):
        raise bad("state: one string of BYTES for each series or digit")
    return [text or None for text in state.tolist()]


def _positive_integer(options: dict[str, Any], name: str, default: int | None) -> Any:
    value = options.get(name)
    if value is None:
        return default
    if type(value) is not int or not 1 <= value <= 1_000_000:
        raise InvalidRequest(f"{name} must be a whole number from 1 to 1000000", code="out_of_range")
    return value


def _flag(options: dict[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be true or false", code="wrong_type")
    return value


def _tensors(answer: dict[str, Any], task: str) -> dict[str, Tensor]:
    """The outputs in an answer of the codec."""
    predictions = answer["predictions"]
    states = np.array([prediction["state"] or "" for prediction in predictions], object)
    if task == "forecast":
        mean = np.array([prediction["mean"] for prediction in predictions], "<f8")
        quantiles = np.array([list(prediction["quantiles"].values()) for prediction in predictions], "<f8")
        return {"mean": mean, "quantiles": quantiles, "state": states}
    labels = np.array([-1 if prediction["label"] is None else prediction["label"] for prediction in predictions], "<i8")
    probabilities = np.array([prediction["probabilities"] for prediction in predictions], "<f8")
    return {"label": labels, "probabilities": probabilities, "state": states}


def _answer(parsed: Infer, outputs: dict[str, Tensor], model: Served) -> tuple[bytes, bytes]:
    """The JSON of an answer, and the binary data behind it."""
    requested = parsed.head.get("outputs")
    if not requested:
        names = [name for name in outputs if name != "state" or parsed.parameters.get("return_state")]
        requested = [{"name": name} for name in names]
    all_binary = parsed.parameters.get("binary_data_output") is True
    described, data = [], []
    for entry in requested:
        options = entry.get("parameters") or {}
        tensor = outputs[entry["name"]]
        if options.get("classification"):
            tensor = _classes(tensor, options["classification"])
        description = _tensor(entry["name"], datatype_of(tensor), list(tensor.shape))
        if options.get("binary_data", all_binary):
            data.append(to_bytes(tensor))
            description["parameters"] = {"binary_data_size": len(data[-1])}
        else:
            description["data"] = tensor.ravel().tolist()
        described.append(description)
    manifest = model.manifest
    document = {"model_name": manifest.name, "model_version": str(manifest.version), "outputs": described}
    if parsed.head.get("id") is not None:
        document["id"] = str(parsed.head["id"])[:256]
    return encode(document), b"".join(data)


def _classes(tensor: Tensor, count: int) -> Tensor:
    """The `count` likeliest classes of each row as `score:index`, the best first."""
    best = np.argsort(-tensor, axis=1, kind="stable")[:, :count]
    texts = [[f"{row[index]:.6f}:{index}" for index in order] for row, order in zip(tensor, best.tolist(), strict=True)]
    return np.array(texts, object)


def _encoded(answer: tuple[bytes, bytes], accepted: str) -> Response:
    """The answer, compressed where exactly that is accepted; the header length counts what it was before."""
    head, binary = answer
    headers = {HEADER_LENGTH: str(len(head))} if binary else {}
    content = head + binary
    if accepted == "gzip":
        content, headers["Content-Encoding"] = gzip.compress(content), "gzip"
    elif accepted == "deflate":
        content, headers["Content-Encoding"] = zlib.compress(content), "deflate"
    return Response(content, 200, headers, "application/octet-stream" if binary else "application/json")
