"""The OpenAPI document: FastAPI's own for the ordinary routes, declared here for the two direct ones.

Schemas come from the very types that decode requests and encode answers, so they cannot drift; statuses come from the
one table of problems. `tests/service/api/test_openapi.py` compares real answers with the document.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api import examples
from service.api.problems import KINDS, MEDIA_TYPE, RETRY_STATUSES, Problem, describe
from service.api.request import MAX_TIMEOUT_MS
from service.api.route_scopes import ADMIN, needed
from service.codec.anomalies import AnomalyAnswer, AnomalyOptions, AnomalyRequest
from service.codec.backtest import BacktestAnswer, BacktestOptions, BacktestRequest
from service.codec.common import JSON, READ_TABLES, TABLES
from service.codec.digit_types import DigitAnswer, DigitOptions, DigitRequest
from service.codec.digits import FORM, IMAGES
from service.codec.forecast_types import ForecastAnswer, ForecastRequest
from service.codec.tables.types import TableAnswer, TableOptions
from service.contract.errors import FieldError

_SHARED = (
    *("malformed_json", "bad_encoding", "body_too_large", "too_many_items", "unsupported_media_type"),
    *("not_finite", "wrong_type", "unknown_field", "missing_field", "out_of_range", "length_not_supported"),
    *("model_not_found", "version_not_found", "internal_error", "model_fault"),
    *("queue_full", "model_not_ready", "deadline_exceeded"),
    *("state_invalid", "state_expired", "state_model_mismatch"),
)
FORECAST_CODES = (*_SHARED, "series_too_long", "bad_table", "method_not_allowed")
DIGIT_CODES = (
    *(*_SHARED, "bad_multipart", "image_too_large", "bad_image", "blank_image", "wrong_row_width"),
    "method_not_allowed",
)
_EXAMPLE_ERROR = FieldError("#/inputs/0/target/17", "not_finite", "must be a finite number (missing values are null)")


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """What the document says of a route to models."""

    operation_id: str
    tag: str
    summary: str
    description: str
    request: type
    request_examples: examples.Examples
    answer: type
    answer_example: dict[str, Any]
    codes: tuple[str, ...]
    options: type | None = None  # query parameters for bodies that are files
    files: tuple[str, ...] = ()  # types of these bodies
    has_form: bool = False  # whether files also come in a form, with the options as fields
    has_timing: bool = True  # whether the answer has the header Server-Timing
    file_answer: type | None = None  # the answer to a file as JSON, where it is not `answer`; then a file is one, too


DIRECT_ROUTES = {
    "/forecast": DirectRoute(
        operation_id="forecast",
        tag="forecast",
        summary="Forecast series of any, different lengths",
        description=(
            "As many predictions as inputs and in their order; only finite numbers; quantiles never cross. A series "
            "longer than the model can use is cut to its last part: `context.used`, and `truncated` in `warnings`. "
            "With `return_state` each prediction has a `state`; sent back with new values only, the series goes on "
            "from there, and counts as if it had been sent at once. `WebSocket /forecast/stream` does the same live. A "
            "table (CSV, Parquet) is read as it is; the answer is a table, or JSON that says how it was read."
        ),
        request=ForecastRequest,
        request_examples=examples.FORECAST_REQUESTS,
        answer=ForecastAnswer,
        answer_example=examples.FORECAST_ANSWER,
        codes=FORECAST_CODES,
        options=TableOptions,
        files=READ_TABLES,
        file_answer=TableAnswer,
    ),
    "/backtest": DirectRoute(
        operation_id="backtest",
        tag="forecast",
        summary="How good a model is on series of your own",
        description=(
            "The last `windows` stretches of `prediction_length` values are forecast from all that was before each, by "
            "the model and by simple methods. `mase` and `wql` are errors, less is better; `coverage` is the share of "
            "values in the 80 % interval. `best` has the least MASE. Tables are read as by `POST /forecast`."
        ),
        request=BacktestRequest,
        request_examples=examples.BACKTEST_REQUESTS,
        answer=BacktestAnswer,
        answer_example=examples.BACKTEST_ANSWER,
        codes=FORECAST_CODES,
        options=BacktestOptions,
        files=READ_TABLES,
        has_timing=False,
    ),
    "/anomalies": DirectRoute(
        operation_id="anomalies",
        tag="forecast",
        summary="Which past values fall outside the interval that was forecast for them",
        description=(
            "Every value but the first eight is compared with the interval that the model gives it from all values "
            "before. `score` is the distance from the median in widths of that side of the interval: above 1. Tables "
            "are read as by `POST /forecast`."
        ),
        request=AnomalyRequest,
        request_examples=examples.ANOMALY_REQUESTS,
        answer=AnomalyAnswer,
        answer_example=examples.ANOMALY_ANSWER,
        codes=FORECAST_CODES,
        options=AnomalyOptions,
        files=READ_TABLES,
        has_timing=False,
    ),
    "/classify-digit": DirectRoute(
        operation_id="classify_digit",
        tag="classify-digit",
        summary="Read handwritten digits, row by row",
        description=(
            "`rows` are read as they are; an image of any size is prepared as MNIST was, and `preprocessing` says what "
            "was done. A blank image is refused where it is alone, and has no `label` among others, as have rows "
            'without ink (`warnings`). `digits: "all"` reads a whole number. A `state`, sent back with new rows only, '
            "goes on with that digit; `WebSocket /classify-digit/stream` does it live."
        ),
        request=DigitRequest,
        request_examples=examples.DIGIT_REQUESTS,
        answer=DigitAnswer,
        answer_example=examples.DIGIT_ANSWER,
        codes=DIGIT_CODES,
        options=DigitOptions,
        files=IMAGES,
        has_form=True,
    ),
}

_LICENSE = {"name": "Apache 2.0", "identifier": "Apache-2.0"}
_KEY = "key"  # the name of the security scheme
_BEARER = {"type": "http", "scheme": "bearer", "description": "an API key, where the service was started with keys"}
_FILE = {"type": "string", "format": "binary"}
_TIMEOUT = {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS}
_REQUEST_HEADERS = (  # name, schema, description
    ("X-Request-Timeout-Ms", _TIMEOUT, "deadline; of this and `timeout_ms` the smaller wins"),
    ("X-Request-ID", {"type": "string"}, "sent back, and logged"),
)
_ANSWER_HEADERS = (  # name, description
    ("X-Request-ID", "the caller's own, or a new one"),
    ("X-Model-Digest", "sha256 of the model's file"),
    ("Server-Timing", "milliseconds queued and computed"),
)


def declare(app: FastAPI) -> None:
    """Make `app.openapi()` complete; the document is built once, when it is first needed."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def problem_responses(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses, by status, for everything that may end with one of `codes`; one example per code."""
    statuses: dict[int | str, dict[str, Any]] = {}
    for code in sorted(codes, key=lambda code: KINDS[code].status):
        kind = KINDS[code]
        entry = statuses.setdefault(kind.status, {"description": "", "content": {MEDIA_TYPE: {"examples": {}}}})
        entry["description"] += f"{', ' if entry['description'] else ''}`{code}`"
        content = entry["content"][MEDIA_TYPE]
        content["schema"] = _reference("Problem")
        content["examples"][code] = {"summary": kind.title, "value": _problem_example(code)}
        if kind.status in RETRY_STATUSES:
            entry["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return statuses


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, license_info=_LICENSE, routes=app.routes
    )
    document["servers"] = [{"url": "."}]  # beside the document, so that it holds under any prefix
    document["security"] = [{}, {_KEY: []}]
    document["components"]["securitySchemes"] = {_KEY: _BEARER}
    types = [
        kind
        for route in DIRECT_ROUTES.values()
        for kind in (route.request, route.answer, route.options, route.file_answer)
        if kind
    ]
    _, schemas = msgspec.json.schema_components([*types, Problem], ref_template="#/components/schemas/{name}")
    document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own wording, which is never used
        document["components"]["schemas"].pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {}):
                operation["responses"].pop("422", None)
    for name, route in DIRECT_ROUTES.items():
        # The options are parameters and fields of a form, not a schema of their own.
        options = document["components"]["schemas"].pop(route.options.__name__)["properties"] if route.options else {}
        document["paths"][name] = {"post": _operation(route, options)}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            refusals = problem_responses(_access_codes(method.upper(), path))
            operation["responses"] |= {str(status): response for status, response in refusals.items()}
    return document


