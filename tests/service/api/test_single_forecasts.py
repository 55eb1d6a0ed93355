"""Forecasts of one series on their shortest way: the same answers, counts and refusals as on the other ways."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.api import single_forecasts
from service.api.app import create_app
from service.api.single_forecasts import SingleForecast, SingleForecasts
from service.batching.queue import ModelQueue
from service.batching.scheduler import Scheduler
from service.contract.errors import Unavailable
from service.contract.manifest import InputContract
from service.runtime import compiled
from service.runtime.key_file import KeyLimits, add_key, revoke_key
from service.server.http_protocol import Protocol
from service.settings import Settings
from tests.models import LastValue, LSTMDigits, LSTMForecaster, write_model
from tests.service.server.harness import TIMEOUT, Running, until

pytestmark = pytest.mark.skipif(compiled.built is None, reason="no C compiler was there at installation")
HEAD = b"POST /forecast HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
# A problem repeats the id of its request, which is not always as long.
VARIES = re.compile(rb"(?<=dur=)[\d.]+|(?<=x-request-id: )\S+|(?<=\"request_id\":\")[^\"]+|(?<=content-length: )\d+")
PARAMETERS: dict[str, Any] = {"prediction_length": 3}


def body(*target: Any, parameters: Any = PARAMETERS, model: str = "lstm", **fields: Any) -> bytes:
    return json.dumps({"model": model, "inputs": [{"target": target, **fields}], "parameters": parameters}).encode()


SIMPLE = {
    "plain": body(1.5, 2, -0.25),
    "default levels and length": body(1.0, 2.0, parameters={}),
    "other levels, unsorted, no median": body(1.0, 2.0, parameters={"quantile_levels": [0.9, 0.25]}),
    "no levels": body(1.0, 2.0, parameters={"quantile_levels": []}),
    "many levels and steps": body(*range(50), parameters={"prediction_length": 9, "quantile_levels": [0.1, 0.001]}),
    "an id": body(1.0, item_id="shop/1"),
    "no id": body(1.0, item_id=None),
    "missing values": body(None, 1.0, None),
    "by version": body(1.0, model="lstm@1"),
    "spaced": json.dumps(json.loads(body(1.0, 2.0)), indent=2).encode(),
    "the longest that is read": body(*range(60), model="short"),
}
OTHERS = {
    "an id to be escaped": body(1.0, item_id='"'),
    "an id in other letters": body(1.0, item_id="\u00e9"),
    "a missing value where none may be": body(1.0, None, model="short"),
    "missing values alone": body(None, None),
    "two series": json.dumps({"model": "lstm", "inputs": [{"target": [1]}, {"target": [2, 3]}]}).encode(),
    "longer than is read": body(*range(70), model="short"),
    "a long answer": body(1.0, parameters={"prediction_length": 900}),
    "too far": body(1.0, parameters={"prediction_length": 1001}),
    "no such model": body(1.0, model="nobody"),
    "an empty name": body(1.0, model=""),
    "a model of another task": body(1.0, model="digits"),
    "no values": body(),
    "a word": body("one"),
    "an unknown field": body(1.0, parameters={"horizon": 2}),
    "no JSON": b'{"inputs":',
    "a timeout": body(1.0, parameters={"timeout_ms": 60000}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "lstm", LSTMForecaster())
    short = InputContract(features=1, min_length=1, max_length=None, context=64, missing=False, season=True)
    write_model(folder, "short", LastValue(), inputs=short)
    write_model(folder, "digits", LSTMDigits())
    return folder


@pytest.fixture(autouse=True)
def _same_functions_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests behind these use what the ones before used."""
    monkeypatch.setattr(compiled, "in_use", compiled.in_use)


