"""uvicorn's WebSocket protocol, with bounds on what a client can make the process hold.

What arrives is parsed piece by piece, and not while a message waits for the application or an answer for its client.
So no more than a piece is ever unpacked ahead of its turn; the rest stays as it came, is counted
(`service.server.connection.Flow`), and no more is read. A flood of control frames is held up in the same way, and gives
way to other connections after a moment. A message has a time to arrive.

The head of the handshake was parsed as HTTP already: only the fields that the handshake is about are parsed again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from service.api.byte_budget import SMALL
from service.api.problems import render
from service.api.request import TLS_BYTES, request_id
from service.api.websockets import ANSWERS_FIRST
from service.contract.errors import RitmoError, Unavailable
from service.server.connection import LINGER_IN_ALL_SECONDS, ConnectionLimits, Deadline, Flow

_PIECE = 1 << 10  # bytes that are parsed at once
_TURN_SECONDS = 0.002  # of parsing, until other connections have their turn
_NO_TEXT, _POLICY_VIOLATION, _TRY_LATER = 1007, 1008, 1013  # close codes (RFC 6455 7.4.1 and its registry)
_FIELDS_OF_HANDSHAKE = frozenset((b"host", b"origin"))
_LAST_ANSWERS_SECONDS = 5.0  # for messages of a client that has closed since: it waits for as long, or has left
_PREFIX_OF_HANDSHAKE = b"sec-websocket-"

# Not uvicorn's own, to which each connection writes two lines: any client could fill the log.
_logger = logging.getLogger("uvicorn.live")


class LiveProtocol(WebSocketsSansIOProtocol):
    """One connection, from its handshake on."""

    flow: Flow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = self.conn.logger = _logger
        self._limits = limits
        self._receiving = Deadline(self.loop, self._message_is_late)
        self._unparsed = bytearray()
        self._message = bytearray()  # of a message in several frames, as far as it has come
        self._sizes: deque[int] = deque()  # of the messages that the application has not received
        self._queued = 0  # bytes of them
        self._is_scheduled = False  # whether parsing goes on in the next turn of the event loop
        self._is_reading = True
        self._is_lost = False
        self._farewell = b""  # the answer to the client's closing frame, until its messages are answered
        self._has_sent = False  # whether anything came since the last ping

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.loop, self._limits, self.client[0] if self.client else "")
        if transport.get_write_buffer_size():  # an answer that the client does not read: it goes on being waited for
            self.pause_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._is_lost = True
        self._farewell = b""
        self._receiving.close()
        self._unparsed.clear()
        super().connection_lost(exc)
        self.flow.close()

    def shake_hands(self, scope: Any) -> None:
        """Begin with the request that `scope` describes, an ASGI scope of HTTP."""
        # The offer was understood already; it may have been one of several, and in several fields.
        lines = [b"GET / HTTP/1.1", b"connection: upgrade", b"upgrade: websocket"]
        for name, value in scope["headers"]:
            if name in _FIELDS_OF_HANDSHAKE or name.startswith(_PREFIX_OF_HANDSHAKE):
                lines.append(name + b": " + value)
        super().data_received(b"\r\n".join(lines) + b"\r\n\r\n")
        if self.handshake_initiated:
            for key in ("headers", "raw_path", "path", "query_string"):
                self.scope[key] = scope[key]
        elif not self.flow.is_ending:
            self._refuse("its fields cannot be read")

    def handle_connect(self, event: Request) -> None:
        """uvicorn's method; a refusal is a problem, as every other."""
        if self.conn.accept(event).status_code == 101:
            super().handle_connect(event)
        else:
            self._refuse(str(self.conn.handshake_exc))

    def data_received(self, data: bytes) -> None:
        """uvicorn's method, piece by piece."""
        if self.flow.discard(len(data)):
            return
        self._has_sent = True
        if self._is_scheduled or not self._may_parse or self._unparsed or len(data) > _PIECE:
            self._unparsed += data
            if not self._is_scheduled:
                self._parse()
        else:
            super().data_received(data)
            self._write_control_frames()
            self._count()

    async def receive(self) -> Any:
        """The next message; uvicorn's method would read on though some has arrived already."""
        message = await self.queue.get()
        if message["type"] == "websocket.receive":
            self._queued -= self._sizes.popleft()
            if self.queue.empty() and not self._is_lost:
                self.read_paused = False
                if not self._is_scheduled:
                    self._parse()
        return message

    async def send(self, message: Any) -> None:
        """uvicorn's method; what came before the handshake was accepted, or comes after the end, is read.

        A refusal of the handshake gets the headers of every answer, which uvicorn leaves out.
        """
        if self._farewell and message["type"] == "websocket.send":  # the library sends nothing more
            await self.writable.wait()
            self.transport.write(Frame(Opcode.TEXT, message["text"].encode()).serialize(mask=False))
            return
        if message["type"] == "websocket.http.response.start":
            message = {**message, "headers": [*self.default_headers, *message.get("headers", ())]}
        await super().send(message)
        if message["type"] != "websocket.send":
            self.read_paused = False
            self._parse_later()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`: what the client does not read is not added to."""
        super().pause_writing()
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self.flow.resume_writing()
        super().resume_writing()
        self._parse_later()

    # --- parsing -----------------------------------------------------------------------------------------------------

    @property
    def _may_parse(self) -> bool:
        return self.handshake_complete and not self.read_paused and self.writable.is_set() and not self.flow.is_ending

    def _parse_later(self) -> None:
        if not self._is_scheduled and not self._is_lost:
            self._is_scheduled = True
            self.loop.call_soon(self._parse_scheduled)

    def _parse_scheduled(self) -> None:
        self._is_scheduled = False
        if not self._is_lost:
            self._parse()

    def _parse(self) -> None:
        """Parse what has arrived, for a moment at most, and count what is held."""
        until = time.monotonic() + _TURN_SECONDS
        while self._unparsed and self._may_parse:
            piece = bytes(self._unparsed[:_PIECE])
            del self._unparsed[:_PIECE]
            super().data_received(piece)
            self._write_control_frames()
            if self._unparsed and time.monotonic() > until:
                self._parse_later()
                break
        self._count()

    def _write_control_frames(self) -> None:
        """The pongs of a piece, in one write."""
        frames = b"".join(self.conn.data_to_send())
        if frames and not self.transport.is_closing():
            self.transport.write(frames)

    def _count(self) -> None:
        """Count what is held, start the clock of what is to come, and read only where nothing waits."""
        if self.flow.is_ending or self.transport.is_closing():
            return
        unfinished = len(self.conn.reader.buffer) + len(self._message)
        held_bytes = unfinished + len(self._unparsed) + self._queued
        if held_bytes > SMALL and self.scheme == "wss":
            held_bytes += TLS_BYTES
        try:
            self.flow.hold(held_bytes)
        except Unavailable:
            self._end(_TRY_LATER, "too many large messages at once")
            return
        is_held_up = bool(self._unparsed) or self.read_paused or not self.writable.is_set()
        if not unfinished or is_held_up:
            self._receiving.clear()
        elif not self._receiving.is_running:
            self._receiving.start(self._limits.settings.receive_seconds)
        if is_held_up == self._is_reading:
            self._is_reading = not is_held_up
            if is_held_up:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # --- pings -------------------------------------------------------------------------------------------------------

    def send_keepalive_ping(self) -> None:
        """uvicorn's method."""
        self._has_sent = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """uvicorn's method, for a client that is silent: the pong of another one may wait behind its own messages."""
        if self._has_sent or not self._is_reading:
            self._has_sent = False
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0.0, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    # --- ends --------------------------------------------------------------------------------------------------------

    def _message_is_late(self) -> None:
        self._limits.metrics.connection_cut("slow_message")
        self._end(_POLICY_VIOLATION, "the message did not arrive in time")

    def _end(self, code: int, reason: str) -> None:
        """Close from this side, without waiting for the application."""
        self._unparsed.clear()
        self._message.clear()
        if not self.handshake_complete:
            self.transport.abort()
        elif not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """uvicorn's method: the connection has failed. The client may be sending, and shall hear why all the same."""
        close = self.conn.close_sent
        if close is not None and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.close_timer is None:  # else `run_asgi` would close at once
            self.close_timer = self.loop.call_later(LINGER_IN_ALL_SECONDS, self.transport.abort)
        self._receiving.clear()
        self.flow.end(gently=True)

    def _refuse(self, reason: str) -> None:
        """Answer the handshake with a problem."""
        self.handshake_complete = self.close_sent = True
        answer = render(RitmoError(f"the WebSocket handshake: {reason}", code="bad_request"), request_id(None))
        self._limits.record_refusal(answer.status, 0.0)
        lines = [name + b": " + value for name, value in [*self.default_headers, *answer.headers]]
        lines += [b"content-length: %d" % len(answer.body), b"connection: close"]
        self.transport.write(STATUS_LINE[answer.status] + b"\r\n".join(lines) + b"\r\n\r\n" + answer.body)
        self.flow.end(gently=True)

    async def run_asgi(self) -> None:
        """uvicorn's method; the client that closed has its answers."""
        await super().run_asgi()
        if self._farewell:
            self._part()

    def handle_close(self, event: Frame) -> None:
        """uvicorn's method; what the client sent before is answered first (RFC 6455 5.5.1), for a while."""
        close = self.conn.close_rcvd
        if close is None or self.close_sent or self.transport.is_closing():
            super().handle_close(event)
            return
        self.stop_keepalive()
        self._farewell = b"".join(self.conn.data_to_send())
        self.close_sent = True
        self.close_timer = self.loop.call_later(_LAST_ANSWERS_SECONDS, self._part)
        end: Any = {"type": "websocket.disconnect", "code": close.code, "reason": close.reason, ANSWERS_FIRST: True}
        self.queue.put_nowait(end)

    def _part(self) -> None:
        self.transport.write(self._farewell)
        self._farewell = b""
        self.transport.close()

    # --- frames ------------------------------------------------------------------------------------------------------

    def handle_text(self, event: Frame) -> None:
        """The first frame of a text."""
        self.curr_msg_data_type = "text"
        self._add(event)

    def handle_bytes(self, event: Frame) -> None:
        """The first frame of a binary message."""
        self.curr_msg_data_type = "bytes"
        self._add(event)

    def handle_cont(self, event: Frame) -> None:
        """A further frame of a message."""
        self._add(event)

    def handle_ping(self) -> None:
        """The pong is written with others: see `_write_control_frames`."""

    def _add(self, event: Frame) -> None:
        """A frame of a message; what has come of it is kept as bytes, since frames may be many and empty."""
        if not event.fin:
            self._message += event.data
            return
        self.frames = [bytes(self._message + event.data)]
        self._message.clear()
        self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """uvicorn's method; the message is counted until the application receives it."""
        size = len(self.frames[0])
        if self.curr_msg_data_type == "text" and not _is_utf8(self.frames[0]):
            self._end(_NO_TEXT, "the text is not UTF-8")  # uvicorn would log it as an error of the service
            return
        super().send_receive_event_to_app()
        if not self.close_sent:
            self._is_reading = False
            self._sizes.append(size)
            self._queued += size


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
