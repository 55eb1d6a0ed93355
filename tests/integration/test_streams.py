"""Live series and live strokes with a real client over a real port."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.servers import TIMEOUT, Server, computing, new_client, running, sample, until

Document = dict[str, Any]
RNG = np.random.default_rng(3)
ROW = [0] * 11 + [84, 185, 254, 254, 185, 84] + [0] * 11


@asynccontextmanager
async def stream(server: Server, opening: Document, path: str = "/forecast/stream") -> AsyncIterator[ClientConnection]:
    address = server.url.replace("http", "ws", 1) + path
    async with connect(address, open_timeout=TIMEOUT, close_timeout=TIMEOUT, compression=None) as socket:
        await socket.send(json.dumps(opening))
        yield socket


async def ask(socket: ClientConnection, message: Document | str | bytes) -> Document:
    await socket.send(json.dumps(message) if isinstance(message, dict) else message)
    async with asyncio.timeout(TIMEOUT):
        answer: Document = json.loads(await socket.recv())
    return answer


async def predict(
    client: httpx.AsyncClient, series: list[Any], model: str = "forecaster", **parameters: Any
) -> Document:
    body = {"model": model, "inputs": [{"target": series}], "parameters": parameters}
    response = await client.post("/forecast", json=body)
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["predictions"]
    return dict(prediction)


async def test_300_live_series_advance_together(server: Server, client: httpx.AsyncClient) -> None:
    count, steps = 300, 6
    values = RNG.normal(size=(count, steps)).round(6).tolist()
    batches = sample((await client.get("/metrics")).text, 'ritmo_batch_items_count{model="forecaster"}')

    async def live(series: list[float]) -> list[Document]:
        async with stream(server, {"parameters": {"prediction_length": 2}}) as socket:
            return [await ask(socket, {"target": [value]}) for value in series]

    answers = await asyncio.gather(*(live(series) for series in values))
    page = (await client.get("/metrics")).text
    assert sample(page, 'ritmo_batch_items_count{model="forecaster"}') - batches < count * steps / 2
    body = {
        "inputs": [{"target": series[: step + 1]} for series in values for step in range(steps)],
        "parameters": {"prediction_length": 2},
    }
    expected = []
    for start in range(0, count * steps, 600):
        part = body | {"inputs": body["inputs"][start : start + 600]}  # type: ignore[index]
        expected += (await client.post("/forecast", json=part)).json()["predictions"]
    assert list(itertools.chain.from_iterable(answers)) == expected


async def test_a_network_in_float32_agrees_to_a_tolerance(server: Server, client: httpx.AsyncClient) -> None:
    series: list[float | None] = [*RNG.normal(10, 3, 40).tolist(), None, 12.5]
    async with stream(server, {"model": "lstm"}) as socket:
        answers = [await ask(socket, {"target": [value]}) for value in series]
    answer = answers[-1]
    expected = await predict(client, series, "lstm")
    assert answer["context"] == expected["context"]
    np.testing.assert_allclose(answer["mean"], expected["mean"], rtol=1e-6)
    for level, values in expected["quantiles"].items():
        np.testing.assert_allclose(answer["quantiles"][level], values, rtol=1e-6)


async def test_a_digit_is_read_as_it_is_drawn(server: Server, client: httpx.AsyncClient) -> None:
    rows = [[0] * 28, [0] * 28, *[ROW] * 5]
    async with stream(server, {"parameters": {"trace": True}, "item_id": "7"}, "/classify-digit/stream") as socket:
        answers = [await ask(socket, {"rows": [row]}) for row in rows]
        unchanged = await ask(socket, {"rows": []})
    body = {"inputs": [{"rows": rows, "item_id": "7"}], "parameters": {"trace": True}}
    (expected,) = (await client.post("/classify-digit", json=body)).json()["predictions"]
    assert [answer["rows_used"] for answer in answers] == list(range(1, 8))
    assert [answer["warnings"] for answer in answers[:3]] == [["no_ink"], ["no_ink"], []]
    assert answers[-1]["item_id"] == "7"
    assert [answer["trace"][0]["row"] for answer in answers] == list(range(1, 8))
    np.testing.assert_allclose(answers[-1]["probabilities"], expected["probabilities"], atol=1e-6)
    np.testing.assert_allclose(unchanged["probabilities"], answers[-1]["probabilities"], atol=1e-6)
    assert unchanged["trace"] == []


async def test_a_problem_changes_nothing_and_the_connection_goes_on(server: Server, client: httpx.AsyncClient) -> None:
    faulty: list[tuple[Document | str | bytes, str, str | None]] = [
        ("{", "malformed_json", None),
        (b'{"target": [1]}', "unsupported_media_type", None),
        ({"target": [1, "2"]}, "wrong_type", "#/target/1"),
        ('{"target": [1e999]}', "not_finite", "#/target/0"),
        ({"targets": [1]}, "unknown_field", "#/targets"),
        ({"rows": [ROW]}, "unknown_field", "#/rows"),
        ({"target": [1] * 100_001}, "series_too_long", "#/target"),
        ("[]", "wrong_type", "#"),
    ]
    async with stream(server, {}) as socket:
        first = await ask(socket, {"target": []})
        assert (first["code"], first["errors"][0]["pointer"]) == ("out_of_range", "#/target")
        await ask(socket, {"target": [1.5]})
        for message, code, pointer in faulty:
            problem = await ask(socket, message)
            assert (problem["code"], problem["retryable"]) == (code, False)
            if pointer is not None:
                assert problem["errors"][0]["pointer"] == pointer
        assert await ask(socket, {"target": [2.5, None]}) == await predict(client, [1.5, 2.5, None])


@pytest.mark.parametrize(
    ("opening", "code"),
    [
        ({"model": "nobody"}, "model_not_found"),
        ({"model": "digits"}, "model_not_found"),
        ({"model": "linear", "parameters": {"prediction_length": 2}}, "out_of_range"),
        ({"parameters": {"prediction_length": 0}}, "out_of_range"),
        ({"state": "nothing of ours"}, "state_invalid"),
        ({"rows": [[1]]}, "unknown_field"),
        ({"target": ["1"]}, "wrong_type"),
        ({"target": []}, "out_of_range"),
    ],
)
async def test_a_faulty_opening_can_be_sent_again(server: Server, opening: Document, code: str) -> None:
    async with stream(server, opening) as socket:
        assert json.loads(await socket.recv())["code"] == code
        await socket.send("{}")
        assert (await ask(socket, {"target": [3]}))["context"]["observations"] == 1


async def test_the_lengths_of_a_model_are_those_of_the_whole_series(server: Server) -> None:
    async with stream(server, {"model": "linear"}) as socket:
        assert (await ask(socket, {"target": [1.0]}))["code"] == "length_not_supported"
        assert (await ask(socket, {"target": [1.0] * 50}))["context"]["observations"] == 50
        assert (await ask(socket, {"target": [1.0]}))["code"] == "length_not_supported"
        assert (await ask(socket, {"target": []}))["context"]["observations"] == 50


async def test_a_token_leads_from_a_connection_to_a_post_and_back(server: Server, client: httpx.AsyncClient) -> None:
    async with stream(server, {"parameters": {"return_state": True}}) as socket:
        token = (await ask(socket, {"target": [1, 2]}))["state"]
    body = {"inputs": [{"target": [3, None], "state": token}], "parameters": {"return_state": True}}
    (middle,) = (await client.post("/forecast", json=body)).json()["predictions"]
    async with stream(server, {"state": middle["state"], "item_id": "x"}) as socket:
        last = await ask(socket, {"target": [4]})
    assert last == await predict(client, [1, 2, 3, None, 4]) | {"item_id": "x"}


async def test_several_messages_in_flight_are_answered_in_order(server: Server) -> None:
    async with stream(server, {}) as socket:
        for value in range(50):
            await socket.send(json.dumps({"target": [value]}))
        counts = [json.loads(await socket.recv())["context"]["observations"] for _ in range(50)]
    assert counts == list(range(1, 51))


async def test_a_client_that_does_not_read_is_not_read(server: Server, client: httpx.AsyncClient) -> None:
    """A client that only sends is held up by its own socket, and slows no other connection."""
    async with stream(server, {"parameters": {"prediction_length": 256}}) as unread:
        unread.transport.pause_reading()
        message = json.dumps({"target": [1.5] * 2000})
        n_sent = 0

        async def flood() -> None:
            nonlocal n_sent
            for _ in range(20_000):
                await unread.send(message)
                n_sent += 1

        flooding = asyncio.create_task(flood())
        async with stream(server, {}) as socket:
            for value in range(20):
                await ask(socket, {"target": [value]})
        previous = -1
        async with asyncio.timeout(TIMEOUT):
            while previous != n_sent:  # until nothing moves any more
                previous = n_sent
                await asyncio.sleep(0.5)
        assert n_sent < 20_000
        flooding.cancel()
        unread.transport.abort()
    assert (await predict(client, [1.0]))["context"]["observations"] == 1


async def test_a_message_that_is_too_large_ends_the_connection(server: Server) -> None:
    async with stream(server, {}) as socket:
        await socket.send("[" + "1," * 600_000)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


async def test_there_is_no_other_stream(server: Server) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with stream(server, {}, "/nothing/stream"):
            pass
    assert caught.value.response.status_code in {403, 404}


@pytest.fixture(scope="module")
def bounded(slow_model: Path) -> Iterator[Server]:
    """A server for three live connections, with a model that takes its time; the last test stops it."""
    with running(slow_model, max_message_bytes=4 << 20, max_live_connections=3, drain_seconds=TIMEOUT) as server:
        yield server.settled()


@pytest.fixture
async def observer(bounded: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `bounded` that reads its metrics."""
    async with new_client(bounded.url) as client:
        yield client


