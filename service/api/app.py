"""`create_app(settings)`: the application. Importing this module loads no model and reads no environment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.api.catalog import models_router
from service.api.dispatch import Application
from service.api.evaluation import AnomalyEndpoint, BacktestEndpoint
from service.api.health import health_router
from service.api.inference import ClassifyDigitEndpoint
from service.api.openapi import declare, problem_responses
from service.api.page import PrepareDigitEndpoint, page_router
from service.api.problems import from_exception
from service.api.request import BodyBudget
from service.api.request_metrics import RequestMetrics
from service.api.tables import ForecastEndpoint
from service.api.websockets import LiveConnections, LiveEndpoint
from service.api.wires.common import Pipeline
from service.api.wires.mcp import mcp_router
from service.api.wires.nixtla import nixtla_router
from service.api.wires.oip import oip_router
from service.api.wires.sagemaker import sagemaker_router
from service.codec.digits import DigitCodec
from service.codec.forecast import ForecastCodec
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
_WIRES = {"oip": oip_router, "sagemaker": sagemaker_router, "nixtla": nixtla_router, "mcp": mcp_router}
DESCRIPTION = "Recurrent networks, served: forecasts of series of any length, digits read row by row."


def create_app(
    settings: Settings | None = None, *, registry: Registry | None = None, group: WorkerGroup | None = None
) -> Application:
    """The service as an ASGI application; without arguments: settings from the environment, models from their folder.

    Models load in the background of the lifespan: `/readyz` says when they are ready, requests before that get 503.
    To stop it, `app.state.registry.drain()` makes it not ready while it still answers, and `app.state.streams.close()`
    closes the live connections. `group`: where several processes serve.
    """
    settings = settings or Settings()
    if registry is None:
        registry = make_registry(settings, Metrics(group.folder), group.digests) if group else make_registry(settings)
    metrics, budget = RequestMetrics(registry.metrics), BodyBudget(settings)
    pool = ThreadPoolExecutor(PREPARING_THREADS, thread_name_prefix="prepare")
    app = Application(
        budget,
        metrics,
        access_log=settings.access_log,
        title="Ritmo",
        version=version(),
        description=DESCRIPTION,
        lifespan=lambda _: _lifespan(registry, pool),
        redirect_slashes=False,  # a redirect would go to the host that the request names
    )
    app.state.registry = registry
    app.include_router(health_router(registry, problem_responses(("model_not_ready", "draining")), group))
    app.include_router(models_router(registry, settings, problem_responses(("model_not_found",))))
    page = _page(registry.metrics, group)
    app.add_api_route("/metrics", page, tags=["health"], summary="Prometheus", response_class=_MetricsPage)
    tokens = _state_tokens(settings, group)
    forecasts, digits = ForecastCodec(settings, tokens), DigitCodec(settings, tokens)
    app.endpoints["/forecast"] = ForecastEndpoint(forecasts, registry, settings, pool)
    app.endpoints["/backtest"] = BacktestEndpoint(forecasts, registry, settings, pool)
    app.endpoints["/anomalies"] = AnomalyEndpoint(forecasts, registry, settings, pool)
    app.endpoints["/classify-digit"] = ClassifyDigitEndpoint(digits, registry, settings, pool)
    pipeline = Pipeline(forecasts, digits, registry, settings, budget, pool)
    for name in settings.served_wires:
        app.include_router(_WIRES[name](pipeline))
    if settings.page == "on":
        app.include_router(page_router())
        app.endpoints["/prepare-digit"] = PrepareDigitEndpoint(digits, registry, settings, pool)
    connections = LiveConnections(settings.max_live_connections, registry.metrics.streams, metrics, budget)
    app.state.streams = connections
    for live in (
        LiveEndpoint("/forecast/stream", forecasts, registry, settings, pool, connections),
        LiveEndpoint("/classify-digit/stream", digits, registry, settings, pool, connections),
    ):
        app.live_endpoints[live.path] = live
    _answer_with_problems(app)
    declare(app)
    return app


def create_one_shot_app(settings: Settings, model: str) -> Application:
    """The application for one answer of one model: it loads no other."""
    return create_app(settings, registry=one_shot_registry(settings, model))


def _state_tokens(settings: Settings, group: WorkerGroup | None) -> StateTokens:
    """The state tokens; without configured keys, the processes of a group share a random one."""
    shared = [group.key] if group and not settings.secrets else []
    return StateTokens(settings.secrets or shared, settings.state_ttl_seconds, shared_random_key=bool(shared))


@contextlib.asynccontextmanager
async def _lifespan(registry: Registry, pool: Executor) -> AsyncIterator[None]:
    await registry.start()
    trimming = asyncio.create_task(trim_periodically())
    try:
        yield
    finally:
        trimming.cancel()
        await registry.close()
        pool.shutdown(wait=False, cancel_futures=True)


class _MetricsPage(Response):
    media_type = CONTENT_TYPE


def _page(metrics: Metrics, group: WorkerGroup | None) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        metrics.refresh()
        # In a thread: with several processes it reads the files of all of them.
        restarts = group.shared.restarts if group else None
        return _MetricsPage(await asyncio.to_thread(metrics.render, restarts))

    return page


def _answer_with_problems(app: Application) -> None:
    """FastAPI's routes answer errors as the direct routes do."""

    async def refuse(request: Request, error: Exception) -> Response:
        answer = from_exception(error, request.state.request_id)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        return Response(answer.body, answer.status, headers)

    for kind in (RitmoError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refuse)
