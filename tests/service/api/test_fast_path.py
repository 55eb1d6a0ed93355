"""Requests that are answered without a task, with a small endpoint in place of a model's."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from service.api.byte_budget import ByteBudget
from service.api.clients import ClientFinder
from service.api.fast_path import FastRequest
from service.api.problems import Answer, render
from service.api.request import RawRequest, RequestWatcher
from service.batching.queue import DirectResult
from service.codec.common import JSON, Body
from service.contract.errors import InvalidRequest, RitmoError
from service.contract.types import BatchResult


class Computing:
    """What the endpoint asked a queue for."""

    def __init__(self, results: DirectResult) -> None:
        self.results = results

    def answer(self) -> Answer:
        return Answer(200, [], repr(self.results.result().results).encode())


class Endpoint:
    """Computes what it is sent, declines `large`, refuses `bad`."""

    media_types = (JSON,)
    max_body_bytes = 100

    def __init__(self) -> None:
        self.computing: list[Computing] = []

    def begin(self, request: RawRequest, body: Body, on_settled: Callable[[Any], None]) -> Computing | None:
        assert request.request_id == "one"
        if body.content == b"large":
            return None
        if body.content == b"bad":
            raise InvalidRequest("a test says so", code="out_of_range")
        results = DirectResult(on_settled)
        results.release = lambda _: None
        self.computing.append(Computing(results))
        return self.computing[-1]


class Connection:
    """What a request is answered to, and what is recorded of it."""

    def __init__(self, content_type: bytes = JSON.encode()) -> None:
        self.answers: list[tuple[int, dict[bytes, bytes], bytes]] = []
        self.recorded: list[int | None] = []
        self.budget = ByteBudget(1000)
        self.endpoint = Endpoint()
        headers = {b"content-type": content_type, b"x-request-id": b"one"}
        scope = {"type": "http", "method": "POST", "headers": list(headers.items()), "query_string": b""}
        client = ClientFinder().find(scope, headers)
        request = RawRequest(scope, headers, client, _never, self.budget, RequestWatcher())
        self.request = FastRequest(request, self._reply, _fail, self._record)

    def begin(self, content: bytes) -> bool:
        return self.request.begin(self.endpoint, content)

    def _record(self, _request: RawRequest, answer: Answer | None) -> None:
        self.recorded.append(None if answer is None else answer.status)

    def _reply(self, status: int, headers: Any, body: bytes) -> None:
        self.answers.append((status, dict(headers), body))


async def _never() -> Any:
    raise AssertionError("nothing is read")


def _fail(error: Exception, name: str) -> Answer:
    return render(error if isinstance(error, RitmoError) else RitmoError("", code="internal_error"), name)


async def test_an_answer_is_sent_and_recorded_as_soon_as_there_are_results() -> None:
    connection = Connection()
    assert connection.begin(b"[1]")
    assert connection.budget.held_bytes == 3
    assert connection.answers == []
    connection.endpoint.computing[0].results.set_result(BatchResult([7], 0.0, 0.0))
    assert connection.answers == [(200, {b"content-length": b"3", b"x-request-id": b"one"}, b"[7]")]
    assert connection.recorded == [200]
    assert connection.budget.held_bytes == 0


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [(b"bad", b"application/json", 422), (b"[1]", b"text/html", 415), (b"x" * 101, b"application/json", 413)],
)
async def test_a_refusal_is_an_answer_at_once(content: bytes, content_type: bytes, status: int) -> None:
    connection = Connection(content_type)
    assert connection.begin(content)
    assert [answer[0] for answer in connection.answers] == connection.recorded == [status]
    assert connection.budget.held_bytes == 0


@pytest.mark.parametrize("error", [InvalidRequest("a test", code="out_of_range"), ValueError("a test")])
async def test_an_error_of_the_computation_is_an_answer(error: Exception) -> None:
    connection = Connection()
    connection.begin(b"[1]")
    connection.endpoint.computing[0].results.set_exception(error)
    expected = 422 if isinstance(error, InvalidRequest) else 500
    assert [answer[0] for answer in connection.answers] == connection.recorded == [expected]


async def test_what_is_no_work_for_the_event_loop_leaves_nothing_behind() -> None:
    connection = Connection()
    assert not connection.begin(b"large")
    assert (connection.answers, connection.recorded, connection.budget.held_bytes) == ([], [], 0)


async def test_a_lost_connection_cancels_the_computation() -> None:
    connection = Connection()
    connection.begin(b"[1]")
    connection.request.cancel()
    assert connection.endpoint.computing[0].results.cancelled()
    assert (connection.answers, connection.recorded, connection.budget.held_bytes) == ([], [None], 0)


async def test_a_cancelled_request_may_be_answered() -> None:
    connection = Connection()
    connection.begin(b"[1]")
    connection.request.cancel(Answer(503, [], b"later"))
    assert [answer[::2] for answer in connection.answers] == [(503, b"later")]
    assert connection.recorded == [503]


async def test_nothing_is_left_to_the_collector_of_cycles() -> None:
    connection = Connection()
    connection.begin(b"[1]")
    computing = connection.endpoint.computing.pop()
    results = weakref.ref(computing.results)
    gc.disable()
    try:
        computing.results.set_result(BatchResult([7], 0.0, 0.0))
        del computing
        await asyncio.sleep(0)
        assert results() is None
    finally:
        gc.enable()
