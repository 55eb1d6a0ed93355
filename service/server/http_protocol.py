"""uvicorn's HTTP/1.1 protocol, with a shorter way for a complete answer, and a stop that loses no request.

ASGI sends an answer in two messages, and uvicorn builds and writes its head and its body one after the other. The
dispatcher has both at once, so where `scope["extensions"]` offers `COMPLETE_RESPONSE` it sends one message with status,
headers and body, which becomes one write. A body that has arrived completely is passed on without waiting for it.

While the server drains, every answer says `Connection: close`, and an idle connection stays open for a while: its
client may send a request at any instant, and would lose it.

A request that offers an upgrade which the server declines is an ordinary request (RFC 9110 7.8), with its body. The
parser takes what follows its head for another protocol, so the head is parsed again without the offer.

A head has a largest size and a time to arrive. An answer that refuses a request before its body was asked for
(`Expect: 100-continue`) ends the connection: the next bytes could be the body or another request. A client that closes
its sending side gets its answers.

Everything else (parsing, keep-alive, pipelining, flow control, all other messages) stays uvicorn's own.

Written for the uvicorn that constraints.txt pins: `on_headers_complete` repeats that release's. A test compares every
byte of both protocols' answers.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import struct
import termios
import urllib.parse
from functools import lru_cache
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api.problems import render
from service.api.request import COMPLETE_RESPONSE, request_id
from service.contract.errors import RitmoError

_EXTENSIONS: dict[str, dict[str, object]] = {COMPLETE_RESPONSE: {}}
_CACHED_TARGET = 64  # bytes: the split of a longer target is not cached
MAX_HEAD = 64 << 10  # bytes of a request's target and header fields
_HEAD_SECONDS = 30.0  # for a head to arrive, from the connection or from its first byte on
_HALF_CLOSED_SECONDS = 5.0  # for requests whose client sends no more: it has left, or waits for its answers
_JOINED_BODY = 64 << 10  # bytes: copying a body up to this size behind its head is less work than a second buffer


class _HeadTooLargeError(Exception):
    """Ends the parsing of a request."""


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    async def receive(self) -> Any:
        """The body, at once where all of it has arrived; else uvicorn waits for it."""
        if self.more_body or self.disconnected or self.response_complete or self.waiting_for_100_continue:
            return await super().receive()
        if not self.message_event.is_set():  # the body was passed on: the next event is the disconnect
            return await super().receive()
        self.flow.resume_reading()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        """Send a message of ASGI, or a complete answer: its headers are in lower case, one is its length, and they are
        not checked again."""
        if self.waiting_for_100_continue and not self.response_started:
            self.keep_alive = False  # whether the body still comes is the client's choice (RFC 9110 10.1.1)
        if message["type"] != COMPLETE_RESPONSE:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("a complete answer after another one")
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self._write(message["status"], message["headers"], message["body"])
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

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

    draining = False  # whether answers end the connection; a connection of a draining server begins with True
    connected_at = math.inf  # time of the event loop
    upgrade_declined = False  # of the request whose head was just parsed
    head_size = 0  # bytes of a head that is not complete
    head_may_be_large = False
    head_timer: asyncio.TimerHandle | None = None  # until the first or the next head is complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self.connected_at = self.loop.time()
        super().connection_made(transport)
        self.head_timer = self.loop.call_later(_HEAD_SECONDS, self._head_is_late)

    def drain(self) -> None:
        """The next answer ends the connection; one that has begun said that the connection stays, and it does."""
        self.draining = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_started:
            cycle.keep_alive = False

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            scope: object = self.scope
            return scope is None
        return cycle.response_complete and cycle.scope is self.scope

    def close_if_idle(self) -> None:
        """Close the connection unless a request has arrived, read or not: closing would destroy it."""
        if self.is_idle and not self.transport.is_closing():
            descriptor = self.transport.get_extra_info("socket").fileno()
            unread = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
            if not unread:
                self.transport.close()

    def data_received(self, data: bytes) -> None:
        """uvicorn's method, with a way back from an upgrade that is declined, and limits for a head."""
        self._unset_keepalive_if_required()
        self.head_may_be_large = self.head_size + len(data) > MAX_HEAD
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _HeadTooLargeError):
                self._refuse_head()
                return
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)
            return
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._stop_head_timer()
                self.handle_websocket_upgrade()
                return
            if self.upgrade_declined:
                self._decline_upgrade(data[upgrade.args[0] :])
                return
            self._unsupported_upgrade_warning()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            self._head_grows(len(data))
        elif self.head_timer is not None:
            self._stop_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn annotates it as never keeping the connection
        """The client sends no more; it may have left, or wait for its answers (a half-closed connection).

        Both look the same, so requests that are complete go on for a while. True keeps the connection open.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete:
            return False
        self.drain()
        self.loop.call_later(_HALF_CLOSED_SECONDS, self.transport.close)
        return True

    def _head_grows(self, size: int) -> None:
        """`size` bytes came and the head is not complete: it has a largest size, and a time to arrive."""
        self.head_size += size
        if self.head_size > MAX_HEAD:
            self._refuse_head()
        elif self.head_timer is None:
            self.head_timer = self.loop.call_later(_HEAD_SECONDS, self._head_is_late)

    def _stop_head_timer(self) -> None:
        self.head_size = 0
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _head_is_late(self) -> None:
        self.head_timer = None
        if self.head_size and not self.transport.is_closing():
            self._refuse("request_timeout", f"the request's head did not arrive within {_HEAD_SECONDS:g} s")
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        code = "uri_too_long" if len(self.url) > MAX_HEAD else "headers_too_large"
        self._refuse(code, f"a request's head has at most {MAX_HEAD} bytes")

    def _refuse(self, code: str, detail: str) -> None:
        """Answer in place of the application, which is not reached, and close the connection."""
        self._stop_head_timer()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:  # its answer would come after this one
            self.transport.close()
            return
        answer = render(RitmoError(detail, code=code), request_id(None))
        headers = [*self.server_state.default_headers, *answer.headers]
        lines = [name + b": " + value for name, value in headers]
        lines += [b"content-length: %d" % len(answer.body), b"connection: close"]
        self.transport.write(STATUS_LINE[answer.status] + b"\r\n".join(lines) + b"\r\n\r\n" + answer.body)
        self.transport.close()

    def _should_upgrade(self) -> bool:
        return self.scope["method"] == "GET" and super()._should_upgrade()

    def _handle_upgrade(self, method: str) -> bool:
        """Whether the request whose head was parsed is none for the application: it becomes a WebSocket, or is parsed
        again. The parser takes every CONNECT for an upgrade, whatever its fields.
        """
        self.upgrade_declined = method != "CONNECT" and not self._should_upgrade()
        return self.upgrade_declined or self._should_upgrade()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse the head again without its offer, then the `rest`, which begins with the body."""
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
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def on_message_complete(self) -> None:
        """uvicorn's method; a message without its body, which will be parsed again, is not complete."""
        if self.upgrade_declined or (self.parser.should_upgrade() and self._should_upgrade()):
            return
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_headers_complete(self) -> None:
        """uvicorn's method, with `Cycle`, and with a cache for the split of short targets."""
        if self.head_may_be_large and len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > MAX_HEAD:
            raise _HeadTooLargeError
        version = self.parser.get_http_version()
        scope: Any = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if self.parser.should_upgrade() and self._handle_upgrade(scope["method"]):
            return
        split = _split if len(self.url) <= _CACHED_TARGET else _split.__wrapped__
        raw_path, path, scope["query_string"] = split(self.url)
        scope["path"] = self.root_path + path
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        scope["extensions"] = _EXTENSIONS
        app: Any = self.app
        limit = self.limit_concurrency
        if limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit):
            app = service_unavailable
            self.logger.warning("Exceeded concurrency limit.")
        previous: RequestResponseCycle | None = self.cycle
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not self.draining,
            on_response=self.on_response_complete,
        )
        if previous is None or previous.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:  # pipelined: it waits for its turn
            if self.draining and not previous.response_started:
                previous.keep_alive = True  # the last answer ends the connection
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))


@lru_cache(maxsize=256)
def _split(url: bytes) -> tuple[bytes, str, bytes]:
    """Raw path, decoded path and query of a request's target."""
    parsed = httptools.parse_url(url)
    raw_path: bytes = parsed.path
    path = raw_path.decode("ascii")
    return raw_path, urllib.parse.unquote(path) if "%" in path else path, parsed.query or b""
