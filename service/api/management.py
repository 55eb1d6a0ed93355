"""What the management port serves: `/livez`, `/readyz` and `/metrics`, answered apart from the event loop that serves.

The application runs in a thread of its own (`service.server.management`), so it reads what that event loop has left,
and changes nothing. It therefore also tells, in `/livez`, whether that event loop still turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

from service.api.health import Alive, health_router
from service.api.openapi import problem_responses
from service.api.problems import answer_with_problems, render
from service.api.request import request_id
from service.contract.errors import Unavailable
from service.metrics.page import CONTENT_TYPE
from service.registry.registry import Registry
from service.runtime.worker_group import WorkerGroup

UNRESPONSIVE_SECONDS = 10.0  # without a turn of the event loop that serves


class ManagementApplication(FastAPI):
    """FastAPI's application; each request has an id."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI; HEAD is GET, and the server leaves its body out."""
        if scope["type"] == "http":
            name = request_id(dict(scope["headers"]).get(b"x-request-id"))
            scope.setdefault("state", {})["request_id"] = name
            scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await super().__call__(scope, receive, send)


def create_management_app(
    registry: Registry, silence: Callable[[], float], group: WorkerGroup | None = None
) -> ManagementApplication:
    """The application; `silence()` are the seconds since the event loop that serves has turned."""
    app = ManagementApplication(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)

    @app.get("/livez", response_model=Alive)
    async def livez(request: Request) -> Alive | Response:
        seconds = silence()
        if seconds <= UNRESPONSIVE_SECONDS:
            return Alive()
        error = Unavailable(f"the event loop has not turned for {seconds:.0f} s", code="unresponsive")
        answer = render(error, request.state.request_id)
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        return Response(answer.body, answer.status, headers)

    @app.get("/metrics")
    async def page() -> Response:
        restarts = group.shared.restarts if group else None
        return Response(await asyncio.to_thread(registry.metrics.render, restarts), media_type=CONTENT_TYPE)

    app.include_router(health_router(registry, problem_responses(("model_not_ready", "draining")), group))
    answer_with_problems(app, ["/livez", "/readyz", "/metrics"])
    return app