def _access_codes(method: str, path: str) -> list[str]:
    """The codes with which `service.api.access` may refuse an operation: most of them where keys are in use."""
    scopes = needed(method, path)
    codes = ["host_not_allowed"]
    if scopes:
        codes += ["unauthenticated", "forbidden", "rate_limited"]
    if scopes is ADMIN:
        codes.append("origin_not_allowed")
    return codes


def _operation(route: DirectRoute, options: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {JSON: {"schema": _reference(route.request.__name__), "examples": route.request_examples}}
    if route.has_form:
        fields = {"file": {"type": "array", "items": _FILE}, **copy.deepcopy(options)}
        content[FORM] = {"schema": {"type": "object", "required": ["file"], "properties": fields}}
    content |= {media_type: {"schema": _FILE} for media_type in route.files}
    return {
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "operationId": route.operation_id,
        "parameters": _parameters(options, "an image or a form" if route.has_form else "a table"),
        "requestBody": {"required": True, "content": content},
        "responses": _responses(route),
    }


def _parameters(options: dict[str, Any], bodies: str) -> list[dict[str, Any]]:
    query = [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": f"for {bodies} as the body"}
        for name, schema in options.items()
    ]
    headers = [
        {"name": name, "in": "header", "schema": schema, "description": description}
        for name, schema, description in _REQUEST_HEADERS
    ]
    return [*query, *headers]


def _responses(route: DirectRoute) -> dict[str, Any]:
    names = _ANSWER_HEADERS if route.has_timing else _ANSWER_HEADERS[:-1]
    headers = {name: {"schema": {"type": "string"}, "description": text} for name, text in names}
    schema: dict[str, Any] = _reference(route.answer.__name__)
    content: dict[str, Any] = {JSON: {"schema": schema, "example": route.answer_example}}
    if route.file_answer:
        content[JSON]["schema"] = {"anyOf": [schema, _reference(route.file_answer.__name__)]}
        content |= {media_type: {"schema": _FILE} for media_type in TABLES}
    success = {
        "description": "one prediction per input, in the order of the inputs",
        "headers": headers,
        "content": content,
    }
    problems = {str(status): response for status, response in problem_responses(route.codes).items()}
    return {"200": success, **problems}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problem_example(code: str) -> dict[str, Any]:
    errors = [_EXAMPLE_ERROR] if code == _EXAMPLE_ERROR.code else []
    detail = f"{_EXAMPLE_ERROR.pointer}: {_EXAMPLE_ERROR.detail}" if errors else KINDS[code].title
    example: dict[str, Any] = msgspec.to_builtins(describe(code, detail, "9f1c2d3e4b5a-1", errors, len(errors)))
    return example
