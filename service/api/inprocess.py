"""One request to the application in this process, without a port: what the commands `forecast` and `classify` use."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from starlette.types import Message

Application = FastAPI


async def ask(app: Application, path: str, media_type: str, body: bytes) -> tuple[int, bytes]:
    """One POST to the application in this process, once its models are loaded: status and body of the answer."""
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
        "headers": [(b"content-type", media_type.encode())],
    }
    sent: list[Message] = []
    left = asyncio.Event()  # never set: whoever asks stays until the answer is there

    async def receive() -> Message:
        if not received:
            received.append(True)
            return {"type": "http.request", "body": body, "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    received: list[bool] = []
    async with app.router.lifespan_context(app):
        await app.state.registry.loaded()
        await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
