"""Live series and live strokes over WebSocket: the connection is the session, and its state lives and ends with it.

The first message opens: `{"model": …, "parameters": …, "item_id": …, "state": …}`, all optional, and has no answer
unless something is wrong with it, or it brings values already. Each further one, `{"target": […]}` or `{"rows": […]}`,
brings new values only and is answered by one prediction object, or by one problem object; a problem changes nothing,
and the connection goes on. `{"reset": true}` forgets the values before; it has an answer where it brings new ones.

One message of a connection is worked on at a time, and the next is read when its answer has been sent: a client that
sends faster than it reads is held up by its own socket, not kept in memory. What is being computed when a connection is
lost is dropped. All connections share the queues of the models with every other request, so live series are computed
together.

Where there are as many connections as there may be, a client (a key, an address) that has fewer than another takes the
place of one of those: the one that has been idle for longest is closed as at a stop, with its state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any

from msgspec import Struct
from starlette.types import Message, Receive, Scope, Send

from service.api.access import account_of
from service.api.accounts import PROTOCOL, Account
from service.api.audit import AuditLog
from service.api.byte_budget import ByteBudget
from service.api.clients import ClientFinder
from service.api.inference import MAX_INLINE_BYTES, MAX_INLINE_NUMBERS
from service.api.model_route import ModelRoute, wrong_task
from service.api.problems import Answer, internal, render, render_last_state
from service.api.request import DISCONNECT_CHECK_SECONDS, id_header, request_id
from service.api.request_metrics import RequestMetrics
from service.api.sessions import Session
from service.codec.common import CallT, Codec, OpeningT, RequestT
from service.codec.query import refuse_query
from service.contract.errors import AccessDenied, InvalidRequest, RateLimited, RitmoError, Unavailable
from service.metrics.store import Counter
from service.registry.registry import Registry
from service.runtime.fair_pool import FairPool
from service.runtime.fair_share import Client
from service.settings import Settings

ANSWERS_FIRST = "ritmo.answers_first"  # key of `websocket.disconnect`: the client sends no more, but reads answers
GOING_AWAY = 1001  # the close code of a server that stops (RFC 6455)
TRY_LATER = 1013
_GOING_DOWN = "the service is going down: go on with `state` at another one"
_ROOM_FOR_OTHERS = "there are too many live connections, and most of them are yours: go on with `state` later"
_POLICY_VIOLATION = 1008
_SWITCHING = 101  # the status of a handshake that is accepted
_LAST_MESSAGE_SECONDS = 1.0  # that the last message to a slow client may take
_ENDS_IN_A_ROUND = 32  # of the event loop, of idle connections at a stop: 0.1 ms each
_REFUSAL_SECONDS = 5.0  # that a refused handshake may take to end

logger = logging.getLogger("service.http")


class LiveConnections:
    """The live connections of this process, and what they share: their number, the metrics and the bytes they hold."""

    def __init__(
        self,
        limit: int,
        gauge: Counter,
        metrics: RequestMetrics,
        budget: ByteBudget,
        clients: ClientFinder,
        audit: AuditLog | None = None,
    ) -> None:
        self.is_closing = False
        self._audit = audit
        self.clients = clients
        self.metrics = metrics
        self.budget = budget
        self._limit = limit
        self._gauge = gauge
        self._connections: set[Connection] = set()
        self._n_staying = 0  # of them, those that are not being closed for others
        self._staying: dict[str, set[Connection]] = {}  # these, by the group of their clients
        self._closing_tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def check(self, group: str) -> None:
        """Raise `Unavailable` when there is no room for another one of the client `group`."""
        if self.is_closing:
            raise Unavailable("the service is going down", code="draining", retry_after=5)
        if self._n_staying >= self._limit and self._dispensable(group) is None:
            raise Unavailable("too many live connections", code="queue_full", retry_after=5)

    def add(self, connection: Connection) -> None:
        """A connection is accepted, for which there is room (`check`)."""
        if self._n_staying >= self._limit and (dispensable := self._dispensable(connection.group)) is not None:
            self._leave(dispensable)
            self._end(dispensable, TRY_LATER, _ROOM_FOR_OTHERS)
        self._connections.add(connection)
        self._n_staying += 1
        self._staying.setdefault(connection.group, set()).add(connection)
        self._gauge.inc()

    def remove(self, connection: Connection) -> None:
        """A connection has ended."""
        self._leave(connection)
        self._connections.discard(connection)
        self._gauge.inc(-1)

    def _leave(self, connection: Connection) -> None:
        """A connection does not count any more among those that there may be."""
        staying = self._staying.get(connection.group, set())
        if connection in staying:
            staying.remove(connection)
            self._n_staying -= 1
            if not staying:
                del self._staying[connection.group]

    def _dispensable(self, group: str) -> Connection | None:
        """The connection that makes room for one of the client `group`; None where that has its share.

        The client that has most is left with no fewer than `group` has then.
        """
        most = max(self._staying.values(), key=len)
        if len(most) < len(self._staying.get(group, ())) + 2:
            return None
        idle = (connection for connection in most if not connection.is_computing)
        return min(idle, key=lambda connection: connection.idle_since, default=None)

    def record(self, event: str, scope: Scope, name: str, seconds: float, connection: Connection | None = None) -> None:
        """Add the beginning or the end of a connection to the audit log, where there is one."""
        if self._audit is None:
            return
        account = account_of(scope)
        self._audit.record(
            event,
            request_id=name,
            key=account.id if account is not None else None,
            address=self.clients.address(scope, dict(scope["headers"])),
            method="GET",
            path=scope["path"],
            status=_SWITCHING,
            size=connection.received_bytes if connection is not None else None,
            seconds=seconds,
            model=connection.model if connection is not None else "",
            messages=connection.messages if connection is not None else 0,
        )

    def close(self) -> None:
        """Close all connections: the idle ones now, the others with the answer that they wait for."""
        self.is_closing = True
        self._start(self._end_idle())

    async def _end_idle(self) -> None:
        """A few in each round of the event loop, for those that wait for an answer."""
        for number, connection in enumerate([*self._connections], 1):
            if not connection.is_busy:
                self._end(connection)
            if number % _ENDS_IN_A_ROUND == 0:
                await asyncio.sleep(0)

    async def cut(self) -> None:
        """Close the connections that still wait for an answer, without it."""
        for connection in self._connections:
            self._end(connection)
        if self._closing_tasks:
            await asyncio.wait(self._closing_tasks, timeout=_LAST_MESSAGE_SECONDS)

    def _end(self, connection: Connection, code: int = GOING_AWAY, reason: str = _GOING_DOWN) -> None:
        self._start(connection.go_away(code, reason))

    def _start(self, ending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(ending)
        self._closing_tasks.add(task)
        task.add_done_callback(self._closing_tasks.discard)


class LiveEndpoint(ModelRoute[RequestT, CallT, OpeningT]):
    """A WebSocket route as an ASGI application."""

    def __init__(
        self,
        path: str,
        codec: Codec[RequestT, CallT, OpeningT],
        registry: Registry,
        settings: Settings,
        texts: FairPool,
        inputs: FairPool,
        connections: LiveConnections,
    ) -> None:
        super().__init__(codec, registry, settings, texts, inputs)
        self.path = path
        self.connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, from the handshake to its end."""
        request_headers: dict[bytes, bytes] = dict(scope["headers"])
        name = request_id(request_headers.get(b"x-request-id"))
        await receive()  # websocket.connect
        account = account_of(scope)
        try:
            if scope["query_string"]:
                refuse_query(scope["query_string"], "the first message of a live connection holds its options")
            client = self.connections.clients.find(scope, request_headers)
            self.connections.check(client.group)
            if account is not None:
                account.connect()
        except (InvalidRequest, Unavailable, RateLimited) as error:
            answer = render(error, name)
            await refuse_handshake(scope, receive, send, answer, name)
            self.connections.metrics.record(self.path, "", answer.status, 0)
            return
        connection = Connection(self, name, client, account, receive, send)
        self.connections.add(connection)
        started = time.monotonic()
        self.connections.record("opened", scope, name, 0.0)
        try:
            await connection.run(PROTOCOL if PROTOCOL in scope.get("subprotocols", ()) else None)
        finally:
            self.connections.remove(connection)
            if account is not None:
                account.disconnect()
            self.connections.record("closed", scope, name, time.monotonic() - started, connection)

    async def open(self, content: bytes, client: Client) -> Session[RequestT, CallT, OpeningT]:
        """The session that the first message opens; raises the errors of the codec and of `Registry.get`."""
        decode, size = self._codec.decode_opening, len(content)
        if size > MAX_INLINE_BYTES:
            deadline = time.monotonic() + self.default_timeout_ms / 1000
            opening = await self._in_thread("open", size, client, deadline, decode, content)
        else:
            opening = decode(content)
        model = self._registry.get(opening.model)
        if model.manifest.task != self._codec.task:
            raise wrong_task(model.manifest, self._codec.task)
        return Session(self._codec, opening, model)

    async def answer(self, session: Session[RequestT, CallT, OpeningT], content: bytes, client: Client) -> bytes:
        """The prediction object for a message, empty where it only asks for a new beginning."""
        deadline = self._deadline(session)
        size = len(content)
        if size > MAX_INLINE_BYTES:
            call = await self._in_thread("message", size, client, deadline, session.to_items, content)
        else:
            call = session.to_items(content)
        return b"" if call is None else await self._compute(session, call, client, deadline)

    async def first_answer(self, session: Session[RequestT, CallT, OpeningT], size: int, client: Client) -> bytes:
        """The prediction object for an opening of `size` bytes, empty where that brings no values."""
        deadline = self._deadline(session)
        if size > MAX_INLINE_BYTES:
            call = await self._in_thread("message", size, client, deadline, session.first_items)
        else:
            call = session.first_items()
        return b"" if call is None else await self._compute(session, call, client, deadline)

    def _deadline(self, session: Session[RequestT, CallT, OpeningT]) -> float:
        return time.monotonic() + (session.timeout_ms or self.default_timeout_ms) / 1000

    async def _compute(
        self, session: Session[RequestT, CallT, OpeningT], call: CallT, client: Client, deadline: float
    ) -> bytes:
        result = await session.model.submit(call.items, deadline, client)
        size = call.answer_size
        if size > MAX_INLINE_NUMBERS:
            return await self._in_thread("encode", size, client, deadline, session.encode, call, result.results)
        return session.encode(call, result.results)


