"""`/livez`: the process turns. `/readyz`: models are loaded and self-tested, and the server is not draining."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.api.problems import MEDIA_TYPE, describe
from service.registry.registry import Registry
from service.runtime.worker_group import WorkerGroup


class Alive(BaseModel):
    """The event loop answers."""

    status: Literal["alive"] = "alive"


class ModelState(BaseModel):
    """One model version and where it stands."""

    name: str
    version: str
    state: Literal["loading", "ready", "failed", "unloaded"]
    digest: str | None = Field(default=None, description="of the model file, the same in every process")
    reason: str | None = None


class Ready(BaseModel):
    """Requests will be answered."""

    status: Literal["ready"] = "ready"
    models: list[ModelState]
    warnings: list[str] = Field(description="what is wrong although requests will be answered")


def states(registry: Registry) -> list[ModelState]:
    """Every version in the registry, in its order."""
    return [
        ModelState(
            name=entry.name,
            version=str(entry.version),
            state=entry.state,
            digest=entry.manifest and entry.manifest.digest,
            reason=entry.reason,
        )
        for entry in registry.models()
    ]


def health_router(
    registry: Registry, unready: dict[int | str, dict[str, Any]], group: WorkerGroup | None = None
) -> APIRouter:
    """The two routes; `unready` declares the answer of `/readyz` while it is not ready.

    Where several processes share the port, each answers for itself, and for those that have never been ready so far:
    they listen, too.
    """
    router = APIRouter(tags=["health"])

    @router.get("/livez", summary="The process turns")
    async def livez() -> Alive:
        return Alive()

    @router.get(
        "/readyz", summary="Models are loaded and self-tested, and answer", response_model=Ready, responses=unready
    )
    async def readyz(request: Request) -> Ready | Response:
        health, models = registry.health(), states(registry)
        reasons = [*health.reasons, *(group.reasons() if group else ())]
        if not reasons:
            return Ready(models=models, warnings=[*health.warnings, *(group.warnings() if group else ())])
        code = "draining" if registry.draining else "model_not_ready"
        problem = describe(code, "; ".join(reasons), request.state.request_id)
        body = msgspec.to_builtins(problem) | {"models": [model.model_dump() for model in models]}
        return Response(msgspec.json.encode(body), problem.status, {"Retry-After": "1"}, MEDIA_TYPE)

    return router
