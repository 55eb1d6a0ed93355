"""Live series and live strokes over WebSocket: the connection is the session, and its state lives and ends with it.

The first message opens: `{"model": …, "parameters": …, "item_id": …, "state": …}`, all optional, and has no answer
unless something is wrong with it. Each further one, `{"target": […]}` or `{"rows": […]}`, brings new values only and is
answered by one prediction object, or by one problem object; a problem changes nothing, and the connection goes on.

One message of a connection is worked on at a time, and the next is read when its answer has been sent: who sends faster
than it reads is held up by its own socket, not kept in our memory. What is being computed for a caller who leaves is
dropped. All connections share the lanes of the engine with every other request, so live series advance together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from concurrent.futures import Executor
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from service.api.dispatch import RequestMetrics
from service.api.inference import LARGE_BODY, InferenceEndpoint, Models
from service.api.problems import Answer, internal, render
from service.api.request import DISCONNECT_CHECK_SECONDS, BodyBudget, request_id
from service.api.sessions import (
    DigitOpening,
    DigitSession,
    ForecastSession,
    SeriesOpening,
    Session,
    digit_opening,
    series_opening,
)
from service.codec.state_tokens import StateTokens
from service.contract.errors import InvalidRequest, RitmoError, Unavailable
from service.metrics.store import Counter
from service.settings import Settings

GOING_AWAY = 1001  # the close code of a server that stops (RFC 6455)
TRY_LATER = 1013
_PARTING = 5.0  # seconds

logger = logging.getLogger("service.http")


class LiveConnections:
    """The live connections of this process."""

    def __init__(self, most: int, gauge: Counter) -> None:
        self.closing = False
        self._most = most
        self._gauge = gauge
        self._open: set[Connection] = set()
        self._goodbyes: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._open)

    def check(self) -> None:
        """Raise `Unavailable` when there is no room for another one."""
        if self.closing:
            raise Unavailable("the service is going down", code="draining", retry_after=5)
        if len(self._open) >= self._most:
            raise Unavailable("too many live connections", code="queue_full", retry_after=5)

    def enter(self, connection: Connection) -> None:
        """A connection was accepted."""
        self._open.add(connection)
        self._gauge.inc()

    def leave(self, connection: Connection) -> None:
        """A connection has ended."""
        self._open.discard(connection)
        self._gauge.inc(-1)

    def close(self) -> None:
        """Say goodbye to everybody: to the idle now, to the others with the answer they wait for."""
        self.closing = True
        for connection in self._open:
            if not connection.busy:
                goodbye = asyncio.create_task(connection.close(GOING_AWAY))
                self._goodbyes.add(goodbye)
                goodbye.add_done_callback(self._goodbyes.discard)


class StreamEndpoint(InferenceEndpoint):
    """A WebSocket route as an ASGI application."""

    path: str

    def __init__(
        self,
        models: Models,
        settings: Settings,
        tokens: StateTokens,
        pool: Executor,
        *,
        streams: LiveConnections,
        traffic: RequestMetrics,
        intake: BodyBudget,
    ) -> None:
        super().__init__(models, settings, tokens, pool)
        self.streams = streams
        self.traffic = traffic
        self.intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, from the handshake to its end."""
        name = request_id(dict(scope["headers"]).get(b"x-request-id"))
        await receive()  # websocket.connect
        try:
            self.streams.check()
        except Unavailable as error:
            answer = render(error, name)
            await _refuse(scope, receive, send, answer, name)
            self.traffic.note(self.path, "", answer.status, 0)
            return
        connection = Connection(self, name, receive, send)
        self.streams.enter(connection)
        try:
            await connection.run()
        finally:
            self.streams.leave(connection)

    def open(self, body: bytes) -> Session:
        """What the first message asks for; raises what `Models.get` and `StateTokens.open` raise."""
        raise NotImplementedError

    async def answer(self, talk: Session, body: bytes) -> bytes:
        """The prediction object for a message."""
        started = time.monotonic()
        large = len(body) > LARGE_BODY
        packed, items, many = await self._aside(talk.read, body) if large else talk.read(body)
        deadline = started + (talk.timeout_ms or self._settings.timeout_ms) / 1000
        outcome = await talk.served.submit(items, deadline)
        told = packed, outcome.results
        return await self._aside(talk.answer, *told) if large or many else talk.answer(*told)


class ForecastStream(StreamEndpoint):
    """`WebSocket /forecast/stream`."""

    task = "forecast"
    path = "/forecast/stream"

    def open(self, body: bytes) -> Session:
        """See `StreamEndpoint`."""
        opening: SeriesOpening = series_opening.read(body)
        return ForecastSession(opening, self._find(opening.model), self._settings, self._tokens)


