from __future__ import annotations

import asyncio
import json
import logging
import threading

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.types import Message, Scope

from tests.service.api.harness import BODY, Harness, problem


async def test_an_unexpected_failure_is_logged_and_not_revealed(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.forecaster.error = RuntimeError("the secret")
    with caplog.at_level(logging.ERROR):
        response = await harness.forecast(BODY, **{"X-Request-ID": "find-me"})
    problem(response, 500, "internal_error")
    assert "secret" not in response.text
    (record,) = caplog.records
    assert record.__dict__["request_id"] == "find-me"
    assert "the secret" in caplog.text
    harness.forecaster.error = None
    assert (await harness.forecast(BODY)).status_code == 200


async def test_where_memory_runs_out_the_request_may_come_again(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.forecaster.error = MemoryError("8 GB")
    problem(await harness.forecast(BODY), 503, "queue_full")
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_failure_of_an_ordinary_route(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.registry.served = None  # type: ignore[assignment]
    response = await harness.client.get("/models", headers={"X-Request-ID": "find-me"})
    problem(response, 500, "internal_error")
    assert caplog.records[0].__dict__["request_id"] == "find-me"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_direct_routes_take_post_alone(harness: Harness, method: str) -> None:
    response = await harness.client.request(method, "/forecast")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/nothing", "/forecast/", "/forecast//", "/%00"])
async def test_unknown_routes(harness: Harness, path: str) -> None:
    problem(await harness.client.post(path), 404, "route_not_found")


async def test_wrong_methods(harness: Harness) -> None:
    response = await harness.client.post("/models")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"


async def test_metrics_count_by_route_and_status_and_never_by_id(harness: Harness) -> None:
    await harness.forecast(BODY)
    await harness.forecast(b"")
    await harness.client.get("/models/linear")
    await harness.client.get("/a-path-of-the-callers-own")
    response = await harness.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    assert 'ritmo_requests_total{code="200",model="forecaster",route="/forecast"} 1.0' in lines
    assert 'ritmo_requests_total{code="400",model="",route="/forecast"} 1.0' in lines
    assert 'ritmo_requests_total{code="200",model="",route="/models/{name}"} 1.0' in lines
    assert 'ritmo_requests_total{code="404",model="",route="other"} 1.0' in lines
    assert 'ritmo_request_seconds_count{route="/forecast"} 2.0' in lines
    assert "own" not in response.text


async def test_the_access_log_is_off_unless_asked_for(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await harness.forecast(BODY)
    assert "request" not in [record.message for record in caplog.records]
    talkative = Harness(access_log=True)
    async with talkative.app.router.lifespan_context(talkative.app), talkative.client:
        await talkative.forecast(BODY, **{"X-Request-ID": "me"})
        await talkative.client.get("/livez")
    first, second = [record.__dict__ for record in caplog.records if record.message == "request"]
    assert (first["request_id"], first["path"], first["status"], first["model"]) == (
        "me",
        "/forecast",
        200,
        "forecaster",
    )
    assert first["duration_ms"] > 0
    assert first["client"] == second["client"] == "127.0.0.1"
    assert (second["path"], second["method"]) == ("/livez", "GET")


async def test_the_application_can_be_mounted_below_a_path(harness: Harness) -> None:
    outer = FastAPI()
    outer.mount("/ritmo", harness.app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://test") as client:
        assert (await client.post("/ritmo/forecast", json=BODY)).status_code == 200
        assert (await client.get("/ritmo/livez")).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/models"])
async def test_head_is_get_without_the_body(harness: Harness, path: str) -> None:
    head, get = await harness.client.head(path), await harness.client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert "x-request-id" in head.headers
    assert harness.metric(f'ritmo_requests_total{{code="200",model="",route="{path}"}}') == 2


async def test_nothing_redirects_to_the_host_that_a_request_names(harness: Harness) -> None:
    for path in ("/models/", "/livez/"):
        problem(await harness.client.get(path, headers={"Host": "evil.example"}), 404, "route_not_found")


async def test_metrics_are_rendered_off_the_event_loop(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    render = harness.registry.metrics.render

    def recorded(restarts: int | None = None) -> bytes:
        threads.append(threading.get_ident())
        return render(restarts)

    monkeypatch.setattr(harness.registry.metrics, "render", recorded)
    assert (await harness.client.get("/metrics")).status_code == 200
    assert threads
    assert threading.get_ident() not in threads


async def test_a_route_that_is_cancelled_says_that_the_service_stops(harness: Harness) -> None:
    """The server cancels what takes longer than it waits at a stop."""
    sent: list[Message] = []
    never = asyncio.Event()

    async def wait(request: Request) -> None:
        await never.wait()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    harness.app.add_api_route("/wait", wait)
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/wait",
        "raw_path": b"/wait",
        "query_string": b"",
        "headers": [],
    }
    scope.update({"root_path": "", "http_version": "1.1", "scheme": "http", "client": None, "server": None})
    answering = asyncio.ensure_future(harness.app(scope, receive, send))
    await asyncio.sleep(0.05)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["code"] == "draining"
