"""What every adapter has to bear: strange values in any place of a request, and bodies that inflate to a lot."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from service.api.byte_budget import ByteBudget
from service.api.request import ARRIVED
from service.api.wires.common import held, parse_json
from service.contract.errors import Unavailable
from tests.service.api.harness import JSON, ROW, Harness, receiver

STRANGE = (
    *("null", "true", '"x"', "[]", "{}", "[[1]]", "-1", "1e999", "9" * 30, "9" * 5000),
    *('"\\ud800"', '{"\\ud800": 1}', "[99999999999, 0]", "[" * 3000 + "]" * 3000),
)
SERIES = [1, 2, 4, 3, 5, 6, 7, 8]
FLAT = {"series": {"y": SERIES, "sizes": [8], "X": None}, "h": 2, "freq": "D", "model": "timegpt-1", "level": [80, 90]}
TENSOR = {"name": "target", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3], "parameters": {}}
ARGUMENTS = {"target": SERIES, "prediction_length": 2, "season_length": 2}
PARAMETERS = {"prediction_length": 2, "quantile_levels": "0.1,0.5", "season_length": 2, "timeout": 10**7}
DIGITS = {"name": "rows", "shape": [1, 3, 28], "datatype": "FP32", "data": [ROW] * 3}
FRAME = {"columns": ["target"], "data": [[[1, 2]]]}


def called(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "forecasters by tensors": (
        "/v2/models/forecaster/infer",
        {
            "id": "1",
            "parameters": PARAMETERS,
            "inputs": [TENSOR, {"name": "lengths", "shape": [1], "datatype": "INT64", "data": [2]}],
            "outputs": [{"name": "quantiles", "parameters": {"binary_data": False}}],
        },
    ),
    "readers by tensors": (
        "/v2/models/digits/infer",
        {"inputs": [DIGITS], "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]},
    ),
    "forecasts of Nixtla's client": ("/v2/forecast", FLAT | {"finetune_steps": 0, "clean_ex_first": True}),
    "its cross validation": ("/v2/cross_validation", FLAT | {"n_windows": 2, "step_size": 1, "full_history": False}),
    "its anomalies": ("/v2/anomaly_detection", FLAT | {"level": 99}),
    "instances": (
        "/invocations",
        {
            "instances": [{"target": [1, 2], "start": "2024-01-01", "past_covariates": {}}],
            "parameters": {"prediction_length": 2, "freq": "D"},
        },
    ),
    "a frame": ("/invocations", {"dataframe_split": FRAME, "params": {"prediction_length": 2}}),
    "a tool's forecast": ("/mcp", called("forecast", **ARGUMENTS, start="2024-01-01", freq="D")),
    "a tool's backtest": ("/mcp", called("backtest", **ARGUMENTS, windows=2)),
    "a tool's digit": ("/mcp", called("classify_digit", image="AAAA")),
}


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(document, dict):
        for name, value in document.items():
            yield from places(value, (*path, name))
    elif isinstance(document, list):
        for index, value in enumerate(document[:1]):
            yield from places(value, (*path, index))


def replaced(document: Any, path: tuple[Any, ...], text: str) -> bytes:
    """The JSON of `document` with `text` at `path`."""
    if not path:
        return text.encode()
    document = copy.deepcopy(document)
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = "the place"
    return json.dumps(document).replace('"the place"', text).encode()


@pytest.mark.parametrize("name", REQUESTS)
async def test_strange_values_in_any_place_are_no_fault_of_the_service(name: str, harness: Harness) -> None:
    path, document = REQUESTS[name]
    response = await harness.client.post(path, content=json.dumps(document).encode(), headers=JSON)
    assert response.status_code == 200, response.text
    for place in places(document):
        for text in STRANGE:
            response = await harness.client.post(path, content=replaced(document, place, text), headers=JSON)
            # A deadline may be what is strange.
            assert response.status_code < 500 or response.status_code == 504, (place, text[:60], response.text)


@pytest.mark.parametrize("fields", [b'"y":[1,%b1],"sizes":[1]', b'"y":[1],"sizes":[1,%b1]'], ids=["values", "sizes"])
async def test_what_inflates_to_long_lists_is_refused_before_they_are_lists(harness: Harness, fields: bytes) -> None:
    content = b'{"series":{' + fields % (b"1," * 5_000_000) + b'},"h":1,"freq":"D"}'
    body, headers = gzip.compress(content), JSON | {"Content-Encoding": "gzip"}
    assert len(body) < 20_000
    response = await harness.client.post("/v2/forecast", content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "too_many_items")
    assert harness.app.state.budget.held_bytes == 0


async def test_a_body_that_is_declared_too_long_is_not_waited_for(harness: Harness) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("it is read")
        yield b""

    for length in ("200001", "9" * 30):
        headers = JSON | {"Content-Length": length}
        response = await harness.client.post("/mcp", content=never(), headers=headers)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/mcp", "/v2/models/forecaster/infer"])
async def test_a_document_of_many_arrays_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.wires.common.MAX_CONTAINERS", 1000)
    harness = Harness()
    for count, status in ((999, 400), (1000, 413)):
        response = await harness.client.post(path, content=b"[" + b",".join([b"[]"] * count) + b"]", headers=JSON)
        assert response.status_code == status


async def test_a_tensor_of_many_empty_rows_is_refused(harness: Harness) -> None:
    tensor = TENSOR | {"shape": [99_999_999_999, 0], "data": []}
    content = json.dumps({"inputs": [tensor]}).encode()
    response = await harness.client.post("/v2/models/forecaster/infer", content=content, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "too_many_items")


async def posted(harness: Harness, path: str, body: Any, left: asyncio.Event, **scope: Any) -> int:
    """The status of an answer; `left`: when the client leaves."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    headers = [(b"content-type", b"application/json"), (b"host", b"test")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers} | scope
    await harness.app(
        {**scope, "client": ("127.0.0.1", 1), "root_path": ""}, receiver(json.dumps(body).encode(), left), send
    )
    return statuses[0]