@contextlib.asynccontextmanager
async def serving(models: Path, **changes: Any) -> AsyncIterator[Running]:
    settings = Settings(models=models, threads=1, allowed_hosts="local", **changes)
    app: Any = create_app(settings)
    async with app.router.lifespan_context(app):
        server = Running(Protocol, settings, app)
        await until(lambda: app.state.registry.health().ready)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
            assert app.state.budget.held_bytes == 0


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request that might go the shortest way did."""
    results: list[bool] = []
    begin = SingleForecasts.begin

    def recorded(*arguments: Any) -> Any:
        request = begin(*arguments)
        results.append(request is not None)
        return request

    monkeypatch.setattr(SingleForecasts, "begin", recorded)
    return results


async def answers(server: Running, contents: list[bytes], *fields: bytes) -> list[bytes]:
    """The answers to requests on one connection, but for what varies."""
    reader, writer = await server.connect()
    received = []
    async with asyncio.timeout(TIMEOUT):
        for content in contents:
            lines = b"".join(field + b"\r\n" for field in fields)
            writer.write(HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(content) + content)
            received.append(VARIES.sub(b"-", await read_answer(reader)))
    writer.close()
    return received


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = re.findall(rb"content-length: (\d+)", head)
    return head + await reader.readexactly(int(length))


async def test_every_answer_is_the_same_to_the_byte(models: Path, begun: list[bool]) -> None:
    # The head is known from the first request on, what is asked from its first time on.
    contents = [SIMPLE["plain"], *SIMPLE.values(), *OTHERS.values(), *SIMPLE.values(), *OTHERS.values()]
    async with serving(models) as server:
        received = await answers(server, contents)
        assert begun[len(SIMPLE) :] == [False] * len(OTHERS) + [True] * len(SIMPLE) + [False] * len(OTHERS)
        counted = server.application.state.registry.metrics.render()  # type: ignore[attr-defined]
    begun.clear()
    async with serving(models, compiled="off") as server:
        assert compiled.in_use is None
        assert await answers(server, contents) == received
        assert begun == []
        expected = server.application.state.registry.metrics.render()  # type: ignore[attr-defined]
    counts = re.compile(rb"^ritmo_(?:requests_total|request_seconds_count|items_total).*", re.MULTILINE)
    assert counts.findall(counted) == counts.findall(expected) != []


@pytest.mark.parametrize(
    ("field", "is_plain"),
    [
        (b"Accept: */*", True),
        (b"User-Agent: a", True),
        (b"Accept: text/csv", False),
        (b"X-Request-Timeout-Ms: 1000", False),
        (b"X-Request-Id: mine", False),
        (b"Content-Encoding: identity", False),
        (b"Traceparent: 0", False),
    ],
)
async def test_a_head_that_asks_for_more_takes_another_way(
    models: Path, begun: list[bool], field: bytes, is_plain: bool
) -> None:
    async with serving(models) as server:
        first, second, third = await answers(server, [SIMPLE["plain"]] * 3, field)
        assert first == second == third
        assert begun == [False, True] * is_plain


async def test_a_host_that_is_not_ours_is_refused_again(models: Path, begun: list[bool]) -> None:
    async with serving(models) as server:
        content = SIMPLE["plain"]
        request = HEAD.replace(b"127.0.0.1", b"evil.example") + b"Content-Length: %d\r\n\r\n" % len(content) + content
        received = await server.ask(
            request, 0.05, request, 0.05, request.replace(b"Host", b"Connection: close\r\nHost")
        )
        assert received.count(b"HTTP/1.1 403") == 3
        assert begun == []


@pytest.mark.parametrize(
    "changes", [{"access_log": True}, {"cors_origins": "*"}, {"trusted_proxies": "10.0.0.0/8"}, {"compiled": "off"}]
)
async def test_what_needs_to_know_more_of_a_request_takes_another_way(models: Path, changes: dict[str, Any]) -> None:
    async with serving(models, **changes) as server:
        assert server.application.single_forecasts is None  # type: ignore[attr-defined]


async def test_a_full_queue_refuses_as_ever(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(models) as server:
        first = await answers(server, [SIMPLE["plain"]])
        with monkeypatch.context() as patch:

            def submit(*_: Any) -> Any:
                raise Unavailable("full", code="queue_full", retry_after=2.0)

            patch.setattr(ModelQueue, "submit", submit)
            refusal = (await answers(server, [SIMPLE["plain"]] * 3))[-1]
            assert refusal.startswith((b"HTTP/1.1 429", b"HTTP/1.1 503"))
            assert b"\r\nretry-after: 2\r\n" in refusal
        assert await answers(server, [SIMPLE["plain"]]) == first


async def test_a_model_that_fails_is_a_problem(
    models: Path, begun: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(values: Any, _lengths: Any, states: Any, horizon: int, levels: Any) -> Any:
        return states, (np.full((len(values), horizon, 1 + levels.shape[1]), np.nan), np.ones(len(values), np.int64))

    async with serving(models) as server:
        registry = server.application.state.registry  # type: ignore[attr-defined]
        monkeypatch.setattr(registry.get("lstm").model.network, "finish", finish)
        plain = SIMPLE["plain"]
        *_, problem, expected = await answers(server, [plain, plain, plain, body(1.0, item_id="\u00e9")])
        assert begun == [False, True, False]
        assert problem == expected
        assert problem.startswith(b"HTTP/1.1 500")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The submissions that were made; they are not computed."""
    held: list[Any] = []
    monkeypatch.setattr(Scheduler, "_wake_or_run_inline", lambda _: None)
    monkeypatch.setattr(Scheduler, "_work", lambda *_: False)
    monkeypatch.setattr(Scheduler, "_work_is_waiting", lambda _: False)
    submit = ModelQueue.submit

    def recorded(*arguments: Any) -> Any:
        held.append(submit(*arguments))
        return held[-1]

    monkeypatch.setattr(ModelQueue, "submit", recorded)
    return held


