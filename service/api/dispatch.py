"""The outermost layer of the application, pure ASGI: request ids, the hot routes, failures, metrics, the access log.

A request for a hot route goes from here straight to its handler; every other goes on into FastAPI and gets the same
headers on its answer. Whatever happens inside, the caller gets a complete answer and the log gets the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import NOT_ALLOWED, Answer, Header, internal, render
from service.api.request import BodyBudget, Disconnected, DisconnectWatcher, RawRequest, request_id
from service.contract.errors import RitmoError, Unavailable
from service.metrics.page import Metrics
from service.metrics.store import Counter

Handler = Callable[[RawRequest], Awaitable[Answer]]

COMPLETE_RESPONSE = "ritmo.response"  # a message, and the ASGI extension of a server that understands it: `service.server.http_protocol`
CLIENT_CLOSED_REQUEST = 499  # the caller left before the answer: a status that is counted and logged, and never sent
_OTHER = "other"  # one label for all paths that are none of ours

logger = logging.getLogger("service.http")


class _Stopped(Unavailable):
    """The request was cancelled from outside: the server has waited for what is in flight as long as it may."""


class RequestMetrics:
    """Counts requests; the label sets that occur are few, so they are bound once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counts: dict[tuple[str, str, int], Counter] = {}

    def note(self, route: str, model: str, status: int, seconds: float) -> None:
        """A request was answered; `model` is empty where none was reached."""
        count = self._counts.get((route, model, status))
        if count is None:
            count = self._counts[route, model, status] = self._metrics.requests.labels(route, model, str(status))
        count.inc()
        self._metrics.request_seconds.labels(route).observe(seconds)


class Dispatcher:
    """ASGI application around the FastAPI one; `hot` maps paths to the handlers of their POST, `live` to WebSockets."""

    def __init__(
        self,
        app: ASGIApp,
        hot: Mapping[str, Handler],
        live: Mapping[str, ASGIApp],
        *,
        intake: BodyBudget,
        traffic: RequestMetrics,
        access_log: bool,
    ) -> None:
        self._app = app
        self._hot = hot
        self._live = live
        self._intake = intake
        self._watch = DisconnectWatcher()
        self._traffic = traffic
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        if root:
            path = path.removeprefix(root)
        if scope["type"] != "http":
            await self._live.get(path, self._app)(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        name = request_id(headers.get(b"x-request-id"))
        handler = self._hot.get(path)
        if handler is None:
            await self._through(scope, receive, send, name)
            return
        exchange = RawRequest(scope, receive, headers, self._intake, self._watch, name)
        try:
            answer = await self._answer(handler, exchange)
            if answer is not None:
                await self._send(scope, send, answer, name)
        except _Stopped as stopped:
            await self._send(scope, send, render(stopped, name), name)
            raise asyncio.CancelledError from stopped
        finally:
            exchange.close()
        status = CLIENT_CLOSED_REQUEST if answer is None else answer.status
        self._note(scope, path, exchange.model, status, name, exchange.started)

    async def _answer(self, handler: Handler, exchange: RawRequest) -> Answer | None:
        """The handler's answer, or the problem it ended in; None when the caller is gone."""
        if exchange.scope["method"] != "POST":
            error = RitmoError("this route takes POST", code=NOT_ALLOWED)
            return render(error, exchange.request_id, [(b"allow", b"POST")])
        try:
            return await handler(exchange)
        except RitmoError as error:
            return self._refusal(error, exchange.request_id)
        except Disconnected:
            return None
        except asyncio.CancelledError as error:
            raise _Stopped("the server stops and could not wait for this answer", code="draining") from error
        except Exception:
            logger.exception("a request failed", extra={"request_id": exchange.request_id})
            return internal(exchange.request_id)

    def _refusal(self, error: RitmoError, name: str) -> Answer:
        answer = render(error, name)
        if answer.status == 500:
            logger.error(
                "a request failed: %s", error.detail, exc_info=error, extra={"request_id": name, **error.log_fields}
            )
        return answer

    async def _through(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """A request for FastAPI: the answer gets the request's id, an exception becomes an answer."""
        started = time.monotonic()
        scope.setdefault("state", {})["request_id"] = name
        status, complete = 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, complete
            complete = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), _id_header(name)]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("a request failed", extra={"request_id": name})
            if not status:
                await self._send(scope, send, internal(name), name)
                status = 500
            elif not complete:
                raise  # the server closes the connection, so that half an answer is not taken for a whole one
        self._note(scope, getattr(scope.get("route"), "path", _OTHER), "", status, name, started)

    async def _send(self, scope: Scope, send: Send, answer: Answer, name: str) -> None:
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body)), _id_header(name)]
        if COMPLETE_RESPONSE in scope.get("extensions", ()):
            await send({"type": COMPLETE_RESPONSE, "status": answer.status, "headers": headers, "body": answer.body})
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _note(self, scope: Scope, route: str, model: str, status: int, name: str, started: float) -> None:
        seconds = time.monotonic() - started
        self._traffic.note(route, model, status, seconds)
        if self._access_log:
            entry = {
                "request_id": name,
                "method": scope["method"],
                "path": scope["path"],
                "model": model,
                "status": status,
                "duration_ms": round(seconds * 1e3, 3),
            }
            logger.info("request", extra=entry)


def _id_header(name: str) -> Header:
    return (b"x-request-id", name.encode())
