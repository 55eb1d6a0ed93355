"""`create_app(settings)`: the application. Importing this module loads no model and reads no environment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from fastapi import Response

from service.api.access import Access
from service.api.accounts import KeyRing
from service.api.audit import AuditLog
from service.api.byte_budget import ByteBudget
from service.api.catalog import limits_of, models_router
from service.api.clients import ClientFinder
from service.api.dispatch import Application, failure
from service.api.evaluation import AnomalyEndpoint, BacktestEndpoint
from service.api.health import health_router
from service.api.inference import InferenceEndpoint
from service.api.openapi import declare, problem_responses
from service.api.page import PrepareDigitEndpoint, docs_router, page_router
from service.api.problems import answer_with_problems
from service.api.repository import CODES as MANAGEMENT_CODES
from service.api.repository import management_router, oip_repository_router
from service.api.request_metrics import RequestMetrics
from service.api.request_recorder import RequestRecorder
from service.api.single_forecasts import SingleForecasts
from service.api.tables import ForecastEndpoint
from service.api.thread_pools import new_pool
from service.api.tracing import NO_TELEMETRY, Tracing
from service.api.websockets import LiveConnections, LiveEndpoint
from service.api.wires.common import Pipeline
from service.api.wires.mcp import mcp_router
from service.api.wires.nixtla import nixtla_router
from service.api.wires.oip import oip_router
from service.api.wires.refusals import reworded
from service.api.wires.sagemaker import sagemaker_router
from service.codec.digits import DigitCodec
from service.codec.forecast import ForecastCodec
from service.codec.state_tokens import StateTokens
from service.metrics.page import CONTENT_TYPE, Metrics
from service.registry.control import GroupControl, LocalControl, ModelControl
from service.registry.factory import make_registry, one_shot_registry
from service.registry.registry import Registry
from service.runtime import compiled
from service.runtime.allowances import Allowances
from service.runtime.descriptors import max_connections
from service.runtime.fair_pool import FairPool
from service.runtime.key_file import read_secrets
from service.runtime.malloc import trim_periodically
from service.runtime.version import version
from service.runtime.watched_file import WatchedFiles, watch
from service.runtime.worker_group import WorkerGroup
from service.settings import MIN_KEY_BYTES, Settings

# Work that must not hold up the event loop: large bodies and answers, for which two threads would only contend for the
# interpreter, and pictures, most of which is done without it.
TEXT_THREADS, PICTURE_THREADS = 1, 2
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
    compiled.in_use = compiled.chosen(settings.compiled)
    if registry is None:
        registry = make_registry(settings, Metrics(group.folder), group) if group else make_registry(settings)
    control = _model_control(settings, registry, group)
    metrics, budget = RequestMetrics(registry.metrics), ByteBudget(settings.max_held_bytes)
    texts = new_pool(TEXT_THREADS, settings.max_queue_seconds, "text")
    pictures = new_pool(PICTURE_THREADS, settings.max_queue_seconds, "picture")
    clients = ClientFinder(settings.proxies)
    keys = _key_ring(settings, group)
    audit = AuditLog(settings.audit_log) if settings.audit_log else None
    tokens = _state_tokens(settings, group)
    files = _watched_files(settings, keys, tokens)
    tracing = Tracing(settings.traces_endpoint) if settings.traces_endpoint else None
    access = Access(settings.hosts, settings.origins, keys)
    app = Application(
        budget,
        RequestRecorder(metrics, clients, access_log=settings.access_log, audit=audit, tracing=tracing),
        clients,
        access=access,
        origins=settings.origins,
        telemetry=tracing.telemetry() if tracing else NO_TELEMETRY,
        title="Ritmo",
        version=version(),
        description=DESCRIPTION,
        lifespan=lambda _: _lifespan(registry, control, (texts, pictures), files, audit, tracing),
        redirect_slashes=False,  # a redirect would go to the host that the request names
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere
        redoc_url=None,
    )
    registry.metrics.watch_held_bytes(lambda: budget.held_bytes)
    app.state.registry, app.state.control = registry, control
    app.state.budget, app.state.request_metrics = budget, metrics
    app.include_router(health_router(registry, problem_responses(("model_not_ready", "draining")), group))
    no_query, unknown = problem_responses(("unknown_field",)), problem_responses(("model_not_found",))
    app.include_router(models_router(registry, settings, no_query, unknown))
    page = _page(registry.metrics, group)
    app.add_api_route("/metrics", page, tags=["health"], summary="Prometheus", response_class=_MetricsPage)
    forecasts, digits = ForecastCodec(settings, tokens), DigitCodec(settings, tokens)
    forecasting = ForecastEndpoint(forecasts, registry, settings, texts)
    app.endpoints["/forecast"] = app.fast_endpoints["/forecast"] = forecasting
    app.endpoints["/backtest"] = BacktestEndpoint(forecasts, registry, settings, texts)
    app.endpoints["/anomalies"] = AnomalyEndpoint(forecasts, registry, settings, texts)
    app.single_forecasts = _single_forecasts(app, forecasts, registry, settings, access)
    reading = InferenceEndpoint(digits, registry, settings, texts, pictures)
    app.endpoints["/classify-digit"] = app.fast_endpoints["/classify-digit"] = reading
    pipeline = Pipeline(forecasts, digits, registry, settings, budget, texts, pictures, clients)
    for name in settings.served_wires:
        app.include_router(_WIRES[name](pipeline))
    app.include_router(docs_router())
    if settings.models_may_be_managed:
        problems = problem_responses(MANAGEMENT_CODES)
        limits = limits_of(settings)
        app.include_router(management_router(registry, control, limits, problems))
        if "oip" in settings.served_wires:
            app.include_router(oip_repository_router(control))
    if settings.page == "on":
        app.include_router(page_router())
        app.endpoints["/prepare-digit"] = PrepareDigitEndpoint(digits, registry, settings, texts, pictures)
    connections = LiveConnections(
        min(settings.max_live_connections, max_connections() * 3 // 4),
        registry.metrics.streams,
        metrics,
        budget,
        clients,
        audit,
    )
    app.state.streams = connections
    for live in (
        LiveEndpoint("/forecast/stream", forecasts, registry, settings, texts, texts, connections),
        LiveEndpoint("/classify-digit/stream", digits, registry, settings, texts, pictures, connections),
    ):
        app.live_endpoints[live.path] = live
    answer_with_problems(app, [*app.endpoints, "/models", "/metrics", "/livez", "/readyz", "/docs"], reworded)
    declare(app)
    return app


def create_one_shot_app(settings: Settings, model: str) -> Application:
    """The application for one answer of one model: it loads no other, and no other process can reach it."""
    alone = settings.model_copy(update=dict.fromkeys(("api_keys", "allowed_hosts", "audit_log")))
    return create_app(alone, registry=one_shot_registry(alone, model))


def _single_forecasts(
    app: Application, codec: ForecastCodec, registry: Registry, settings: Settings, access: Access
) -> SingleForecasts | None:
    """The shortest way of a forecast, where nothing more is to be known of a request than its body."""
    needs_more = settings.access_log or settings.audit_log or settings.traces_endpoint or settings.origins
    if compiled.in_use is None or needs_more or settings.proxies:
        return None
    return SingleForecasts(
        compiled.in_use, codec, registry, settings, access, app.state.budget, app.state.request_metrics, failure
    )


def _key_ring(settings: Settings, group: WorkerGroup | None) -> KeyRing | None:
    """The API keys, where they are in use; their limits hold for all processes of a group together."""
    if settings.api_keys is None:
        return None
    if group is None:
        return KeyRing(settings.api_keys)
    allowances = Allowances(group.shared.allowances, group.index, group.folder / "allowances.lock")
    return KeyRing(settings.api_keys, allowances, group.folder / "keys.json")


def _watched_files(settings: Settings, keys: KeyRing | None, tokens: StateTokens) -> list[WatchedFiles]:
    """The files of secrets, which are read now, and again when they change; raises `UnusableFile`."""
    files = []
    if keys is not None:
        files.append(WatchedFiles("API keys", [keys.path], keys.load))
    path = settings.state_keys_file
    if path is not None:

        def load_state_keys(path: Path = path) -> None:
            tokens.change_keys(read_secrets(path, MIN_KEY_BYTES))

        files.append(WatchedFiles("keys of state tokens", [path], load_state_keys))
    return files


def _state_tokens(settings: Settings, group: WorkerGroup | None) -> StateTokens:
    """The state tokens; without configured keys, the processes of a group share a random one."""
    shared = [group.key] if group and not settings.secrets and not settings.state_keys_file else []
    return StateTokens(settings.secrets or shared, settings.state_ttl_seconds, shared_random_key=bool(shared))


def _model_control(settings: Settings, registry: Registry, group: WorkerGroup | None) -> ModelControl:
    if group is not None and group.connection is not None:
        return GroupControl(registry, group, group.connection)
    return LocalControl(registry, settings.models, settings.model_versions)


@contextlib.asynccontextmanager
async def _lifespan(
    registry: Registry,
    control: ModelControl,
    pools: Sequence[FairPool],
    files: Sequence[WatchedFiles],
    audit: AuditLog | None,
    tracing: Tracing | None,
) -> AsyncIterator[None]:
    await registry.start()
    control.start()
    tasks = [asyncio.create_task(trim_periodically()), asyncio.create_task(watch(files))]
    if audit is not None:
        tasks.append(asyncio.create_task(audit.run()))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if audit is not None:
            audit.flush()
        await registry.close()
        for pool in pools:
            pool.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)


class _MetricsPage(Response):
    media_type = CONTENT_TYPE


def _page(metrics: Metrics, group: WorkerGroup | None) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        metrics.refresh()
        # In a thread: with several processes it reads the files of all of them.
        restarts = group.shared.restarts if group else None
        return _MetricsPage(await asyncio.to_thread(metrics.render, restarts))

    return page
