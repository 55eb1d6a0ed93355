"""The application: FastAPI, with a direct way around it for the routes to models.

Every request passes here first. A request to a model goes straight to its endpoint, on bare ASGI: a FastAPI route costs
120 us before any work (routing, dependency graph, `Request`, second validation), a direct one a tenth of that. Every
other request goes on into FastAPI, and its answer gets the same headers. Every failure ends in a complete answer and an
entry in the log; every answer is counted.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.access import Access, account_of
from service.api.accounts import Account
from service.api.byte_budget import ByteBudget
from service.api.clients import ClientFinder
from service.api.cross_origin import CrossOrigin
from service.api.fast_path import FastEndpoint, FastRequest, Reply
from service.api.problems import NOT_ALLOWED, NOT_FOUND, Answer, Header, StreamedAnswer, internal, render
from service.api.request import (
    Disconnected,
    RawRequest,
    RequestWatcher,
    id_header,
    request_id,
    send_answer,
)
from service.api.request_recorder import RequestRecorder
from service.api.single_forecasts import SingleForecasts
from service.api.websockets import refuse_handshake
from service.api.wires.refusals import refuse
from service.codec.common import Body
from service.contract.errors import RitmoError, Unavailable, out_of_memory

CHECKED = "ritmo.checked"  # key of a scope: the request has passed the checks of access
_OTHER_ROUTES = "other"  # one label for all paths that no route has

logger = logging.getLogger("service.http")


class Endpoint(Protocol):
    """A direct route: the bodies it reads, and what it answers."""

    @property
    def media_types(self) -> tuple[str, ...]: ...
    @property
    def default_timeout_ms(self) -> int: ...
    @property
    def max_body_bytes(self) -> int: ...
    @property
    def max_file_bytes(self) -> int:
        """Of a table that is kept in a file; 0: none is."""

    def __call__(self, request: RawRequest, body: Body) -> Awaitable[Answer]:
        """The answer to a POST; raises `RitmoError`."""


class Application(FastAPI):
    """FastAPI's application with direct routes: `endpoints` by the path of their POST, `live_endpoints` for WebSockets.

    Those of `endpoints` that answer small requests without a task are in `fast_endpoints`, too. All are filled before
    the first request.
    """

    def __init__(
        self,
        budget: ByteBudget,
        recorder: RequestRecorder,
        clients: ClientFinder,
        *,
        access: Access,
        origins: Sequence[str] = (),
        **options: Any,
    ) -> None:
        """`access`: what is checked of each request; `origins`: of pages that may call the service from a browser."""
        super().__init__(**options)
        self._access = access
        self._cross_origin = CrossOrigin(origins) if origins else None
        self.endpoints: dict[str, Endpoint] = {}
        self.fast_endpoints: dict[str, FastEndpoint] = {}
        self.single_forecasts: SingleForecasts | None = None  # where nothing else is to be done with a request
        self.live_endpoints: dict[str, ASGIApp] = {}
        self._budget = budget
        self._clients = clients
        self._watcher = RequestWatcher()
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one live connection, or the lifespan."""
        path: str = scope.get("path", "")
        root: str = scope.get("root_path", "")
        if root:
            path = path.removeprefix(root)
        if scope["type"] != "http":
            await self._serve_live(path, scope, receive, send)
            return
        if self._cross_origin is not None:
            origin = dict(scope["headers"]).get(b"origin")
            if origin is not None:
                if self._cross_origin.is_preflight(scope):
                    await send_answer(scope, send, self._cross_origin.preflight(scope, origin), request_id(None))
                    return
                send = self._cross_origin.sender(send, origin)
        endpoint = self.endpoints.get(path)
        if endpoint is None or (self._access.is_restricted and CHECKED not in scope):
            try:
                self._access.check(scope, path, self._has_route)
            except RitmoError as error:
                await self._refuse(error, path, scope, send)
                return
        if endpoint is None:
            await self._forward_to_fastapi(scope, receive, send)
        else:
            await self._serve(endpoint, path, scope, receive, send)

    async def _serve_live(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A live connection, or the lifespan."""
        if scope["type"] == "websocket":
            try:
                self._access.check(scope, path, self._has_route)
                if path not in self.live_endpoints:
                    detail = f"no live connections here, but at {' and '.join(self.live_endpoints)}"
                    raise RitmoError(detail, code=NOT_FOUND)
            except RitmoError as error:
                name = request_id(dict(scope["headers"]).get(b"x-request-id"))
                answer = refuse(error, path, name)
                await receive()  # websocket.connect
                await refuse_handshake(scope, receive, send, answer, name)
                self._recorder.record_other(self._label(path), {**scope, "method": "GET"}, name, answer.status)
                return
        fastapi = super().__call__
        await self.live_endpoints.get(path, fastapi)(scope, receive, send)

    async def _refuse(self, error: RitmoError, path: str, scope: Scope, send: Send) -> None:
        """Answer a request that may not go on to its route."""
        name = request_id(dict(scope["headers"]).get(b"x-request-id"))
        answer = refuse(error, path, name)
        account = account_of(scope)
        if account is not None:
            answer.headers.extend(account.headers())
        await send_answer(scope, send, answer, name)
        self._recorder.record_other(self._label(path), scope, name, answer.status)

    def _label(self, path: str) -> str:
        """What stands for `path` in the metrics, where its route was not reached."""
        return path if path in self.endpoints or path in self.live_endpoints else _OTHER_ROUTES

    def _has_route(self, scope: Scope) -> bool:
        """Whether any route takes the request, or has its path and takes other methods."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in self.endpoints or path in self.live_endpoints:
            return True
        return any(route.matches(scope)[0] is not Match.NONE for route in self.router.routes)

    async def _serve(self, endpoint: Endpoint, route: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to a direct route: read, answered by `endpoint`, sent, recorded."""
        headers = dict(scope["headers"])
        client = self._clients.find(scope, headers)
        request = RawRequest(scope, headers, client, receive, self._budget, self._watcher)
        try:
            try:
                if scope["method"] != "POST":
                    raise RitmoError("this route takes POST", code=NOT_ALLOWED)
                body = await request.read(
                    endpoint.media_types, endpoint.default_timeout_ms, endpoint.max_body_bytes, endpoint.max_file_bytes
                )
                answer: Answer | None = await endpoint(request, body)
            except BaseException as error:  # noqa: BLE001 (every exception becomes an answer, or is raised again)
                answer = await _answer_to(error, request, send)
            finally:
                request.stop_watching()
            if answer is not None:
                if request.client.account is not None:
                    _add_allowance(answer, scope)
                if isinstance(answer, StreamedAnswer):
                    answer = await _send_parts(answer, request, send)
                else:
                    await send_answer(scope, send, answer, request.request_id)
        finally:
            request.close()
        self._recorder.record(route, request, answer)

    def begin(self, scope: Scope, content: bytes, reply: Reply) -> FastRequest | None:
        """Answer a small request by `reply`, without a task; None where it has to go the ordinary way, `__call__`.

        For servers that have the whole body, `content`, at once.
        """
        path: str = scope["path"]
        if scope["root_path"]:
            path = path.removeprefix(scope["root_path"])
        endpoint = self.fast_endpoints.get(path)
        if endpoint is None or scope["method"] != "POST" or self._cross_origin is not None:
            return None
        if self._access.is_restricted:
            try:
                self._access.check(scope, path, self._has_route)
            except RitmoError:  # the ordinary way refuses it
                return None
            scope[CHECKED] = True  # once only: the check takes a request out of the account
            account = account_of(scope)
            if account is not None:
                reply = functools.partial(_reply_with_allowance, reply, account)
        headers = dict(scope["headers"])
        client = self._clients.find(scope, headers)
        request = RawRequest(scope, headers, client, _nothing_more, self._budget, self._watcher)
        fast = FastRequest(request, reply, failure, functools.partial(self._recorder.record, path))
        return fast if fast.begin(endpoint, content) else None

    async def _forward_to_fastapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request to any other route: the answer gets the request's id, an exception becomes an answer.

        HEAD is GET without the body (RFC 9110, 9.3.2); FastAPI's routes have GET only.
        """
        started = time.monotonic()
        name = request_id(dict(scope["headers"]).get(b"x-request-id"))
        is_head = scope["method"] == "HEAD"
        inner = {**scope, "method": "GET"} if is_head else scope
        inner.setdefault("state", {})["request_id"] = name
        status, is_complete = 0, False
        account = account_of(scope)

        async def send_with_id(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = message["status"]
                left = account.headers() if account is not None else ()
                message = {**message, "headers": [*message.get("headers", ()), id_header(name), *left]}
            elif message["type"] == "http.response.body":
                is_complete = not message.get("more_body")
                message = {**message, "body": b""} if is_head else message
            await send(message)

        try:
            await super().__call__(inner, receive, send_with_id)
        except asyncio.CancelledError:
            if not status:
                await send_answer(scope, send, cut_off(name), name)
            raise
        except Exception:
            logger.exception("a request failed", extra={"request_id": name})
            if not status:
                await send_answer(scope, send, internal(name), name)
                status = 500
            elif not is_complete:
                raise  # the server closes the connection, so that half an answer is not taken for a complete one
        seconds = time.monotonic() - started
        route = getattr(inner.get("route"), "path", _OTHER_ROUTES)
        self._recorder.record_other(route, inner, name, status, seconds, scope["method"])


async def _answer_to(error: BaseException, request: RawRequest, send: Send) -> Answer | None:
    """The answer to a request that ended in `error`; None where the connection was lost."""
    if isinstance(error, asyncio.CancelledError):
        if not request.uncancel():
            await send_answer(request.scope, send, cut_off(request.request_id), request.request_id)
            raise error
        return None
    if isinstance(error, Disconnected):
        return None
    if not isinstance(error, Exception):
        raise error
    return failure(error, request.request_id)


async def _send_parts(answer: StreamedAnswer, request: RawRequest, send: Send) -> Answer | None:
    """Send an answer while its parts are computed; what is recorded of it, None where the connection was lost.

    A failure ends the connection without the end of the answer, so that half an answer is not taken for a whole one.
    """
    headers = [*answer.headers, id_header(request.request_id)]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    request.watch_again()
    try:
        async for part in answer.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except asyncio.CancelledError:
        if not request.uncancel():
            raise
        return None
    except Exception as error:  # noqa: BLE001 (every exception ends the answer)
        cause = failure(error, request.request_id)
        logger.warning("an answer ended early: %s", error, extra={"request_id": request.request_id})
        last = f"\n# the answer ends here: {error}\n" if isinstance(error, RitmoError) else "\n# the answer ends here\n"
        await send({"type": "http.response.body", "body": last.encode(), "more_body": True})
        return cause  # the server closes the connection of an answer that has no end
    finally:
        request.stop_watching()
        await answer.parts.aclose()
    await send({"type": "http.response.body", "body": b""})
    return answer


def _reply_with_allowance(reply: Reply, account: Account, status: int, headers: list[Header], body: bytes) -> None:
    """`reply`, and tell the caller what its key has left."""
    reply(status, [*headers, *account.headers()], body)


def _add_allowance(answer: Answer, scope: Scope) -> None:
    """Tell the caller what its key has left."""
    account = account_of(scope)
    if account is not None:
        answer.headers.extend(account.headers())


def failure(error: Exception, name: str) -> Answer:
    """The answer to a request that ended in `error`, logged where that is a failure of the service."""
    if isinstance(error, MemoryError):
        logger.error("there is no memory left for a request: %s", error, extra={"request_id": name})
        error = out_of_memory()
    if not isinstance(error, RitmoError):
        logger.error("a request failed", exc_info=error, extra={"request_id": name})
        return internal(name)
    headers = [(b"allow", b"POST")] if error.code == NOT_ALLOWED else []
    answer = render(error, name, headers)
    if answer.status == 500:
        extra = {"request_id": name, **error.log_fields}
        logger.error("a request failed: %s", error.detail, exc_info=error, extra=extra)
    return answer


async def _nothing_more() -> Message:
    """What a server sends behind the body of a request that goes the fast way: it is never called."""
    raise RuntimeError("the body of a fast request is there already")


def cut_off(name: str) -> Answer:
    """The answer to a request that is cancelled from outside: the server stops, and has waited as long as it may."""
    return render(Unavailable("the server stops and could not wait for this answer", code="draining"), name)
