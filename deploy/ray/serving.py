"""The service on Ray Serve: the same application in every replica, behind Ray's proxies.

    serve run deploy.ray.serving:application

Settings are those of the service (`RITMO_…`), in the environment of the nodes. With `RITMO_STATE_KEYS` every replica
continues what any other began, so requests need no affinity. See docs/ray.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, BackpressureConfig
from ray.util.metrics import Gauge

from deploy.ray.scaling import QUEUED_WORK
from service.api.app import create_app
from service.registry.registry import Registry
from service.settings import Settings

REPORT_SECONDS = 5.0  # between two copies of a replica's metrics to Ray's
MAX_ONGOING = 512  # requests in a replica: with Ray's default of 5 no batch would ever be full
MAX_QUEUED = 2048  # requests that wait in a proxy; beyond: 503 with Retry-After


class MetricsCopy:
    """The numbers of a replica's own page of metrics as Ray's, which its nodes export for each replica."""

    def __init__(self, registry: Registry) -> None:
        self._metrics = registry.metrics
        self._gauges: dict[str, Gauge] = {}

    def update(self) -> None:
        """Copy all samples; those of histograms and counters too, which Prometheus does not tell from gauges."""
        self._metrics.refresh()
        for family in self._metrics.collect():
            for sample in family.samples:
                gauge = self._gauges.get(sample.name)
                if gauge is None:
                    labels = tuple(sample.labels)
                    gauge = self._gauges[sample.name] = Gauge(sample.name, family.documentation, tag_keys=labels)
                gauge.set(sample.value, tags=dict(sample.labels))


@contextlib.asynccontextmanager
async def ready_when_loaded(app: FastAPI) -> AsyncIterator[None]:
    """The application's lifespan, which begins when its models are loaded: a replica counts as started from then on."""
    async with app.state.lifespan(app):
        registry: Registry = app.state.registry
        await registry.loaded()
        copying = asyncio.create_task(_copy_metrics(MetricsCopy(registry)))
        try:
            yield
        finally:
            copying.cancel()


async def _copy_metrics(copy: MetricsCopy) -> None:
    while True:
        copy.update()
        await asyncio.sleep(REPORT_SECONDS)


@serve.ingress()
class Ritmo:
    """A replica; Ray calls all its methods on the event loop that serves."""

    def __init__(self, version: str = "") -> None:
        """`version`: of the roll-out; with another one, Ray replaces all replicas."""
        self._version = version

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, made in the replica, so that nothing of it travels."""
        app = create_app(Settings())
        app.state.lifespan = app.router.lifespan_context
        app.router.lifespan_context = ready_when_loaded
        self._registry: Registry = app.state.registry
        return app

    async def check_health(self) -> None:
        """Ray replaces a replica whose check fails three times, or does not answer."""
        health = self._registry.health()
        if not health.ready:
            raise RuntimeError("; ".join(health.reasons))

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `deploy.ray.scaling` decides by."""
        return {QUEUED_WORK: self._registry.queued_work_seconds}


def build(arguments: dict[str, str]) -> serve.Application:
    """The deployment; `replicas` fixes their number, `version` rolls out, `cpus` is what one replica is counted as."""
    replicas = arguments.get("replicas")
    scaling = AutoscalingConfig(
        min_replicas=1,
        max_replicas=int(arguments.get("max_replicas", "4")),
        look_back_period_s=float(arguments.get("look_back_seconds", "10")),
        metrics_interval_s=1.0,
        upscale_delay_s=float(arguments.get("upscale_seconds", "5")),
        downscale_delay_s=300.0,
        policy=AutoscalingPolicy(policy_function="deploy.ray.scaling:replicas_for_queued_work"),
    )
    settings = Settings()
    deployment = serve.deployment(
        Ritmo,
        name="ritmo",
        num_replicas=int(replicas) if replicas else None,
        autoscaling_config=None if replicas else scaling,
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=MAX_QUEUED,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        health_check_period_s=2.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=1.0,
        graceful_shutdown_timeout_s=settings.drain_delay_seconds + settings.drain_seconds + 5,
        ray_actor_options={
            "num_cpus": float(arguments.get("cpus", "1")),
            "runtime_env": {
                "env_vars": {name: value for name, value in os.environ.items() if name.startswith("RITMO_")}
            },
        },
    )
    return deployment.bind(arguments.get("version", ""))


application = build
