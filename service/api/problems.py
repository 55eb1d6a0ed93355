"""The one table from error to HTTP status, and its wire form: `application/problem+json` (RFC 9457).

The request is never echoed and no inner detail of an unexpected failure leaves the process.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import Meta, Struct, structs
from starlette.exceptions import HTTPException

from service.contract.errors import FieldError, InvalidRequest, RitmoError

MEDIA_TYPE = "application/problem+json"
INTERNAL = "internal_error"
NOT_FOUND, NOT_ALLOWED = "route_not_found", "method_not_allowed"
_MAX_NAME = 64  # characters of the name of a route that are compared with others

# Names that other services give to such routes.
_OTHER_NAMES = {
    **dict.fromkeys(("predict", "predictions", "prediction", "forecasts", "infer", "inference"), "/forecast"),
    **dict.fromkeys(
        ("classify", "classify_digit", "classify-digits", "digit", "digits", "recognize", "mnist"), "/classify-digit"
    ),
    **dict.fromkeys(("anomaly", "detect", "detect_anomalies", "outliers"), "/anomalies"),
    **dict.fromkeys(("evaluate", "cross_validation", "backtests"), "/backtest"),
    **dict.fromkeys(("health", "healthz", "live", "alive", "status"), "/livez"),
    **dict.fromkeys(("ready", "readiness"), "/readyz"),
    **dict.fromkeys(("swagger", "api", "help", "documentation", "redoc"), "/docs"),
}

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Kind:
    """What one error code means over HTTP."""

    status: int
    title: str
    retryable: bool = False


KINDS: dict[str, Kind] = {
    "bad_request": Kind(400, "The request is no valid HTTP"),
    "malformed_json": Kind(400, "The body is not JSON"),
    "bad_encoding": Kind(400, "The text is not UTF-8"),
    "bad_tensor": Kind(400, "A tensor is not as it is described"),
    "bad_binary_header": Kind(400, "The length of the head is wrong"),
    "bad_multipart": Kind(400, "The form cannot be read"),
    "unauthenticated": Kind(401, "A valid key is needed"),
    "forbidden": Kind(403, "The key may not do this"),
    "host_not_allowed": Kind(403, "The service does not answer under this name"),
    "origin_not_allowed": Kind(403, "Pages of this origin may not call"),
    "model_not_found": Kind(404, "No such model"),
    "version_not_found": Kind(404, "No such version of the model"),
    NOT_FOUND: Kind(404, "No such route"),
    NOT_ALLOWED: Kind(405, "The route does not take this method"),
    "request_timeout": Kind(408, "The request did not arrive in time"),
    "body_too_large": Kind(413, "The body is too large"),
    "too_many_items": Kind(413, "Too much for one request"),
    "series_too_long": Kind(413, "The series is too long"),
    "image_too_large": Kind(413, "The image has too many pixels"),
    "uri_too_long": Kind(414, "The request's target is too long"),
    "unsupported_media_type": Kind(415, "The route does not read this kind of body"),
    "not_finite": Kind(422, "A number is not finite"),
    "wrong_type": Kind(422, "A value is of the wrong type"),
    "unknown_field": Kind(422, "There is no such field"),
    "missing_field": Kind(422, "A field is missing"),
    "out_of_range": Kind(422, "A value is out of range"),
    "length_not_supported": Kind(422, "The model does not read this length"),
    "bad_table": Kind(422, "The table cannot be read"),
    "bad_image": Kind(422, "The image cannot be read"),
    "blank_image": Kind(422, "The image shows no ink"),
    "wrong_row_width": Kind(422, "A row has the wrong width"),
    "state_invalid": Kind(422, "The state token is not valid"),
    "state_expired": Kind(422, "The state token has expired"),
    "state_model_mismatch": Kind(422, "The state token belongs to another model"),
    "rate_limited": Kind(429, "The key has used up its share", retryable=True),
    "headers_too_large": Kind(431, "The request's head is too large"),
    "too_many_headers": Kind(431, "The request's head has too many fields"),
    INTERNAL: Kind(500, "Something failed in the service"),
    "model_fault": Kind(500, "The model gave no sound answer"),
    "queue_full": Kind(503, "The queue is full", retryable=True),
    "unresponsive": Kind(503, "The service does not respond", retryable=True),
    "draining": Kind(503, "The server is about to stop", retryable=True),
    "model_not_ready": Kind(503, "The model is not ready", retryable=True),
    "deadline_exceeded": Kind(504, "The deadline passed", retryable=True),
}

RETRY_STATUSES = (429, 503)  # of answers with the header Retry-After


class Fault(Struct, frozen=True, gc=False):
    """One fault at one place of the request."""

    pointer: Annotated[str, Meta(description="JSON pointer (RFC 6901) as a URI fragment")]
    code: str
    detail: str


class Problem(Struct, frozen=True):
    """The body of every answer that is not a success."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Meta(description="stable: what a program should look at")]
    request_id: str
    retryable: Annotated[bool, Meta(description="the same request may succeed later")]
    errors: Annotated[list[Fault], Meta(description="the first ten faults")]
    errors_total: Annotated[int, Meta(description="how many faults there are")]


