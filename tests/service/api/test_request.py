from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message

from service.api.request import TLS_BYTES
from tests.pictures import drawn, encoded
from tests.service.api.harness import BODY, JSON, Harness, problem


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("trace-1.2:3/x", "trace-1.2:3/x"),
        ('a b"c\t', "abc"),
        ("x" * 500, "x" * 128),
        ("<script>", "script"),
    ],
)
async def test_the_callers_request_id_comes_back_without_harm(harness: Harness, header: str, name: str) -> None:
    response = await harness.forecast(BODY, **{"X-Request-ID": header})
    assert response.headers["x-request-id"] == name
    ordinary = await harness.client.get("/livez", headers={"X-Request-ID": header})
    assert ordinary.headers["x-request-id"] == name


async def test_requests_without_an_id_get_different_ones(harness: Harness) -> None:
    names = {(await harness.forecast(BODY)).headers["x-request-id"] for _ in range(3)}
    names.add((await harness.forecast(BODY, **{"X-Request-ID": '"'})).headers["x-request-id"])
    assert len(names) == 4


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "no Content-Type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "application/json"),
        ({"Content-Type": "text/plain"}, "application/json"),
        ({"Content-Type": "image/png"}, "application/json"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "compressed"),
    ],
)
async def test_media_types_that_are_not_read(harness: Harness, headers: dict[str, str], says: str) -> None:
    body = gzip.compress(json.dumps(BODY).encode()) if "Content-Encoding" in headers else json.dumps(BODY).encode()
    response = await harness.client.post("/forecast", content=body, headers=headers)
    assert says in problem(response, 415, "unsupported_media_type")["detail"]


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
async def test_media_types_that_are_json(harness: Harness, media_type: str) -> None:
    assert (await harness.forecast(BODY, **{"Content-Type": media_type})).status_code == 200


