"""The WebSocket protocol over real sockets, with clients that keep no rule."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from service.server.http_protocol import Protocol
from service.server.live_protocol import LiveProtocol
from service.settings import Settings
from tests.service.server.harness import TIMEOUT, Running, pause_reading, post, running, until
from tests.service.server.harness import Application as HttpApplication

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
HANDSHAKE = (
    b"GET /live%s HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame as clients send it, masked with zeros."""
    head = bytes([opcode | (0x80 if final else 0)])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", len(payload))
    return head + bytes(4) + payload


class Application:
    """Answers each message with its length, once it is let go."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.scope: Scope = {}
        self.free = asyncio.Event()
        self.free.set()
        self.accepts = asyncio.Event()
        self.accepts.set()
        self.answer_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        assert (await receive())["type"] == "websocket.connect"
        await self.accepts.wait()
        await send({"type": "websocket.accept"})
        while True:
            await self.free.wait()
            message = await receive()
            self.messages.append(message)
            if message["type"] == "websocket.disconnect":
                return
            content = message.get("text") or message["bytes"]
            if content == "close":
                await send({"type": "websocket.close", "code": 1001})
            else:
                with contextlib.suppress(OSError, RuntimeError):
                    await send({"type": "websocket.send", "text": f"{len(content)}" + " " * self.answer_bytes})

    @property
    def sizes(self) -> list[int]:
        return [len(message.get("text") or message.get("bytes") or "") for message in self.messages]


class Client:
    """A client that sends what it likes."""

    def __init__(self, server: Running, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server: opcode and payload."""
        async with asyncio.timeout(TIMEOUT):
            first, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(length)


@contextlib.asynccontextmanager
async def live(application: Application, settings: Settings | None = None, **options: Any) -> AsyncIterator[Client]:
    async with running(Protocol, settings, ws="websockets-sansio", **options) as server, asyncio.timeout(TIMEOUT):
        server.server.config.loaded_app = application
        reader, writer = await server.connect()
        writer.write(HANDSHAKE % (b"", b""))
        if application.accepts.is_set():
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        try:
            yield Client(server, reader, writer)
        finally:
            application.free.set()
            writer.transport.abort()
            await until(lambda: not server.server.server_state.connections)
            assert server.budget.held_bytes == 0


def only_connection(server: Running) -> LiveProtocol:
    (connection,) = server.server.server_state.connections
    assert isinstance(connection, LiveProtocol)
    return connection


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


async def test_messages_of_all_sizes_and_kinds_come_through() -> None:
    sizes = [0, 1, 125, 126, 1000, 1024, 70_000, 1 << 20]
    application = Application()
    async with live(application, ws_max_size=1 << 20) as client:
        everything = b"".join(frame(TEXT if size % 2 else BINARY, b"a" * size) for size in sizes)
        for piece in pieces(everything, 50_000):
            await client.send(piece)
        assert [int((await client.frame())[1]) for _ in sizes] == sizes
        whole = b"".join(
            [frame(TEXT, b"ab", final=False), frame(PING, b"x"), frame(CONTINUATION, final=False)]
            + [frame(CONTINUATION, b"c", final=False)] * 3000
            + [frame(CONTINUATION, b"d")]
        )
        await client.send(whole)
        assert await client.frame() == (PONG, b"x")
        assert await client.frame() == (TEXT, b"3003")
        for byte in pieces(frame(TEXT, b"slow"), 1):
            await client.send(byte)
        assert await client.frame() == (TEXT, b"4")
    assert application.messages[-2]["text"] == "slow"


