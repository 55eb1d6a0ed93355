"""What the management port serves, without the port."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.management import create_management_app
from service.runtime.worker_group import ModelSet, SharedNumbers, WorkerGroup
from tests.fakes import FakeModel, FakeRegistry, as_registry, manifest
from tests.service.api.harness import problem


class Managed:
    """The application, its registry, and how long the event loop that serves has been silent."""

    def __init__(self, group: WorkerGroup | None = None) -> None:
        self.seconds = 0.0
        self.registry = FakeRegistry(FakeModel(manifest("forecaster")))
        app = create_management_app(as_registry(self.registry), lambda: self.seconds, group)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")

    async def get(self, path: str, **headers: Any) -> httpx.Response:
        return await self.client.get(path, headers={"X-Request-ID": "mine"} | headers)


async def test_alive_is_who_turns() -> None:
    managed = Managed()
    for seconds in (0.0, 10.0):
        managed.seconds = seconds
        assert (await managed.get("/livez")).json() == {"status": "alive"}
    managed.seconds = 10.1
    response = await managed.get("/livez")
    assert (response.status_code, response.json()["code"]) == (503, "unresponsive")
    assert "10 s" in response.json()["detail"]
    assert response.json()["request_id"] == "mine"


async def test_readiness_is_that_of_the_service() -> None:
    managed = Managed()
    assert (await managed.get("/readyz")).json()["status"] == "ready"
    managed.registry.is_ready = False
    assert (await managed.get("/readyz")).json()["code"] == "model_not_ready"
    managed.registry.drain()
    assert (await managed.get("/readyz")).json()["code"] == "draining"


async def test_the_numbers_are_those_that_the_serving_loop_left() -> None:
    managed = Managed()
    managed.registry.metrics.streams.set(3)
    page = await managed.get("/metrics")
    assert "ritmo_streams 3.0" in page.text
    assert page.headers["content-type"].startswith("text/plain")
    assert "ritmo_process_restarts_total" not in page.text


async def test_restarts_of_processes_are_among_them(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    shared = SharedNumbers(context, 1)
    shared.restarts = 2
    managed = Managed(WorkerGroup(0, tmp_path, b"", shared, ModelSet(context, {}), {}))
    assert "ritmo_process_restarts_total 2.0" in (await managed.get("/metrics")).text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_head_is_answered(path: str) -> None:
    assert (await Managed().client.head(path)).status_code == 200


@pytest.mark.parametrize("path", ["/forecast", "/models", "/docs", "/openapi.json", "/livez/"])
async def test_nothing_else_is_there(path: str) -> None:
    response = await Managed().get(path)
    response.headers["x-request-id"] = "mine"
    problem(response, 404, "route_not_found")