@pytest.mark.parametrize("media_type", [None, "application/octet-stream", "application/x-www-form-urlencoded"])
async def test_a_body_without_a_type_is_an_image_by_its_content(harness: Harness, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    response = await harness.client.post("/classify-digit", content=encoded(drawn()), headers=headers)
    assert response.status_code == 200
    response = await harness.client.post("/classify-digit", content=b"{}", headers=headers)
    assert "image/webp" in problem(response, 415, "unsupported_media_type")["detail"]


@pytest.mark.parametrize("media_type", ["image/jpg", "image/pjpeg", "image/x-ms-bmp", "image/heic"])
async def test_an_image_is_known_by_its_content(harness: Harness, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    response = await harness.client.post("/classify-digit", content=encoded(drawn()), headers=headers)
    assert response.status_code == 200


async def test_an_image_may_be_larger_than_other_bodies() -> None:
    harness = Harness(max_body_bytes=100, max_image_bytes=50_000)
    image = encoded(drawn(), "BMP")
    headers = {"Content-Type": "image/bmp"}
    assert 50_000 < len(image) < 100_000
    response = await harness.client.post("/classify-digit", content=image, headers=headers)
    problem(response, 413, "image_too_large")
    response = await harness.client.post("/classify-digit", content=image[:50_000], headers=headers)
    problem(response, 422, "bad_image")
    problem(await harness.forecast({"inputs": [{"target": [1] * 100}]}), 413, "body_too_large")


async def test_a_chunked_body_is_measured_as_it_arrives(harness: Harness) -> None:
    count = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal count
        while True:
            count += 10_000
            yield b" " * 10_000

    response = await harness.client.post("/forecast", content=endless(), headers=JSON)
    problem(response, 413, "body_too_large")
    assert count < 200_000


async def test_the_bodies_of_all_requests_are_bounded_together() -> None:
    harness = Harness(max_body_bytes=1000, max_held_bytes=50)

    async def pieces() -> AsyncIterator[bytes]:
        body = json.dumps(BODY).encode() + b" " * 60
        yield body[:20]
        yield body[20:]

    async with harness.app.router.lifespan_context(harness.app), harness.client:
        response = await harness.client.post("/forecast", content=pieces(), headers=JSON)
        assert "retry-after" in response.headers
        problem(response, 503, "queue_full")
        assert (await harness.forecast(BODY)).status_code == 200  # what was held was given back


@pytest.mark.parametrize(("scheme", "beside"), [("http", 0), ("https", TLS_BYTES)])
async def test_the_buffers_of_tls_are_counted_while_a_body_arrives(harness: Harness, scheme: str, beside: int) -> None:
    held: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        body = json.dumps(BODY).encode()
        for start in range(0, len(body), 10):
            yield body[start : start + 10]
            held.append(harness.app.state.budget.held_bytes)

    response = await harness.client.post(f"{scheme}://test/forecast", content=pieces(), headers=JSON)
    assert response.status_code == 200
    assert held[1] == beside + 20
    assert harness.app.state.budget.held_bytes == 0


async def test_bodies_in_one_message_are_counted_too() -> None:
    """One request is computed while another one arrives: both are held, and together they are too much."""
    body = json.dumps(BODY).encode() + b" " * 1000
    harness = Harness(max_held_bytes=2 * len(body) - 1)
    harness.forecaster.hold = asyncio.Event()
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        first = asyncio.create_task(harness.forecast(body))
        await harness.forecaster.waiting.wait()
        problem(await harness.forecast(body), 503, "queue_full")
        harness.forecaster.hold.set()
        assert (await first).status_code == 200
        assert (await harness.forecast(body)).status_code == 200


async def test_a_body_in_one_message_is_measured_whatever_was_declared(harness: Harness) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/forecast",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b" " * 100_001, "more_body": False}

    async def send(message: Message) -> None:
        answer.append(message)

    await harness.app(scope, receive, send)
    assert answer[0]["status"] == 413


async def test_the_smallest_deadline_wins(harness: Harness) -> None:
    for body_ms, header_ms, expected in [
        (None, None, 30),
        (5000, None, 5),
        (5000, 2000, 2),
        (2000, 5000, 2),
        (None, 1000, 1),
    ]:
        parameters = {"timeout_ms": body_ms} if body_ms else {}
        headers = {"X-Request-Timeout-Ms": str(header_ms)} if header_ms else {}
        start = time.monotonic()
        assert (await harness.forecast(BODY | {"parameters": parameters}, **headers)).status_code == 200
        assert harness.forecaster.deadline is not None
        assert start <= harness.forecaster.deadline - expected <= time.monotonic()


@pytest.mark.parametrize("header", ["0", "-1", "abc", "1.5", "", "9" * 30, "3600001", "²"])
async def test_a_deadline_that_is_none(harness: Harness, header: str) -> None:
    headers = {"X-Request-Timeout-Ms": header.encode("utf-8")} | JSON
    response = await harness.client.post("/forecast", json=BODY, headers=headers)  # type: ignore[arg-type]
    problem(response, 422, "out_of_range")


async def test_a_body_that_never_ends_meets_the_deadline(harness: Harness) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = await harness.client.post("/forecast", content=stalled(), headers=JSON | {"X-Request-Timeout-Ms": "30"})
    problem(response, 504, "deadline_exceeded")


async def interrupted_post(harness: Harness, body: bytes, *, by_client: bool = True) -> list[Message]:
    """POST over bare ASGI; once the model computes, the client closes the connection, or else the server stops."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/forecast",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    answer: list[Message] = []
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await (harness.forecaster.waiting if by_client else asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answer.append(message)

    request = asyncio.create_task(harness.app(scope, receive, send))
    if not by_client:
        await harness.forecaster.waiting.wait()
        request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    assert request.cancelled() is not by_client
    return answer


async def test_a_lost_connection_cancels_the_work(harness: Harness) -> None:
    harness.forecaster.hold = asyncio.Event()
    answer = await interrupted_post(harness, json.dumps(BODY).encode())
    assert answer == []
    assert harness.forecaster.cancelled.is_set()
    page = (await harness.client.get("/metrics")).text
    assert 'ritmo_requests_total{code="499",model="forecaster",route="/forecast"} 1.0' in page


async def test_a_request_that_the_stopping_server_cancels_may_be_sent_again(harness: Harness) -> None:
    harness.forecaster.hold = asyncio.Event()
    start, body = await interrupted_post(harness, json.dumps(BODY).encode(), by_client=False)
    assert start["status"] == 503
    assert json.loads(body["body"])["code"] == "draining"
    assert harness.forecaster.cancelled.is_set()


async def test_a_cancelled_request_stays_cancelled(harness: Harness) -> None:
    """Only a lost connection is handled here: a server that stops may cancel."""
    harness.forecaster.hold = asyncio.Event()
    task = asyncio.create_task(harness.forecast(BODY))
    await harness.forecaster.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_is_not_cancelled_while_the_connection_is_open(harness: Harness) -> None:
    harness.forecaster.hold = asyncio.Event()
    task = asyncio.create_task(harness.forecast(BODY))
    await harness.forecaster.waiting.wait()
    asyncio.get_running_loop().call_later(
        0.1, harness.forecaster.hold.set
    )  # past the moment when one looks for leavers
    assert (await task).status_code == 200
