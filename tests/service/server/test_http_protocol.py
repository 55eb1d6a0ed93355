"""Our protocol beside uvicorn's own: the same bytes for the same bytes, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.request import COMPLETE_RESPONSE
from service.server.http_protocol import Protocol

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 200.0
LARGE = 300_000  # bytes: more than a socket takes at once, and than is joined


class Application:
    """Answers what the path says: whole where that is offered, in two messages elsewhere, as the edge does."""

    def __init__(self) -> None:
        self.offered: set[bool] = set()
        self.waiting = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.offered.add(COMPLETE_RESPONSE in scope.get("extensions", ()))
        kind = scope["path"].rpartition("/")[2]
        if kind == "fail":
            raise RuntimeError("a test says so")
        if kind == "early":  # without looking at the body
            await answer(scope, send, 413, b"too large")
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        if kind == "slow":
            await asyncio.sleep(0.2)
        if kind == "wait":
            self.waiting.set()
            assert (await receive())["type"] == "http.disconnect"
            self.left.set()
            return
        if kind == "parts":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Odd", b"1")]})
            for part in (b"ab", b"", b"cd"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        told = [scope["method"], scope["path"], scope["raw_path"], scope["query_string"], scope["http_version"], body]
        text = b"x" * LARGE if kind == "large" else repr(told).encode()
        await answer(scope, send, 204 if kind == "empty" else 200, b"" if kind == "empty" else text)
        if kind == "twice":
            await answer(scope, send, 200, text)


async def answer(scope: Scope, send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    if COMPLETE_RESPONSE in scope.get("extensions", ()):
        await send({"type": COMPLETE_RESPONSE, "status": status, "headers": headers, "body": body})
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Running:
    """A server with one of the two protocols."""

    def __init__(self, protocol: type[asyncio.Protocol], **options: Any) -> None:
        options.setdefault("ws", "none")
        self.application = Application()
        config = uvicorn.Config(
            self.application,
            http=protocol,
            host="127.0.0.1",
            port=0,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            date_header=False,
            headers=[("X-Server", "test")],
            timeout_graceful_shutdown=5,
            **options,
        )
        config.load()
        self.server = uvicorn.Server(config)
        self.server.lifespan = config.lifespan_class(config)
        self._main: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.server.startup()
        self._main = asyncio.create_task(self.server.main_loop())

    async def stop(self) -> None:
        self.server.should_exit = True
        if self._main is not None:
            await self._main
        await self.server.shutdown()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return await asyncio.open_connection("127.0.0.1", port)

    async def ask(self, *pieces: bytes | float) -> bytes:
        """All that comes back for `pieces`; the connection is closed for writing only when it has been quiet."""
        reader, writer = await self.connect()
        for piece in pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                writer.write(piece)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
        got = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while piece := await reader.read(1 << 16):
                    got += piece
        writer.close()
        return got


@contextlib.asynccontextmanager
async def running(protocol: type[asyncio.Protocol], **options: Any) -> AsyncIterator[Running]:
    server = Running(protocol, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def post(path: bytes, body: bytes = b"", *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = [b"POST " + path + b" HTTP/" + version, b"Host: test", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


LAST = b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
CLOSE = b"Connection: close"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"

REQUESTS: dict[str, tuple[bytes | float, ...]] = {
    "one": (post(b"/a", b"hello", CLOSE),),
    "keep-alive": (post(b"/a", b"hello"), 0.05, post(b"/b", b"again"), 0.05, LAST),
    "pipelined": (post(b"/a", b"1") + post(b"/b", b"2") + post(b"/c", b"3") + LAST,),
    "pipelined behind a large answer": (post(b"/large", b"1") + post(b"/large", b"2") + LAST,),
    "HTTP/1.0": (post(b"/a", b"hello", version=b"1.0"),),
    "HTTP/1.0 keep-alive": (post(b"/a", b"hello", b"Connection: keep-alive", version=b"1.0"),),
    "HEAD": (b"HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n", 0.05, LAST),
    "HEAD of parts": (b"HEAD /parts HTTP/1.1\r\nHost: test\r\n\r\n", 0.05, LAST),
    "no content": (post(b"/empty", b"x"), 0.05, LAST),
    "streamed": (post(b"/parts", b"x"), 0.05, LAST),
    "chunked": (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 0.05, LAST),
    "chunked, slowly": (CHUNKED, b"3\r\nab", 0.05, b"c\r\n", 0.05, b"0\r\n\r\n", 0.05, LAST),
    "a body in pieces": (post(b"/a", b"hello world", CLOSE)[:-6], 0.05, b" world"),
    "a head in pieces": (post(b"/a", b"hello", CLOSE)[:20], 0.05, post(b"/a", b"hello", CLOSE)[20:]),
    "a large body": (post(b"/a", b"y" * LARGE, CLOSE),),
    "expect": (post(b"/a", b"hello", b"Expect: 100-continue", CLOSE)[:-5], 0.05, b"hello"),
    "expect, body at once": (post(b"/a", b"hello", b"Expect: 100-continue", CLOSE),),
    "expect, refused": (post(b"/early", b"hello", b"Expect: 100-continue", CLOSE)[:-5],),
    "a large head": (b"GET /a HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n",),
    "refused before the body": (post(b"/early", b"y" * LARGE, CLOSE),),
    "percent and query": (post(b"/a%20b/%C3%A9?x=%31&y", b"", CLOSE),),
    "a long target": (post(b"/" + b"z" * 3000 + b"?q=" + b"z" * 3000, b"", CLOSE),),
    "an absolute target": (post(b"http://test/a?b", b"", CLOSE),),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",),
    "an upgrade that is not ours": (post(b"/a", b"", b"Connection: upgrade, close", b"Upgrade: h2c"), LAST),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n",),
    "a bad length": (b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n",),
    "a bad chunk": (CHUNKED + b"zz\r\n",),
    "two lengths": (post(b"/a", b"hello", b"Content-Length: 7"),),
    "an application that fails": (post(b"/fail", b"x"), 0.05, LAST),
    "an application that answers twice": (post(b"/twice", b"x", CLOSE),),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_protocols_answer_alike(name: str) -> None:
    answers = []
    for protocol in (HttpToolsProtocol, Protocol):
        async with running(protocol) as server:
            answers.append(await server.ask(*REQUESTS[name]))
            offered = server.application.offered
            assert offered <= {protocol is Protocol}
    plain, ours = answers
    assert ours == plain
    assert plain.startswith(b"HTTP/1.1 ")


OFFER = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
CHUNKED_OFFER = CHUNKED[:-2] + b"\r\n".join(OFFER) + b"\r\n\r\n"

DECLINED: dict[str, tuple[bytes | float, ...]] = {
    "a body": (post(b"/a", b"hello", *OFFER), 0.05, LAST),
    "no body": (post(b"/a", b"", *OFFER), 0.05, LAST),
    "a body in pieces": (post(b"/a", b"hello", *OFFER)[:-5], 0.05, b"he", 0.05, b"llo", 0.05, LAST),
    "a head in pieces": (post(b"/a", b"hello", *OFFER)[:40], 0.05, post(b"/a", b"hello", *OFFER)[40:], 0.05, LAST),
    "a body that looks like a request": (post(b"/a", SMUGGLED, *OFFER), 0.05, LAST),
    "chunked": (CHUNKED_OFFER + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 0.05, LAST),
    "followed by another": (post(b"/a", b"hello", *OFFER) + post(b"/b", b"again", *OFFER) + LAST,),
    "expect": (post(b"/a", b"hello", b"Expect: 100-continue", *OFFER)[:-5], 0.05, b"hello", 0.05, LAST),
    "a bad chunk": (CHUNKED_OFFER + b"zz\r\n",),
    "two lengths": (post(b"/a", b"hello", b"Content-Length: 7", *OFFER),),
    "another connection option": (post(b"/a", b"hello", b"Connection: upgrade, close", b"Upgrade: TLS/1.0"),),
    "several fields": (post(b"/a", b"hello", b"Connection: upgrade", b"Connection: close", b"Upgrade: a, b"),),
    "HTTP/1.0": (post(b"/a", b"hello", *OFFER, version=b"1.0"),),
    "a WebSocket by POST": (post(b"/a", b"hello", b"Connection: upgrade", b"Upgrade: websocket"), 0.05, LAST),
}


def without_offer(piece: bytes | float) -> bytes | float:
    """The same bytes as a client sends them that offers no upgrade."""
    if isinstance(piece, bytes):
        for line in OFFER:
            piece = piece.replace(line + b"\r\n", b"")
        piece = re.sub(rb"Connection: upgrade\r\n|(?<=Connection: )upgrade, |Upgrade: .*?\r\n", b"", piece)
    return piece


@pytest.mark.parametrize("ws", ["none", "websockets-sansio"])
@pytest.mark.parametrize("name", [name for name in DECLINED if name != "a head in pieces"])
async def test_a_declined_upgrade_is_an_ordinary_request(name: str, ws: str) -> None:
    async with running(Protocol, ws=ws) as server:
        offered = await server.ask(*DECLINED[name])
        plain = await server.ask(*(without_offer(piece) for piece in DECLINED[name]))
    assert offered == plain
    assert b"/smuggled HTTP" in offered or b"smuggled" not in offered


async def test_a_head_with_an_offer_may_come_in_pieces() -> None:
    async with running(Protocol) as server:
        got = await server.ask(*DECLINED["a head in pieces"])
        assert got.count(b"HTTP/1.1 200 OK") == 2
        assert b"b'hello']" in got


HEAD = b"GET /a HTTP/1.1\r\nHost: test\r\n"
TOO_LARGE: dict[str, tuple[int, tuple[bytes | float, ...]]] = {
    "one line": (431, (HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",)),
    "many lines": (431, (HEAD + b"X: abc\r\n" * 20_000 + b"\r\n",)),
    "a line without end": (431, (HEAD + b"X: ", *[b"a" * 10_000] * 20)),
    "a name without end": (431, (HEAD, *[b"a" * 10_000] * 20)),
    "a target": (414, (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n",)),
    "a target without end": (414, (b"GET /", *[b"a" * 10_000] * 20)),
    "after another request": (431, (post(b"/a", b"1"), 0.05, HEAD + b"X: ", *[b"a" * 10_000] * 20)),
    "with an offer": (431, (post(b"/a", b"hello", b"X: " + b"a" * 70_000, *OFFER),)),
}


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_a_large_head_is_refused(name: str) -> None:
    status, pieces = TOO_LARGE[name]
    async with running(Protocol) as server:
        got = await server.ask(*pieces)
        assert b"HTTP/1.1 %d " % status in got or not got  # the kernel may drop an answer before unread bytes
        assert got.count(b"HTTP/1.1 200") == (name == "after another request" and bool(got))
        assert not server.server.server_state.connections


async def test_a_large_body_in_the_same_segment_is_no_large_head() -> None:
    async with running(Protocol) as server:
        assert (await server.ask(post(b"/a", b"y" * 200_000, CLOSE))).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ((), b""),
        ((post(b"/a", b"x")[:30], 0.01, post(b"/a", b"x")[30:40]), b"HTTP/1.1 408 Request Timeout\r\n"),
        ((post(b"/a", b"x"), 0.05, b"GET"), b"HTTP/1.1 200 OK\r\n"),
    ],
)
async def test_a_head_that_does_not_arrive_ends_the_connection(
    pieces: tuple[bytes | float, ...], answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server.http_protocol._HEAD_SECONDS", 0.3)
    async with running(Protocol) as server:
        got = await server.ask(*pieces)  # ends only because the server closes
        assert got.startswith(answer)
        assert (got == b"") == (answer == b"")


async def test_a_head_that_arrives_in_time_has_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.http_protocol._HEAD_SECONDS", 0.3)
    async with running(Protocol) as server:
        got = await server.ask(post(b"/a", b"hello")[:-5], 0.5, b"hello", 0.5, LAST)
        assert got.count(b"HTTP/1.1 200 OK") == 2


async def test_a_refusal_before_the_body_was_asked_for_ends_the_connection() -> None:
    """What follows may be the body, or another request: neither is read."""
    async with running(Protocol) as server:
        request = post(b"/early", SMUGGLED, b"Expect: 100-continue")[: -len(SMUGGLED)]
        got = await server.ask(request, 0.05, SMUGGLED)
        assert got.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nconnection: close\r\n" in got
        assert got.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("path", [b"/a", b"/parts", b"/slow"])
async def test_a_half_closed_client_gets_its_answer(path: bytes) -> None:
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        reader, writer = await server.connect()
        writer.write(post(path, b"1") + post(path, b"2"))
        writer.write_eof()
        got = await reader.read()
        assert got.count(b"HTTP/1.1 200 OK") == 2
        writer.close()


async def test_half_a_request_of_a_client_that_left_is_dropped() -> None:
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        for piece in (b"", post(b"/a", b"hello")[:20], post(b"/a", b"hello")[:-2]):
            reader, writer = await server.connect()
            writer.write(piece)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()


async def test_connect_is_answered() -> None:
    async with running(Protocol) as server:
        request = b"CONNECT test:443 HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        async with running(HttpToolsProtocol) as plain:
            assert await server.ask(request + b"junk") == await plain.ask(request + b"junk")


async def test_what_is_compared_is_what_it_says() -> None:
    """The odd requests really are what their names say, in uvicorn's answers and so in ours."""
    async with running(Protocol) as server:
        assert (await server.ask(*REQUESTS["pipelined"])).count(b"HTTP/1.1 200 OK") == 4
        assert (await server.ask(*REQUESTS["expect"])).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        assert b"100 Continue" not in await server.ask(*REQUESTS["expect, refused"])
        assert len(await server.ask(*REQUESTS["pipelined behind a large answer"])) > 2 * LARGE
        assert (await server.ask(*REQUESTS["not HTTP"])).startswith(b"HTTP/1.1 400 ")
        head, _, rest = (await server.ask(*REQUESTS["HEAD"])).partition(b"\r\n\r\n")
        assert re.search(rb"content-length: [1-9]", head)
        assert rest.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("protocol", [HttpToolsProtocol, Protocol])
