"""A server with one of the two HTTP protocols and a small application, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from service.api.byte_budget import ByteBudget
from service.api.problems import render
from service.api.request import COMPLETE_RESPONSE
from service.api.request_metrics import RequestMetrics
from service.contract.errors import RitmoError
from service.metrics.page import Metrics
from service.server.connection import ConnectionLimits
from service.server.http_protocol import Protocol
from service.settings import Settings

TIMEOUT = 200.0
HUGE = 30 << 20  # bytes: more than all buffers of the system take
LARGE = 300_000  # bytes: more than a socket takes at once, and than is joined
SIZES = {"large": LARGE, "huge": HUGE}  # of the answers on these paths


class Application:
    """Answers what the path says: whole where that is offered, in two messages elsewhere, as the edge does."""

    def __init__(self) -> None:
        self.offered: set[bool] = set()
        self.scopes: list[Scope] = []
        self.waiting = asyncio.Event()
        self.client_left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        try:
            await self._answer(scope, receive, send)
        except RitmoError as error:
            problem = render(error, "-")
            headers = [*problem.headers, (b"content-length", b"%d" % len(problem.body))]
            await send({"type": "http.response.start", "status": problem.status, "headers": headers})
            await send({"type": "http.response.body", "body": problem.body})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.offered.add(COMPLETE_RESPONSE in scope.get("extensions", ()))
        kind = scope["path"].rpartition("/")[2]
        if kind == "fail":
            raise RuntimeError("a test says so")
        if kind == "early":  # without looking at the body
            await answer(scope, send, 413, b"too large")
            return
        if kind == "late":
            await asyncio.sleep(0.2)
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
            self.client_left.set()
            return
        if kind == "parts":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Odd", b"1")]})
            for part in (b"ab", b"", b"cd"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        request = [
            scope["method"],
            scope["path"],
            scope["raw_path"],
            scope["query_string"],
            scope["http_version"],
            body,
        ]
        size = SIZES.get(kind)
        text = repr(request).encode() if size is None else b"x" * size
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

    def __init__(
        self,
        protocol: type[asyncio.Protocol],
        settings: Settings | None = None,
        application: Application | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("ws", "none")
        self.application = application or Application()
        self.metrics = Metrics()
        settings = settings or Settings()
        self.budget = ByteBudget(settings.max_held_bytes)
        limits = ConnectionLimits(settings, self.budget, RequestMetrics(self.metrics))
        http: Any = functools.partial(protocol, limits=limits) if issubclass(protocol, Protocol) else protocol
        config = uvicorn.Config(
            self.application,
            http=http,
            loop="uvloop",
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
        """Stop; where nothing is in flight at once, since uvicorn's own stop polls and sleeps a fifth of a second."""
        self.server.should_exit = True
        if self._main is not None:
            self._main.cancel()
            await asyncio.wait([self._main])
        if self.server.server_state.connections or self.server.server_state.tasks:
            await self.server.shutdown()
            return
        for listener in self.server.servers:
            listener.close()
            await listener.wait_closed()

    @property
    def port(self) -> int:
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def metric(self, sample: str) -> float:
        """The sum of the lines of the metrics page that begin with `sample`."""
        lines = self.metrics.render().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(sample))

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
        received = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(TIMEOUT):
                while piece := await reader.read(1 << 16):
                    received += piece
        writer.close()
        return received


@contextlib.asynccontextmanager
async def running(
    protocol: type[asyncio.Protocol], settings: Settings | None = None, **options: Any
) -> AsyncIterator[Running]:
    server = Running(protocol, settings, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def post(path: bytes, body: bytes = b"", *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = [b"POST " + path + b" HTTP/" + version, b"Host: test", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what sets no event."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def pause_reading(writer: asyncio.StreamWriter) -> None:
    """This client reads nothing from now on."""
    transport: Any = writer.transport
    transport.pause_reading()
