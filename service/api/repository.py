"""Changes of what is served: `POST /models/{name}/load`, `unload` and `default`, and the repository calls of OIP.

They are there only where requests may manage models (`Settings.models_may_be_managed`). A page of another origin is
refused, as a browser would send such a request to a service on the reader's own machine without asking.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.catalog import Limits, Model, model_document
from service.api.wires.common import with_errors
from service.contract.errors import InvalidRequest
from service.registry.control import ModelControl
from service.registry.registry import Registry
from service.runtime.model_plan import Action, Change

MAX_BODY = 4096  # bytes
MAX_VERSION = 999_999_999


class VersionChoice(BaseModel):
    """Which version is meant."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(
        default=None, ge=1, le=MAX_VERSION, description="load: the highest on disk; unload: all; default: the highest"
    )


def management_router(
    registry: Registry, control: ModelControl, limits: Limits, problems: dict[int | str, Any]
) -> APIRouter:
    """The routes; `problems` are the declared answers of a failure. Which callers they take, `Access` decides."""
    router = APIRouter(tags=["models"])

    async def change(action: Action, name: str, choice: VersionChoice | None) -> Model:
        await apply_change(control, Change(action, name, choice.version if choice else None))
        return model_document(registry, name, limits)

    @router.post("/models/{name}/load", summary="Load a version beside the others; it takes over", responses=problems)
    async def load(name: str, choice: VersionChoice | None = None) -> Model:
        return await change("load", name, choice)

    @router.post("/models/{name}/unload", summary="Serve a version, or a model, no longer", responses=problems)
    async def unload(name: str, choice: VersionChoice | None = None) -> Model:
        return await change("unload", name, choice)

    @router.post("/models/{name}/default", summary="Say which version the bare name means", responses=problems)
    async def default(name: str, choice: VersionChoice | None = None) -> Model:
        return await change("default", name, choice)

    return router


def oip_repository_router(control: ModelControl) -> APIRouter:
    """`/v2/repository/models/{name}/load` and `/unload`, whose answers have no content; errors are `{"error": …}`."""
    router = APIRouter(include_in_schema=False)

    async def change(request: Request, action: Action) -> Response:
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
    body = await request.body()
    if not body.strip():
        return None
    try:
        parameters = json.loads(body[:MAX_BODY]).get("parameters") or {}
        version = parameters.get("version")
        return None if version is None else int(version)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InvalidRequest("the body is no repository request", code="malformed_json") from error