@pytest.mark.parametrize("name", [name for name in REQUESTS if "digit" not in name])
async def test_work_for_a_caller_who_left_is_dropped(name: str, harness: Harness) -> None:
    model = harness.digits if name.startswith("readers") else harness.forecaster
    model.hold, left = asyncio.Event(), asyncio.Event()
    path, document = REQUESTS[name]
    request = asyncio.create_task(posted(harness, path, document, left))
    await model.waiting.wait()
    left.set()
    assert await request == 499
    assert model.cancelled.is_set()
    assert harness.app.state.budget.held_bytes == 0


@pytest.mark.parametrize("name", [name for name in REQUESTS if "digit" not in name])
async def test_one_deadline_holds_for_all_of_a_request(name: str, harness: Harness) -> None:
    arrived, (path, document) = time.monotonic(), REQUESTS[name]
    document = {name: value for name, value in document.items() if name != "parameters" or path == "/invocations"}
    headers = [(b"content-type", b"application/json"), (b"host", b"test"), (b"x-request-timeout-ms", b"5000")]
    scope = {ARRIVED: arrived, "headers": headers}
    assert await posted(harness, path, document, asyncio.Event(), **scope) == 200
    model = harness.digits if name.startswith("readers") else harness.forecaster
    assert model.deadline == pytest.approx(arrived + 5, abs=1e-6)
    scope["headers"] = [*headers[:2], (b"x-request-timeout-ms", b"soon")]
    assert await posted(harness, path, document, asyncio.Event(), **scope) == 422


def test_what_is_held_for_a_while_is_given_back() -> None:
    budget = ByteBudget(100)
    with held(budget, 60):
        with pytest.raises(Unavailable), held(budget, 60):
            pass
        assert budget.held_bytes == 60
    assert budget.held_bytes == 0


@pytest.mark.parametrize(
    "content",
    [
        *(b'["\\ud800"]', b'{"\\udfff": 1}', b'["\\ud800", NaN]', b'["\xed\xa0\x80"]', b'["\xff"]', b'{"\xc3": 1}'),
        *(b"\xed\xa0\x80", b"\xff", b"\xef\xbb\xbf1", b"{", b"9" * 5000),
    ],
)
def test_what_could_not_be_sent_back_is_not_read(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"codec|BOM|delimiter|Expecting|utf-8|digits"):
        parse_json(content)
    assert parse_json(b'["\\ud83d\\ude00", NaN]')[0] == parse_json(b'["\\ud83d\\ude00"]')[0] == "\U0001f600"


@pytest.mark.parametrize(
    "text", ["9" * 30, "-0", "1E5", "0.1e-400", "1e999", "1.0", '{"a":1,"a":2}', '"\\u0000"', "[[]]"]
)
def test_values_are_those_of_python(text: str) -> None:
    value, expected = parse_json(text.encode()), json.loads(text)
    assert (value, type(value)) == (expected, type(expected))
