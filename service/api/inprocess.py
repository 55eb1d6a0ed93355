"""One request to the application in this process, without a port: what the commands `forecast` and `classify` use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import Message

from service.api.tables import PROGRESS
from service.codec.common import JSON

Application = FastAPI


async def ask(
    app: Application,
    path: str,
    media_type: str,
    body: bytes,
    accept: str = JSON,
    report: Callable[[int, int], None] | None = None,
) -> tuple[int, bytes]:
    """One POST to the application in this process, once its models are loaded: status and body of the answer.

    `report` is called with the series of a table that are answered, and all of them.
    """
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"content-type", media_type.encode()), (b"accept", accept.encode())],
        "extensions": {PROGRESS: report},
    }
    request: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    answer: list[Message] = []
    disconnected = asyncio.Event()  # never set: this client stays until it has its answer

    async def receive() -> Message:
        if request:
            return request.pop()
        await disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answer.append(message)

    async with app.router.lifespan_context(app):
        await app.state.registry.loaded()
        await app(scope, receive, send)
    return answer[0]["status"], b"".join(message.get("body", b"") for message in answer[1:])
