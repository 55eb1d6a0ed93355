"""`create_app(settings)`: the application. Importing this module loads no model and reads no environment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from service.api.catalog import models_router
from service.api.dispatch import Dispatcher, RequestMetrics
from service.api.health import health_router
from service.api.inference import ClassifyDigitEndpoint, ForecastEndpoint
from service.api.openapi import declare, problem_responses
from service.api.problems import from_exception
from service.api.request import BodyBudget
from service.api.websockets import ClassifyDigitStream, ForecastStream, LiveConnections
from service.codec.state_tokens import StateTokens
from service.contract.errors import RitmoError
from service.metrics.page import CONTENT_TYPE, Metrics
from service.registry.factory import make_registry, one_shot_registry
from service.registry.registry import Registry
from service.runtime.malloc import trim_periodically
from service.runtime.version import version
from service.runtime.worker_group import WorkerGroup
from service.settings import Settings

PREPARING_THREADS = 2  # for large bodies and images: work that must not hold up the event loop
DESCRIPTION = "Recurrent networks, served: forecasts of series of any length, digits read row by row."


class Application(FastAPI):
    """FastAPI with the edge around all of it: even its own outermost layers cost a hot route several microseconds."""

    edge: Dispatcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every request and the lifespan pass the edge first."""
        await self.edge(scope, receive, send)


def create_app(
    settings: Settings | None = None, *, registry: Registry | None = None, group: WorkerGroup | None = None
) -> FastAPI:
    """The service as an ASGI application; without arguments: settings from the environment, models from their folder.

    Models load in the background of the lifespan: `/readyz` says when they are ready, requests before that get 503.
    For whoever stops the server: `app.state.registry.drain()` makes it not ready while it still answers, and
    `app.state.streams.close()` says goodbye to the live connections. `group`: where several processes serve.
    """
    settings = settings or Settings()
    if registry is None:
        registry = make_registry(settings, Metrics(group.folder), group.digests) if group else make_registry(settings)
    metrics = registry.metrics
    shared = [group.key] if group and not settings.secrets else []
    tokens = StateTokens(settings.secrets or shared, settings.state_ttl_seconds, passing=bool(shared))
    pool = ThreadPoolExecutor(PREPARING_THREADS, thread_name_prefix="prepare")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await registry.start()
        chores = [asyncio.create_task(trim_periodically())]
        try:
            yield
        finally:
            for chore in chores:
                chore.cancel()
            await registry.close()
            pool.shutdown(wait=False, cancel_futures=True)

    app = Application(title="Ritmo", version=version(), description=DESCRIPTION, lifespan=lifespan)
    app.state.registry = registry
    app.include_router(health_router(registry, problem_responses(("model_not_ready", "draining")), group))
    app.include_router(models_router(registry, settings, problem_responses(("model_not_found",))))
    app.add_api_route(
        "/metrics", _page(metrics, group), tags=["health"], summary="Prometheus", response_class=_MetricsPage
    )
    hot = {
        "/forecast": ForecastEndpoint(registry, settings, tokens, pool),
        "/classify-digit": ClassifyDigitEndpoint(registry, settings, tokens, pool),
    }
    traffic, intake = RequestMetrics(metrics), BodyBudget(settings)
    streams = app.state.streams = LiveConnections(settings.max_live_connections, metrics.streams)
    live = {
        kind.path: kind(registry, settings, tokens, pool, streams=streams, traffic=traffic, intake=intake)
        for kind in (ForecastStream, ClassifyDigitStream)
    }
    app.edge = Dispatcher(
        super(Application, app).__call__, hot, live, intake=intake, traffic=traffic, access_log=settings.access_log
    )
    _answer_with_problems(app)
    declare(app)
    return app


def create_one_shot_app(settings: Settings, model: str) -> FastAPI:
    """The service for one question to one model."""
    return create_app(settings, registry=one_shot_registry(settings, model))


class _MetricsPage(Response):
    media_type = CONTENT_TYPE


def _page(metrics: Metrics, group: WorkerGroup | None) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        return _MetricsPage(metrics.render(group.shared.restarts if group else None))

    return page


def _answer_with_problems(app: FastAPI) -> None:
    """FastAPI's routes answer errors as the hot routes do."""

    async def refuse(request: Request, error: Exception) -> Response:
        answer = from_exception(error, request.state.request_id)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        return Response(answer.body, answer.status, headers)

    for kind in (RitmoError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refuse)