async def test_too_many_connections_are_refused(protocol: type[asyncio.Protocol]) -> None:
    async with running(protocol, limit_concurrency=1) as server:
        assert (await server.ask(post(b"/a", b"", CLOSE))).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("protocol", [HttpToolsProtocol, Protocol])
async def test_an_idle_connection_is_closed_after_a_while(protocol: type[asyncio.Protocol]) -> None:
    async with running(protocol, timeout_keep_alive=0.05) as server:
        assert (await server.ask(post(b"/a", b"hello"))).endswith(b"b'hello']")  # ends although nobody said close


async def test_the_application_is_told_when_a_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server.http_protocol._HALF_CLOSED_SECONDS", 0.2)
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        _, writer = await server.connect()
        writer.write(post(b"/wait", b"x"))
        await server.application.waiting.wait()
        writer.close()
        await server.application.left.wait()


async def test_what_is_in_flight_is_answered_while_the_server_stops() -> None:
    """Its answer says that the connection ends, and an idle connection is closed."""
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        request = post(b"/a", b"hello")
        reader, writer = await server.connect()
        writer.write(request[:-1])
        idle, other = await server.connect()
        other.write(post(b"/a", b"hello"))
        assert (await idle.readuntil(b"'hello']")).startswith(b"HTTP/1.1 200 OK")
        stopping = asyncio.create_task(server.server.shutdown())
        assert await idle.read() == b""
        writer.write(request[-1:])
        got = await reader.read()
        await stopping
        assert b"\r\nconnection: close\r\n" in got
        assert got.endswith(b"b'hello']")
        for each in (writer, other):
            each.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - uvicorn sets no event
        await asyncio.sleep(0.001)


