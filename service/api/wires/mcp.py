"""Model Context Protocol over stateless HTTP: assistants forecast series, test a model and read digits as tools.

JSON-RPC 2.0 in one POST per call (revision 2026-07-28); the handshake of earlier revisions is answered, too. A fault of
the arguments is a result with `isError`, which the assistant sees and can mend, not an error of the protocol.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from service.api.wires.common import Pipeline, body_of, encode, json_answer, parse_json, with_errors
from service.codec.backtest import Backtest, BacktestParameters, plan, score, seasons_of, window_errors
from service.codec.common import Body
from service.codec.forecast import season_of
from service.codec.forecast_types import DEFAULT_MODEL, ForecastParameters, ForecastRequest, SeriesInput
from service.contract.errors import InvalidRequest, RitmoError
from service.contract.manifest import Manifest
from service.contract.types import ForecastResult
from service.runtime.version import version

VERSIONS = ("2026-07-28",)
EARLIER_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMETERS = -32700, -32600, -32601, -32602
UNSUPPORTED_VERSION = -32022
MAX_BATCH = 20  # messages
_CACHE = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public"}
_INSTRUCTIONS = "Forecasts of time series with intervals, backtests of them, and digits read from pictures."

_TARGET = {
    "type": "array",
    "items": {"type": ["number", "null"]},
    "minItems": 1,
    "description": "values of one series, oldest first; null is a missing value",
}
_SEASON = {"type": "integer", "minimum": 1, "description": "values in a season, where it is names: 12 for months"}
TOOLS: list[dict[str, Any]] = [
    {
        "name": "forecast",
        "title": "Forecast a time series",
        "description": "The mean and quantiles of the next values of a time series.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "target": _TARGET,
                "prediction_length": {"type": "integer", "minimum": 1, "default": 12, "description": "steps ahead"},
                "quantile_levels": {"type": "array", "items": {"type": "number"}, "default": [0.1, 0.5, 0.9]},
                "season_length": _SEASON,
                "start": {"type": "string", "description": "time of the first value, ISO 8601; needs freq"},
                "freq": {"type": "string", "description": "step between values: h, D, W, MS …"},
            },
            "required": ["target"],
            "additionalProperties": False,
        },
    },
    {
        "name": "backtest",
        "title": "Test forecasts of a time series",
        "description": "How good forecasts of a series would have been, beside simple methods: MASE, WQL, coverage.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "target": _TARGET,
                "prediction_length": {"type": "integer", "minimum": 1, "default": 12, "description": "steps ahead"},
                "windows": {"type": "integer", "minimum": 1, "default": 3, "description": "origins to forecast from"},
                "season_length": _SEASON,
            },
            "required": ["target"],
            "additionalProperties": False,
        },
    },
    {
        "name": "classify_digit",
        "title": "Read a digit in a picture",
        "description": "Which digit, 0 to 9, a picture shows, with its probability.",
        "inputSchema": {
            "type": "object",
            "properties": {"image": {"type": "string", "description": "base64 of a PNG, JPEG, WebP or BMP file"}},
            "required": ["image"],
            "additionalProperties": False,
        },
    },
]


class _Fault(Exception):
    """An error of the protocol."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.document = {"code": code, "message": message} | ({} if data is None else {"data": data})


def mcp_router(pipeline: Pipeline) -> APIRouter:
    """The single route."""
    router = APIRouter(include_in_schema=False)

    async def call(request: Request) -> Response:
        own = pipeline.of(request)
        async with body_of(request, own) as content:
            return await _answer(content, request, own)

    router.add_api_route("/mcp", with_errors(call), methods=["POST"])
    return router


