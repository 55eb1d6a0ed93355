from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.api import problems
from service.contract.errors import FieldError, InvalidRequest, RitmoError, Unavailable, UnknownModel

# The table of the wire contract.
DOCUMENTED = {
    400: ["bad_request", "malformed_json", "bad_encoding", "bad_multipart"],
    404: ["model_not_found", "version_not_found"],
    413: ["body_too_large", "too_many_items", "series_too_long", "image_too_large"],
    408: ["request_timeout"],
    414: ["uri_too_long"],
    415: ["unsupported_media_type"],
    431: ["headers_too_large", "too_many_headers"],
    422: [
        *("not_finite", "wrong_type", "unknown_field", "missing_field", "out_of_range", "length_not_supported"),
        *("bad_image", "blank_image", "wrong_row_width", "state_invalid", "state_expired", "state_model_mismatch"),
    ],
    500: ["model_fault"],
    503: ["queue_full", "draining", "model_not_ready", "unresponsive"],
    504: ["deadline_exceeded"],
}


@pytest.mark.parametrize(("status", "code"), [(status, code) for status, codes in DOCUMENTED.items() for code in codes])
def test_every_documented_code_has_its_status(status: int, code: str) -> None:
    answer = problems.render(RitmoError("why", code=code), "id-1")
    document = json.loads(answer.body)
    assert answer.status == document["status"] == status
    assert document["code"] == code
    assert document["detail"] == "why"
    assert document["request_id"] == "id-1"
    assert document["type"] == f"urn:ritmo:problem:{code}"
    assert document["title"]
    assert document["retryable"] is (status in (503, 504))
    headers = dict(answer.headers)
    assert headers[b"content-type"] == b"application/problem+json"
    assert (b"retry-after" in headers) is (status == 503)


def test_nothing_is_ever_a_conflict() -> None:
    assert 409 not in {kind.status for kind in problems.KINDS.values()}


def test_every_code_that_the_service_uses_is_in_the_table() -> None:
    """Every constant after `code=`, and every code of a field's error, in the sources is in the table."""
    service = Path(problems.__file__).resolve().parents[1]
    codes: dict[str, str] = {}
    for path in service.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name == "add" and len(node.args) == 3:
                values.append(node.args[1])
            constants = [value.value for value in values if isinstance(value, ast.Constant)]
            codes.update({code: f"{path.name}:{node.lineno}" for code in constants if isinstance(code, str)})
    assert len(codes) > 10
    assert {code: line for code, line in codes.items() if code not in problems.KINDS} == {}


def test_errors_are_listed_and_counted() -> None:
    error = InvalidRequest("no", code="not_finite", errors=[FieldError("#/a", "not_finite", "d")], errors_total=12)
    document = json.loads(problems.render(error, "x").body)
    assert document["errors"] == [{"pointer": "#/a", "code": "not_finite", "detail": "d"}]
    assert document["errors_total"] == 12


@pytest.mark.parametrize(("seconds", "header"), [(None, b"1"), (0.2, b"1"), (2.5, b"3")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float | None, header: bytes) -> None:
    answer = problems.render(Unavailable("full", code="queue_full", retry_after=seconds), "x")
    assert dict(answer.headers)[b"retry-after"] == header


@pytest.mark.parametrize("code", ["internal_error", "an_unknown_code"])
def test_an_internal_failure_reveals_nothing(code: str) -> None:
    answer = problems.render(RitmoError("the password is 123", code=code), "x")
    assert answer.status == 500
    assert b"password" not in answer.body
    assert json.loads(answer.body)["code"] == "internal_error"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (HTTPException(404), 404, "route_not_found"),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "method_not_allowed"),
        (HTTPException(418), 500, "internal_error"),
        (RequestValidationError([]), 422, "wrong_type"),
        (UnknownModel("none", code="model_not_found"), 404, "model_not_found"),
    ],
)
def test_what_the_framework_raises_is_reworded(error: Exception, status: int, code: str) -> None:
    answer = problems.from_exception(error, "x")
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/forecast/", "/forecast"),
        ("/v1/forecast", "/forecast"),
        ("/Forecast", "/forecast"),
        ("/predict", "/forecast"),
        ("/classify_digit", "/classify-digit"),
        ("/clasify-digit", "/classify-digit"),
        ("/health", "/livez"),
        ("/", ""),
        ("/favicon.ico", ""),
        ("/" + "x" * 100_000, ""),
    ],
)
def test_a_route_that_does_not_exist_names_the_one_that_may_be_meant(path: str, meant: str) -> None:
    routes = ["/forecast", "/classify-digit", "/backtest", "/anomalies", "/livez", "/docs"]
    assert problems.nearest_route(path, routes) == meant
    answer = problems.from_exception(HTTPException(404), "x", problems.routes_advice(path, routes))
    detail = json.loads(answer.body)["detail"]
    assert detail == f"no such route{f'; did you mean {meant}?' if meant else ':'} /docs lists them all"


def test_where_there_is_no_documentation_the_routes_are_named() -> None:
    assert (
        problems.routes_advice("/health", ["/livez", "/readyz"]) == "; did you mean /livez? there are /livez, /readyz"
    )
    assert problems.routes_advice("/forecast", ["/livez", "/readyz"]) == ": there are /livez, /readyz"
