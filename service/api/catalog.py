"""`/models` and `/models/{name}`: what is served, what it accepts and answers, where it came from, how good it is."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from service.codec.query import refuse_query
from service.codec.strict_json import suggestion
from service.contract.errors import RitmoError, UnknownModel
from service.contract.manifest import InputContract, OutputContract, Provenance, Task
from service.registry.registry import Registry
from service.registry.served import ModelVersion
from service.settings import Settings


class Limits(BaseModel):
    """What the service itself allows of every model."""

    max_body_bytes: int
    max_items: int
    max_observations: int
    max_answer_numbers: int
    max_image_bytes: int
    max_pixels: int
    timeout_ms: int


class Version(BaseModel):
    """One version of a model; what only its manifest can tell is null while it cannot be read."""

    name: str
    version: str
    state: Literal["loading", "ready", "failed", "unloaded"]
    reason: str | None = Field(description="why it failed, or is not loaded")
    default: bool = Field(description="whether the bare name means this version")
    task: Task | None
    digest: str | None
    description: str | None
    input: InputContract | None
    output: OutputContract | None
    state_width: int | None = Field(description="numbers of the state between two calls")
    batch_invariant: bool | None = Field(description="answers are the same bits whatever else is computed with them")
    batch_deviation: float | None = Field(description="largest relative difference between batches seen at warm-up")
    metrics: dict[str, float] | None = Field(description="measured on data the model was not trained on")
    training: Provenance | None


class ModelList(BaseModel):
    """All versions of all models, and the limits of the service."""

    models: list[Version]
    limits: Limits


class Model(BaseModel):
    """All versions of one model, the newest first."""

    name: str
    versions: list[Version]
    limits: Limits


async def refuse_any_query(request: Request) -> None:
    """Refuse the fields of a query, on a route that has none: what was meant by them would not be done."""
    if request.scope["query_string"]:
        hint = ": a version is named in the body, as JSON" if request.method == "POST" else ""
        refuse_query(request.scope["query_string"], f"this route takes no query fields{hint}")


def models_router(
    registry: Registry,
    settings: Settings,
    no_query: dict[int | str, dict[str, Any]],
    unknown: dict[int | str, dict[str, Any]],
) -> APIRouter:
    """The two routes; `no_query` and `unknown` declare the answers for a query, and for a name that is not served."""
    router = APIRouter(tags=["models"], dependencies=[Depends(refuse_any_query)])
    limits = limits_of(settings)

    @router.get("/models", summary="Every version of every model", responses=no_query)
    async def models() -> ModelList:
        return ModelList(models=_versions(registry), limits=limits)

    @router.get("/models/{name}", summary="All versions of one model", responses=no_query | unknown)
    async def model(name: str) -> Model:
        return model_document(registry, name, limits)

    return router


def limits_of(settings: Settings) -> Limits:
    """What the service itself allows."""
    return Limits(**{name: getattr(settings, name) for name in Limits.model_fields})


def model_document(registry: Registry, name: str, limits: Limits) -> Model:
    """All versions of one model; raises `UnknownModel`."""
    versions = [version for version in _versions(registry) if version.name == name]
    if not versions:
        names = sorted({entry.name for entry in registry.models()})
        raise UnknownModel("no such model" + suggestion(name, names), code="model_not_found")
    newest_first = sorted(versions, key=lambda version: int(version.version), reverse=True)
    return Model(name=name, versions=newest_first, limits=limits)


def _versions(registry: Registry) -> list[Version]:
    versions = registry.models()
    defaults = {name: _default(registry, name) for name in {version.name for version in versions}}
    return [_version(version, defaults[version.name] == version.version) for version in versions]


def _default(registry: Registry, name: str) -> int | None:
    """The version that the bare `name` means, None where none is ready."""
    try:
        return registry.get(name).manifest.version
    except RitmoError:
        return None


def _version(version: ModelVersion, default: bool) -> Version:
    manifest = version.manifest
    return Version(
        name=version.name,
        version=str(version.version),
        state=version.state,
        reason=version.reason,
        default=default,
        task=manifest and manifest.task,
        digest=manifest and manifest.digest,
        description=manifest and manifest.description,
        input=manifest and manifest.input,
        output=manifest and manifest.output,
        state_width=manifest and manifest.state.width,
        batch_invariant=version.batch_invariant,
        batch_deviation=version.batch_deviation,
        metrics=manifest and manifest.metrics,
        training=manifest and manifest.training,
    )
