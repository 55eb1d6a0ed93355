"""What the adapters of foreign protocols share: bodies within limits, also inflated, and items computed in parts."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ParamSpec, TypeVar

import msgspec
from fastapi import Request, Response
from msgspec import Struct
from msgspec.structs import replace
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from service.api.byte_budget import ByteBudget
from service.api.clients import ClientFinder
from service.api.model_route import compute_in_parts
from service.api.problems import describe, headers_of
from service.api.request import ARRIVED, MODEL, SIZE, deadline_of, read_timeout_ms
from service.api.request_recorder import CLIENT_CLOSED_REQUEST
from service.codec.common import JSON
from service.codec.digits import DigitCodec
from service.codec.forecast import ForecastCodec
from service.contract.errors import DeadlineExceeded, InvalidRequest, RitmoError
from service.contract.types import Item
from service.registry.registry import Registry
from service.registry.served import Served
from service.runtime.fair_pool import FairPool
from service.runtime.fair_share import ANONYMOUS, Client
from service.runtime.garbage import not_collected
from service.settings import Settings

logger = logging.getLogger("service.http")
encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
MAX_CONTAINERS = 100_000  # arrays and objects of a document: each keeps others waiting for as long as many numbers
P = ParamSpec("P")
R = TypeVar("R")
Handler = Callable[[Request], Awaitable[Response]]


class Pipeline(Struct, frozen=True, eq=False):
    """What every adapter works with."""

    forecasts: ForecastCodec
    digits: DigitCodec
    registry: Registry
    settings: Settings
    budget: ByteBudget
    texts: FairPool
    pictures: FairPool
    clients: ClientFinder
    client: Client = ANONYMOUS  # that sent the request
    scope: Scope | None = None  # of the request
    started: float = 0.0  # time.monotonic() of its first byte
    timeout_ms: int | None = None  # as its head says

    def of(self, request: Request) -> Pipeline:
        """The pipeline for `request`; raises `InvalidRequest` for the time-out in its head."""
        scope = request.scope
        headers = dict(scope["headers"])
        stated = headers.get(b"x-request-timeout-ms")
        return replace(
            self,
            client=self.clients.find(scope, headers),
            scope=scope,
            started=scope.setdefault(ARRIVED, time.monotonic()),
            timeout_ms=None if stated is None else read_timeout_ms(stated),
        )

    def in_thread(
        self, kind: str, size: int, deadline: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[R]:
        """`function` in a thread; see `service.api.thread_pools`."""
        pool = self.pictures if kind == "items" else self.texts
        return pool.run(f"wire {kind}", size, self.client, deadline, function, *args, **kwargs)

    def deadline(self, timeout_ms: int | None = None) -> float:
        """When the answer is due (`time.monotonic()`), where the body asks for it in `timeout_ms`."""
        return deadline_of(self.started, self.timeout_ms, timeout_ms, self.settings.timeout_ms)

    async def compute(self, model: Served, items: Sequence[Item], deadline: float) -> list[Any]:
        """The results of `items`, in parts that the queue of the model takes."""
        if self.scope is not None:
            self.scope[MODEL] = model.manifest.name
        return await compute_in_parts(model, items, self.settings, self.client, deadline)


@asynccontextmanager
async def body_of(request: Request, pipeline: Pipeline) -> AsyncIterator[bytes]:
    """The body, counted among the bytes that the process holds while the block runs; `pipeline`: that of `request`.

    From then until its answer, the task of the request is cancelled when its connection is lost (see `with_errors`).

    Raises `InvalidRequest` (`body_too_large`), `Unavailable`, and `DeadlineExceeded` where it does not arrive in time.
    """
    limit, budget, group = pipeline.settings.max_body_bytes, pipeline.budget, pipeline.of(request).client.group
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and (len(declared) > len(str(limit)) or int(declared) > limit):
        raise InvalidRequest(f"a body has at most {limit} bytes", code="body_too_large")
    parts: list[bytes] = []
    size = 0
    try:
        try:
            async with asyncio.timeout(pipeline.deadline() - time.monotonic()):
                async for part in request.stream():
                    if size + len(part) > limit:
                        raise InvalidRequest(f"a body has at most {limit} bytes", code="body_too_large")
                    budget.acquire(len(part), group, size + len(part))
                    size += len(part)
                    parts.append(part)
        except TimeoutError as error:
            raise DeadlineExceeded("the deadline passed before the body had arrived") from error
        request.scope[SIZE] = size
        request.state.watch = asyncio.create_task(_cancel_at_disconnect(request, asyncio.current_task()))
        yield b"".join(parts)
    finally:
        budget.release(size, group)


async def _cancel_at_disconnect(request: Request, task: asyncio.Task[Any] | None) -> None:
    """Cancel `task` as soon as the connection of `request` is lost."""
    message = await request.receive()
    if message["type"] == "http.disconnect" and task is not None:
        request.state.is_disconnected = True
        task.cancel()


@contextmanager
def held(budget: ByteBudget, count: int) -> Iterator[None]:
    """`count` more bytes are held while the block runs, such as those of an inflated body; raises `Unavailable`."""
    budget.acquire(count)
    try:
        yield
    finally:
        budget.release(count)


def parse_json(content: bytes) -> Any:
    """The document in `content`, of which any part may be sent back; raises `ValueError` or `RecursionError`.

    Raises `InvalidRequest` (`too_many_items`) where it has more arrays and objects than a tensor of digits.

    It is UTF-8, and no text has half of a surrogate pair, which UTF-8 cannot say.
    """
    if content.count(b"[") + content.count(b"{") > MAX_CONTAINERS:
        detail = f"a document has at most {MAX_CONTAINERS} arrays and objects"
        raise InvalidRequest(detail, code="too_many_items")
    with not_collected():
        try:
            return _decode(content)  # an eighth of the time for numbers, and nothing else runs meanwhile
        except msgspec.DecodeError:  # it may have NaN, as clients of tensors send it
            text = content.decode()
            document = json.loads(text)
    if "\\u" in text:
        encode(document)
    return document


def inflate(content: bytes, encoding: str, limit: int) -> bytes:
    """`content` without its `Content-Encoding`, at most `limit` bytes; raises `InvalidRequest`."""
    if encoding in {"", "identity"}:
        return content
    if encoding == "zstd":
        return _inflate_zstd(content, limit)
    if encoding not in {"gzip", "deflate"}:
        raise InvalidRequest("this Content-Encoding is not read here", code="unsupported_media_type")
    stream = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        inflated = stream.decompress(content, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {encoding}, as its header says", code="bad_encoding") from error
    if len(inflated) > limit:
        raise InvalidRequest(f"an inflated body has at most {limit} bytes", code="body_too_large")
    if not stream.eof:
        raise InvalidRequest(f"the {encoding} of the body ends too early", code="bad_encoding")
    return inflated


def _inflate_zstd(content: bytes, limit: int) -> bytes:
    try:
        import zstandard
    except ImportError as error:
        detail = "zstd is not installed here: pip install 'ritmo[nixtla]', or send less at once"
        raise InvalidRequest(detail, code="unsupported_media_type") from error
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(content)
        inflated: bytes = reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise InvalidRequest("the body is not zstd, as its header says", code="bad_encoding") from error
    if len(inflated) > limit:
        raise InvalidRequest(f"an inflated body has at most {limit} bytes", code="body_too_large")
    return inflated


def json_answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with the Content-Type `application/json` exactly, which some clients compare as a whole."""
    return Response(encode(document), status, dict(headers or {}), JSON)


def error_answer(error: RitmoError, request: Request) -> Response:
    """A problem with the member `error`, which the clients of these protocols show to their users."""
    problem = describe(error.code, error.detail, request.state.request_id, error.errors, error.errors_total)
    headers = {name.decode(): value.decode() for name, value in headers_of(error, problem.status)}
    return json_answer(msgspec.to_builtins(problem) | {"error": problem.detail}, problem.status, headers)


def with_errors(handler: Handler) -> Handler:
    """`handler` with its errors answered as the clients of these protocols read them, dropped with its connection."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not getattr(request.state, "is_disconnected", False):
                raise
            task.uncancel()
            return Response(status_code=CLIENT_CLOSED_REQUEST)  # it is not sent
        except RitmoError as error:
            answer = error_answer(error, request)
            if answer.status_code == 500:
                extra = {"request_id": request.state.request_id, **error.log_fields}
                logger.error("a request failed: %s", error.detail, exc_info=error, extra=extra)
            return answer
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)  # likewise
        finally:
            watch: asyncio.Task[None] | None = getattr(request.state, "watch", None)
            if watch is not None:
                watch.cancel()

    return handle
