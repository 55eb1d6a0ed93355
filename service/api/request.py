"""One request to a direct route and its answer, on bare ASGI: body within limits, deadline, lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import secrets
import tempfile
import time
from typing import Any, BinaryIO

from starlette.types import Message, Receive, Scope, Send

from service.api.byte_budget import ByteBudget
from service.api.problems import Answer, Header
from service.codec.common import ANY_IMAGE, CSV, CSV_NAMES, JSON, TABLES, UNSPECIFIC, Body, unsupported_media_type
from service.contract.errors import DeadlineExceeded, InvalidRequest, RitmoError, Unavailable
from service.runtime.fair_share import Client

# Seconds of work before the connection is watched, which takes a task that most requests never need.
DISCONNECT_CHECK_SECONDS = 0.05
# A message with a whole answer, and the ASGI extension of a server that takes it: `service.server.http_protocol`.
COMPLETE_RESPONSE = "ritmo.response"
ARRIVED = "ritmo.arrived"  # key of a scope: time.monotonic() of the first byte of the request
SIZE, MODEL = "ritmo.size", "ritmo.model"  # keys of a scope, for the audit log: bytes of the body, the model's name
MAX_TIMEOUT_MS = 3_600_000
# What a connection with TLS takes beside a body that arrives in parts: measured, 160 KiB (its buffer may have 256).
TLS_BYTES = 160 << 10
_MAX_ID = 128  # characters
_MAX_LENGTH_DIGITS = 18
_ID_FORBIDDEN = re.compile(r"[^A-Za-z0-9._:/+=@-]")
_JSON_BYTES = JSON.encode()

_process_id = secrets.token_hex(6)
_counter = itertools.count(1)


class Disconnected(Exception):
    """The connection was closed before the body had arrived."""


def request_id(header: bytes | None) -> str:
    """The id in the request's header, cut and freed of what has no place in a header or a log; or a new one."""
    if header:
        text = _ID_FORBIDDEN.sub("", header[: 4 * _MAX_ID].decode("latin-1"))[:_MAX_ID]
        if text:
            return text
    return f"{_process_id}-{next(_counter):x}"


def deadline_of(started: float, stated_ms: int | None, asked_ms: int | None, default_ms: int) -> float:
    """When an answer is due (`time.monotonic()`): what the head states, else what the body asks, which may be less."""
    return started + min(stated_ms or asked_ms or default_ms, asked_ms or MAX_TIMEOUT_MS) / 1000


class RequestWatcher:
    """Looks after requests that take longer than `DISCONNECT_CHECK_SECONDS`, with one timer for all.

    A request gets, until its body has arrived, a deadline of its own, and the connection of any other is watched.
    """

    def __init__(self) -> None:
        self._requests: dict[RawRequest, None] = {}  # about in the order in which they arrived
        self._is_scheduled = False

    def add(self, request: RawRequest) -> None:
        """Look after `request` from some moment on."""
        self._requests[request] = None
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(DISCONNECT_CHECK_SECONDS, self._check)

    def remove(self, request: RawRequest) -> None:
        """Forget `request`, which is answered."""
        self._requests.pop(request, None)

    def _check(self) -> None:
        limit = time.monotonic() - DISCONNECT_CHECK_SECONDS
        for request in [*self._requests]:
            if request.started > limit:
                break
            del self._requests[request]
            request.watch()
        self._is_scheduled = bool(self._requests)
        if self._is_scheduled:
            asyncio.get_running_loop().call_later(DISCONNECT_CHECK_SECONDS, self._check)