@pytest.mark.parametrize(("extra", "opcode"), [(-1, TEXT), (0, TEXT), (1, CLOSE)])
@pytest.mark.parametrize("parts", [1, 3])
async def test_the_largest_message(extra: int, opcode: int, parts: int) -> None:
    async with live(Application(), ws_max_size=3000) as client:
        first = frame(TEXT, b"a" * (3000 + extra - 2 * (parts // 2)), final=parts == 1)
        rest = frame(CONTINUATION, b"a", final=False) + frame(CONTINUATION, b"a")
        await client.send(first + (rest if parts > 1 else b""))
        answer = await client.frame()
        assert answer[0] == opcode
        assert answer[1][:2] == (struct.pack("!H", 1009) if opcode == CLOSE else str(3000 + extra).encode()[:2])


async def test_a_text_that_is_none_ends_the_connection_and_is_no_error_of_the_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = Application()
    async with live(application) as client:
        await client.send(frame(TEXT, b"a\xff"))
        opcode, payload = await client.frame()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1007))
    assert not [record for record in caplog.records if record.exc_info]


async def test_the_end_of_either_side_is_answered() -> None:
    application = Application()
    async with live(application) as client:
        await client.send(frame(TEXT, b"close") + frame(TEXT, b"too late") * 5000)
        assert await client.frame() == (CLOSE, struct.pack("!H", 1001))
        await client.send(frame(CLOSE, struct.pack("!H", 1001)))
        assert await client.reader.read() == b""
    async with live(application) as client:
        await client.send(frame(TEXT, b"a"))
        assert await client.frame() == (TEXT, b"1")
        await client.send(frame(CLOSE, struct.pack("!H", 1000)))
        assert await client.frame() == (CLOSE, struct.pack("!H", 1000))
        assert await client.reader.read() == b""


async def test_messages_that_wait_are_not_unpacked_and_no_more_are_read() -> None:
    application = Application()
    application.free.clear()
    async with live(application) as client:
        flooding = asyncio.create_task(client.send(frame(TEXT, b"1") * 2_000_000))
        await until(lambda: bool(client.server.server.server_state.connections))
        connection = only_connection(client.server)
        await until(lambda: connection.read_paused and connection.flow.held_bytes > 0)
        await asyncio.sleep(0.1)
        assert connection.queue.qsize() < 200
        assert connection.flow.held_bytes < 1 << 20
        assert not flooding.done()
        application.free.set()
        assert await client.frame() == (TEXT, b"1")
        await until(lambda: len(application.messages) > 1000)
        flooding.cancel()


async def test_unfinished_messages_are_counted() -> None:
    application = Application()
    async with live(application, ws_max_size=1 << 20) as client:
        await client.send(frame(TEXT, b"a" * 500_000)[:-1])
        await until(lambda: client.server.budget.held_bytes >= 499_999)
        await client.send(b"a")
        assert await client.frame() == (TEXT, b"500000")
        await client.send(frame(TEXT, b"b" * 300_000, final=False) + frame(CONTINUATION, final=False) * 100_000)
        await until(lambda: client.server.budget.held_bytes >= 300_000)
        await client.send(frame(PING, b"all"))
        assert await client.frame() == (PONG, b"all")
        assert client.server.budget.held_bytes == 300_000


@pytest.mark.parametrize("size", [-1, 0, 1])
async def test_a_message_without_room_ends_the_connection(size: int) -> None:
    application = Application()
    async with live(application, Settings(max_held_bytes=10_000)) as client:
        data = frame(BINARY, b"a" * 100_000)
        head = len(data) - 100_000
        await client.send(data[: 7_500 + head + size])  # three quarters of what there is
        if size > 0:
            assert (await client.frame())[1].startswith(struct.pack("!H", 1013))
        else:
            await client.send(frame(PING)[:0])
            await until(lambda: client.server.budget.held_bytes == 7_500 + size)


async def test_a_message_that_does_not_arrive_ends_the_connection() -> None:
    for data in (frame(TEXT, b"abc")[:-1], frame(TEXT, b"abc", final=False), b"\x81"):
        async with live(Application(), Settings(receive_seconds=0.2)) as client:
            await asyncio.sleep(0.3)  # silence between messages costs nothing
            await client.send(data)
            await client.send(frame(PING) if data[0] == TEXT else b"")
            frames = [await client.frame()]
            if frames[0][0] == PONG:
                frames.append(await client.frame())
            assert frames[-1][1].startswith(struct.pack("!H", 1008))
            assert client.server.metric('ritmo_connections_cut_total{reason="slow_message"}') == 1


async def test_a_flood_of_pings_is_held_up_and_holds_up_nobody() -> None:
    application = Application()
    async with live(application) as client:
        pause_reading(client.writer)
        pings = frame(PING, b"x" * 100) * 400_000
        flooding = asyncio.create_task(client.send(pings))
        await until(lambda: bool(client.server.server.server_state.connections))
        connection = only_connection(client.server)
        turns = 0
        while connection.writable.is_set():
            turns += connection._is_scheduled
            await asyncio.sleep(0)
        assert turns > 5  # others had their turn meanwhile
        assert not flooding.done()
        assert client.server.budget.held_bytes < 2 << 20
        flooding.cancel()


async def test_a_client_that_does_not_read_its_answers_is_cut_off() -> None:
    application = Application()
    application.answer_bytes = 5_000_000
    async with live(application, Settings(send_seconds=0.2)) as client:
        pause_reading(client.writer)
        await client.send(frame(TEXT, b"1") * 10)
        await until(lambda: client.server.metric('ritmo_connections_cut_total{reason="slow_reader"}') == 1)
        await until(lambda: not client.server.server.server_state.connections)


async def test_an_answer_that_is_not_read_is_waited_for_by_the_live_connection_behind_it() -> None:
    http, application = HttpApplication(), Application()

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        await (http if scope["type"] == "http" else application)(scope, receive, send)

    async with (
        running(Protocol, Settings(send_seconds=0.3), ws="websockets-sansio") as server,
        asyncio.timeout(TIMEOUT),
    ):
        server.server.config.loaded_app = both
        _, writer = await server.connect()
        pause_reading(writer)
        writer.write(post(b"/huge"))
        await until(lambda: server.budget.held_bytes > 1 << 20)
        writer.write(HANDSHAKE % (b"", b""))
        await until(lambda: isinstance(next(iter(server.server.server_state.connections)), LiveProtocol))
        assert server.budget.held_bytes > 1 << 20
        await until(lambda: not server.server.server_state.connections)
        assert server.metric('ritmo_connections_cut_total{reason="slow_reader"}') == 1
        await until(lambda: server.budget.held_bytes == 0)
        writer.transport.abort()


async def test_what_comes_before_the_handshake_is_accepted_waits() -> None:
    application = Application()
    application.accepts.clear()
    async with live(application) as client:
        await client.send(frame(TEXT, b"early"))
        await until(lambda: client.server.budget.held_bytes > 0)
        application.accepts.set()
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await client.frame() == (TEXT, b"5")


async def test_a_head_with_long_fields_opens_a_connection() -> None:
    """As a browser sends it that has many cookies."""
    application = Application()
    async with running(Protocol, ws="websockets-sansio") as server, asyncio.timeout(TIMEOUT):
        server.server.config.loaded_app = application
        reader, writer = await server.connect()
        cookies = b"Cookie: " + b"a" * 40_000 + b"\r\n"
        writer.write(HANDSHAKE % (b"%20x?q=" + b"b" * 10_000, cookies))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert (application.scope["path"], application.scope["raw_path"]) == ("/live x", b"/live%20x")
        assert application.scope["query_string"] == b"q=" + b"b" * 10_000
        assert dict(application.scope["headers"])[b"cookie"] == b"a" * 40_000
        writer.transport.abort()
        await until(lambda: not server.server.server_state.connections)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Sec-WebSocket-Protocol: " + b"a" * 20_000 + b"\r\n", 400),
        (b"Sec-WebSocket-Protocol: \xff\xfe\r\n", 400),
        (b"Sec-WebSocket-Version: 12\r\n", 400),
    ],
)
async def test_a_handshake_that_cannot_be_read_is_answered(fields: bytes, status: int) -> None:
    async with running(Protocol, ws="websockets-sansio") as server, asyncio.timeout(TIMEOUT):
        server.server.config.loaded_app = Application()
        reader, writer = await server.connect()
        writer.write(HANDSHAKE % (b"", fields))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), head
        assert b"problem+json" in head
        assert json.loads(await reader.read())["code"] == "bad_request"
        assert server.metric('ritmo_requests_total{code="400"') == (status == 400)
        writer.transport.abort()
        await until(lambda: not server.server.server_state.connections)


