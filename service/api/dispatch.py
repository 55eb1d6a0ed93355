"""The application: FastAPI, with a direct way around it for the routes to models.

Every request passes here first. A request to a model goes straight to its endpoint, on bare ASGI: a FastAPI route costs
120 us before any work (routing, dependency graph, `Request`, second validation), a direct one a tenth of that. Every
other request goes on into FastAPI, and its answer gets the same headers. Every failure ends in a complete answer and an
entry in the log; every answer is counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.byte_budget import ByteBudget
from service.api.clients import ClientFinder
from service.api.cross_origin import CrossOrigin
from service.api.problems import NOT_ALLOWED, Answer, internal, render
from service.api.request import (
    Disconnected,
    RawRequest,
    RequestWatcher,
    id_header,
    request_id,
    send_answer,
)
from service.api.request_metrics import RequestMetrics
from service.api.tracing import Tracing
from service.codec.common import Body
from service.contract.errors import RitmoError, Unavailable

CLIENT_CLOSED_REQUEST = 499  # counted and logged where the connection was lost before the answer, and never sent
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
    def __call__(self, request: RawRequest, body: Body) -> Awaitable[Answer]:
        """The answer to a POST; raises `RitmoError`."""


class Application(FastAPI):
    """FastAPI's application with direct routes: `endpoints` by the path of their POST, `live_endpoints` for WebSockets.

    Both are filled before the first request.
    """

    def __init__(
        self,
        budget: ByteBudget,
        metrics: RequestMetrics,
        clients: ClientFinder,
        *,
        access_log: bool,
        origins: Sequence[str] = (),
        tracing: Tracing | None = None,
        **options: Any,
    ) -> None:
        """`origins`: of pages that may call the service from a browser."""
        super().__init__(**options)
        self._cross_origin = CrossOrigin(origins) if origins else None
        self.endpoints: dict[str, Endpoint] = {}
        self.live_endpoints: dict[str, ASGIApp] = {}
        self._budget = budget
        self._clients = clients
        self._watcher = RequestWatcher()
        self._request_metrics = metrics
        self._access_log = access_log
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one live connection, or the lifespan."""
        path: str = scope.get("path", "")
        root: str = scope.get("root_path", "")
        if root:
            path = path.removeprefix(root)
        if scope["type"] != "http":
            fastapi = super().__call__
            await self.live_endpoints.get(path, fastapi)(scope, receive, send)
            return
        if self._cross_origin is not None:
            origin = dict(scope["headers"]).get(b"origin")
            if origin is not None:
                if self._cross_origin.is_preflight(scope):
                    await send_answer(scope, send, self._cross_origin.preflight(scope, origin), request_id(None))
                    return
                send = self._cross_origin.sender(send, origin)
        endpoint = self.endpoints.get(path)
        if endpoint is None:
            await self._forward_to_fastapi(scope, receive, send)
        else:
            await self._serve(endpoint, path, scope, receive, send)

    async def _serve(self, endpoint: Endpoint, route: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to a direct route: read, answered by `endpoint`, sent, recorded."""
        request = RawRequest(scope, receive, self._budget, self._watcher, self._clients)
        try:
            answer = await self._answer(endpoint, request, send)
            if answer is not None:
                await send_answer(scope, send, answer, request.request_id)
        finally:
            request.close()
        status = CLIENT_CLOSED_REQUEST if answer is None else answer.status
        seconds = time.monotonic() - request.started
        self._request_metrics.record(route, request.model, status, seconds)
        if self._access_log:
            _log_request(scope, request.request_id, request.model, status, seconds)
        if self._tracing is not None:
            self._tracing.record(request, route, answer, status, seconds)

    @staticmethod
    async def _answer(endpoint: Endpoint, request: RawRequest, send: Send) -> Answer | None:
        """The answer of `endpoint` to `request`, or a problem; None where the connection was lost."""
        try:
            if request.scope["method"] != "POST":
                raise RitmoError("this route takes POST", code=NOT_ALLOWED)
            body = await request.read(endpoint.media_types, endpoint.default_timeout_ms, endpoint.max_body_bytes)
            return await endpoint(request, body)
        except Disconnected:
            return None
        except asyncio.CancelledError:
            if not request.uncancel():
                await send_answer(request.scope, send, _draining(request.request_id), request.request_id)
                raise
            return None
        except RitmoError as error:
            return _problem(error, request.request_id)
        except Exception:
            logger.exception("a request failed", extra={"request_id": request.request_id})
            return internal(request.request_id)
        finally:
            request.stop_watching()

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

        async def send_with_id(message: Message) -> None:
            nonlocal status, is_complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), id_header(name)]}
            elif message["type"] == "http.response.body":
                is_complete = not message.get("more_body")
                message = {**message, "body": b""} if is_head else message
            await send(message)

        try:
            await super().__call__(inner, receive, send_with_id)
        except Exception:
            logger.exception("a request failed", extra={"request_id": name})
            if not status:
                await send_answer(scope, send, internal(name), name)
                status = 500
            elif not is_complete:
                raise  # the server closes the connection, so that half an answer is not taken for a complete one
        seconds = time.monotonic() - started
        route = getattr(inner.get("route"), "path", _OTHER_ROUTES)
        self._request_metrics.record(route, "", status, seconds)
        if self._access_log:
            _log_request(scope, name, "", status, seconds)


def _problem(error: RitmoError, name: str) -> Answer:
    """The answer to a request that ended in `error`, logged where that is a failure of the service."""
    headers = [(b"allow", b"POST")] if error.code == NOT_ALLOWED else []
    answer = render(error, name, headers)
    if answer.status == 500:
        extra = {"request_id": name, **error.log_fields}
        logger.error("a request failed: %s", error.detail, exc_info=error, extra=extra)
    return answer


def _draining(name: str) -> Answer:
    """The answer to a request that is cancelled from outside: the server stops, and has waited as long as it may."""
    return render(Unavailable("the server stops and could not wait for this answer", code="draining"), name)


def _log_request(scope: Scope, name: str, model: str, status: int, seconds: float) -> None:
    fields = {
        "request_id": name,
        "method": scope["method"],
        "path": scope["path"],
        "model": model,
        "status": status,
        "duration_ms": round(seconds * 1e3, 3),
    }
    logger.info("request", extra=fields)