async def test_connections_are_bounded(bounded: Server) -> None:
    async with stream(bounded, {}) as first, stream(bounded, {}) as second, stream(bounded, {}) as third:
        await asyncio.gather(*(ask(socket, {"target": [1]}) for socket in (first, second, third)))
        with pytest.raises(InvalidStatus) as caught:
            async with stream(bounded, {}):
                pass
        response = caught.value.response
        assert (response.status_code, json.loads(response.body)["code"]) == (503, "queue_full")
        assert response.headers["retry-after"] == "5"
    async with stream(bounded, {}) as socket:
        await ask(socket, {"target": [1]})


async def test_leaving_in_flight_drops_the_work(bounded: Server, observer: httpx.AsyncClient) -> None:
    async def idle() -> bool:
        page = (await observer.get("/metrics")).text
        return sample(page, "ritmo_streams ") == sample(page, "ritmo_queue_items{") == 0

    for _ in range(3):
        async with stream(bounded, {}) as socket:
            await socket.send(json.dumps({"target": [1.5] * 100_000}))
            await computing(observer)
            socket.transport.abort()
        await until(idle)
    assert (await predict(observer, [1.0]))["mean"] == [1.0]


async def test_stopping_closes_idle_connections_and_finishes_what_is_in_flight(
    bounded: Server, observer: httpx.AsyncClient
) -> None:
    async with stream(bounded, {}) as idle, stream(bounded, {}) as busy:
        await ask(idle, {"target": [1]})
        await busy.send(json.dumps({"target": [1.5] * 100_000}))
        await computing(observer)
        bounded.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            await idle.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
        assert json.loads(await busy.recv())["context"]["observations"] == 100_000
        with pytest.raises(ConnectionClosed) as caught:
            await busy.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
    assert await asyncio.to_thread(bounded.wait) == 0
    assert [entry for entry in bounded.log() if entry["level"] not in {"info", "debug"}] == []


