"""Answers over TLS, of uvloop's, that their clients read slowly, or not at all."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from service.api.request import TLS_BYTES
from service.server.http_protocol import Protocol
from service.settings import Settings
from tests.service.server.harness import HUGE, LARGE, TIMEOUT, Running, pause_reading, post, running, until
from tests.service.server.test_live_protocol import HANDSHAKE, TEXT, Application, frame

FILES = Path(__file__).resolve().parents[2] / "certificates"
CLOSE = b"Connection: close"


def run(
    test: Callable[[Running, ssl.SSLContext], Awaitable[None]], settings: Settings | None = None, ws: str = "none"
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def serve() -> None:
        files = {"ssl_certfile": str(FILES / "first.pem"), "ssl_keyfile": str(FILES / "first-key.pem")}
        async with running(Protocol, settings, ws=ws, **files) as server, asyncio.timeout(TIMEOUT):
            await test(server, context)
            await until(lambda: not server.server.server_state.connections)
            assert server.budget.held_bytes == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def test_an_answer_that_is_not_read_is_counted_and_ends_the_connection() -> None:
    async def test(server: Running, context: ssl.SSLContext) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        pause_reading(writer)
        writer.write(post(b"/huge"))
        await until(lambda: server.budget.held_bytes > HUGE * 0.8)
        await until(lambda: server.metric('ritmo_connections_cut_total{reason="slow_reader"}') == 1)
        writer.transport.abort()

    run(test, Settings(send_seconds=0.3))


def test_large_answers_arrive_whole_and_in_order() -> None:
    async def test(server: Running, context: ssl.SSLContext) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        writer.write(post(b"/huge") + post(b"/a", b"small") + post(b"/large", b"", CLOSE))
        await asyncio.sleep(0.1)
        answers = []
        while head := await reader.readuntil(b"\r\n\r\n"):
            (length,) = (int(line[16:]) for line in head.lower().splitlines() if line.startswith(b"content-length: "))
            answers.append(await reader.readexactly(length))
            if b"connection: close" in head:
                break
        assert [len(answer) for answer in (answers[0], answers[2])] == [HUGE, LARGE]
        assert answers[1].endswith(b"b'small']")
        assert await reader.read() == b""
        writer.close()

    run(test)


def test_a_live_message_over_tls_is_counted_with_its_buffers() -> None:
    async def test(server: Running, context: ssl.SSLContext) -> None:
        server.server.config.loaded_app = Application()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        writer.write(HANDSHAKE % (b"", b""))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(frame(TEXT, b"a" * 200_000)[:-1])
        await until(lambda: server.budget.held_bytes > 199_000 + TLS_BYTES)
        writer.write(b"a")
        assert (await reader.readexactly(8))[2:] == b"200000"
        writer.transport.abort()

    run(test, ws="websockets-sansio")


def test_a_client_that_does_not_close_its_side_is_not_waited_for() -> None:
    """But for what it has not taken yet."""

    async def test(server: Running, context: ssl.SSLContext) -> None:
        def ask(path: bytes) -> ssl.SSLSocket:
            client = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT))
            client.sendall(post(path, b"", CLOSE))
            client.recv(1)
            return client

        with await asyncio.to_thread(ask, b"/huge") as slow:
            with await asyncio.to_thread(ask, b"/a"):
                await until(lambda: len(server.server.server_state.connections) == 1)
            received = 1
            while piece := await asyncio.to_thread(slow.recv, 1 << 20):
                received += len(piece)
            assert received > HUGE
            await until(lambda: not server.server.server_state.connections)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.server.tls_transport._PARTING_SECONDS", 0.1)
        run(test)