class LastState(Problem, frozen=True):
    """The last message of a live connection that the service ends."""

    state: Annotated[str, Meta(description="token with which the series or digit can go on elsewhere")]


class Answer(Struct, frozen=True, eq=False):
    """A complete answer, ready to be sent."""

    status: int
    headers: list[Header]
    body: bytes


class StreamedAnswer(Answer, frozen=True, eq=False, kw_only=True):
    """An answer that is sent while its parts are computed; `body` is its first part."""

    parts: AsyncGenerator[bytes, None]


_encoder = msgspec.json.Encoder()


def describe(code: str, detail: str, request_id: str, errors: Sequence[FieldError] = (), total: int = 0) -> Problem:
    """The problem object of `code`; an unknown code is an internal error, and its detail stays inside."""
    kind = KINDS.get(code)
    if kind is None or code == INTERNAL:
        code, kind, detail = INTERNAL, KINDS[INTERNAL], "the log has the details under this request_id"
    faults = [Fault(error.pointer, error.code, error.detail) for error in errors]
    problem_type = f"urn:ritmo:problem:{code}"
    return Problem(problem_type, kind.title, kind.status, detail, code, request_id, kind.retryable, faults, total)


def render(error: RitmoError, request_id: str, headers: Sequence[Header] = ()) -> Answer:
    """The answer to a request that ended in `error`."""
    problem = describe(error.code, error.detail, request_id, error.errors, error.errors_total)
    all_headers = [(b"content-type", MEDIA_TYPE.encode()), *headers, *headers_of(error, problem.status)]
    return Answer(problem.status, all_headers, _encoder.encode(problem))


def headers_of(error: RitmoError, status: int) -> list[Header]:
    """The headers that belong to an answer with `error`: when to come again (RFC 9110, 10.2.3), how to show a key."""
    if status in RETRY_STATUSES:
        return [(b"retry-after", str(math.ceil(error.retry_after or 1)).encode())]
    if status == KINDS["unauthenticated"].status:
        return [(b"www-authenticate", b'Bearer realm="ritmo"')]
    return []


def render_last_state(state: str, code: str, detail: str, request_id: str) -> bytes:
    """The last message of a live connection that the service closes: `state` goes on elsewhere, or later."""
    problem = describe(code, detail, request_id)
    return _encoder.encode(LastState(**structs.asdict(problem), state=state))


def internal(request_id: str) -> Answer:
    """The answer to a request that ended in an unexpected exception."""
    return render(RitmoError("", code=INTERNAL), request_id)


def from_exception(error: Exception, request_id: str, advice: str = "") -> Answer:
    """The answer to what a FastAPI route raised: an error of the domain, or a refusal of the framework, reworded.

    `advice` is what to say of a route that does not exist (`routes_advice`).
    """
    if isinstance(error, RitmoError):
        return render(error, request_id)
    if isinstance(error, RequestValidationError):  # a path or query parameter that FastAPI could not read
        return render(InvalidRequest("a parameter of this route is not valid", code="wrong_type"), request_id)
    if not isinstance(error, HTTPException):
        return internal(request_id)
    headers = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in (error.headers or {}).items()]
    if error.status_code == KINDS[NOT_FOUND].status:
        return render(RitmoError(f"no such route{advice}", code=NOT_FOUND), request_id, headers)
    if error.status_code == KINDS[NOT_ALLOWED].status:
        allowed = dict(headers).get(b"allow", b"another method").decode("latin-1")
        return render(RitmoError(f"this route takes {allowed}", code=NOT_ALLOWED), request_id, headers)
    return internal(request_id)


def nearest_route(path: str, routes: Collection[str]) -> str:
    """The one of `routes` that a request to `path`, which is none of them, may have meant; "" where none is similar."""
    name = path.rstrip("/").rpartition("/")[2][:_MAX_NAME].lower()
    meant = _OTHER_NAMES.get(name, f"/{name}")
    if meant in routes:
        return meant
    return next(iter(difflib.get_close_matches(meant, routes, n=1, cutoff=0.75)), "")


def routes_advice(path: str, routes: Collection[str]) -> str:
    """What follows "no such route" in the answer to a request to `path`, where `routes` exist."""
    listing = "/docs lists them all" if "/docs" in routes else f"there are {', '.join(routes)}"
    meant = nearest_route(path, routes)
    return f"; did you mean {meant}? {listing}" if meant else f": {listing}"


def answer_with_problems(
    app: FastAPI, routes: Collection[str], reworded: Callable[[Answer, str], Answer] = lambda answer, _path: answer
) -> None:
    """FastAPI's routes answer errors as the direct routes do; `routes` are the paths that exist.

    `reworded` makes of an answer, and the path that was asked for, what the clients of another protocol read.
    """

    async def refuse(request: Request, error: Exception) -> Response:
        is_lost = isinstance(error, HTTPException) and error.status_code == KINDS[NOT_FOUND].status
        advice = routes_advice(request.url.path, routes) if is_lost else ""
        answer = reworded(from_exception(error, request.state.request_id, advice), request.url.path)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        return Response(answer.body, answer.status, headers)

    for kind in (RitmoError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refuse)
