"""The OpenAPI document: FastAPI's own for the ordinary routes, declared here for the two hot ones.

Schemas come from the very types that read requests and write answers, so they cannot drift; statuses come from the one
table of problems. `tests/test_openapi.py` holds real answers against the document.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.inference import FORM, IMAGES, JSON
from service.api.problems import KINDS, MEDIA_TYPE, Problem, describe
from service.codec.digits import DigitAnswer, DigitOptions, DigitRequest
from service.codec.forecast import ForecastAnswer, ForecastRequest
from service.contract.errors import FieldError

_TEMPLATE = "#/components/schemas/{name}"
_SHARED = ("malformed_json", "bad_encoding", "body_too_large", "too_many_items", "unsupported_media_type")
_FIELDS = ("not_finite", "wrong_type", "unknown_field", "missing_field", "out_of_range", "length_not_supported")
_ENGINE = (
    "model_not_found",
    "version_not_found",
    "internal_error",
    "queue_full",
    "model_not_ready",
    "deadline_exceeded",
)
_STATE = ("state_invalid", "state_expired", "state_model_mismatch")
FORECAST_CODES = (*_SHARED, *_FIELDS, *_ENGINE, *_STATE, "series_too_long", "method_not_allowed")
DIGIT_CODES = (
    *(*_SHARED, *_FIELDS, *_ENGINE, *_STATE, "bad_multipart", "image_too_large", "bad_image", "blank_image"),
    *("wrong_row_width", "method_not_allowed"),
)

_DIGEST = "sha256:" + "0123456789abcdef" * 4
_EXAMPLE_ROW = [0] * 11 + [84, 185, 254, 254, 185, 84] + [0] * 11
_EXAMPLE_ERROR = FieldError("#/inputs/0/target/17", "not_finite", "must be a finite number (missing values are null)")

FORECAST_REQUEST = {
    "next": {"summary": "the next value", "value": {"inputs": [{"target": [1, 2, 3, 4, 5]}]}},
    "season": {
        "summary": "two series, a year ahead, with missing values and history",
        "value": {
            "model": "forecaster",
            "inputs": [
                {"item_id": "store-1", "target": [112, 118, None, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115]},
                {"target": [5, 4, 6, 5, 7]},
            ],
            "parameters": {
                "prediction_length": 12,
                "quantile_levels": [0.1, 0.5, 0.9],
                "season_length": 12,
                "include": ["history"],
                "timeout_ms": 2000,
            },
        },
    },
    "state": {
        "summary": "answer a token too: sent back as `state`, with new values only, the series goes on from there",
        "value": {"inputs": [{"target": [1, 2, 3, 4, 5]}], "parameters": {"return_state": True}},
    },
}
FORECAST_ANSWER = {
    "model": "forecaster",
    "model_version": "1",
    "model_digest": _DIGEST,
    "predictions": [
        {
            "item_id": None,
            "mean": [6.0],
            "quantiles": {"0.1": [5.6], "0.5": [6.0], "0.9": [6.4]},
            "context": {"observations": 5, "missing": 0, "used": 5, "season_length": 1},
            "state": None,
            "history": None,
            "warnings": [],
        }
    ],
}
DIGIT_REQUEST = {
    "rows": {
        "summary": "rows, read one by one until the answer is sure",
        "value": {
            "inputs": [{"item_id": "a", "rows": [_EXAMPLE_ROW] * 3}],
            "parameters": {"trace": True, "stop_at_confidence": 0.99},
        },
    }
}
DIGIT_ANSWER = {
    "model": "digits",
    "model_version": "1",
    "model_digest": _DIGEST,
    "predictions": [
        {
            "item_id": "a",
            "label": 1,
            "score": 0.82,
            "probabilities": [0.02, 0.82, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02],
            "rows_used": 1,
            "trace": [{"row": 1, "label": 1, "score": 0.82}],
            "state": None,
            "preprocessing": None,
            "warnings": [],
        }
    ],
}


def problem_responses(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses, by status, for everything that may end with one of `codes`; one example per code."""
    statuses: dict[int | str, dict[str, Any]] = {}
    for code in sorted(codes, key=lambda code: KINDS[code].status):
        kind = KINDS[code]
        entry = statuses.setdefault(kind.status, {"description": "", "content": {MEDIA_TYPE: {"examples": {}}}})
        entry["description"] += f"{', ' if entry['description'] else ''}`{code}`"
        content = entry["content"][MEDIA_TYPE]
        content["schema"] = {"$ref": _TEMPLATE.format(name="Problem")}
        content["examples"][code] = {"summary": kind.title, "value": _example(code)}
        if kind.status in (429, 503):
            entry["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return statuses


def declare(app: FastAPI) -> None:
    """Make `app.openapi()` complete; the document is built once, when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    kinds = (ForecastRequest, ForecastAnswer, DigitRequest, DigitAnswer, DigitOptions, Problem)
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own wording, which is never used
        document["components"]["schemas"].pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    options = document["components"]["schemas"].pop("DigitOptions")["properties"]
    document["paths"]["/forecast"] = {"post": _forecast()}
    document["paths"]["/classify-digit"] = {"post": _classify_digit(options)}
    return document


def _forecast() -> dict[str, Any]:
    body = {JSON: {"schema": {"$ref": _TEMPLATE.format(name="ForecastRequest")}, "examples": FORECAST_REQUEST}}
    return {
        "tags": ["forecast"],
        "summary": "Forecast series of any, different lengths",
        "description": (
            "As many predictions as inputs and in their order; only finite numbers; quantiles never cross. A series "
            "longer than the model can use is cut to its last part: `context.used`, and `truncated` in `warnings`. "
            "With `return_state` each prediction has a `state`; sent back with new values only, the series goes on "
            "from there, and counts as if it had been sent at once. `WebSocket /forecast/stream` does the same live."
        ),
        "operationId": "forecast",
        "parameters": _header_parameters(),
        "requestBody": {"required": True, "content": body},
        "responses": _responses("ForecastAnswer", FORECAST_ANSWER, FORECAST_CODES),
    }


def _classify_digit(options: dict[str, Any]) -> dict[str, Any]:
    image = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
            **copy.deepcopy(options),
        },
    }
    content: dict[str, Any] = {
        JSON: {"schema": {"$ref": _TEMPLATE.format(name="DigitRequest")}, "examples": DIGIT_REQUEST},
        FORM: {"schema": form},
        **dict.fromkeys(IMAGES, image),
    }
    query = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": schema,
            "description": "for bodies that are an image or a form",
        }
        for name, schema in options.items()
    ]
    return {
        "tags": ["classify-digit"],
        "summary": "Read handwritten digits, row by row",
        "description": (
            "`rows` are read as they are; an image of any size is prepared as MNIST was, and `preprocessing` says what "
            "was done. A blank image is refused; rows without ink are answered with `no_ink` in `warnings`. A `state`, "
            "sent back with new rows only, goes on with that digit; `WebSocket /classify-digit/stream` does it live."
        ),
        "operationId": "classify_digit",
        "parameters": [*query, *_header_parameters()],
        "requestBody": {"required": True, "content": content},
        "responses": _responses("DigitAnswer", DIGIT_ANSWER, DIGIT_CODES),
    }


def _header_parameters() -> list[dict[str, Any]]:
    milliseconds = {"type": "integer", "minimum": 1, "maximum": 3_600_000}
    return [
        {
            "name": "X-Request-Timeout-Ms",
            "in": "header",
            "schema": milliseconds,
            "description": "deadline; of this and `timeout_ms` the smaller wins",
        },
        {"name": "X-Request-ID", "in": "header", "schema": {"type": "string"}, "description": "sent back, and logged"},
    ]


def _responses(schema: str, example: dict[str, Any], codes: Iterable[str]) -> dict[str, Any]:
    headers = {
        "X-Request-ID": {"schema": {"type": "string"}, "description": "the caller's own, or a new one"},
        "X-Model-Digest": {"schema": {"type": "string"}, "description": "sha256 of the model's file"},
        "Server-Timing": {"schema": {"type": "string"}, "description": "milliseconds queued and computed"},
    }
    success = {
        "description": "one prediction per input, in the order of the inputs",
        "headers": headers,
        "content": {JSON: {"schema": {"$ref": _TEMPLATE.format(name=schema)}, "example": example}},
    }
    problems = {str(status): response for status, response in problem_responses(codes).items()}
    return {"200": success, **problems}


def _example(code: str) -> dict[str, Any]:
    errors = [_EXAMPLE_ERROR] if code == _EXAMPLE_ERROR.code else []
    detail = f"{_EXAMPLE_ERROR.pointer}: {_EXAMPLE_ERROR.detail}" if errors else KINDS[code].title
    example: dict[str, Any] = msgspec.to_builtins(describe(code, detail, "9f1c2d3e4b5a-1", errors, len(errors)))
    return example