def only_connection(server: Running) -> Protocol:
    (connection,) = server.server.server_state.connections
    assert isinstance(connection, Protocol)
    return connection


async def test_the_next_answer_of_a_draining_connection_ends_it() -> None:
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"1"))
        assert b"connection: close" not in await reader.readuntil(b"b'1']")
        only_connection(server).drain()
        writer.write(post(b"/a", b"2"))
        got = await reader.read()
        assert b"\r\nconnection: close\r\n" in got
        assert got.endswith(b"b'2']")
        writer.close()


async def test_a_request_in_flight_ends_its_connection_when_the_drain_begins() -> None:
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"12")[:-1])
        await until(lambda: bool(server.server.server_state.tasks))
        only_connection(server).drain()
        writer.write(b"2")
        got = await reader.read()
        assert b"\r\nconnection: close\r\n" in got
        assert got.endswith(b"b'12']")
        writer.close()


async def test_of_pipelined_requests_the_last_answer_ends_a_draining_connection() -> None:
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"0"))
        await reader.readuntil(b"b'0']")
        only_connection(server).drain()
        writer.write(post(b"/a", b"1") + post(b"/a", b"2") + post(b"/a", b"3"))
        got = await reader.read()
        assert got.count(b"HTTP/1.1 200 OK") == 3
        assert got.count(b"connection: close") == 1
        assert got.endswith(b"b'3']")
        writer.close()