async def _answer(content: bytes, request: Request, pipeline: Pipeline) -> Response:
    """The answer to one message, or to a batch of them, which revision 2025-03-26 has; notifications have none."""
    spoken, tools = request.headers.get("mcp-protocol-version"), _Tools(pipeline)
    size, deadline = len(content), pipeline.deadline()
    try:
        message = await pipeline.in_thread("mcp", size, deadline, parse_json, content)
    except (ValueError, RecursionError):
        return json_answer(_error(None, _Fault(PARSE_ERROR, "the body is not JSON")), 400)
    if isinstance(message, list) and 0 < len(message) <= MAX_BATCH:
        answers = [await _answer_one(entry, spoken, tools) for entry in message]
        documents: Any = [document for document, _ in answers if document is not None] or None
        status = 200
    else:
        documents, status = await _answer_one(message, spoken, tools)
    if documents is None:
        return Response(status_code=202)
    return await pipeline.in_thread("mcp answer", size, pipeline.deadline(), json_answer, documents, status)


async def _answer_one(message: Any, spoken: str | None, tools: _Tools) -> tuple[dict[str, Any] | None, int]:
    """The answer to one message, None to a notification, and the status of a response with it alone."""
    number: object = None
    try:
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            detail = f"send one request of JSON-RPC 2.0, or up to {MAX_BATCH} in an array"
            raise _Fault(INVALID_REQUEST, detail)
        if "id" not in message:
            return None, 202
        number = message["id"]
        _check_version(spoken)
        parameters = message.get("params") or {}
        if not isinstance(parameters, dict):
            raise _Fault(INVALID_PARAMETERS, "params must be an object")
        result = await _result(message["method"], parameters, tools)
    except _Fault as fault:
        return _error(number, fault), _status(fault, spoken)
    return {"jsonrpc": "2.0", "id": number, "result": result}, 200


def _error(number: object, fault: _Fault) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": fault.document}


def _status(fault: _Fault, spoken: str | None) -> int:
    """The status of an error: to clients of earlier revisions, 404 says that a session has ended."""
    code = fault.document["code"]
    if code in {METHOD_NOT_FOUND, INVALID_PARAMETERS} and spoken not in VERSIONS:
        return 200
    return 404 if code == METHOD_NOT_FOUND else 400


def _check_version(name: str | None) -> None:
    if name is not None and name not in {*VERSIONS, *EARLIER_VERSIONS}:
        data = {"supported": [*VERSIONS, *EARLIER_VERSIONS], "requested": name[:64]}
        raise _Fault(UNSUPPORTED_VERSION, "this version of the protocol is not spoken", data)


async def _result(method: str, parameters: dict[str, Any], tools: _Tools) -> dict[str, Any]:
    server = {"name": "ritmo", "version": version()}
    if method == "server/discover":
        described = {"supportedVersions": list(VERSIONS), "capabilities": {"tools": {}}, "instructions": _INSTRUCTIONS}
        return described | _CACHE | {"serverInfo": server}
    if method == "initialize":
        requested = parameters.get("protocolVersion")
        spoken = requested if requested in EARLIER_VERSIONS else EARLIER_VERSIONS[0]
        return {"protocolVersion": spoken, "capabilities": {"tools": {}}, "serverInfo": server}
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": TOOLS} | _CACHE
    if method == "tools/call":
        return await tools.call(str(parameters.get("name")), parameters.get("arguments") or {})
    raise _Fault(METHOD_NOT_FOUND, f"there is no method '{method[:64]}'")