class RawRequest:
    """One request to a direct route, from its headers to its end; `started` is the time of its first byte."""

    __slots__ = (
        "_body_deadline",
        "_budget",
        "_file",
        "_file_bytes",
        "_held_bytes",
        "_is_disconnected",
        "_is_late",
        "_max_body",
        "_max_file",
        "_receive",
        "_task",
        "_timer",
        "_tls_bytes",
        "_watch_task",
        "_watcher",
        "body_bytes",
        "client",
        "headers",
        "model",
        "request_id",
        "scope",
        "started",
        "timeout_ms",
    )

    def __init__(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        client: Client,
        receive: Receive,
        budget: ByteBudget,
        watcher: RequestWatcher,
    ) -> None:
        """`headers`: those of `scope`."""
        self.started: float = scope.get(ARRIVED) or time.monotonic()
        self.scope = scope
        self.headers = headers
        self.client = client
        self.request_id = request_id(headers.get(b"x-request-id"))
        self.model = ""  # the model's name, once it is clear that there is one
        self.timeout_ms: int | None = None  # as the header says, once the body is read
        self._is_disconnected = False
        self._is_late = False
        self._receive = receive
        self._budget = budget
        self.body_bytes = 0
        self._max_body = 0  # bytes; the route says how many
        self._max_file = 0  # bytes of a body that may be kept in a file
        self._file: BinaryIO | None = None
        self._file_bytes = 0  # that were taken for it
        self._watcher = watcher
        self._held_bytes = 0
        self._tls_bytes = 0  # of the buffers of its connection, while a body arrives in parts
        self._body_deadline: float | None = None  # while the body arrives
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch_task: asyncio.Task[None] | None = None

    async def read(
        self, media_types: tuple[str, ...], default_timeout_ms: int, max_body: int, max_file: int = 0
    ) -> Body:
        """The whole body, of one of `media_types`, by the deadline of the header or within `default_timeout_ms`.

        It has at most `max_body` bytes; a table may have `max_file`, and is kept in a temporary file then.

        From then until `close`, the current task is cancelled when the connection is lost (see `uncancel`).

        Raises `InvalidRequest` (`unsupported_media_type`, `body_too_large`, `out_of_range` for the header),
        `DeadlineExceeded`, `Unavailable`, `Disconnected`.
        """
        media_type = self._check_head(media_types, max_body, max_file)
        self._task = asyncio.current_task()
        self._body_deadline = self.started + (self.timeout_ms or default_timeout_ms) / 1000
        self._watcher.add(self)
        try:
            message = await self._receive()
            is_whole = message["type"] == "http.request" and not message.get("more_body")
            if is_whole and not (self._max_file and len(message.get("body", b"")) > max_body):
                content = self._hold(message.get("body", b""))
            else:
                content = await self._read_parts(message)
        except asyncio.CancelledError as error:
            if not self._is_late or self._task is None:
                raise
            self._task.uncancel()
            raise DeadlineExceeded("the deadline passed before the body had arrived") from error
        self._body_deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._watcher.add(self)  # from now on for its connection
        self.body_bytes += len(content)
        content_type = self.headers.get(b"content-type", b"")
        return Body(content, media_type, content_type, self.scope["query_string"], self._file)

    def take(self, content: bytes, media_types: tuple[str, ...], max_body: int) -> Body:
        """The body, of which all has arrived: like `read`, and nothing is watched."""
        media_type, content_type = self._check_head(media_types, max_body), self.headers.get(b"content-type", b"")
        self.body_bytes = len(content)
        return Body(self._hold(content), media_type, content_type, self.scope["query_string"])

    def _check_head(self, media_types: tuple[str, ...], max_body: int, max_file: int = 0) -> str:
        """The media type of the body, and the limits that the head states; raises what `read` raises for a head."""
        headers = self.headers
        self._max_body = max_body
        content_type = headers.get(b"content-type", b"")
        media_type = JSON if content_type == _JSON_BYTES else _media_type(content_type, media_types)
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            detail = "compressed bodies are not read: send it without Content-Encoding"
            raise InvalidRequest(detail, code="unsupported_media_type")
        if max_file and media_type in TABLES:
            self._max_file = max_body = max(max_file, max_body)
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and (len(declared) > _MAX_LENGTH_DIGITS or int(declared) > max_body):
            raise self._too_large()
        timeout = headers.get(b"x-request-timeout-ms")
        if timeout is not None:
            self.timeout_ms = read_timeout_ms(timeout)
        return media_type

    async def _read_parts(self, message: Message) -> bytes:
        """A body that arrives in parts, each counted as it comes, since the declared length may be wrong."""
        parts: list[bytes] = []
        if self.scope.get("scheme") == "https":
            self._tls_bytes = TLS_BYTES
            self._budget.add(TLS_BYTES, self.client.group)
        while message["type"] != "http.disconnect":
            part = message.get("body", b"")  # the last one is often empty
            if self._file is None and self._max_file and self._held_bytes + len(part) > self._max_body:
                self._move_to_file(parts)
            if self._file is not None:
                self._write(self._file, part)
            elif part:
                parts.append(self._hold(part))
            if not message.get("more_body"):
                if self._file is not None:
                    self._rewind(self._file)
                return b"".join(parts)
            message = await self._receive()
        raise Disconnected

    def _move_to_file(self, parts: list[bytes]) -> None:
        """Put what has arrived of a body into a temporary file, in place of memory."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
        for part in parts:
            self._write(self._file, part)
        parts.clear()
        self.release(self._held_bytes)

    def _write(self, file: BinaryIO, part: bytes) -> None:
        self.body_bytes += len(part)
        if self.body_bytes > self._max_file:
            raise InvalidRequest(f"a table has at most {self._max_file} bytes", code="body_too_large")
        try:
            if not self._budget.files.take(self.client.group, len(part), file.fileno()):
                raise self._no_room("three quarters are the most")
            self._file_bytes += len(part)
            file.write(part)
        except OSError as error:
            raise self._no_room(error.strerror or str(error)) from error

    def _rewind(self, file: BinaryIO) -> None:
        try:
            file.seek(0)  # which writes what Python holds of it still
        except OSError as error:
            raise self._no_room(error.strerror or str(error)) from error

    def _no_room(self, reason: str) -> RitmoError:
        if self._budget.files.held_bytes > self._file_bytes:
            return Unavailable("too many large tables at once", code="queue_full", retry_after=1)
        return InvalidRequest(f"there is no room for a table of this size here: {reason}", code="body_too_large")

    def _hold(self, part: bytes) -> bytes:
        """The `part` of the body, taken out of the budget until `close`."""
        if self._held_bytes + len(part) > self._max_body:
            raise self._too_large()
        self.hold(len(part))
        return part

    def hold(self, count: int) -> None:
        """Take `count` bytes out of the budget until `close`; raises `Unavailable`."""
        self._budget.acquire(count, self.client.group, self._held_bytes + count)
        self._held_bytes += count

    def release(self, count: int) -> None:
        """Return `count` bytes to the budget before `close`."""
        self._budget.release(count, self.client.group)
        self._held_bytes -= count

    def _too_large(self) -> InvalidRequest:
        most = self._max_file or self._max_body
        return InvalidRequest(f"a body has at most {most} bytes", code="body_too_large")

    def watch(self) -> None:
        """Cancel the task of the request at the deadline of its body, or as soon as the connection is lost."""
        if self._body_deadline is None:
            self._watch_task = asyncio.create_task(self._wait_for_disconnect())
        else:
            seconds = self._body_deadline - time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(seconds, self._body_is_late)

    def _body_is_late(self) -> None:
        if self._body_deadline is not None and self._task is not None:
            self._is_late = True
            self._task.cancel()

    async def _wait_for_disconnect(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._task is not None:
            self._is_disconnected = True
            self._task.cancel()

    def uncancel(self) -> bool:
        """Take back the cancellation of the task if a lost connection is its reason; False for any other reason."""
        if self._task is None or not self._is_disconnected:
            return False
        self._task.uncancel()
        return True

    def stop_watching(self) -> None:
        """Watch the connection no more: the answer is there."""
        self._watcher.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._watch_task is not None:
            self._watch_task.cancel()

    def watch_again(self) -> None:
        """Watch the connection while parts of the answer are computed; `stop_watching` ends it."""
        self._watch_task = None
        self._watcher.add(self)

    def close(self) -> None:
        """Return the bytes of the body, and those of the answer, to the budget."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # of what there was no room for
                self._file.close()
            self._budget.files.release(self.client.group, self._file_bytes)
            self._file_bytes = 0
        if self._held_bytes or self._tls_bytes:
            self._budget.release(self._held_bytes + self._tls_bytes, self.client.group)
            self._held_bytes = self._tls_bytes = 0