@contextlib.asynccontextmanager
async def computing(
    models: Path, begun: list[bool], request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Any, asyncio.StreamReader, asyncio.StreamWriter, Protocol, list[Any]]]:
    """The registry, a connection on which a forecast is being computed, and that submission."""
    content = SIMPLE["plain"]
    text = HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content
    async with serving(models) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(text)
            await reader.readuntil(b"]}]}")
        begun.clear()
        held: list[Any] = request.getfixturevalue("held")
        writer.write(text)
        await until(lambda: begun == [True])
        [connection] = [c for c in server.server.server_state.connections if isinstance(c, Protocol)]
        yield server.application.state.registry, reader, writer, connection, held  # type: ignore[attr-defined]
        writer.close()


def compute(registry: Any, request: pytest.FixtureRequest) -> None:
    """Let what waits be computed."""
    request.getfixturevalue("monkeypatch").undo()
    registry._scheduler._wake.put(None)


async def test_a_client_that_leaves_cancels_the_work(
    models: Path, begun: list[bool], request: pytest.FixtureRequest
) -> None:
    async with computing(models, begun, request) as (registry, _, writer, _, held):
        linger = struct.pack("ii", 1, 0)  # a reset: without one the client might wait for its answer, for a while
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await until(held[0].cancelled)
        assert 'code="499"' in registry.metrics.render().decode()


async def test_a_server_that_can_wait_no_longer_says_so(
    models: Path, begun: list[bool], request: pytest.FixtureRequest
) -> None:
    async with computing(models, begun, request) as (_, reader, _, connection, held):
        connection.drain()
        connection.cut()
        received = await reader.read()
        assert received.startswith(b"HTTP/1.1 503")
        assert b"\r\nconnection: close\r\n" in received
        assert b'"draining"' in received
        assert held[0].cancelled()


async def test_an_answer_while_the_server_drains_ends_the_connection(
    models: Path, begun: list[bool], request: pytest.FixtureRequest
) -> None:
    async with computing(models, begun, request) as (registry, reader, _, connection, held):
        connection.drain()
        compute(registry, request)
        received = await reader.read()
        assert received.startswith(b"HTTP/1.1 200")
        assert b"\r\nconnection: close\r\n" in received
        assert held[0].done()


async def test_a_request_behind_it_waits_for_its_answer(
    models: Path, begun: list[bool], request: pytest.FixtureRequest
) -> None:
    async with computing(models, begun, request) as (registry, reader, writer, connection, _):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        await until(lambda: bool(connection.pipeline))
        compute(registry, request)
        received = await reader.read()
        assert received.index(b'"predictions"') < received.index(b"HTTP/1.1 200", 10)


async def test_a_deadline_that_passes_is_a_problem(
    models: Path, begun: list[bool], request: pytest.FixtureRequest
) -> None:
    async with computing(models, begun, request) as (_, reader, _, _, held):
        held[0].release.__self__._pending[held[0]].deadline = 0.0
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 504")


async def test_what_is_asked_is_forgotten_when_it_is_too_much(
    models: Path, begun: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_forecasts, "_MAX_KINDS", 2)
    async with serving(models) as server:
        lengths = (1, 1, 1, 2, 3, 1, 1, 3)
        await answers(server, [body(1.0, parameters={"prediction_length": length}) for length in lengths])
        assert begun == [False, True, False, False, False, True, True]


async def test_another_version_answers_from_the_moment_it_is_served(models: Path, begun: list[bool]) -> None:
    async with serving(models) as server:
        registry = server.application.state.registry  # type: ignore[attr-defined]
        contents = [SIMPLE["plain"]] * 3
        assert b'"model":"lstm"' in (await answers(server, contents))[-1]
        registry._by_reference["lstm"] = registry.get("short")
        assert all(b'"model":"short"' in answer for answer in await answers(server, contents))
        assert begun == [False, True, True, True]


