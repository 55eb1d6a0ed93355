"""Live connections through the application's ASGI door, for what a real client cannot bring about at will."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Message, Scope

from service.api.request import DISCONNECT_CHECK_SECONDS
from service.api.websockets import ANSWERS_FIRST
from service.contract.errors import DeadlineExceeded, Unavailable
from tests.service.api.harness import Harness

GUARD_SECONDS = 30.0  # for what takes none


class Client:
    """The other end of a connection."""

    def __init__(
        self,
        harness: Harness,
        path: str = "/forecast/stream",
        extensions: bool = True,
        query: bytes = b"",
        address: str = "",
    ) -> None:
        self._to_server: asyncio.Queue[Message] = asyncio.Queue()
        self._to_client: asyncio.Queue[Message] = asyncio.Queue()
        self.broken: Exception | None = None  # what sending to this client raises
        scope: Scope = {"type": "websocket", "path": path, "headers": [(b"x-request-id", b"mine")]}
        scope["query_string"] = query
        if address:
            scope["client"] = (address, 1)
        if extensions:
            scope["extensions"] = {"websocket.http.response": {}}
        self._to_server.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(harness.app(scope, self._to_server.get, self._receive))

    async def _receive(self, message: Message) -> None:
        if self.broken is not None:
            raise self.broken
        if message["type"] in {"websocket.close", "websocket.http.response.body"}:
            self.leave()  # as servers tell the application
            self.leave()
        self._to_client.put_nowait(message)

    def say(self, document: Any) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        self._to_server.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._to_server.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def received(self) -> None:
        """Wait until the application has received all messages."""
        async with asyncio.timeout(GUARD_SECONDS):
            while not self._to_server.empty():  # noqa: ASYNC110 (a queue has no event for it)
                await asyncio.sleep(0.001)

    async def raw(self) -> Message:
        async with asyncio.timeout(GUARD_SECONDS):
            return await self._to_client.get()

    async def answer(self) -> dict[str, Any]:
        message = await self.raw()
        assert message["type"] == "websocket.send", message
        document: dict[str, Any] = json.loads(message["text"])
        return document

    async def end(self) -> None:
        async with asyncio.timeout(GUARD_SECONDS):
            await self.task


@asynccontextmanager
async def connected(harness: Harness, address: str = "") -> AsyncIterator[Client]:
    client = Client(harness, address=address)
    assert await client.raw() == {"type": "websocket.accept", "headers": [(b"x-request-id", b"mine")]}
    client.say({})
    yield client
    count = len(harness.app.state.streams)
    client.leave()
    await client.end()
    assert len(harness.app.state.streams) == count - 1


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (Unavailable("the queue is full", code="queue_full"), "queue_full", True),
        (DeadlineExceeded("too late"), "deadline_exceeded", True),
        (ValueError("a secret of ours"), "internal_error", False),
    ],
)
async def test_what_fails_is_a_problem_and_changes_nothing(error: Exception, code: str, retryable: bool) -> None:
    harness = Harness()
    async with connected(harness) as client:
        client.say({"target": [1]})
        assert (await client.answer())["context"]["observations"] == 1
        harness.forecaster.error = error
        client.say({"target": [2]})
        problem = await client.answer()
        assert (problem["code"], problem["retryable"], problem["request_id"]) == (code, retryable, "mine")
        assert "secret" not in json.dumps(problem)
        harness.forecaster.error = None
        client.say({"target": [2]})
        assert (await client.answer())["context"]["observations"] == 2
    sample = 'ritmo_requests_total{code="%d",model="%s",route="/forecast/stream"}'
    assert harness.metric(sample % (200, "forecaster")) == 3
    assert harness.metric(sample % (problem["status"], "forecaster")) == 1


async def test_a_message_that_comes_while_one_is_computed_waits_for_its_turn() -> None:
    harness = Harness()
    harness.forecaster.hold = asyncio.Event()
    async with connected(harness) as client:
        for value in range(3):
            client.say({"target": [value]})
        await harness.forecaster.waiting.wait()
        await asyncio.sleep(2 * DISCONNECT_CHECK_SECONDS)  # by now the connection is watched
        assert client._to_client.empty()
        harness.forecaster.hold.set()
        assert [(await client.answer())["context"]["observations"] for _ in range(3)] == [1, 2, 3]


async def test_a_lost_connection_cancels_what_is_computed() -> None:
    harness = Harness()
    harness.forecaster.hold = asyncio.Event()
    client = Client(harness)
    client.say({})
    client.say({"target": [1]})
    await harness.forecaster.waiting.wait()
    client.leave()
    await client.end()
    assert harness.forecaster.cancelled.is_set()
    assert len(harness.app.state.streams) == 0


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_client_that_closes_has_its_answer_unless_it_leaves(leaves: bool) -> None:
    harness = Harness()
    harness.forecaster.hold = asyncio.Event()
    client = Client(harness)
    await client.raw()
    client.say({})
    client.say({"target": [1]})
    client._to_server.put_nowait({"type": "websocket.disconnect", "code": 1000, ANSWERS_FIRST: True})
    await harness.forecaster.waiting.wait()
    await client.received()  # by now the connection is watched
    if leaves:
        client.leave()
    else:
        harness.forecaster.hold.set()
        assert (await client.answer())["context"]["observations"] == 1
    await client.end()
    assert harness.forecaster.cancelled.is_set() is leaves
    assert len(harness.app.state.streams) == 0


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("after sending 'websocket.close'")])
async def test_an_answer_that_cannot_be_sent_ends_the_connection(error: Exception) -> None:
    harness = Harness()
    client = Client(harness)
    await client.raw()
    client.broken = error
    client.say({})
    client.say({"target": [1]})
    await client.end()
    assert harness.metric("ritmo_streams ") == 0


async def test_the_deadline_of_the_opening_holds_for_every_message() -> None:
    harness = Harness(timeout_ms=5000)
    async with connected(harness) as client:
        client.say({"target": [1]})
        await client.answer()
        default = harness.forecaster.deadline
        client.say({"target": [1]})
        await client.answer()
        assert default is not None
        assert harness.forecaster.deadline is not None
        assert default < harness.forecaster.deadline
    client = Client(harness)
    await client.raw()
    client.say({"parameters": {"timeout_ms": 50}})
    client.say({"target": [1]})
    await client.answer()
    assert harness.forecaster.deadline < default
    client.leave()
    await client.end()


async def test_the_options_of_a_connection_are_not_looked_for_in_its_address() -> None:
    client = Client(Harness(), query=b"model=naive&x=1")
    refusal = await client.raw()
    assert (refusal["type"], refusal["status"]) == ("websocket.http.response.start", 422)
    problem = json.loads((await client.raw())["body"])
    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [
        ("#/model", "unknown_field"),
        ("#/x", "unknown_field"),
    ]
    assert "first message" in problem["errors"][0]["detail"]
    await client.end()


async def test_one_connection_more_than_there_may_be_is_refused() -> None:
    harness = Harness(max_live_connections=2)
    async with connected(harness) as below, connected(harness) as on:
        above = Client(harness)
        refusal = await above.raw()
        assert (refusal["type"], refusal["status"]) == ("websocket.http.response.start", 503)
        assert dict(refusal["headers"])[b"retry-after"] == b"5"
        assert json.loads((await above.raw())["body"])["code"] == "queue_full"
        await above.end()
        for client in (below, on):
            client.say({"target": [1]})
            assert (await client.answer())["context"]["observations"] == 1
    async with connected(harness) as again:
        again.say({"target": [1]})
        assert (await again.answer())["context"]["observations"] == 1


async def test_a_client_that_has_fewer_takes_the_place_of_one_that_has_most() -> None:
    harness = Harness(max_live_connections=4, state_keys="a-secret-of-thirty-two-characters")
    many = []
    for number in range(4):
        many.append(Client(harness, address="192.0.2.1"))
        assert (await many[-1].raw())["type"] == "websocket.accept"
        many[-1].say({"target": [number]})
        await many[-1].answer()
    many[0].say({"target": [5]})  # so that the second one is idle for longest
    await many[0].answer()
    async with connected(harness, "192.0.2.2"):
        last = await many[1].answer()
        assert (last["code"], last["status"], last["retryable"]) == ("queue_full", 503, True)
        assert await many[1].raw() == {"type": "websocket.close", "code": 1013}
        await many[1].end()
        harness.forecaster.hold = asyncio.Event()
        many[2].say({"target": [1]})  # one that is worked on stays
        await harness.forecaster.waiting.wait()
        async with connected(harness, "192.0.2.2"):
            assert (await many[3].answer())["state"]
            for address in ("192.0.2.1", "192.0.2.2"):  # both have their share
                refused = Client(harness, address=address)
                assert (await refused.raw())["status"] == 503
                await refused.end()
            harness.forecaster.hold.set()
            assert (await many[2].answer())["context"]["observations"] == 2
            await many[3].end()
    for client in (many[0], many[2]):
        client.leave()
        await client.end()
    assert len(harness.app.state.streams) == 0


async def test_large_messages_share_the_memory_of_large_bodies() -> None:
    harness = Harness(max_held_bytes=100_000)
    harness.forecaster.hold = asyncio.Event()
    async with connected(harness) as first, connected(harness) as second:
        first.say('{"target": [1]}' + " " * 70_000)
        await harness.forecaster.waiting.wait()
        second.say('{"target": [1]}' + " " * 70_000)
        assert (await second.answer())["code"] == "queue_full"
        harness.forecaster.hold.set()
        await first.answer()
        second.say('{"target": [1]}' + " " * 70_000)
        assert (await second.answer())["context"]["observations"] == 1


async def test_every_message_counts_from_the_moment_it_arrives() -> None:
    """Also a small one, and one that arrives while the last one is computed: it is refused, and costs nothing more."""
    message = '{"target": [1]}' + " " * 1000
    harness = Harness(max_held_bytes=2 * len(message) - 1)
    harness.forecaster.hold = asyncio.Event()
    async with connected(harness) as client, connected(harness) as second:
        client.say(message)
        await harness.forecaster.waiting.wait()
        client.say(message)
        second.say(message)
        assert (await second.answer())["code"] == "queue_full"
        await client.received()  # ahead of its turn, since the connection is watched by now
        harness.forecaster.hold.set()
        assert (await client.answer())["context"]["observations"] == 1
        assert (await client.answer())["code"] == "queue_full"
        client.say(message)
        assert (await client.answer())["context"]["observations"] == 2
    budget = harness.app.state.streams.budget
    budget.acquire(2 * len(message) - 1)  # all of it was released


async def test_a_stop_ends_many_connections_a_few_at_a_time() -> None:
    """Ten thousand at once would keep all who wait for their answers waiting for a second."""
    harness = Harness()
    clients = [Client(harness) for _ in range(100)]
    for client in clients:
        await client.raw()
    harness.app.state.streams.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < sum(client.task.done() or not client._to_client.empty() for client in clients) < 100
    for client in clients:
        assert await client.raw() == {"type": "websocket.close", "code": 1001}
        await client.end()


async def test_a_service_that_stops_lets_the_last_answer_out() -> None:
    harness = Harness()
    harness.forecaster.hold = asyncio.Event()
    busy, idle = Client(harness), Client(harness)
    for client in (busy, idle):
        await client.raw()
    busy.say({})
    busy.say({"target": [1]})
    await harness.forecaster.waiting.wait()
    harness.app.state.streams.close()
    assert await idle.raw() == {"type": "websocket.close", "code": 1001}
    harness.forecaster.hold.set()
    assert (await busy.answer())["mean"] == [1]
    assert await busy.raw() == {"type": "websocket.close", "code": 1001}
    await asyncio.gather(busy.end(), idle.end())

    late = Client(harness)
    start, body = await late.raw(), await late.raw()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert json.loads(body["body"])["code"] == "draining"
    await late.end()
    without = Client(harness, extensions=False)
    assert await without.raw() == {"type": "websocket.close", "code": 1013}
    await without.end()


@pytest.mark.parametrize("path", ["/forecast", "/nothing"])
async def test_a_path_without_live_connections_is_a_problem_that_names_those_with(path: str) -> None:
    client = Client(Harness(), path)
    start, body = await client.raw(), await client.raw()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    problem = json.loads(body["body"])
    assert problem["code"] == "route_not_found"
    assert "/forecast/stream and /classify-digit/stream" in problem["detail"]
    await client.end()


async def test_a_live_series_goes_on_at_another_service_with_the_last_state() -> None:
    key = "a key that both services have"
    first, second = Harness(state_keys=key), Harness(state_keys=key)
    client = Client(first)
    await client.raw()
    client.say({})
    client.say({"target": [1, 2]})
    await client.answer()
    first.app.state.streams.close()
    last = await client.answer()
    assert (last["code"], last["status"], last["retryable"], last["request_id"]) == ("draining", 503, True, "mine")
    assert await client.raw() == {"type": "websocket.close", "code": 1001}
    await client.end()

    other = Client(second)
    await other.raw()
    other.say({"state": last["state"]})
    other.say({"target": [3]})
    assert (await other.answer())["context"]["observations"] == 3
    other.leave()
    await other.end()


async def test_a_message_that_outlasts_the_drain_is_closed_without_its_answer() -> None:
    harness = Harness(state_keys="a key that both services have")
    client, unopened = Client(harness), Client(harness)
    for each in (client, unopened):
        await each.raw()
    client.say({})
    client.say({"target": [1]})
    assert "state" in await client.answer()
    harness.forecaster.hold = asyncio.Event()
    client.say({"target": [2]})
    await harness.forecaster.waiting.wait()
    harness.app.state.streams.close()
    assert await unopened.raw() == {"type": "websocket.close", "code": 1001}  # no state, no message
    await harness.app.state.streams.cut()
    assert (await client.answer())["state"]  # as it was before the message
    assert await client.raw() == {"type": "websocket.close", "code": 1001}
    await asyncio.gather(client.end(), unopened.end())
    assert len(harness.app.state.streams) == 0
