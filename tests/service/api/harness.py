"""An application with fake models, and a client of it over ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from service.api.app import create_app
from service.api.dispatch import Application
from service.settings import Settings
from tests.fakes import FakeModel, FakeRegistry, as_registry, manifest

JSON = {"Content-Type": "application/json"}
BODY = {"inputs": [{"target": [1, 2, 3]}]}
ROW = [0] * 27 + [1]
DIGIT = {"inputs": [{"rows": [ROW] * 3}]}


class Harness:
    """An application, its fake models and a client."""

    def __init__(self, **changes: Any) -> None:
        self.forecaster = FakeModel(manifest("forecaster", context=50))
        self.linear = FakeModel(manifest("linear", min_length=50, max_length=50, missing=False))
        self.digits = FakeModel(manifest("digits", "classify-digit"))
        self.registry = FakeRegistry(self.forecaster, self.linear, self.digits)
        self.settings = Settings(**changes)
        self.app: Application = create_app(self.settings, registry=as_registry(self.registry))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test")

    async def forecast(self, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post("/forecast", content=content, headers=JSON | headers)

    async def classify(self, body: Any) -> httpx.Response:
        return await self.client.post("/classify-digit", json=body)

    def metric(self, sample: str) -> float:
        """The sum of the lines of the metrics page that begin with `sample`."""
        lines = self.registry.metrics.render().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(sample))


def receiver(body: bytes, departure: asyncio.Event) -> Callable[[], Awaitable[Any]]:
    """The `receive` of a request with that body, whose client leaves at its `departure`."""
    bodies = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        if bodies:
            return bodies.pop()
        await departure.wait()
        return {"type": "http.disconnect"}

    return receive


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that `response` is, checked for its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["request_id"] == response.headers["x-request-id"]
    assert len(document["errors"]) <= 10
    return document
