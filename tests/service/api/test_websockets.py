"""Live connections through the application's ASGI door, for what a real client cannot bring about at will."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Message, Scope

from service.api.app import create_app
from service.api.request import DISCONNECT_CHECK_SECONDS
from service.contract.errors import DeadlineExceeded, Unavailable
from service.settings import Settings
from tests.fakes import FakeModel, FakeRegistry, as_registry, manifest

QUICK = 10.0  # seconds for what takes none


class House:
    """An application with one model that answers as a test wants it to."""

    def __init__(self, **changes: Any) -> None:
        self.model = FakeModel(manifest("forecaster"))
        self.registry = FakeRegistry(self.model)
        self.app = create_app(Settings(**changes), registry=as_registry(self.registry))

    def metric(self, sample: str) -> float:
        lines = self.registry.metrics.render().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(sample))


class Client:
    """The other end of a connection."""

    def __init__(self, house: House, path: str = "/forecast/stream", extensions: bool = True) -> None:
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self._got: asyncio.Queue[Message] = asyncio.Queue()
        self.broken: Exception | None = None  # what sending to this client raises
        scope: Scope = {"type": "websocket", "path": path, "headers": [(b"x-request-id", b"mine")], "query_string": b""}
        if extensions:
            scope["extensions"] = {"websocket.http.response": {}}
        self._sent.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(house.app(scope, self._sent.get, self._receive))

    async def _receive(self, message: Message) -> None:
        if self.broken is not None:
            raise self.broken
        if message["type"] in {"websocket.close", "websocket.http.response.body"}:
            self.leave()  # as servers tell the application
            self.leave()
        self._got.put_nowait(message)

    def say(self, document: Any) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        self._sent.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._sent.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def raw(self) -> Message:
        async with asyncio.timeout(QUICK):
            return await self._got.get()

    async def answer(self) -> dict[str, Any]:
        message = await self.raw()
        assert message["type"] == "websocket.send", message
        document: dict[str, Any] = json.loads(message["text"])
        return document

    async def end(self) -> None:
        async with asyncio.timeout(QUICK):
            await self.task


@asynccontextmanager
async def connected(house: House) -> AsyncIterator[Client]:
    client = Client(house)
    assert await client.raw() == {"type": "websocket.accept", "headers": [(b"x-request-id", b"mine")]}
    client.say({})
    yield client
    before = len(house.app.state.streams)
    client.leave()
    await client.end()
    assert len(house.app.state.streams) == before - 1


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (Unavailable("the queue is full", code="queue_full"), "queue_full", True),
        (DeadlineExceeded("too late"), "deadline_exceeded", True),
        (ValueError("a secret of ours"), "internal_error", False),
    ],
)
async def test_what_fails_is_a_problem_and_changes_nothing(error: Exception, code: str, retryable: bool) -> None:
    house = House()
    async with connected(house) as client:
        client.say({"target": [1]})
        assert (await client.answer())["context"]["observations"] == 1
        house.model.error = error
        client.say({"target": [2]})
        problem = await client.answer()
        assert (problem["code"], problem["retryable"], problem["request_id"]) == (code, retryable, "mine")
        assert "secret" not in json.dumps(problem)
        house.model.error = None
        client.say({"target": [2]})
        assert (await client.answer())["context"]["observations"] == 2
    sample = 'ritmo_requests_total{code="%d",model="%s",route="/forecast/stream"}'
    assert house.metric(sample % (200, "forecaster")) == 3
    assert house.metric(sample % (problem["status"], "forecaster")) == 1


async def test_a_message_that_comes_while_one_is_computed_waits_for_its_turn() -> None:
    house = House()
    house.model.hold = asyncio.Event()
    async with connected(house) as client:
        for value in range(3):
            client.say({"target": [value]})
        await house.model.waiting.wait()
        await asyncio.sleep(2 * DISCONNECT_CHECK_SECONDS)  # by now somebody looks whether the client has left
        assert client._got.empty()
        house.model.hold.set()
        assert [(await client.answer())["context"]["observations"] for _ in range(3)] == [1, 2, 3]


async def test_who_leaves_while_it_is_computed_cancels_it() -> None:
    house = House()
    house.model.hold = asyncio.Event()
    client = Client(house)
    client.say({})
    client.say({"target": [1]})
    await house.model.waiting.wait()
    client.leave()
    await client.end()
    assert house.model.cancelled.is_set()
    assert len(house.app.state.streams) == 0


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("after sending 'websocket.close'")])
async def test_an_answer_that_nobody_takes_ends_the_connection(error: Exception) -> None:
    house = House()
    client = Client(house)
    await client.raw()
    client.broken = error
    client.say({})
    client.say({"target": [1]})
    await client.end()
    assert house.metric("ritmo_streams ") == 0


async def test_the_deadline_of_the_opening_holds_for_every_message() -> None:
    house = House(timeout_ms=5000)
    async with connected(house) as client:
        client.say({"target": [1]})
        await client.answer()
        default = house.model.deadline
        client.say({"target": [1]})
        await client.answer()
        assert default is not None
        assert house.model.deadline is not None
        assert default < house.model.deadline
    client = Client(house)
    await client.raw()
    client.say({"parameters": {"timeout_ms": 50}})
    client.say({"target": [1]})
    await client.answer()
    assert house.model.deadline < default
    client.leave()
    await client.end()


async def test_large_messages_share_the_memory_of_large_bodies() -> None:
    house = House(max_held_bytes=100_000)
    house.model.hold = asyncio.Event()
    async with connected(house) as one, connected(house) as other:
        one.say('{"target": [1]}' + " " * 70_000)
        await house.model.waiting.wait()
        other.say('{"target": [1]}' + " " * 70_000)
        assert (await other.answer())["code"] == "queue_full"
        house.model.hold.set()
        await one.answer()
        other.say('{"target": [1]}' + " " * 70_000)
        assert (await other.answer())["context"]["observations"] == 1


async def test_a_service_that_stops_lets_the_last_answer_out() -> None:
    house = House()
    house.model.hold = asyncio.Event()
    busy, idle = Client(house), Client(house)
    for client in (busy, idle):
        await client.raw()
    busy.say({})
    busy.say({"target": [1]})
    await house.model.waiting.wait()
    house.app.state.streams.close()
    assert await idle.raw() == {"type": "websocket.close", "code": 1001}
    house.model.hold.set()
    assert (await busy.answer())["mean"] == [1]
    assert await busy.raw() == {"type": "websocket.close", "code": 1001}
    await asyncio.gather(busy.end(), idle.end())

    late = Client(house)
    start, body = await late.raw(), await late.raw()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert json.loads(body["body"])["code"] == "draining"
    await late.end()
    without = Client(house, extensions=False)
    assert await without.raw() == {"type": "websocket.close", "code": 1013}
    await without.end()