class ClassifyDigitStream(StreamEndpoint):
    """`WebSocket /classify-digit/stream`."""

    task = "classify-digit"
    path = "/classify-digit/stream"

    def open(self, body: bytes) -> Session:
        """See `StreamEndpoint`."""
        opening: DigitOpening = digit_opening.read(body)
        return DigitSession(opening, self._find(opening.model), self._settings, self._tokens)


class Connection:
    """One accepted connection."""

    __slots__ = ("_ahead", "_closed", "_gone", "_live", "_name", "_receive", "_send", "_talk", "_working", "busy")

    def __init__(self, live: StreamEndpoint, name: str, receive: Receive, send: Send) -> None:
        self.busy = False
        self._live = live
        self._name = name
        self._receive = receive
        self._send = send
        self._talk: Session | None = None
        self._ahead: asyncio.Future[Message] | None = (
            None  # the next message, where somebody looks whether it is the end
        )
        self._working: asyncio.Task[Any] | None = None
        self._gone = False
        self._closed = False

    async def run(self) -> None:
        """Answer message after message, until somebody closes."""
        if not await self._say({"type": "websocket.accept", "headers": [(b"x-request-id", self._name.encode())]}):
            return
        try:
            while (message := await self._next())["type"] == "websocket.receive":
                self.busy = True
                answer = await self._while_there(self._turn(message))
                if self._closed:
                    return
                if answer and not await self._say({"type": "websocket.send", "text": answer.decode()}):
                    return
                self.busy = False
                if self._live.streams.closing:
                    await self.close(GOING_AWAY)
        finally:
            if self._ahead is not None:
                self._ahead.cancel()

    async def close(self, code: int) -> None:
        """Close from our side."""
        if not self._closed:
            self._closed = True
            await self._say({"type": "websocket.close", "code": code})

    async def _say(self, message: Message) -> bool:
        """Send; False when nobody is there any more."""
        try:
            await self._send(message)
        except (OSError, RuntimeError):  # it left, or uvicorn has closed (a frame too large, a ping unanswered)
            return False
        return True

    async def _turn(self, message: Message) -> bytes:
        """The answer to one message, empty for an opening that is as it should be."""
        started = time.monotonic()
        status, answer = 200, b""
        try:
            answer = await self._work(message)
        except RitmoError as error:
            problem = render(error, self._name)
            status, answer = problem.status, problem.body
            if status == 500:
                extra = {"request_id": self._name, **error.log_fields}
                logger.error("a live message failed: %s", error.detail, exc_info=error, extra=extra)
        except Exception:
            logger.exception("a live message failed", extra={"request_id": self._name})
            status, answer = 500, internal(self._name).body
        model = self._talk.served.manifest.name if self._talk else ""
        self._live.traffic.note(self._live.path, model, status, time.monotonic() - started)
        return answer

    async def _work(self, message: Message) -> bytes:
        text: str | None = message.get("text")
        if text is None:
            raise InvalidRequest("send text frames that hold JSON, not binary ones", code="unsupported_media_type")
        body = text.encode()
        if self._talk is None:
            self._talk = self._live.open(body)
            return b""
        if len(body) <= LARGE_BODY:
            return await self._live.answer(self._talk, body)
        self._live.intake.take(len(body))
        try:
            return await self._live.answer(self._talk, body)
        finally:
            self._live.intake.give_back(len(body))

    async def _while_there(self, work: Coroutine[Any, Any, bytes]) -> bytes:
        """The result of `work`; when the caller leaves it is cancelled, and the result is empty."""
        task = self._working = asyncio.current_task()
        handle = asyncio.get_running_loop().call_later(DISCONNECT_CHECK_SECONDS, self._look_ahead)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._gone or task is None:
                raise
            task.uncancel()
            return b""
        finally:
            self._working = None
            handle.cancel()

    def _look_ahead(self) -> None:
        """Take the next message now: it may be the end."""
        self._ahead = asyncio.ensure_future(self._receive())
        self._ahead.add_done_callback(self._notice)

    def _notice(self, ahead: asyncio.Future[Message]) -> None:
        if self._working is None or ahead.cancelled() or ahead.exception() is not None:
            return
        if ahead.result()["type"] == "websocket.disconnect":
            self._gone = True
            self._working.cancel()

    async def _next(self) -> Message:
        if self._ahead is None:
            return await self._receive()
        message, self._ahead = await self._ahead, None
        return message


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: Answer, name: str) -> None:
    """Answer the handshake with a problem; servers without that extension can only close."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": TRY_LATER})
        return
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode()), (b"x-request-id", name.encode())]
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})
    # uvicorn tells of the end twice: when the answer is written and when the connection is gone. Until then it would
    # take our return for a handshake that was forgotten, and log an error.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PARTING):
            for _ in range(2):
                await receive()
