"""One request and its answer on bare ASGI: what the hot routes need of HTTP and nothing more.

Body within limits, media type, deadline, and notice of a caller who left.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Awaitable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope

from service.contract.errors import DeadlineExceeded, InvalidRequest, Unavailable
from service.settings import Settings

T = TypeVar("T")

# Seconds of work before anyone looks whether the caller is still there: a task that most requests never need.
DISCONNECT_CHECK_SECONDS = 0.05
_MOST_TIMEOUT_MS = 3_600_000
_FOREIGN = re.compile(r"[^A-Za-z0-9._:/+=@-]")
_LONGEST_ID = 128

_process = secrets.token_hex(6)
_count = itertools.count(1)


class Disconnected(Exception):
    """The caller closed the connection before the answer was there."""


class BodyBudget:
    """How many bytes of request bodies the process holds, all exchanges together."""

    def __init__(self, settings: Settings) -> None:
        self.most_each = settings.max_body_bytes
        self._most_held = settings.max_held_bytes
        self._held = 0

    def take(self, count: int) -> None:
        """Make room for `count` bytes, or raise `Unavailable`."""
        if self._held + count > self._most_held:
            raise Unavailable("too many large requests at once", code="queue_full", retry_after=1)
        self._held += count

    def give_back(self, count: int) -> None:
        """The bytes of an exchange that ended."""
        self._held -= count


def request_id(sent: bytes | None) -> str:
    """The caller's own id, cut and freed of what has no place in a header or a log; or a new one."""
    if sent:
        cleaned = _FOREIGN.sub("", sent[: 4 * _LONGEST_ID].decode("latin-1"))[:_LONGEST_ID]
        if cleaned:
            return cleaned
    return f"{_process}-{next(_count):x}"


class DisconnectWatcher:
    """Looks after callers whose answer takes longer than `DISCONNECT_CHECK_SECONDS`: one timer for all, a place in a row for each."""

    def __init__(self) -> None:
        self._waiting: dict[RawRequest, None] = {}  # in the order in which they came
        self._set = False

    def enter(self, exchange: RawRequest) -> None:
        """`exchange` is being worked on."""
        self._waiting[exchange] = None
        if not self._set:
            self._set = True
            asyncio.get_running_loop().call_later(DISCONNECT_CHECK_SECONDS, self._look)

    def leave(self, exchange: RawRequest) -> None:
        """It is no more."""
        self._waiting.pop(exchange, None)

    def _look(self) -> None:
        before = time.monotonic() - DISCONNECT_CHECK_SECONDS
        for exchange in [*self._waiting]:
            if exchange.started > before:
                break
            del self._waiting[exchange]
            exchange.watch()
        self._set = bool(self._waiting)
        if self._set:
            asyncio.get_running_loop().call_later(DISCONNECT_CHECK_SECONDS, self._look)


class RawRequest:
    """One request on its way through a hot route."""

    __slots__ = (
        "_gone",
        "_held",
        "_intake",
        "_receive",
        "_task",
        "_watch",
        "_watcher",
        "headers",
        "model",
        "request_id",
        "scope",
        "started",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
        intake: BodyBudget,
        watch: DisconnectWatcher,
        name: str,
    ) -> None:
        self.scope = scope
        self.headers = headers
        self.request_id = name
        self.model = ""  # the model's name, once it is known that there is one
        self.started = time.monotonic()
        self._receive = receive
        self._intake = intake
        self._watch = watch
        self._held = 0
        self._gone = False
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def media_type(self) -> str:
        """The body's type without parameters, in lower case; empty where the caller names none."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; of a repeated one the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100))

    def deadline(self, timeout_ms: int | None, default_ms: int) -> float:
        """When the answer must be there, in `time.monotonic()`: the smallest of body and header, else the default."""
        header = self.headers.get(b"x-request-timeout-ms")
        if header is None:
            return self.started + (timeout_ms or default_ms) / 1000
        if not header.isdigit() or not 0 < len(header) < 10 or not 1 <= int(header) <= _MOST_TIMEOUT_MS:
            detail = f"X-Request-Timeout-Ms must be an integer from 1 to {_MOST_TIMEOUT_MS}"
            raise InvalidRequest(detail, code="out_of_range")
        return self.started + min(int(header), timeout_ms or _MOST_TIMEOUT_MS) / 1000

    async def body(self, default_ms: int) -> bytes:
        """The whole body, by the deadline of the header or within `default_ms`.

        Raises `InvalidRequest` (`body_too_large`, `unsupported_media_type`), `DeadlineExceeded`, `Unavailable`,
        `Disconnected`.
        """
        if self.headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            detail = "compressed bodies are not read: send it without Content-Encoding"
            raise InvalidRequest(detail, code="unsupported_media_type")
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._intake.most_each):
            raise self._too_large()
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._intake.most_each:
                raise self._too_large()
            return body
        deadline = self.deadline(None, default_ms)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._rest(message)
        except TimeoutError as error:
            raise DeadlineExceeded("the deadline passed before the body had arrived") from error

    async def _rest(self, message: Message) -> bytes:
        """A body that comes in pieces: counted as it arrives, whatever was declared."""
        parts: list[bytes] = []
        while True:
            if message["type"] == "http.disconnect":
                raise Disconnected
            part: bytes = message.get("body", b"")
            self._intake.take(len(part))
            self._held += len(part)
            if self._held > self._intake.most_each:
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self._receive()

    def _too_large(self) -> InvalidRequest:
        return InvalidRequest(f"a body has at most {self._intake.most_each} bytes", code="body_too_large")

    async def while_there(self, work: Awaitable[T]) -> T:
        """The result of `work`, which is cancelled when the caller leaves; then raises `Disconnected`."""
        self._task = asyncio.current_task()
        self._watch.enter(self)
        try:
            return await work
        except asyncio.CancelledError:
            if not self._gone or self._task is None:
                raise
            self._task.uncancel()
            raise Disconnected from None
        finally:
            self._watch.leave(self)
            if self._watcher is not None:
                self._watcher.cancel()

    def watch(self) -> None:
        """Cancel the work as soon as the caller leaves."""
        self._watcher = asyncio.create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._task is not None:
            self._gone = True
            self._task.cancel()

    def close(self) -> None:
        """Give back what the exchange held."""
        if self._held:
            self._intake.give_back(self._held)
            self._held = 0