async def send_answer(scope: Scope, send: Send, answer: Answer, name: str) -> None:
    """Send `answer` with its length and the id `name`, in one message where the server takes that."""
    headers = complete_headers(answer, name)
    if COMPLETE_RESPONSE in scope.get("extensions", ()):
        await send({"type": COMPLETE_RESPONSE, "status": answer.status, "headers": headers, "body": answer.body})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def complete_headers(answer: Answer, name: str) -> list[Header]:
    """The headers of `answer`, with its length and the id `name` of its request."""
    return [*answer.headers, (b"content-length", b"%d" % len(answer.body)), id_header(name)]


def id_header(name: str) -> Header:
    """The header with the request's id."""
    return (b"x-request-id", name.encode())


def _media_type(content_type: bytes, media_types: tuple[str, ...]) -> str:
    """The type in the header `Content-Type`, without parameters; one that ends in `+json` is JSON.

    Where images are read, it may be any image's, one that says nothing, or missing: the codec looks at the body. Raises
    `InvalidRequest` (`unsupported_media_type`) for all others, a missing type too: it is refused with a hint.
    """
    media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    if media_type in media_types:
        return media_type
    if media_type in CSV_NAMES and CSV in media_types:
        return CSV
    if media_type.startswith("application/") and media_type.endswith("+json"):
        return JSON
    if ANY_IMAGE in media_types and (media_type.startswith("image/") or media_type in UNSPECIFIC):
        return media_type
    raise unsupported_media_type(media_type, media_types)


def read_timeout_ms(header: bytes) -> int:
    """The milliseconds in the header X-Request-Timeout-Ms; raises `InvalidRequest`."""
    if not header.isdigit() or not 0 < len(header) < 10 or not 1 <= int(header) <= MAX_TIMEOUT_MS:
        detail = f"X-Request-Timeout-Ms must be an integer from 1 to {MAX_TIMEOUT_MS}"
        raise InvalidRequest(detail, code="out_of_range")
    return int(header)
