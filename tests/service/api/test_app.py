"""The application through its public door, ASGI, with models that answer as a test wants them to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from service.api.app import create_app
from service.contract.errors import DeadlineExceeded, Unavailable
from service.settings import Settings
from tests.fakes import FakeModel, FakeRegistry, as_registry, manifest
from tests.pictures import drawn, encoded

JSON = {"Content-Type": "application/json"}
BODY = {"inputs": [{"target": [1, 2, 3]}]}
ROW = [0] * 27 + [1]
DIGIT = {"inputs": [{"rows": [ROW] * 3}]}


class House:
    """An application, its fake models and a client."""

    def __init__(self, **changes: Any) -> None:
        self.forecaster = FakeModel(manifest("forecaster", context=50))
        self.linear = FakeModel(manifest("linear", min_length=50, max_length=50, missing=False))
        self.digits = FakeModel(manifest("digits", "classify-digit"))
        self.registry = FakeRegistry(self.forecaster, self.linear, self.digits)
        self.settings = Settings(**changes)
        self.app: FastAPI = create_app(self.settings, registry=as_registry(self.registry))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test")

    async def forecast(self, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post("/forecast", content=content, headers=JSON | headers)

    async def classify(self, body: Any) -> httpx.Response:
        return await self.client.post("/classify-digit", json=body)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House(max_body_bytes=100_000, max_items=64)
    async with house.app.router.lifespan_context(house.app), house.client:
        yield house


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that `response` is, checked for its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["request_id"] == response.headers["x-request-id"]
    assert len(document["errors"]) <= 10
    return document


async def test_the_lifespan_starts_and_closes_the_registry() -> None:
    house = House()
    assert not house.registry.started
    async with house.app.router.lifespan_context(house.app):
        assert house.registry.started
        assert not house.registry.closed
    assert house.registry.closed


async def test_a_forecast(house: House) -> None:
    response = await house.forecast(BODY)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-model-digest"] == "sha256:" + "ab" * 32
    assert response.headers["server-timing"] == "queue;dur=1.000, compute;dur=2.000"
    (prediction,) = response.json()["predictions"]
    assert prediction["mean"] == [3]
    assert prediction["quantiles"] == {"0.1": [2.2], "0.5": [3], "0.9": [3.8]}


async def test_a_body_that_is_too_large_for_the_loop_gives_the_same_answer(house: House) -> None:
    item = {"target": list(range(250))}
    small = await house.forecast({"inputs": [item]})
    large = await house.forecast(b" " * 70_000 + json.dumps({"inputs": [item] * 20}).encode())
    assert large.status_code == 200
    assert large.json()["predictions"] == small.json()["predictions"] * 20
    assert large.json()["predictions"][0]["context"]["used"] == 50


async def test_every_model_can_be_asked_for(house: House) -> None:
    for reference in ("linear", "linear@1"):
        response = await house.forecast({"model": reference, "inputs": [{"target": [1] * 50}]})
        assert response.json()["model"] == "linear"


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        ("trace-1.2:3/x", "trace-1.2:3/x"),
        ('a b"c\t', "abc"),
        ("x" * 500, "x" * 128),
        ("<script>", "script"),
    ],
)
async def test_the_callers_request_id_comes_back_without_harm(house: House, sent: str, got: str) -> None:
    response = await house.forecast(BODY, **{"X-Request-ID": sent})
    assert response.headers["x-request-id"] == got
    other = await house.client.get("/livez", headers={"X-Request-ID": sent})
    assert other.headers["x-request-id"] == got


async def test_requests_without_an_id_get_different_ones(house: House) -> None:
    names = {(await house.forecast(BODY)).headers["x-request-id"] for _ in range(3)}
    names.add((await house.forecast(BODY, **{"X-Request-ID": '"'})).headers["x-request-id"])
    assert len(names) == 4


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "no Content-Type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "application/json"),
        ({"Content-Type": "text/plain"}, "application/json"),
        ({"Content-Type": "image/png"}, "application/json"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "compressed"),
    ],
)
async def test_media_types_that_are_not_read(house: House, headers: dict[str, str], says: str) -> None:
    body = gzip.compress(json.dumps(BODY).encode()) if "Content-Encoding" in headers else json.dumps(BODY).encode()
    response = await house.client.post("/forecast", content=body, headers=headers)
    assert says in problem(response, 415, "unsupported_media_type")["detail"]


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
async def test_media_types_that_are_json(house: House, media_type: str) -> None:
    assert (await house.forecast(BODY, **{"Content-Type": media_type})).status_code == 200


async def test_an_image_needs_a_media_type_that_is_read(house: House) -> None:
    response = await house.client.post("/classify-digit", content=b"GIF89a", headers={"Content-Type": "image/gif"})
    assert "image/webp" in problem(response, 415, "unsupported_media_type")["detail"]


def series(text: str) -> bytes:
    return b'{"inputs": [{"target": [' + text.encode() + b"]}]}"


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (series("1, NaN"), 422, "not_finite", "#/inputs/0/target/1"),
        (series("Infinity"), 422, "not_finite", "#/inputs/0/target/0"),
        (series("1e400"), 422, "not_finite", "#/inputs/0/target/0"),
        (series('"1.5"'), 422, "wrong_type", "#/inputs/0/target/0"),
        (series("true"), 422, "wrong_type", "#/inputs/0/target/0"),
        (series(""), 422, "out_of_range", "#/inputs/0/target"),
        (series("null"), 422, "out_of_range", "#/inputs/0/target"),
        (b'{"inputs": []}', 422, "out_of_range", "#/inputs"),
        (b"{}", 422, "missing_field", "#/inputs"),
        (b'{"inputs": [{"target": [1], "taget": 1}]}', 422, "unknown_field", "#/inputs/0/taget"),
        (b'{"model": "nobody", "inputs": [{"target": [1]}]}', 404, "model_not_found", None),
        (b'{"model": "digits", "inputs": [{"target": [1]}]}', 404, "model_not_found", None),
        (b'{"model": "linear", "inputs": [{"target": [1]}]}', 422, "length_not_supported", "#/inputs/0/target"),
        (b'{"inputs": [{"target": [1', 400, "malformed_json", None),
        (b"", 400, "malformed_json", None),
        (b"\xff", 400, "bad_encoding", None),
        (b'{"inputs": [' + b",".join([b'{"target":[1]}'] * 65) + b"]}", 413, "too_many_items", None),
        (b" " * 100_001, 413, "body_too_large", None),
    ],
)
async def test_bad_forecast_requests(house: House, body: bytes, status: int, code: str, pointer: str | None) -> None:
    document = problem(await house.forecast(body), status, code)
    assert [error["pointer"] for error in document["errors"]] == ([pointer] if pointer else [])
    assert (await house.forecast(BODY)).status_code == 200  # and the service lives on


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"inputs": [{"rows": [[0] * 29]}]}, 422, "wrong_row_width"),
        ({"inputs": [{"rows": []}]}, 422, "out_of_range"),
        ({"inputs": [{"rows": [["0"] * 28]}]}, 422, "wrong_type"),
        ({"inputs": [{"rows": [ROW] * 65}]}, 422, "length_not_supported"),
        ({"inputs": [{"image": "####"}]}, 422, "bad_image"),
        ({"inputs": [{"image": base64.b64encode(encoded(drawn(" "))).decode()}]}, 422, "blank_image"),
        ({"inputs": []}, 422, "out_of_range"),
        ({"model": "forecaster", **DIGIT}, 404, "model_not_found"),
    ],
)
async def test_bad_digit_requests(house: House, body: dict[str, Any], status: int, code: str) -> None:
    problem(await house.classify(body), status, code)
    assert (await house.classify(DIGIT)).status_code == 200


async def test_nothing_of_the_request_is_repeated(house: House) -> None:
    response = await house.forecast(series(", ".join(['"hunter2"'] * 1000)))
    document = problem(response, 422, "wrong_type")
    assert document["errors_total"] == 1000
    assert "hunter2" not in response.text
    assert len(response.content) < 3000


async def test_a_chunked_body_is_measured_as_it_arrives(house: House) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 10_000
            yield b" " * 10_000

    response = await house.client.post("/forecast", content=endless(), headers=JSON)
    problem(response, 413, "body_too_large")
    assert sent < 200_000


async def test_the_bodies_of_all_requests_are_bounded_together() -> None:
    house = House(max_body_bytes=1000, max_held_bytes=50)

    async def pieces() -> AsyncIterator[bytes]:
        body = json.dumps(BODY).encode() + b" " * 60
        yield body[:20]
        yield body[20:]

    async with house.app.router.lifespan_context(house.app), house.client:
        response = await house.client.post("/forecast", content=pieces(), headers=JSON)
        assert "retry-after" in response.headers
        problem(response, 503, "queue_full")
        assert (await house.forecast(BODY)).status_code == 200  # what was held was given back


async def test_an_image_as_it_is(house: House) -> None:
    response = await house.client.post(
        "/classify-digit?trace=true&item_id=a", content=encoded(drawn(), "JPEG"), headers={"Content-Type": "image/jpeg"}
    )
    (prediction,) = response.json()["predictions"]
    assert prediction["item_id"] == "a"
    assert len(prediction["probabilities"]) == 10
    assert len(prediction["trace"]) == prediction["rows_used"] == 28
    assert prediction["preprocessing"]["inverted"] is True


async def test_a_form_with_several_files(house: House) -> None:
    files = [("file", ("one.png", encoded(drawn("1")))), ("file", ("two.png", encoded(drawn("2"))))]
    response = await house.client.post("/classify-digit", files=files, data={"stop_at_confidence": "0.5"})
    assert [p["item_id"] for p in response.json()["predictions"]] == ["one.png", "two.png"]
    assert [getattr(item, "stop", None) for item in house.digits.items] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("multipart/form-data", b"", 400, "bad_multipart"),
        ("multipart/form-data; boundary=x", b"hello", 400, "bad_multipart"),
        ("multipart/form-data; boundary=" + "x" * 300, b"", 400, "bad_multipart"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nab',
            400,
            "bad_multipart",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ndigits\r\n--x--\r\n',
            422,
            "missing_field",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff\r\n--x--\r\n',
            400,
            "bad_encoding",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nab\r\n--x--\r\n',
            422,
            "bad_image",
        ),
        ("image/png", b"", 422, "bad_image"),
        ("image/png", encoded(drawn())[:500], 422, "bad_image"),
    ],
)
async def test_bad_forms_and_images(house: House, content_type: str, body: bytes, status: int, code: str) -> None:
    response = await house.client.post("/classify-digit", content=body, headers={"Content-Type": content_type})
    problem(response, status, code)


async def test_an_unknown_option_of_an_image_is_refused(house: House) -> None:
    response = await house.client.post(
        "/classify-digit?tarce=1", content=encoded(drawn()), headers={"Content-Type": "image/png"}
    )
    assert "'trace'" in problem(response, 422, "unknown_field")["detail"]


async def test_the_smallest_deadline_wins(house: House) -> None:
    for body_ms, header_ms, expected in [
        (None, None, 30),
        (5000, None, 5),
        (5000, 2000, 2),
        (2000, 5000, 2),
        (None, 1000, 1),
    ]:
        parameters = {"timeout_ms": body_ms} if body_ms else {}
        headers = {"X-Request-Timeout-Ms": str(header_ms)} if header_ms else {}
        start = time.monotonic()
        assert (await house.forecast(BODY | {"parameters": parameters}, **headers)).status_code == 200
        assert house.forecaster.deadline is not None
        assert start <= house.forecaster.deadline - expected <= time.monotonic()


@pytest.mark.parametrize("header", ["0", "-1", "abc", "1.5", "", "9" * 30, "3600001", "²"])
async def test_a_deadline_that_is_none(house: House, header: str) -> None:
    sent = {"X-Request-Timeout-Ms": header.encode("utf-8")} | JSON
    response = await house.client.post("/forecast", json=BODY, headers=sent)  # type: ignore[arg-type]
    problem(response, 422, "out_of_range")


async def test_a_deadline_that_passed(house: House) -> None:
    house.forecaster.error = DeadlineExceeded("too late")
    assert problem(await house.forecast(BODY), 504, "deadline_exceeded")["retryable"]


async def test_a_body_that_never_ends_meets_the_deadline(house: House) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = await house.client.post("/forecast", content=slow(), headers=JSON | {"X-Request-Timeout-Ms": "30"})
    problem(response, 504, "deadline_exceeded")


async def test_a_full_queue(house: House) -> None:
    house.forecaster.error = Unavailable("full", code="queue_full", retry_after=1.0)
    response = await house.forecast(BODY)
    assert response.headers["retry-after"] == "1"
    assert problem(response, 503, "queue_full")["retryable"]


async def test_a_model_that_is_loading(house: House) -> None:
    house.forecaster.state = "loading"
    response = await house.forecast(BODY)
    problem(response, 503, "model_not_ready")
    assert response.headers["retry-after"] == "3"


async def test_an_unforeseen_failure_is_logged_and_not_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.forecaster.error = RuntimeError("the secret")
    with caplog.at_level(logging.ERROR):
        response = await house.forecast(BODY, **{"X-Request-ID": "find-me"})
    problem(response, 500, "internal_error")
    assert "secret" not in response.text
    (record,) = caplog.records
    assert record.__dict__["request_id"] == "find-me"
    assert "the secret" in caplog.text
    house.forecaster.error = None
    assert (await house.forecast(BODY)).status_code == 200


async def test_an_answer_that_is_not_finite_is_our_failure(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.forecaster.value = float("nan")
    problem(await house.forecast(BODY), 500, "internal_error")
    assert "not finite" in caplog.text


async def test_a_failure_of_an_ordinary_route(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.registry.served = None  # type: ignore[assignment]
    response = await house.client.get("/models", headers={"X-Request-ID": "find-me"})
    problem(response, 500, "internal_error")
    assert caplog.records[0].__dict__["request_id"] == "find-me"


async def post_and_leave(house: House, body: bytes, *, leave: bool = True) -> list[Message]:
    """POST over bare ASGI; the caller goes as soon as the model has been asked, or the server stops then."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/forecast",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    sent: list[Message] = []
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await (house.forecaster.waiting if leave else asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    request = asyncio.create_task(house.app(scope, receive, send))
    if not leave:
        await house.forecaster.waiting.wait()
        request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    assert request.cancelled() is not leave
    return sent


async def test_a_caller_who_leaves_takes_the_work_along(house: House) -> None:
    house.forecaster.hold = asyncio.Event()
    sent = await post_and_leave(house, json.dumps(BODY).encode())
    assert sent == []
    assert house.forecaster.cancelled.is_set()
    page = (await house.client.get("/metrics")).text
    assert 'ritmo_requests_total{code="499",model="forecaster",route="/forecast"} 1.0' in page


async def test_a_request_that_the_stopping_server_cancels_may_be_sent_again(house: House) -> None:
    house.forecaster.hold = asyncio.Event()
    start, body = await post_and_leave(house, json.dumps(BODY).encode(), leave=False)
    assert start["status"] == 503
    assert json.loads(body["body"])["code"] == "draining"
    assert house.forecaster.cancelled.is_set()


async def test_a_cancelled_request_stays_cancelled(house: House) -> None:
    """What is not the caller's leaving is not swallowed: a server that stops may cancel."""
    house.forecaster.hold = asyncio.Event()
    task = asyncio.create_task(house.forecast(BODY))
    await house.forecaster.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_caller_who_stays_is_answered_however_long_it_takes(house: House) -> None:
    house.forecaster.hold = asyncio.Event()
    task = asyncio.create_task(house.forecast(BODY))
    await house.forecaster.waiting.wait()
    asyncio.get_running_loop().call_later(0.1, house.forecaster.hold.set)  # past the moment when one looks for leavers
    assert (await task).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_hot_routes_take_post_alone(house: House, method: str) -> None:
    response = await house.client.request(method, "/forecast")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/nothing", "/forecast/", "//forecast", "/%00"])
async def test_unknown_routes(house: House, path: str) -> None:
    problem(await house.client.post(path), 404, "route_not_found")


async def test_wrong_methods(house: House) -> None:
    response = await house.client.post("/models")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"


async def test_liveness_asks_no_model(house: House) -> None:
    house.registry.is_ready = False
    assert (await house.client.get("/livez")).json() == {"status": "alive"}


async def test_readiness(house: House) -> None:
    response = await house.client.get("/readyz")
    assert response.status_code == 200
    assert [(m["name"], m["state"]) for m in response.json()["models"]] == [
        ("forecaster", "ready"),
        ("linear", "ready"),
        ("digits", "ready"),
    ]
    house.registry.is_ready = False
    house.linear.state, house.linear.reason = "failed", "a flipped byte"
    response = await house.client.get("/readyz")
    document = problem(response, 503, "model_not_ready")
    assert {"name": "linear", "version": "1", "state": "failed", "reason": "a flipped byte"} in document["models"]
    assert response.headers["retry-after"]


async def test_draining_is_told_first_and_requests_are_still_taken(house: House) -> None:
    house.registry.drain()
    problem(await house.client.get("/readyz"), 503, "draining")
    assert (await house.forecast(BODY)).status_code == 200


async def test_models(house: House) -> None:
    document = (await house.client.get("/models")).json()
    assert [m["name"] for m in document["models"]] == ["forecaster", "linear", "digits"]
    first = document["models"][0]
    assert first["default"] is True
    assert first["digest"] == "sha256:" + "ab" * 32
    assert first["input"]["context"] == 50
    assert first["metrics"] == {"mse": 0.5}
    assert document["limits"]["max_items"] == 64
    one = (await house.client.get("/models/linear")).json()
    assert [v["version"] for v in one["versions"]] == ["1"]
    assert one["versions"][0]["input"]["max_length"] == 50
    assert "'digits'" in problem(await house.client.get("/models/digist"), 404, "model_not_found")["detail"]


async def test_metrics_count_by_route_and_status_and_never_by_id(house: House) -> None:
    await house.forecast(BODY)
    await house.forecast(b"")
    await house.client.get("/models/linear")
    await house.client.get("/a-path-of-the-callers-own")
    response = await house.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    assert 'ritmo_requests_total{code="200",model="forecaster",route="/forecast"} 1.0' in lines
    assert 'ritmo_requests_total{code="400",model="",route="/forecast"} 1.0' in lines
    assert 'ritmo_requests_total{code="200",model="",route="/models/{name}"} 1.0' in lines
    assert 'ritmo_requests_total{code="404",model="",route="other"} 1.0' in lines
    assert 'ritmo_request_seconds_count{route="/forecast"} 2.0' in lines
    assert "own" not in response.text


async def test_the_access_log_is_off_unless_asked_for(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await house.forecast(BODY)
    assert "request" not in [record.message for record in caplog.records]
    talkative = House(access_log=True)
    async with talkative.app.router.lifespan_context(talkative.app), talkative.client:
        await talkative.forecast(BODY, **{"X-Request-ID": "me"})
        await talkative.client.get("/livez")
    first, second = [record.__dict__ for record in caplog.records if record.message == "request"]
    assert (first["request_id"], first["path"], first["status"], first["model"]) == (
        "me",
        "/forecast",
        200,
        "forecaster",
    )
    assert first["duration_ms"] > 0
    assert (second["path"], second["method"]) == ("/livez", "GET")


async def test_the_application_can_be_mounted_below_a_path(house: House) -> None:
    outer = FastAPI()
    outer.mount("/ritmo", house.app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://test") as client:
        assert (await client.post("/ritmo/forecast", json=BODY)).status_code == 200
        assert (await client.get("/ritmo/livez")).status_code == 200


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("inputs", "target", "model", "parameters", "item_id", "state", "rows", "image", "trace"),
                    *("prediction_length", "quantile_levels", "include", "season_length", "timeout_ms"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
numbers = st.none() | st.integers() | st.floats()
near_requests = st.fixed_dictionaries(
    {"inputs": st.lists(st.fixed_dictionaries({"target": st.lists(numbers, max_size=6)}), max_size=3)},
    optional={
        "model": st.sampled_from(["forecaster", "linear", "digits", "", "forecaster@1", "forecaster@x"]),
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                "prediction_length": st.integers(-1, 400),
                "quantile_levels": st.lists(st.floats(), max_size=5),
                "season_length": st.none() | st.integers(-1, 50),
                "include": st.lists(st.sampled_from(["history", "more"]), max_size=2),
                "timeout_ms": st.none() | st.integers(-1, 10_000_000),
            },
        ),
    },
)
quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def answered(response: httpx.Response) -> None:
    """A valid answer or a problem, and never a failure of ours."""
    assert response.status_code < 500, response.text
    if response.status_code == 200:
        assert response.json()["predictions"]
    else:
        problem(response, response.status_code, response.json()["code"])


@quick
@given(documents | near_requests)
async def test_any_json_is_answered(house: House, document: Any) -> None:
    answered(await house.forecast(document))
    answered(await house.client.post("/classify-digit", content=json.dumps(document).encode(), headers=JSON))


@quick
@given(
    st.binary(max_size=200),
    st.sampled_from(["application/json", "image/png", "image/webp", "multipart/form-data; boundary=x", "text/plain"]),
)
async def test_any_bytes_are_answered(house: House, body: bytes, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    answered(await house.client.post("/forecast", content=body, headers=headers))
    answered(await house.client.post("/classify-digit", content=body, headers=headers))
