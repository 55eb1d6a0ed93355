from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from service.api import app as application
from service.api.tracing import Tracing
from service.settings import Settings
from tests.service.api.harness import Harness

trace = pytest.importorskip("opentelemetry.sdk.trace.export", reason="the extra tracing is not installed")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans() -> Any:
    return memory.InMemorySpanExporter()


@pytest.fixture
async def client(spans: Any, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    def traced(endpoint: str) -> Tracing:
        return Tracing(endpoint, trace.SimpleSpanProcessor(spans))

    monkeypatch.setattr(application, "Tracing", traced)
    settings = Settings(traces_endpoint="http://collector:4318/v1/traces")
    app = application.create_app(settings, registry=harness.registry)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        yield client


def one(spans: Any) -> tuple[Any, Mapping[str, Any]]:
    [span] = spans.get_finished_spans()
    return span, span.attributes


async def test_a_request_to_a_model_is_a_span(client: httpx.AsyncClient, spans: Any) -> None:
    answer = await client.post("/forecast", json={"inputs": [{"target": [1, 2, 3]}]})
    span, attributes = one(spans)
    assert span.name == "POST /forecast"
    assert attributes["ritmo.request_id"] == answer.headers["x-request-id"]
    assert attributes["http.response.status_code"] == 200
    assert attributes["ritmo.model"] == "forecaster"
    assert {"ritmo.queue_ms", "ritmo.compute_ms"} <= attributes.keys()
    assert span.start_time <= span.end_time
    assert span.parent is None
    assert span.resource.attributes["service.name"] == "ritmo"


async def test_a_trace_of_the_caller_goes_on(client: httpx.AsyncClient, spans: Any) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    await client.post("/forecast", json={"inputs": [{"target": [1]}]}, headers=headers)
    span, _ = one(spans)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT


@pytest.mark.parametrize("value", ["none", "00-0-0-0", f"ff-{TRACE}-{PARENT}-01", "\xff"])
async def test_a_broken_trace_of_the_caller_is_no_fault(client: httpx.AsyncClient, spans: Any, value: str) -> None:
    headers = [(b"traceparent", value.encode("latin-1")), (b"content-type", b"application/json")]
    answer = await client.post("/forecast", content=b'{"inputs": [{"target": [1]}]}', headers=headers)
    span, _ = one(spans)
    assert (answer.status_code, span.parent) == (200, None)


async def test_a_refusal_is_a_span_without_times(client: httpx.AsyncClient, spans: Any) -> None:
    await client.post("/forecast", json={"inputs": [{"target": "x"}]})
    _, attributes = one(spans)
    assert attributes["http.response.status_code"] == 422
    assert "ritmo.queue_ms" not in attributes


async def test_other_routes_are_traced_too(client: httpx.AsyncClient, spans: Any) -> None:
    await client.get("/models")
    span, attributes = one(spans)
    assert "/models" in span.name
    assert attributes["http.route"] == "/models"