class Incoming(Struct, frozen=True, eq=False):
    """A message as the application sees it, or what is wrong with it at first sight."""

    content: bytes = b""
    error: RitmoError | None = None


class Connection:
    """One accepted connection."""

    __slots__ = (
        "_account",
        "_client",
        "_endpoint",
        "_held_bytes",
        "_is_closed",
        "_is_disconnected",
        "_is_parting",
        "_is_watched_again",
        "_next_message",
        "_receive",
        "_request_id",
        "_send",
        "_session",
        "_task",
        "idle_since",
        "is_busy",
        "messages",
        "received_bytes",
    )

    def __init__(
        self,
        endpoint: LiveEndpoint[Any, Any, Any],
        name: str,
        client: Client,
        account: Account | None,
        receive: Receive,
        send: Send,
    ) -> None:
        self.is_busy = False
        self.idle_since = time.monotonic()
        self.messages = self.received_bytes = 0
        self._account = account
        self._client = client
        self._endpoint = endpoint
        self._request_id = name
        self._receive = receive
        self._send = send
        self._session: Session[Any, Any, Any] | None = None
        self._next_message: asyncio.Future[Incoming | None] | None = None  # while the connection is watched
        self._task: asyncio.Task[Any] | None = None  # while a message is worked on
        self._held_bytes = 0
        self._is_disconnected = False
        self._is_parting = False  # whether the client sends no more, but reads the answers to what it has sent
        self._is_watched_again = False  # since then
        self._is_closed = False

    @property
    def model(self) -> str:
        """The name of its model, empty before it is open."""
        return self._session.manifest.name if self._session else ""

    @property
    def group(self) -> str:
        """Of its client: what has a share of its own."""
        return self._client.group

    @property
    def is_computing(self) -> bool:
        """Whether a message is worked on."""
        return self._task is not None

    async def run(self, subprotocol: str | None = None) -> None:
        """Answer message after message, until either side closes, or the key is valid no more."""
        headers = [id_header(self._request_id)]
        chosen = {"subprotocol": subprotocol} if subprotocol else {}
        if not await self._send_or_false({"type": "websocket.accept", "headers": headers, **chosen}):
            return
        try:
            while (message := await self._read()) is not None:
                self.is_busy = True
                answer = await self._cancel_if_disconnected(self._handle(message))
                self._held_bytes -= len(message.content)
                self._endpoint.connections.budget.release(len(message.content), self.group)
                if self._is_closed:
                    return
                if answer and not await self._send_or_false({"type": "websocket.send", "text": answer.decode()}):
                    return
                self.is_busy = False
                self.idle_since = time.monotonic()
                if self._account is not None and not self._account.is_valid:
                    await self._send_or_false({"type": "websocket.close", "code": _POLICY_VIOLATION})
                    return
                if self._endpoint.connections.is_closing:
                    await self.go_away()
        finally:
            if self._next_message is not None:
                self._next_message.cancel()
            self._endpoint.connections.budget.release(self._held_bytes, self.group)

    async def go_away(self, code: int = GOING_AWAY, reason: str = _GOING_DOWN) -> None:
        """Close from this side, after a last message with the state so far; a message that is worked on ends."""
        if self._is_closed:
            return
        self._is_closed = True
        token = self._session.last_token() if self._session else None
        if token is not None:
            last = render_last_state(
                token, "draining" if code == GOING_AWAY else "queue_full", reason, self._request_id
            )
            await self._send_or_false({"type": "websocket.send", "text": last.decode()})
        await self._send_or_false({"type": "websocket.close", "code": code})
        if self._task is not None:
            self._task.cancel()

    async def _send_or_false(self, message: Message) -> bool:
        """Send; False when the connection is lost, or closed by the server (a frame too large, a ping unanswered)."""
        try:
            await self._send(message)
        except (OSError, RuntimeError):
            return False
        return True

    async def _handle(self, message: Incoming) -> bytes:
        """The answer to one message, empty for an opening without an error."""
        started = time.monotonic()
        status, answer = 200, b""
        try:
            answer = await self._answer(message)
        except RitmoError as error:
            problem = render(error, self._request_id)
            status, answer = problem.status, problem.body
            if status == 500:
                extra = {"request_id": self._request_id, **error.log_fields}
                logger.error("a live message failed: %s", error.detail, exc_info=error, extra=extra)
        except Exception:
            logger.exception("a live message failed", extra={"request_id": self._request_id})
            status, answer = 500, internal(self._request_id).body
        seconds = time.monotonic() - started
        self._endpoint.connections.metrics.record(self._endpoint.path, self.model, status, seconds)
        return answer

    async def _answer(self, message: Incoming) -> bytes:
        if message.error is not None:
            raise message.error
        self.messages += 1
        self.received_bytes += len(message.content)
        if self._account is not None:
            if not self._account.is_valid:
                raise AccessDenied("the key has expired or was revoked", code="unauthenticated")
            self._account.charge_request()
        if self._session is None:
            session = await self._endpoint.open(message.content, self._client)
            answer = await self._endpoint.first_answer(session, len(message.content), self._client)
            self._session = session
            return answer
        return await self._endpoint.answer(self._session, message.content, self._client)

    async def _cancel_if_disconnected(self, work: Coroutine[Any, Any, bytes]) -> bytes:
        """The result of `work`; when the connection is lost it is cancelled, and the result is empty."""
        task = self._task = asyncio.current_task()
        handle = asyncio.get_running_loop().call_later(DISCONNECT_CHECK_SECONDS, self._watch)
        try:
            return await work
        except asyncio.CancelledError:
            if not (self._is_disconnected or self._is_closed) or task is None:
                raise
            task.uncancel()
            return b""
        finally:
            self._task = None
            handle.cancel()

    def _watch(self) -> None:
        """Receive the next message already now: it may be the end of the connection."""
        self._next_message = asyncio.ensure_future(self._receive_message())
        self._next_message.add_done_callback(self._cancel_at_end)

    def _cancel_at_end(self, next_message: asyncio.Future[Incoming | None]) -> None:
        if self._task is None or next_message.cancelled() or next_message.exception() is not None:
            return
        if next_message.result() is not None:
            return
        if self._is_parting and not self._is_watched_again:
            self._is_watched_again = True
            self._watch()  # its end may still come
            return
        self._is_disconnected = True
        self._task.cancel()

    async def _read(self) -> Incoming | None:
        """The next message, None at the end of the connection."""
        if self._is_parting:
            return None
        if self._next_message is None:
            return await self._receive_message()
        message, self._next_message = await self._next_message, None
        return message

    async def _receive_message(self) -> Incoming | None:
        """The next message from the server; its bytes are taken out of the budget until it is answered."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._is_parting = bool(message.get(ANSWERS_FIRST))
            return None
        text: str | None = message.get("text")
        if text is None:
            detail = "send text frames that hold JSON, not binary ones"
            return Incoming(error=InvalidRequest(detail, code="unsupported_media_type"))
        content = text.encode()
        try:
            self._endpoint.connections.budget.acquire(len(content), self.group)
        except Unavailable as error:
            return Incoming(error=error)
        self._held_bytes += len(content)
        return Incoming(content)


async def refuse_handshake(scope: Scope, receive: Receive, send: Send, answer: Answer, name: str) -> None:
    """Answer the handshake with a problem; servers without that extension can only close."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": TRY_LATER})
        return
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode()), id_header(name)]
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})
    # uvicorn reports the end twice: when the answer is written and when the connection is lost. A return before that
    # would be taken for a forgotten handshake, and logged as an error.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REFUSAL_SECONDS):
            for _ in range(2):
                await receive()
