"""uvicorn's HTTP/1.1 protocol, with bounds on what a client can make the process hold; a stop loses no request.

ASGI sends an answer in two messages, and uvicorn builds and writes its head and its body one after the other. The
dispatcher has both at once, so where `scope["extensions"]` offers `COMPLETE_RESPONSE` it sends one message with status,
headers and body, which becomes one write. A body that has arrived completely is passed on without waiting for it.

A small request with a head that was parsed before, complete on arrival, takes no parser (`known_heads`). Where it
is a forecast of one series, the connection keeps one cycle for all of them (`service.api.single_forecasts`).

What arrives is parsed piece by piece. Requests that wait behind another one on their connection end the parsing, so
that no more than a piece of them is ever unpacked; the rest stays as it came, and no more is read. All of it is counted
(`service.server.connection.Flow`). A head has a largest size and a time to arrive; a body may not fall silent.

While the server drains, every answer says `Connection: close`, and an idle connection stays open for a while: its
client may send a request at any instant, and would lose it.

A request that offers an upgrade which the server declines is an ordinary request (RFC 9110 7.8), with its body. The
parser takes what follows its head for another protocol, so the head is parsed again without the offer.

An answer that comes before its request has arrived completely ends the connection: the next bytes could be the body or
another request. They are read and forgotten for a while, so that the answer is not lost to a reset. A client that
closes its sending side gets its answers.

Everything else (parsing, keep-alive, flow control, all other messages) stays uvicorn's own.

Written for the uvicorn that constraints.txt pins: `on_headers_complete` repeats that release's. A test compares every
byte of both protocols' answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import re
import socket
import struct
import termios
import time
import urllib.parse
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, service_unavailable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.api.dispatch import cut_off
from service.api.fast_path import MAX_BYTES, FastRequest
from service.api.problems import Answer, render
from service.api.request import ARRIVED, COMPLETE_RESPONSE, request_id
from service.api.single_forecasts import Caller, SingleForecast, SingleForecasts
from service.contract.errors import InvalidRequest, RitmoError, Unavailable
from service.server.connection import ConnectionLimits, Deadline, Flow
from service.server.known_heads import END, KnownHead, KnownHeads
from service.server.live_protocol import LiveProtocol
from service.server.tls_transport import TlsTransport

_EXTENSIONS: dict[str, dict[str, object]] = {COMPLETE_RESPONSE: {}}
_CACHED_TARGET = 64  # bytes: the split of a longer target is not cached
_BODY_SECONDS = 0.02  # for a small body that follows its head
_LATE_LOOK = 0.01  # seconds until the next look at a connection that was to close, and has a request to be read
_UNASKED_SECONDS = 5.0  # that a client of HTTP/1.0 which sends no more may wait for its answer
_HALF_CLOSED_SECONDS = 2.0  # until a client that sends no more is probed: it has left, or waits for its answers
_JOINED_BODY = 64 << 10  # bytes: copying a body up to this size behind its head is less work than a second buffer
_LONG_LENGTH = 18  # characters of a Content-Length: a longer one has leading zeros or white space, or means exabytes
_PIECE = 2 << 10  # bytes that are parsed at once where several requests may be among them
_WAITING_REQUEST = 4 << 10  # bytes that a request costs which waits behind another one
_TLS, _HTTP_2 = b"\x16\x03", b"PRI * HTTP/2.0"  # how connections of these protocols begin


# A name or an address, and perhaps a port (RFC 9110 7.2, RFC 3986 3.2.2); nothing, where the target has no authority.
_HOST = re.compile(
    rb"(?:\[[0-9A-Za-z:.%_~!$&'()*+,;=-]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
)


class _RefusalError(Exception):
    """Ends the parsing of a request; `error` is the answer."""

    def __init__(self, error: RitmoError) -> None:
        super().__init__(error.detail)
        self.error = error


class Cycle(RequestResponseCycle):
    """One request and its answer: uvicorn's, which begins in less time."""

    flow: Flow
    disconnected = response_started = response_complete = False
    more_body = True
    chunked_encoding: bool | None = None
    length_is_unknown = False  # of the answer, which has no chunks either
    expected_content_length = 0
    fault: RitmoError | None = None  # of the body
    received = 0  # bytes of the body that have come
    counted = 0  # of them, when the last piece was counted
    length: int | None = None  # of the body as declared, 0 where it is not; None before it was looked up
    _event: asyncio.Event | None = None
    fast: FastRequest | SingleForecast | None = None  # where the request is answered without a task

    def __init__(
        self, protocol: Protocol, scope: Any, *, keep_alive: bool, expect_100_continue: bool, body: bytes = b""
    ) -> None:
        self.scope = scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.access_logger = protocol.access_logger
        self.access_log = protocol.access_log
        self.default_headers = protocol.server_state.default_headers
        self.on_response = protocol.on_response_complete
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expect_100_continue
        self.body = bytearray(body)

    async def run_asgi(self, app: Any) -> None:
        """uvicorn's method; that a server which stops cancels a request, which has its answer then, is no failure."""

        async def cancellable(scope: Any, receive: Any, send: Any) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await app(scope, receive, send)

        await super().run_asgi(cancellable)

    def fail(self, error: RitmoError) -> None:
        """The body will not arrive: receiving it raises `error`."""
        self.fault = error
        self.keep_alive = False
        self.wake()

    @property
    def message_event(self) -> asyncio.Event:  # type: ignore[override]  # uvicorn has an attribute
        """What the task of the request waits for; most requests have neither."""
        event = self._event
        if event is None:
            event = self._event = asyncio.Event()
            if self.body or not self.more_body or self.fault or self.disconnected or self.response_complete:
                event.set()
        return event

    def wake(self) -> None:
        """Something has happened that the task of the request may wait for."""
        if self._event is not None:
            self._event.set()

    @property
    def missing(self) -> int:
        """Bytes of the body that are still to come, 0 where that is not known."""
        if self.length is None:
            declared = next((value for name, value in self.scope["headers"] if name == b"content-length"), b"0")
            self.length = int(declared)
        return self.length - self.received

    async def receive(self) -> Any:
        """The body, at once where all of it has arrived; else uvicorn waits for it."""
        flow = self.flow
        if (
            self.more_body
            or self.disconnected
            or self.response_complete
            or self.waiting_for_100_continue
            or not self.message_event.is_set()  # the body was passed on: the next event is the disconnect
        ):
            message: Any = await super().receive()
            if self.fault is not None and message.get("more_body"):
                raise self.fault
            if flow.held_bytes:
                flow.release(len(message.get("body", b"")))
            return message
        flow.resume_reading()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        if flow.held_bytes:
            flow.release(len(body))
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        """Send a message of ASGI, or a complete answer: its headers are in lower case, one is its length, and they are
        not checked again."""
        if self.more_body and not self.response_started:
            self.keep_alive = False  # whether the rest of the body still comes is the client's choice
        if message["type"] != COMPLETE_RESPONSE:
            await self._send_part(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("a complete answer after another one")
        self.reply(message["status"], message["headers"], message["body"])

    def reply(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a complete answer."""
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.fast = None
        self._write(status, headers, body)
        self.wake()
        if not self.keep_alive:
            self.flow.end(gently=self._client_may_send)
        self.on_response()

    async def _send_part(self, message: Any) -> None:
        """uvicorn's `send`; the end of the connection is ours."""
        if self.scope["http_version"] == "1.0":
            self._send_without_chunks(message)
        ends = message["type"] == "http.response.body" and not message.get("more_body") and not self.keep_alive
        if ends and self.response_started and not self.response_complete:
            self.keep_alive = True
            self.flow.is_ending = True
        else:
            ends = False
        await super().send(message)
        if ends and self.response_complete:
            self.flow.end(gently=self._client_may_send)

    def _send_without_chunks(self, message: Any) -> None:
        """HTTP/1.0 has no chunks: an answer of unknown length ends with its connection (RFC 9112 6.1, 6.3)."""
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self.length_is_unknown = b"content-length" not in names
            if self.length_is_unknown:
                self.chunked_encoding = False
        elif self.length_is_unknown:
            self.expected_content_length = len(message.get("body", b""))

    @property
    def _client_may_send(self) -> bool:
        return self.more_body or self.flow.has_backlog

    def _write(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        lines = [name + b": " + value for name, value in self.default_headers]
        lines += [name + b": " + value for name, value in headers]
        if not self.keep_alive:
            lines.append(b"connection: close")
        head = STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n"
        if self.scope["method"] == "HEAD":
            self.transport.write(head)
        elif len(body) <= _JOINED_BODY:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))


class Protocol(HttpToolsProtocol):
    """One connection."""

    flow: Flow
    cycle: Cycle  # of the last head that was parsed
    draining = False  # whether answers end the connection
    connected_at = math.inf  # time of the event loop
    url = b""  # the target as far as it has come; before the first request has begun, uvicorn has none
    upgrade_declined = False  # of the request that had its head parsed last
    running: Cycle | None = None  # the request that the application works on, or answered last

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        is_draining: Callable[[], bool] = lambda: False,
        known_heads: KnownHeads | None = None,
    ) -> None:
        """`is_draining`: of the server, asked once the connection is among those of `server_state`; `known_heads` are
        those of all its connections."""
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._is_draining = is_draining
        self._max_head = limits.settings.max_head_bytes
        self._max_fields = limits.settings.max_header_fields
        self._reading = Deadline(self.loop, self._reading_expired)
        self._connected_at = time.monotonic()
        self._received_at = 0.0  # time.monotonic() of the last bytes
        self._head_began_at = 0.0  # of the first bytes of a head that is not complete; 0 where none is
        self._unframed = 0  # bytes since the head began, or since the last bytes of a body
        self._hosts = 0  # fields of that name in the head
        self._unparsed = b""  # what came behind requests that wait
        self._is_deaf = False  # whether nothing more is parsed, since what came last was no request
        self._is_half_closed = False
        self._refusal: Answer | None = None  # to what came behind the last request, once that has its answer
        self._known_heads = known_heads or KnownHeads()
        self._begin_fast: Callable[..., FastRequest | None] | None = getattr(self.app, "begin", None)
        self._singles: SingleForecasts | None = getattr(self.app, "single_forecasts", None)
        self._caller: Caller | None = None  # of these
        self._single: Cycle | None = None  # of all forecasts that these begin on this connection
        self._unstarted: Any = None  # the application that is to answer the request whose head was parsed last
        self._starting = Deadline(self.loop, self._start_task)  # of its body, without a task that waits for it
        self._successor: LiveProtocol | None = None  # once the connection is a live one

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self.connected_at = self.loop.time()
        if transport.get_extra_info("sslcontext") is not None:
            transport = TlsTransport(transport)
        super().connection_made(transport)
        # A drain that began since the connection was accepted could not tell this protocol.
        self.draining = self._is_draining()
        self.flow = Flow(transport, self.loop, self._limits, self.address)
        self._scope_of_all = {  # what uvicorn says of each request
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
        }
        self._reading.start(self._limits.settings.receive_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._reading.close()
        self._unparsed = b""
        self.pipeline.clear()
        if self.running is not None and self.running is not self.cycle and not self.running.response_complete:
            self.running.disconnected = True
            self.running.wake()
        super().connection_lost(exc)
        self._start_task()  # it finds that its client has left
        self._starting.close()
        self._cancel_fast(None)
        self.flow.close()

    def drain(self) -> None:
        """The next answer ends the connection; one that has begun said that the connection stays, and it does."""
        self.draining = True
        cycle: Cycle | None = self.cycle
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = False

    def cut(self) -> None:
        """Answer a request that is computed without a task, or has no body yet: the server cannot wait longer.

        Tasks that compute are cancelled.
        """
        self._cancel_fast(cut_off)
        cycle = self.running
        if cycle is not None and cycle.more_body and not cycle.response_started:
            cycle.fail(Unavailable("the server stops and could not wait for this body", code="draining"))

    def _cancel_fast(self, answer: Callable[[str], Answer] | None) -> None:
        cycle = self.running
        if cycle is not None and cycle.fast is not None and not cycle.response_complete:
            fast, cycle.fast = cycle.fast, None
            fast.cancel(answer and answer(fast.request_id))

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        cycle: Cycle | None = self.cycle
        if cycle is None:
            scope: object = self.scope
            return scope is None
        return cycle.response_complete and cycle.scope is self.scope

    @property
    def address(self) -> str:
        """Of the client; empty for a Unix socket, and where the client has left."""
        return self.client[0] if self.client else ""

    @property
    def waits_since(self) -> float | None:
        """Since when (`time.monotonic`) the connection waits for its client to send a request, or the rest of one; None
        while a request is worked on."""
        if self.transport.is_closing():
            return None
        cycle: Cycle | None = self.cycle
        if cycle is None or cycle.scope is not self.scope:  # before the end of a head, if not before its beginning
            is_free = cycle is None or cycle.response_complete
            return self._head_began_at or self._received_at or self._connected_at if is_free else None
        if cycle.response_complete:
            return self._received_at
        scope: Any = cycle.scope
        return scope[ARRIVED] if cycle.more_body else None

    def make_room(self) -> bool:
        """Close the connection, which waits for its client, for others; whether it is."""
        if self.is_idle and not self.close_if_idle():
            return False
        self._limits.metrics.connection_cut("crowded")
        self.transport.abort()
        return True

    def close_if_idle(self) -> bool:
        """Close the connection unless a request has arrived, read or not: closing would destroy it; whether it is."""
        if self.transport.is_closing():
            return True
        if not self.is_idle:
            return False
        descriptor = self.transport.get_extra_info("socket").fileno()
        if struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]:
            return False
        # The transport closes in the next round of the event loop; the client must hear of it before it sends.
        with socket.socket(fileno=os.dup(descriptor)) as connection, contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        self.transport.close()
        return True

    def data_received(self, data: bytes) -> None:
        """uvicorn's method, with limits, and with a way back from an upgrade that is declined."""
        self._received_at = time.monotonic()
        if self.flow.is_ending or self._is_deaf:
            self.flow.discard(len(data))
        elif self._unparsed:
            self._unparsed += data
            self._count()
        elif self._begin_fast is None or not self._is_between_requests:
            self._parse(data)
        elif not self._begin_known(data):
            earlier: Cycle | None = self.cycle
            self._parse(data)
            cycle: Cycle | None = self.cycle
            is_new = cycle is not earlier  # else the head was refused, or is not whole
            if cycle and is_new and cycle.keep_alive and (cycle.fast is not None or cycle.response_complete):
                scope: Any = cycle.scope
                is_plain = self._singles is not None and self._singles.takes(scope)
                self._known_heads.learn(data, scope, asks_plainly=is_plain)

    @property
    def _is_between_requests(self) -> bool:
        """Whether what comes next begins with a head, and no earlier request is without its answer."""
        cycle: Cycle | None = self.cycle
        if cycle is None:
            scope: object = self.scope
            return scope is None and not self._unframed
        return cycle.response_complete and cycle.scope is self.scope and not self._unframed

    def _begin_known(self, data: bytes) -> bool:
        """Have the request answered that `data` is, where its head is known; False where nothing has happened."""
        found = self._known_heads.find(data)
        if found is None:
            return False
        head, digits, body_at = found
        if head.asks_plainly and not self.flow.write_paused and self._begin_single(data, head, body_at):
            return True
        fields = head.fields.copy()
        fields[head.length_at] = (b"content-length", digits)
        scope: Any = self._scope_of_all | head.scope
        scope["headers"] = fields
        scope["state"] = self.app_state.copy()
        scope[ARRIVED] = self._received_at
        self.scope = scope
        content = data[body_at:]
        cycle = Cycle(self, scope, keep_alive=not self.draining, expect_100_continue=False)
        cycle.more_body = False
        self.cycle = self.running = cycle
        if self.flow.write_paused or not self._has_begun(cycle, content):
            cycle.body += content
            cycle.wake()
            self._start_asgi_task(cycle, self.app)
        if not cycle.response_complete:
            self._reading.clear()
        return True

    def _begin_single(self, data: bytes, head: KnownHead, body_at: int) -> bool:
        """Have a forecast of the simplest form computed; False where nothing has happened."""
        singles, cycle, caller = self._singles, self._single, self._caller
        if singles is None:
            return False
        if cycle is None or caller is None:
            scope = self._scope_of_all | head.scope | {"headers": []}
            cycle = self._single = Cycle(self, scope, keep_alive=True, expect_100_continue=False)
            cycle.more_body = False
            caller = self._caller = singles.caller(scope)
        fast = singles.begin(data, body_at, head.fields, self._received_at, caller, self)
        if fast is None:
            return False
        cycle.keep_alive = not self.draining
        cycle.response_started = cycle.response_complete = False
        cycle.fast = fast
        self.scope = cycle.scope
        self.cycle = self.running = cycle
        self._reading.clear()
        return True

    def reply(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the forecast that was begun."""
        cycle = self._single
        if cycle is not None:
            cycle.default_headers = self.server_state.default_headers
            cycle.reply(status, headers, body)

    def reply_well(self, answer: bytes) -> None:
        """Answer it with status 200: `answer` is all but the first lines."""
        cycle = self._single
        if cycle is None or not cycle.keep_alive:
            fields, _, body = answer.partition(END)
            lines = [line.partition(b": ") for line in fields.splitlines()]
            self.reply(200, [(name, value) for name, _, value in lines], body)
            return
        cycle.response_started = cycle.response_complete = True
        cycle.fast = None
        first_lines = self._known_heads.first_lines(self.server_state.default_headers)
        self.transport.write(first_lines + answer)
        self.on_response_complete()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn annotates it as never keeping the connection
        """The client sends no more; it may have left, or wait for its answers (a half-closed connection).

        Both look the same, so requests that are complete go on, and the client is probed (`_is_there`). True keeps the
        connection open.
        """
        cycle: Cycle | None = self.cycle
        if self.flow.is_ending or cycle is None or cycle.more_body or cycle.response_complete:
            return False
        if self._refusal is None:
            self.drain()
        if not self.transport.can_write_eof():  # TLS, which ends both directions at once
            return False
        self._is_half_closed = True
        self._reading.start(_HALF_CLOSED_SECONDS)
        return True

    def _may_wait(self) -> bool:
        """Whether a client that sends no more may still wait for its answers.

        The system of one that has left resets the connection once it is sent something: an interim answer, which says
        nothing to a client that waits (RFC 9110 15.2).
        """
        cycle = self.running
        if cycle is None or cycle.response_complete:
            return False
        if cycle.scope["http_version"] != "1.1":  # it has no interim answers
            return self._received_at > time.monotonic() - _UNASKED_SECONDS
        if not cycle.response_started:  # else the parts of the answer ask
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    # --- parsing -----------------------------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        """Parse `data`, as far as no request waits behind another one, and start what can be started."""
        self._parse_pieces(data)
        if self._unstarted is not None:
            self._start(self.running)

    def _start(self, cycle: Any) -> None:
        """Have a request answered: without a task where its application does that, and its body is there or follows.

        Many clients send the body behind the head.
        """
        begin = self._begin_fast
        if begin is None or self._unstarted is not self.app or cycle.fault or self.pipeline or self._unparsed:
            self._start_task()
        elif cycle.more_body:
            if self._starting.is_running:
                return
            if 0 < cycle.missing <= MAX_BYTES and not cycle.waiting_for_100_continue:
                self._starting.start(_BODY_SECONDS)
            else:
                self._start_task()
        elif len(cycle.body) > MAX_BYTES or self.flow.write_paused or not self._takes_no_task(cycle):
            self._start_task()
        else:
            self._unstarted = None
            self._starting.clear()

    def _takes_no_task(self, cycle: Cycle) -> bool:
        """Whether a request, whose body is there, is answered without a task, or will be."""
        content = bytes(cycle.body)
        cycle.body.clear()
        if self.flow.held_bytes:
            self.flow.release(len(content))
        if self._has_begun(cycle, content):
            return True
        cycle.body += content
        return False

    def _has_begun(self, cycle: Cycle, content: bytes) -> bool:
        begin = self._begin_fast
        fast = begin and begin(cycle.scope, content, cycle.reply)
        if fast is None:
            return False
        if not cycle.response_complete:
            cycle.fast = fast
        return True

    def _start_task(self) -> None:
        """Have the request whose head was parsed last answered by a task."""
        self._starting.clear()
        app, self._unstarted = self._unstarted, None
        if app is not None and self.running is not None:
            self._start_asgi_task(self.running, app)

    def _parse_pieces(self, data: bytes) -> None:
        """Parse `data` as far as no request waits behind another one, and count what is held."""
        end = len(data)
        if end <= _PIECE:
            if not self._feed(data):
                return
        else:
            start = 0
            view = memoryview(data)
            while start < end:
                if self.pipeline:
                    self._unparsed = bytes(view[start:])
                    break
                stop = min(end, start + self._piece_size())
                if not self._feed(view[start:stop]):
                    self._forward(view[stop:])
                    return
                start = stop
        cycle: Cycle | None = self.cycle
        if cycle is None or cycle.scope is not self.scope or cycle.more_body or self.pipeline:
            self._count()
        else:
            if not cycle.response_complete and not self._is_half_closed:
                self._reading.clear()
            if self.flow.held_bytes:
                self._count()

    def _piece_size(self) -> int:
        """Bytes that are parsed at once: a few, or the whole rest of a body, since no request can begin within it."""
        cycle: Cycle | None = self.cycle
        if cycle is not None and cycle.scope is self.scope and cycle.more_body:
            return max(_PIECE, cycle.missing)
        return _PIECE

    def _feed(self, piece: bytes | memoryview) -> bool:
        """Parse `piece`; False where the connection takes no more requests."""
        while True:
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserError as error:
                reason = error.__context__
                if isinstance(reason, _RefusalError):
                    self._refuse(reason.error)
                else:
                    self._refuse(_no_request(piece))
                return False
            except httptools.HttpParserUpgrade as upgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    self._forward(piece[upgrade.args[0] :])
                    return False
                if not self.upgrade_declined:
                    self._unsupported_upgrade_warning()
                    break
                piece = self._head_without_offer() + bytes(piece[upgrade.args[0] :])
                continue
            break
        cycle: Cycle | None = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            if not cycle.more_body:
                self._unframed = 0
                return True
            if cycle.received != cycle.counted:
                cycle.counted = cycle.received
                self._unframed = 0
                return True
        return self._head_grows(min(len(piece), _PIECE))

    def _head_grows(self, size: int) -> bool:
        """`size` bytes came that are no body, of a head or between chunks; False where they are too many."""
        self._unframed += size
        if self._unframed > self._max_head + _PIECE:
            self._refuse(self._head_too_large())
        elif len(self.headers or ()) > self._max_fields:
            self._refuse(self._too_many_fields())
        else:
            return True
        return False

    def _count(self) -> None:
        """Count what is held of requests that are not complete or wait, and start the clock of what is to come."""
        cycle: Cycle | None = self.cycle
        body = len(cycle.body) if cycle is not None else 0
        try:
            self.flow.hold(
                self._unframed + body + len(self._unparsed) + _WAITING_REQUEST * len(self.pipeline),
            )
        except Unavailable as error:
            self._refuse(error)
            return
        if self.pipeline or self._is_half_closed:
            if not self._is_half_closed:
                self._reading.clear()
        elif cycle is not None and cycle.scope is self.scope:
            if cycle.more_body:
                self._reading.start(self._limits.settings.receive_seconds)
        elif not self._head_began_at:
            self._head_began_at = self._received_at
            self._reading.start(self._limits.settings.receive_seconds)

    def _parse_rest(self) -> None:
        """Parse what came behind requests that were waiting, and read on."""
        data, self._unparsed = self._unparsed, b""
        self.flow.has_backlog = False
        if data:
            self._parse(data)
        elif self.flow.held_bytes:
            self._count()
        if not self._unparsed and not self.pipeline:
            self.flow.resume_reading()
        else:
            self.flow.has_backlog = True

    # --- refusals ----------------------------------------------------------------------------------------------------

    def _reading_expired(self) -> None:
        seconds = self._limits.settings.receive_seconds
        cycle: Cycle | None = self.cycle
        in_body = cycle is not None and cycle.scope is self.scope and cycle.more_body
        if self._is_half_closed and not self.transport.is_closing() and self._may_wait():
            self._reading.start(_HALF_CLOSED_SECONDS)
        elif in_body and self.flow.read_paused:  # the application takes its time
            self._reading.start(seconds)
        elif in_body and not self.transport.is_closing():
            self._refuse(RitmoError(f"nothing of the body arrived for {seconds:g} s", code="request_timeout"))
        elif self._unframed and not self.transport.is_closing():
            self._refuse(RitmoError(f"the request's head did not arrive within {seconds:g} s", code="request_timeout"))
        elif self._is_half_closed or not self.is_idle:
            self.transport.close()
        elif not self.close_if_idle():
            # An event loop that is late (the machine is busy) looks at its clocks before it reads what has come.
            self._reading.start(_LATE_LOOK)

    def _head_size(self) -> int:
        """Bytes of the head as it is sent without superfluous white space."""
        line = len(self.parser.get_method()) + len(self.url) + len(b"  HTTP/1.1\r\n")
        return line + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers) + len(b"\r\n")

    def _head_too_large(self) -> RitmoError:
        code = "uri_too_long" if len(self.url or b"") > self._max_head - _PIECE else "headers_too_large"
        return RitmoError(f"a request's head has at most {self._max_head} bytes", code=code)

    def _too_many_fields(self) -> RitmoError:
        return RitmoError(f"a request's head has at most {self._max_fields} fields", code="too_many_headers")

    def _refuse(self, error: RitmoError) -> None:
        """Take no more requests from this connection, and answer the one that is being received with `error`.

        The application answers where it has begun to read; where earlier requests wait for their answers, this one
        comes behind them.
        """
        self._reading.clear()
        self._unparsed = b""
        self._is_deaf = True
        cycle: Cycle | None = self.cycle
        if cycle is not None and cycle.scope is self.scope and cycle.more_body:
            cycle.fail(error)
            return
        answer = render(error, request_id(None))
        self._limits.record_refusal(answer.status, max(0.0, time.monotonic() - self._received_at))
        if cycle is None or cycle.response_complete:
            self._send_refusal(answer)
            return
        self._refusal = answer
        self.flow.has_backlog = True
        self.flow.pause_reading()

    def _send_refusal(self, answer: Answer) -> None:
        headers = [*self.server_state.default_headers, *answer.headers]
        lines = [name + b": " + value for name, value in headers]
        lines += [b"content-length: %d" % len(answer.body), b"connection: close"]
        self.transport.write(STATUS_LINE[answer.status] + b"\r\n".join(lines) + b"\r\n\r\n" + answer.body)
        self.flow.end(gently=True)

    # --- upgrades ----------------------------------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        """uvicorn's method, for a request as RFC 6455 4.2.1 has it; one with a body would have it read as frames."""
        is_first = self.running is None or self.running.response_complete
        is_right = self.scope["method"] == "GET" and self.scope["http_version"] == "1.1"
        return is_first and is_right and super()._should_upgrade() and not self._has_body()

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and int(value)) for name, value in self.headers
        )

    def _get_upgrade(self) -> bytes | None:
        """uvicorn's method; fields of one name are one list, and a client may offer several protocols in it."""
        options = self._listed(b"connection")
        return b"websocket" if b"upgrade" in options and b"websocket" in self._listed(b"upgrade") else None

    def _listed(self, field: bytes) -> list[bytes]:
        values = (value for name, value in self.headers if name == field)
        return [element.strip().lower() for value in values for element in value.split(b",")]

    def _handle_upgrade(self, method: str) -> bool:
        """Whether the request whose head was parsed is none for the application: it becomes a WebSocket, or is parsed
        again. The parser takes every CONNECT for an upgrade, whatever its fields.
        """
        self.upgrade_declined = method != "CONNECT" and not self._should_upgrade()
        return self.upgrade_declined or self._should_upgrade()

    def _head_without_offer(self) -> bytes:
        """The head that was just parsed, without its offer to upgrade."""
        self.upgrade_declined = False
        lines = [self.scope["method"].encode() + b" " + self.url + b" HTTP/" + self.scope["http_version"].encode()]
        for name, value in self.headers:
            if name == b"connection":
                options = [option for option in value.split(b",") if option.strip().lower() != b"upgrade"]
                lines.append(name + b": " + b",".join(options))
            elif name != b"upgrade":
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's parser has it
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def handle_websocket_upgrade(self) -> None:
        """The connection becomes a live one, with a protocol of its own."""
        self._reading.close()
        self.flow.close()
        self.connections.discard(self)
        protocol = LiveProtocol(self.config, self.server_state, self.app_state, limits=self._limits)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        self._successor = protocol
        protocol.shake_hands(self.scope)

    def _forward(self, remainder: bytes | memoryview) -> None:
        """What came behind the head belongs to the protocol that has taken over, if any has."""
        if self._successor is not None and len(remainder):
            self._successor.data_received(bytes(remainder))

    # --- callbacks of the parser -------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """uvicorn's method, with checks of what may be in a head once."""
        name = name.lower()
        if name == b"host":
            self._hosts += 1
            if _HOST.fullmatch(value.strip(b" \t")) is None:
                raise _RefusalError(_bad_request("the Host field is a name or an address, and perhaps a port"))
        elif name == b"expect":
            self.expect_100_continue |= value.strip().lower() == b"100-continue"
        elif name == b"content-length" and len(value) > _LONG_LENGTH:
            value = value.strip().lstrip(b"0") or b"0"  # Python reads no number of thousands of digits
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise _RefusalError(_bad_request("the only transfer coding that is read is 'chunked'"))
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """uvicorn's method; the bytes are counted."""
        cycle: Cycle | None = self.cycle
        if cycle is None or cycle.scope is not self.scope or cycle.response_complete or self._is_deaf:
            return
        cycle.received += len(body)
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.wake()

    def on_message_complete(self) -> None:
        """uvicorn's method; a message without its body, which will be parsed again, is not complete."""
        self._hosts = 0  # one among the trailers is none of the next request
        if self.upgrade_declined or (self.parser.should_upgrade() and self._should_upgrade()):
            return
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.wake()

    def on_headers_complete(self) -> None:
        """uvicorn's method, with `Cycle`, and with a cache for the split of short targets."""
        if self._unframed + _PIECE > self._max_head and self._head_size() > self._max_head:
            raise _RefusalError(self._head_too_large())
        if len(self.headers) > self._max_fields:
            raise _RefusalError(self._too_many_fields())
        version = self.parser.get_http_version()
        scope: Any = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if self._hosts != 1 and (self._hosts or version != "1.0"):
            raise _RefusalError(_bad_request("a request has one Host field"))
        scope[ARRIVED] = self._head_began_at or self._received_at
        self._head_began_at = 0.0
        self._unframed = self._hosts = 0
        split = _split if len(self.url) <= _CACHED_TARGET else _split.__wrapped__
        raw_path, path, scope["query_string"] = split(self.url)
        scope["path"] = self.root_path + path
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        if self.parser.should_upgrade() and self._handle_upgrade(scope["method"]):
            return
        scope["extensions"] = _EXTENSIONS
        self.headers = []  # trailers are no headers (RFC 9110 6.5.1)
        app: Any = self.app
        limit = self.limit_concurrency
        if limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit):
            app = service_unavailable
            self.logger.warning("Exceeded concurrency limit.")
        previous: Cycle | None = self.cycle
        keep_alive = version != "1.0" and self.parser.should_keep_alive() and not self.draining
        expects = self.expect_100_continue and version != "1.0"  # HTTP/1.0 has no interim answers
        cycle = Cycle(self, scope, keep_alive=keep_alive, expect_100_continue=expects)
        self.cycle = cycle
        if previous is None or previous.response_complete:
            self.running = cycle
            self._unstarted = app  # until what came with the head is parsed
        else:  # pipelined: it waits for its turn
            if self.draining and not previous.response_started:
                previous.keep_alive = True  # the last answer ends the connection
            self.flow.has_backlog = True
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))

    def on_response_complete(self) -> None:
        """uvicorn's method; reading goes on when no request waits any more."""
        self.server_state.total_requests += 1
        if self.flow.is_ending or self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self.running = cycle  # type: ignore[assignment]
            self._start_asgi_task(cycle, app)
            if not self.pipeline and not self._is_deaf:
                self._parse_rest()
            return
        if self._refusal is not None:
            self._send_refusal(self._refusal)
            return
        self.flow.resume_reading()
        if not self._unframed and not self._is_half_closed:
            self._reading.start(self._limits.settings.keep_alive_seconds)
        if self.flow.held_bytes:
            self._count()