@pytest.mark.parametrize(
    "offer",
    [
        b"Connection: Upgrade\r\nUpgrade: h2c, WebSocket",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c",
        b"Connection: Upgrade\r\nConnection: keep-alive\r\nUpgrade: websocket",
        b"Connection: keep-alive\r\nConnection: close, Upgrade\r\nUpgrade: websocket",
    ],
)
async def test_an_offer_may_be_one_of_several_and_in_several_fields(offer: bytes) -> None:
    async with running(Protocol, ws="websockets-sansio") as server, asyncio.timeout(TIMEOUT):
        server.server.config.loaded_app = Application()
        reader, writer = await server.connect()
        writer.write((HANDSHAKE % (b"", b"")).replace(b"Connection: Upgrade\r\nUpgrade: websocket", offer))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.transport.abort()
        await until(lambda: not server.server.server_state.connections)


async def test_a_client_that_sends_on_hears_why_its_connection_ends() -> None:
    """Closing at once would reset the connection, and the reason could be lost."""
    async with live(Application(), ws_max_size=1 << 20) as client:
        await client.send(frame(TEXT, b"a" * (8 << 20)))
        opcode, payload = await client.frame()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1009))
        assert await client.reader.read() == b""
        assert not only_connection(client.server).transport.is_closing()


