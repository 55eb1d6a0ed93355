"""uvicorn's HTTP/1.1 protocol, with a shorter way for an answer that is there as a whole.

ASGI sends an answer in two messages, and uvicorn builds and writes its head and its body one after the other. The edge
has both at once, so where `scope["extensions"]` offers `COMPLETE_RESPONSE` it sends one message with status, headers and body,
which becomes one write. A body that has arrived completely is handed over without waiting for it. Everything else
(parsing, keep-alive, pipelining, flow control, `Expect`, upgrades, limits, draining, all other messages) stays
uvicorn's own.

Written for the uvicorn that constraints.txt pins: `on_headers_complete` repeats that release's. A test compares every
byte of both protocols' answers.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from functools import lru_cache
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api.request import COMPLETE_RESPONSE

_EXTENSIONS: dict[str, dict[str, object]] = {COMPLETE_RESPONSE: {}}
_SHORT = 64  # bytes of a target that is worth remembering
_JOINED = 64 << 10  # bytes of a body that is copied behind its head: less work than a second buffer


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    async def receive(self) -> Any:
        """The body, at once where all of it is there; else as uvicorn waits for it."""
        if self.more_body or self.disconnected or self.response_complete or self.waiting_for_100_continue:
            return await super().receive()
        if not self.message_event.is_set():  # it has been handed over: what comes now can only be the end
            return await super().receive()
        self.flow.resume_reading()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        """A message of ASGI, or a whole answer with headers in lower case, among them its length, none of them checked
        again."""
        if message["type"] != COMPLETE_RESPONSE:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("a whole answer after another one")
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
        elif len(body) <= _JOINED:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))


class Protocol(HttpToolsProtocol):
    """One connection."""

    def on_headers_complete(self) -> None:
        """As uvicorn does, with our `Cycle`, and without taking the same target apart again and again."""
        version = self.parser.get_http_version()
        scope: Any = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if self.parser.should_upgrade() and self._should_upgrade():
            return
        split = _split if len(self.url) <= _SHORT else _split.__wrapped__
        raw_path, path, scope["query_string"] = split(self.url)
        scope["path"] = self.root_path + path
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        scope["extensions"] = _EXTENSIONS
        app: Any = self.app
        most = self.limit_concurrency
        if most is not None and (len(self.connections) >= most or len(self.tasks) >= most):
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
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if previous is None or previous.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:  # pipelined: it waits for its turn
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))


@lru_cache(maxsize=256)
def _split(url: bytes) -> tuple[bytes, str, bytes]:
    """Path as sent, path decoded, and query of a request's target."""
    parsed = httptools.parse_url(url)
    raw_path: bytes = parsed.path
    path = raw_path.decode("ascii")
    return raw_path, urllib.parse.unquote(path) if "%" in path else path, parsed.query or b""