class PlainProtocol(Protocol):
    """A connection that sends plain HTTP where TLS is spoken: it hears so, as plain HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._refuse(_bad_request("plain HTTP was sent to a port with TLS: its addresses begin with https://"))


def _bad_request(detail: str) -> RitmoError:
    return InvalidRequest(detail, code="bad_request")


def _no_request(data: bytes | memoryview) -> RitmoError:
    """The answer to what the parser does not take; `data` is often the beginning of another protocol."""
    beginning = bytes(data[: len(_HTTP_2)])
    if beginning.startswith(_TLS):
        return _bad_request("a handshake of TLS was sent to a port without: its addresses begin with http://")
    if beginning == _HTTP_2:
        return _bad_request("HTTP/2 is not spoken here: HTTP/1.1 is")
    return _bad_request("what was sent is no valid HTTP request")


@lru_cache(maxsize=256)
def _split(url: bytes) -> tuple[bytes, str, bytes]:
    """Raw path, decoded path and query of a request's target."""
    parsed = httptools.parse_url(url)
    raw_path: bytes = parsed.path or b"/"  # `http://host` is `http://host/` (RFC 9110 4.2.3)
    path = raw_path.decode("ascii")
    return raw_path, urllib.parse.unquote(path) if "%" in path else path, parsed.query or b""