async def test_a_drain_that_ends_closes_what_is_still_computed_as_going_away(slow_model: Path) -> None:
    with running(slow_model, max_message_bytes=4 << 20, drain_seconds=0.5, timeout_ms=600_000) as server:
        server.ready()
        async with (
            new_client(server.url) as observer,
            stream(server, {}) as busy,
        ):
            await busy.send(json.dumps({"target": [1.5] * 100_000}))
            await computing(observer)
            server.signal(signal.SIGTERM)
            async for _ in busy:  # ends with the connection
                pass
            assert busy.close_code == 1001
        assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.parametrize(
    ("path", "values", "count"),
    [
        ("/forecast/stream", {"target": [1.5, 2.5]}, "context"),
        ("/classify-digit/stream", {"rows": [ROW] * 2}, "rows_used"),
    ],
)
async def test_values_come_first_and_a_reset_begins_anew(
    server: Server, path: str, values: Document, count: str
) -> None:
    def observations(answer: Document) -> int:
        seen: int = answer[count] if isinstance(answer[count], int) else answer[count]["observations"]
        return seen

    async with stream(server, values, path) as socket:
        first = json.loads(await socket.recv())
        assert observations(first) == 2
        assert observations(await ask(socket, values)) == 4
        assert await ask(socket, values | {"reset": True}) == first
        await socket.send(json.dumps({"reset": True}))
        assert await ask(socket, values) == first