async def test_a_request_leaves_nothing_for_the_garbage_collector(models: Path, begun: list[bool]) -> None:
    def known() -> list[SingleForecast]:
        return [found for found in gc.get_objects() if isinstance(found, SingleForecast)]

    async with serving(models) as server, asyncio.timeout(TIMEOUT):
        reader, writer = await server.connect()
        text = HEAD + b"Content-Length: %d\r\n\r\n" % len(SIMPLE["plain"]) + SIMPLE["plain"]
        gc.collect()
        earlier = known()  # of other tests
        gc.disable()
        try:
            for _ in range(6):
                writer.write(text)
                await reader.readuntil(b"]}]}")
            later = known()
        finally:
            gc.enable()
            writer.close()
        assert begun == [False] + [True] * 4
        assert len(later) <= len(earlier) + 1  # the last batch is remembered


LIMITS = KeyLimits(requests="30/d", observations="60/d")
# The seconds until a key has more left, or all of it, go on.
LEFT = re.compile(rb";t=\d+|(?<=go on in )[\d.]+|(?<=retry-after: )\d+")


async def with_key(server: Running, contents: list[bytes], *fields: bytes) -> list[bytes]:
    return [LEFT.sub(b"", answer) for answer in await answers(server, contents, *fields)]


@pytest.mark.parametrize("limits", [None, LIMITS])
async def test_a_key_changes_no_answer_and_pays_as_ever(
    models: Path, tmp_path: Path, begun: list[bool], limits: KeyLimits | None
) -> None:
    path = tmp_path / "keys.json"
    key, _ = add_key(path, ["infer"], limits=limits)
    shown = b"Authorization: Bearer %b" % key.encode()
    # With limits: three values each, then more than is left, then more than it may ever send, then no more requests.
    one, more, most = body(1, 2, 3), body(*range(40)), body(*range(70))
    contents = [one] * 10 + [more, most, one, most] * 3 + [one] * 12
    async with serving(models, api_keys=path) as server:
        received = await with_key(server, contents, shown)
        assert sum(begun) > 5
    begun.clear()
    async with serving(models, api_keys=path, compiled="off") as server:
        assert await with_key(server, contents, shown) == received
    assert begun == []
    statuses = {int(answer.split()[1]) for answer in received}
    assert statuses == ({200} if limits is None else {200, 413, 429})


async def test_a_key_that_ends_or_has_another_scope_is_refused_as_ever(
    models: Path, tmp_path: Path, begun: list[bool]
) -> None:
    path = tmp_path / "keys.json"
    key, entry = add_key(path, ["infer"])
    observer, _ = add_key(path, ["observe"])
    shown, other = (b"X-API-Key: %b" % name.encode() for name in (key, observer))
    async with serving(models, api_keys=path) as server:
        assert [a.split()[1] for a in await with_key(server, [SIMPLE["plain"]] * 3, shown)] == [b"200"] * 3
        assert begun == [False, True]
        for fields in ((other,), (), (shown, b"Authorization: Bearer %b" % key.encode())):
            received = await with_key(server, [SIMPLE["plain"]] * 3, *fields)
            assert {a.split()[1] for a in received} <= {b"401", b"403"}
        revoke_key(path, entry.id)
        keys = server.application.single_forecasts._keys  # type: ignore[attr-defined]
        keys.load()
        assert [a.split()[1] for a in await with_key(server, [SIMPLE["plain"]] * 3, shown)] == [b"401"] * 3
        assert begun[2:].count(True) == 0


async def test_a_client_that_leaves_before_its_refusal_gets_none(
    models: Path, tmp_path: Path, begun: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[tuple[SingleForecast, Exception]] = []
    monkeypatch.setattr(SingleForecast, "refuse", lambda request, error: refused.append((request, error)))
    path = tmp_path / "keys.json"
    key, _ = add_key(path, ["infer"], limits=LIMITS)
    shown = b"X-API-Key: %b\r\n" % key.encode()
    async with serving(models, api_keys=path) as server:
        reader, writer = await server.connect()
        for content in (SIMPLE["plain"], SIMPLE["plain"], body(*range(60))):  # the last has more than the key has left
            writer.write(HEAD + shown + b"Content-Length: %d\r\n\r\n" % len(content) + content)
            if content == SIMPLE["plain"]:
                await read_answer(reader)
        await until(lambda: bool(refused))
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        metrics = server.application.state.registry.metrics  # type: ignore[attr-defined]
        await until(lambda: 'code="499"' in metrics.render().decode())
        request, error = refused[0]
        request._refuse(error)
        assert 'code="429"' not in metrics.render().decode()
    assert begun[-1]
