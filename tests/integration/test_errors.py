"""Bad input over a real port: each gets its documented answer, none a 500, and the service lives on."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.integration.servers import Server, computing, until
from tests.pictures import drawn, encoded

JSON = "application/json"
PNG = encoded(drawn())


UPGRADE = (  # of a page of another origin
    b"GET /forecast/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: %s\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def series(text: str) -> bytes:
    return b'{"inputs": [{"target": [' + text.encode() + b"]}]}"


FAULTS: list[tuple[str, str, str | None, bytes, int, str]] = [
    ("NaN", "/forecast", JSON, series("NaN"), 422, "not_finite"),
    ("infinity", "/forecast", JSON, series("-Infinity"), 422, "not_finite"),
    ("1e400", "/forecast", JSON, series("1e400"), 422, "not_finite"),
    ("a string", "/forecast", JSON, series('"1.5"'), 422, "wrong_type"),
    ("a boolean", "/forecast", JSON, series("true"), 422, "wrong_type"),
    ("an empty series", "/forecast", JSON, series(""), 422, "out_of_range"),
    ("nothing but missing values", "/forecast", JSON, series("null, null"), 422, "out_of_range"),
    ("no series", "/forecast", JSON, b'{"inputs": []}', 422, "out_of_range"),
    ("an unknown field", "/forecast", JSON, b'{"inputs": [{"target": [1]}], "paramaters": {}}', 422, "unknown_field"),
    (
        "an unknown model",
        "/forecast",
        JSON,
        b'{"model": "forcaster", "inputs": [{"target": [1]}]}',
        404,
        "model_not_found",
    ),
    (
        "an unknown version",
        "/forecast",
        JSON,
        b'{"model": "lstm@9", "inputs": [{"target": [1]}]}',
        404,
        "version_not_found",
    ),
    ("5 MB", "/forecast", JSON, series(",".join(["1234567.8"] * 500_000)), 413, "body_too_large"),
    ("a long series", "/forecast", JSON, series(",".join(["1"] * 100_001)), 413, "series_too_long"),
    (
        "many series",
        "/forecast",
        JSON,
        b'{"inputs": [' + b",".join([b'{"target":[1]}'] * 1025) + b"]}",
        413,
        "too_many_items",
    ),
    ("truncated JSON", "/forecast", JSON, b'{"inputs": [{"target": [1', 400, "malformed_json"),
    ("deep JSON", "/forecast", JSON, b'{"inputs": ' + b"[" * 100_000, 400, "malformed_json"),
    ("Latin-1", "/forecast", JSON, '{"model": "é"}'.encode("latin-1"), 400, "bad_encoding"),
    ("no Content-Type", "/forecast", None, series("1"), 415, "unsupported_media_type"),
    ("a form", "/forecast", "application/x-www-form-urlencoded", series("1"), 415, "unsupported_media_type"),
    (
        "29-wide rows",
        "/classify-digit",
        JSON,
        b'{"inputs": [{"rows": [[' + b",".join([b"0"] * 29) + b"]]}]}",
        422,
        "wrong_row_width",
    ),
    ("no rows", "/classify-digit", JSON, b'{"inputs": [{"rows": []}]}', 422, "out_of_range"),
    ("a corrupted PNG", "/classify-digit", "image/png", PNG[:200] + b"\0\0\0\0" + PNG[204:], 422, "bad_image"),
    ("a truncated PNG", "/classify-digit", "image/png", PNG[: len(PNG) // 2], 422, "bad_image"),
    ("no image", "/classify-digit", "image/png", b"hello", 422, "bad_image"),
    ("a blank image", "/classify-digit", "image/png", encoded(drawn(" ")), 422, "blank_image"),
    ("an unknown route", "/forecasts", JSON, b"{}", 404, "route_not_found"),
]


def check(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["code"] == code
    assert document["request_id"] == response.headers["x-request-id"]
    return document


async def alive(client: httpx.AsyncClient) -> None:
    response = await client.post("/forecast", json={"inputs": [{"target": [1, 2, 3]}]})
    assert response.status_code == 200
    assert response.json()["predictions"][0]["mean"] == [2.0]


@pytest.mark.parametrize(
    ("path", "media_type", "body", "status", "code"),
    [fault[1:] for fault in FAULTS],
    ids=[fault[0] for fault in FAULTS],
)
async def test_bad_input(
    client: httpx.AsyncClient, path: str, media_type: str | None, body: bytes, status: int, code: str
) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    check(await client.post(path, content=body, headers=headers), status, code)
    await alive(client)


async def test_no_answer_is_taken_for_another_type(server: Server, client: httpx.AsyncClient) -> None:
    """What the application answers, whatever route or none, and what the protocol refuses before it."""
    for path in ("/", "/docs", "/metrics", "/models", "/livez", "/forecast", "/nowhere"):
        for method in ("GET", "HEAD", "OPTIONS", "POST"):
            answer = await client.request(method, path)
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"], (method, path)
    for refused in (b"no request\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", UPGRADE % b"https://a.example"):
        reader, writer = await raw(server, refused)
        refusal = await reader.read(10_000)
        writer.close()
        await writer.wait_closed()
        assert b"\r\nx-content-type-options: nosniff\r\n" in refusal.lower(), refusal


async def test_the_nearest_name_is_suggested(client: httpx.AsyncClient) -> None:
    response = await client.post("/forecast", json={"model": "forcaster", "inputs": [{"target": [1]}]})
    assert "'forecaster'" in check(response, 404, "model_not_found")["detail"]


async def test_a_chunked_body_without_end(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 100_000

    response = await client.post("/forecast", content=endless(), headers={"Content-Type": JSON})
    check(response, 413, "body_too_large")
    await alive(client)


async def raw(server: Server, *pieces: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which `pieces` were sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    return reader, writer


def head(length: int, *headers: str) -> bytes:
    lines = ["POST /forecast HTTP/1.1", "Host: test", f"Content-Type: {JSON}", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_a_body_in_pieces(server: Server) -> None:
    body = json.dumps({"inputs": [{"target": [1, 2, 3]}]}).encode()
    reader, writer = await raw(server, head(len(body), "Connection: close"), body[:5], body[5:])
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_a_body_that_does_not_come_meets_the_deadline(server: Server) -> None:
    reader, writer = await raw(server, head(100, "X-Request-Timeout-Ms: 100", "Connection: close"), b"{")
    assert b"504" in (await reader.read()).splitlines()[0]
    writer.close()


async def test_a_client_that_leaves_is_noticed(server: Server, client: httpx.AsyncClient) -> None:
    """The series take seconds; the client resets the connection while they are computed.

    A client that only closes its side may still wait for its answer (a half-closed connection).
    """
    body = json.dumps({"inputs": [{"target": [1.0] * 100_000}] * 3}).encode()
    _, writer = await raw(server, head(len(body)), body)
    line = 'ritmo_requests_total{code="499",model="forecaster",route="/forecast"}'
    assert line not in (await client.get("/metrics")).text
    await computing(client, items=3)
    reset = struct.pack("ii", 1, 0)  # lingering for no time: closing sends a reset
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    writer.close()

    async def counted() -> bool:
        return line in (await client.get("/metrics")).text

    await until(counted)
    await alive(client)


async def test_no_request_of_this_file_was_a_failure(server: Server, client: httpx.AsyncClient) -> None:
    """Runs last in this file: no request to this server ended in a 500, and no traceback was logged."""
    page = (await client.get("/metrics")).text
    assert 'code="500"' not in page
    assert [entry for entry in server.log() if entry["level"] in {"error", "critical"}] == []