class _Tools:
    """The tools, by the codecs and models of the ordinary routes."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def call(self, name: str, arguments: Any) -> dict[str, Any]:
        """The result of one tool; a fault of its arguments is a result, too."""
        tool = next((tool for tool in TOOLS if tool["name"] == name), None)
        if tool is None:
            raise _Fault(INVALID_PARAMETERS, f"there is no tool '{name[:64]}'")
        try:
            _check_arguments(arguments, tool["inputSchema"])
            document = await getattr(self, f"_{name}")(arguments)
        except RitmoError as error:
            text = [{"type": "text", "text": error.detail}]
            return {"content": text, "isError": True, "resultType": "complete"}
        text = [{"type": "text", "text": encode(document).decode()}]
        return {"content": text, "structuredContent": document, "isError": False, "resultType": "complete"}

    async def _forecast(self, arguments: dict[str, Any]) -> dict[str, Any]:
        in_series = ("target", "start", "freq")
        series = {name: arguments[name] for name in in_series if name in arguments}
        parameters = {name: value for name, value in arguments.items() if name not in in_series}
        body = {"inputs": [series], "parameters": {"prediction_length": 12} | parameters}
        prediction = await self._predict(self._pipeline.forecasts, body)
        names = ("timestamps", "mean", "quantiles", "context", "warnings")
        return {name: prediction[name] for name in names if name in prediction}

    async def _classify_digit(self, arguments: dict[str, Any]) -> dict[str, Any]:
        prediction = await self._predict(self._pipeline.digits, {"inputs": [{"image": arguments["image"]}]})
        return {name: prediction[name] for name in ("label", "score", "probabilities", "warnings")}

    async def _backtest(self, arguments: dict[str, Any]) -> dict[str, Any]:
        pipeline = self._pipeline
        model, deadline = pipeline.registry.get(DEFAULT_MODEL), pipeline.deadline()
        size = _size(arguments["target"])
        test = await pipeline.in_thread("mcp plan", size, deadline, self._test, arguments, model.manifest)
        results = await pipeline.compute(model, test.items, deadline)
        size = sum([len(window.past) for window in test.windows])
        return await pipeline.in_thread("mcp score", size, deadline, _scores, test, results)

    def _test(self, arguments: dict[str, Any], manifest: Manifest) -> Backtest:
        """The requested test; raises `InvalidRequest`."""
        try:
            options = {name: value for name, value in arguments.items() if name != "target"}
            parameters = msgspec.convert(options, BacktestParameters)
            series = msgspec.convert({"target": arguments["target"]}, SeriesInput)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error), code="wrong_type") from error
        horizon = ForecastParameters(prediction_length=parameters.prediction_length)
        (timed,) = self._pipeline.forecasts.to_grids(ForecastRequest([series], parameters=horizon))
        seasons = [parameters.season_length or season_of(timed.series, timed.season)]
        return plan([timed.series], [timed.timeline], seasons, parameters, manifest)

    async def _predict(self, codec: Any, body: dict[str, Any]) -> dict[str, Any]:
        """The single prediction that an ordinary route would answer to `body`."""
        pipeline, deadline = self._pipeline, self._pipeline.deadline()
        size = max(map(_size, body["inputs"][0].values()))
        content = await pipeline.in_thread("mcp body", size, deadline, lambda: json.dumps(body).encode())
        size = len(content)
        request = await pipeline.in_thread("decode", size, deadline, codec.decode, Body(content))
        model = pipeline.registry.get(request.model)
        call = await pipeline.in_thread("items", size, deadline, codec.to_items, request, model.manifest, deadline)
        results = await pipeline.compute(model, call.items, deadline)
        return await pipeline.in_thread("encode", call.answer_size, deadline, _prediction, codec, call, results)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, list)) else 1


def _prediction(codec: Any, call: Any, results: list[Any]) -> dict[str, Any]:
    """The single prediction of an answer."""
    prediction: dict[str, Any] = msgspec.json.decode(codec.encode(call, results))["predictions"][0]
    return prediction


def _scores(test: Backtest, results: list[ForecastResult]) -> dict[str, Any]:
    """What the tool answers of a test of one series."""
    seasons = seasons_of(test, results)
    errors = window_errors(test, results, seasons, slice(len(test.windows)))
    answer: dict[str, Any] = msgspec.to_builtins(score(test, results, seasons, errors))
    return {name: answer[name] for name in ("methods", "best", "prediction_length")}


def _check_arguments(arguments: Any, schema: dict[str, Any]) -> None:
    """Raise `InvalidRequest` for arguments that a tool does not have, or lacks; the codec checks their types."""
    if not isinstance(arguments, dict):
        raise InvalidRequest("the arguments must be an object", code="wrong_type")
    for name in arguments:
        if name not in schema["properties"]:
            names = ", ".join(schema["properties"])
            raise InvalidRequest(f"there is no argument '{name[:64]}'; there are {names}", code="unknown_field")
    for name in schema["required"]:
        if name not in arguments:
            raise InvalidRequest(f"the argument '{name}' is required", code="missing_field")