async def test_only_an_idle_connection_is_closed() -> None:
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        reader, writer = await server.connect()
        writer.write(post(b"/a", b"1")[:20])  # a part of a head
        await until(lambda: bool(server.server.server_state.connections) and bool(only_connection(server).scope))
        connection = only_connection(server)
        assert not connection.is_idle
        connection.close_if_idle()
        writer.write(post(b"/a", b"1")[20:])
        await reader.readuntil(b"b'1']")
        assert connection.is_idle
        connection.transport.pause_reading()  # what arrives now lies in the socket
        writer.write(post(b"/a", b"2"))
        await writer.drain()
        connection.close_if_idle()
        connection.transport.resume_reading()
        await reader.readuntil(b"b'2']")
        connection.close_if_idle()
        assert await reader.read() == b""
        writer.close()


async def test_a_new_connection_is_idle() -> None:
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        reader, writer = await server.connect()
        await until(lambda: bool(server.server.server_state.connections))
        assert only_connection(server).connected_at <= asyncio.get_running_loop().time()
        only_connection(server).close_if_idle()
        assert await reader.read() == b""
        writer.close()


async def test_a_slow_reader_holds_up_only_itself() -> None:
    """An answer waits until the one before it has left the buffers of this process."""
    async with running(Protocol) as server, asyncio.timeout(PATIENCE):
        reader, writer = await server.connect()
        writer.write(post(b"/large") * 40 + LAST)
        assert (await server.ask(post(b"/a", b"hello", CLOSE))).startswith(b"HTTP/1.1 200 OK")
        got = await reader.read()
        while piece := await reader.read():
            got += piece
        assert got.count(b"HTTP/1.1 200 OK") == 41
        assert got.count(b"x" * LARGE) == 40
        writer.close()


async def test_a_whole_answer_after_a_beginning_is_an_error() -> None:
    sent: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        message: Message = {"type": COMPLETE_RESPONSE, "status": 200, "headers": [], "body": b"x"}
        with pytest.raises(RuntimeError, match="after another"):
            await send(message)
        await send({"type": "http.response.body", "body": b"y"})
        sent.append(b"y")

    async with running(Protocol) as server:
        server.server.config.loaded_app = app
        assert (await server.ask(post(b"/a", b"", CLOSE))).endswith(b"1\r\ny\r\n0\r\n\r\n")
    assert sent == [b"y"]


def test_the_release_is_the_one_this_was_written_for() -> None:
    """Another release: compare its `on_headers_complete`, `send` and `receive` with ours, then pin it."""
    pinned = re.search(r"^uvicorn(?:\[.*\])?==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert version("uvicorn") == pinned[1] == "0.54.0"
