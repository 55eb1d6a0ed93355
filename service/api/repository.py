"""Changes of what is served: `POST /models/{name}/load`, `unload` and `default`, and the repository calls of OIP.

They are there only where requests may manage models (`Settings.models_may_be_managed`). A page of another origin is
refused, as a browser would send such a request to a service on the reader's own machine without asking.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from msgspec import Meta, Struct

from service.api.catalog import Limits, Model, model_document, refuse_any_query
from service.api.wires.common import with_errors
from service.codec.common import JSON
from service.codec.strict_json import StrictDecoder
from service.contract.errors import InvalidRequest
from service.registry.control import ModelControl
from service.registry.registry import Registry
from service.runtime.model_plan import Action, Change

MAX_BODY = 4096  # bytes
MAX_VERSION = 999_999_999


class VersionChoice(Struct, forbid_unknown_fields=True, frozen=True):
    """Which version is meant."""

    version: Annotated[int, Meta(ge=1, le=MAX_VERSION)] | None = None


_decoder = StrictDecoder(VersionChoice)
_VERSION = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_VERSION}, {"type": "null"}],
    "description": "load: the highest on disk; unload: all; default: the highest",
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            JSON: {
                "schema": {
                    "anyOf": [
                        {"type": "object", "properties": {"version": _VERSION}, "additionalProperties": False},
                        {"type": "null"},
                    ]
                }
            }
        },
    }
}
# Of a change that cannot be made: codes of its problems.
CODES = (
    *("model_not_found", "version_not_found", "model_not_ready", "malformed_json", "bad_encoding", "body_too_large"),
    *("wrong_type", "not_finite", "out_of_range", "unknown_field"),
)


def management_router(
    registry: Registry, control: ModelControl, limits: Limits, problems: dict[int | str, Any]
) -> APIRouter:
    """The routes; `problems` are the declared answers of a failure. Which callers they take, `Access` decides."""
    router = APIRouter(tags=["models"], dependencies=[Depends(refuse_any_query)])

    async def change(action: Action, name: str, request: Request) -> Model:
        content = await _content(request)
        choice = _decoder.decode(content) if content.strip() not in (b"", b"null") else VersionChoice()
        await apply_change(control, Change(action, name, choice.version))
        return model_document(registry, name, limits)

    def route(action: Action, summary: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return router.post(f"/models/{{name}}/{action}", summary=summary, responses=problems, openapi_extra=_BODY)

    @route("load", "Load a version beside the others; it takes over")
    async def load(name: str, request: Request) -> Model:
        return await change("load", name, request)

    @route("unload", "Serve a version, or a model, no longer")
    async def unload(name: str, request: Request) -> Model:
        return await change("unload", name, request)

    @route("default", "Say which version the bare name means")
    async def default(name: str, request: Request) -> Model:
        return await change("default", name, request)

    return router


async def _content(request: Request) -> bytes:
    """The body, of which no more than `MAX_BODY` is read."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY:
            raise InvalidRequest(f"the body of this route has at most {MAX_BODY} bytes", code="body_too_large")
    return content


def oip_repository_router(control: ModelControl) -> APIRouter:
    """`/v2/repository/models/{name}/load` and `/unload`, whose answers have no content; errors are `{"error": …}`."""
    router = APIRouter(include_in_schema=False)

    async def change(request: Request, action: Action) -> Response:
        await refuse_any_query(request)
        await apply_change(control, Change(action, request.path_params["name"], await _version_of(request)))
        return Response(b"{}", media_type="application/json")

    async def load(request: Request) -> Response:
        return await change(request, "load")

    async def unload(request: Request) -> Response:
        return await change(request, "unload")

    for action, handler in (("load", load), ("unload", unload)):
        router.add_api_route(f"/v2/repository/models/{{name}}/{action}", with_errors(handler), methods=["POST"])
    return router


async def apply_change(control: ModelControl, change: Change) -> None:
    """Make `change`, to its end, whether the caller stays or not."""
    await asyncio.shield(asyncio.ensure_future(control.change(change)))


async def _version_of(request: Request) -> int | None:
    """The version in `{"parameters": {"version": …}}`, where a client names one."""
    body = await _content(request)
    if not body.strip():
        return None
    try:
        parameters = json.loads(body).get("parameters") or {}
        version = parameters.get("version")
        return None if version is None else int(version)
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidRequest("the body is no repository request", code="malformed_json") from error