async def test_connections_are_no_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with live(Application()) as client:
        caplog.clear()
        caplog.set_level(logging.INFO)
        await client.send(frame(TEXT, b"1") + frame(CLOSE))
        await client.reader.read()
    assert {record.name for record in caplog.records} <= {"uvicorn.live"}  # which `logs.configure` silences


async def test_messages_before_the_end_are_answered() -> None:
    application = Application()
    application.free.clear()
    async with live(application) as client:
        await client.send(frame(TEXT, b"1") * 3 + frame(PING) + frame(CLOSE, b"\x03\xe8bye"))
        await asyncio.sleep(0.05)
        application.free.set()
        frames = [await client.frame() for _ in range(4)]
        assert [opcode for opcode, _ in frames if opcode != PONG] == [TEXT, TEXT, TEXT]
        while frames[-1][0] != CLOSE:
            frames.append(await client.frame())
        assert frames[-1] == (CLOSE, b"\x03\xe8bye")
        assert await client.reader.read() == b""


async def test_an_end_does_not_wait_for_answers_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.live_protocol._LAST_ANSWERS_SECONDS", 0.05)
    application = Application()
    async with live(application, ws_ping_interval=0.01) as client:
        await client.send(frame(TEXT, b"1"))
        assert await client.frame() == (TEXT, b"1")
        application.free.clear()
        await client.send(frame(TEXT, b"1") * 3 + frame(CLOSE))
        while (await client.frame())[0] != CLOSE:
            pass
        assert await client.reader.read() == b""


async def test_a_pong_that_waits_behind_messages_is_no_silence() -> None:
    application = Application()
    async with live(application, ws_ping_interval=0.05, ws_ping_timeout=0.05) as client:
        application.free.clear()
        await client.send(frame(TEXT, b"1") * 2000)
        await asyncio.sleep(0.3)
        application.free.set()
        opcodes: list[int] = []
        while opcodes.count(TEXT) < 2000:
            opcodes.append((await client.frame())[0])
        assert set(opcodes) == {TEXT, PING}
        while (await client.frame())[0] != CLOSE:  # now it is silent
            pass


async def test_random_bytes_end_the_connection_and_nothing_else() -> None:
    application = Application()
    for _ in range(20):
        async with live(application) as client:
            await client.send(os.urandom(5000))
            client.writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await client.reader.read()
