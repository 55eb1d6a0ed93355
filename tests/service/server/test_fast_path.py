"""Requests that are answered without a task: which ones are, and that a connection treats them like any other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Scope

from service.api.fast_path import MAX_BYTES
from service.api.problems import Answer
from service.server.http_protocol import Protocol
from tests.service.server.harness import HUGE, TIMEOUT, Application, Running, pause_reading, post, until

CLOSE = b"Connection: close"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


class Fast:
    """A request that is being answered."""

    request_id = "fast-1"

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.cancelled: list[Answer | None] = []

    def cancel(self, answer: Answer | None) -> None:
        self.cancelled.append(answer)
        if answer is not None:
            self.reply(answer.status, [*answer.headers, (b"content-length", b"%d" % len(answer.body))], answer.body)


class FastApplication(Application):
    """Answers all but `/slow` and `/large` without a task: `/later` when it is told to, the others at once."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[str, bytes]] = []
        self.later: list[Fast] = []

    def begin(self, scope: Scope, content: bytes, reply: Any) -> Fast | None:
        if scope["path"] in {"/slow", "/large", "/huge"}:
            return None
        self.begun.append((scope["path"], content))
        fast = Fast(reply)
        if scope["path"] == "/later":
            self.later.append(fast)
        else:
            reply(200, [(b"content-length", b"%d" % len(content))], content)
        return fast


@contextlib.asynccontextmanager
async def running_fast() -> AsyncIterator[tuple[Running, FastApplication]]:
    application = FastApplication()
    server = Running(Protocol, application=application)
    await server.start()
    try:
        yield server, application
    finally:
        await server.stop()


def only_connection(server: Running) -> Protocol:
    (connection,) = server.server.server_state.connections
    assert isinstance(connection, Protocol)
    return connection


@pytest.mark.parametrize(
    "pieces",
    [
        (post(b"/a", b"hello", CLOSE),),
        (post(b"/a", b"hello", CLOSE)[:-5], b"hello"),
        (post(b"/a", b"hello", CLOSE)[:20], 0.05, post(b"/a", b"hello", CLOSE)[20:-2], b"lo"),
        (post(b"/b", b"first"), 0.05, post(b"/a", b"hello", CLOSE)),
    ],
    ids=["at once", "body behind the head", "in pieces", "the second of a connection"],
)
async def test_a_small_request_takes_no_task(pieces: tuple[bytes | float, ...]) -> None:
    async with running_fast() as (server, application):
        received = await server.ask(*pieces)
        assert received.endswith(b"\r\n\r\nhello")
        assert b"\r\nconnection: close\r\n" in received
        assert application.begun[-1] == ("/a", b"hello")
        assert application.scopes == []
        assert server.budget.held_bytes == 0


@pytest.mark.parametrize(
    "pieces",
    [
        (post(b"/a", b"hello", CLOSE)[:-5], 0.1, b"hello"),
        (post(b"/a", b"hello", b"Expect: 100-continue", CLOSE)[:-5], 0.05, b"hello"),
        (CHUNKED, 0.05, b"5\r\nhello\r\n0\r\n\r\n"),
        (post(b"/slow", b"hello", CLOSE),),
    ],
    ids=["a body that comes late", "a body that waits to be asked for", "a body without a length", "declined"],
)
async def test_any_other_request_takes_one(pieces: tuple[bytes | float, ...]) -> None:
    async with running_fast() as (server, application):
        assert (await server.ask(*pieces)).endswith(b"b'hello']")
        assert application.begun == []
        assert server.budget.held_bytes == 0


async def test_a_large_body_takes_a_task() -> None:
    async with running_fast() as (server, application):
        for size in (MAX_BYTES, MAX_BYTES + 1):
            await server.ask(post(b"/a", b"x" * size, CLOSE))
        assert [len(content) for _, content in application.begun] == [MAX_BYTES]
        assert len(application.scopes) == 1


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with running_fast() as (server, _):
        received = await server.ask(post(b"/a", b"1") + post(b"/a", b"2"), 0.05, post(b"/a", b"3") + LAST)
        positions = [received.index(body) for body in (b"b'1']", b"b'2']", b"b'3']", b"/last")]
        assert positions == sorted(positions)


async def test_a_request_behind_one_that_is_computed_waits_for_it() -> None:
    async with running_fast() as (server, application), asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(b"/later", b"1"))
        await until(lambda: bool(application.later))
        writer.write(post(b"/a", b"2"))
        await until(lambda: bool(only_connection(server).pipeline))
        application.later[0].reply(200, [(b"content-length", b"5")], b"first")
        received = await reader.readuntil(b"b'2']")
        assert received.index(b"first") < received.index(b"/a")
        writer.close()


async def test_a_lost_connection_cancels_what_is_computed() -> None:
    async with running_fast() as (server, application), asyncio.timeout(TIMEOUT):
        _, writer = await server.connect()
        writer.write(post(b"/later", b"1"))
        await until(lambda: bool(application.later))
        writer.transport.abort()
        await until(lambda: bool(application.later[0].cancelled))
        assert application.later[0].cancelled == [None]


async def test_a_client_that_leaves_before_its_body_is_noticed_by_a_task() -> None:
    async with running_fast() as (server, application), asyncio.timeout(TIMEOUT):
        _, writer = await server.connect()
        writer.write(post(b"/a", b"hello")[:-5])
        await until(lambda: bool(server.server.server_state.connections) and bool(only_connection(server).scope))
        writer.transport.abort()
        await until(lambda: bool(application.scopes))
        assert application.begun == []


async def test_what_is_computed_is_answered_when_the_server_can_wait_no_longer() -> None:
    async with running_fast() as (server, application), asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        writer.write(post(b"/later", b"1"))
        await until(lambda: bool(application.later))
        only_connection(server).drain()
        only_connection(server).cut()
        received = await reader.read()
        assert b"HTTP/1.1 503" in received
        assert b'"draining"' in received
        assert b"\r\nconnection: close\r\n" in received
        writer.close()


async def test_a_client_that_does_not_read_is_not_answered_past_its_buffer() -> None:
    async with running_fast() as (server, application), asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        pause_reading(writer)
        writer.write(post(b"/huge"))
        await until(lambda: bool(server.server.server_state.connections))
        await until(lambda: only_connection(server).flow.write_paused)
        writer.write(post(b"/a", b"hello", CLOSE))
        await until(lambda: len(application.scopes) == 2)
        assert application.begun == []
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        received = await reader.read()
        assert len(received) > HUGE
        assert received.endswith(b"b'hello']")
        writer.close()
