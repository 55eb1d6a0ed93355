from __future__ import annotations

import base64
import json
import time
from typing import Any, cast

import pytest

from service.api.inference import InferenceEndpoint
from service.api.thread_pools import _full, _late
from service.contract.errors import DeadlineExceeded, RitmoError, Unavailable
from service.runtime import compiled
from service.runtime.fair_pool import FairPool
from service.runtime.fair_share import Client
from tests.pictures import drawn, encoded
from tests.service.api.harness import BODY, DIGIT, ROW, Harness, problem


async def test_a_forecast(harness: Harness) -> None:
    response = await harness.forecast(BODY)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-model-digest"] == "sha256:" + "ab" * 32
    assert response.headers["server-timing"] == "queue;dur=1.000, compute;dur=2.000"
    (prediction,) = response.json()["predictions"]
    assert prediction["mean"] == [3]
    assert prediction["quantiles"] == {"0.1": [2.2], "0.5": [3], "0.9": [3.8]}


async def test_a_body_that_is_too_large_for_the_loop_gives_the_same_answer(harness: Harness) -> None:
    item = {"target": list(range(250))}
    small = await harness.forecast({"inputs": [item]})
    large = await harness.forecast(b" " * 70_000 + json.dumps({"inputs": [item] * 20}).encode())
    assert large.status_code == 200
    assert large.json()["predictions"] == small.json()["predictions"] * 20
    assert large.json()["predictions"][0]["context"]["used"] == 50


async def test_every_model_can_be_asked_for(harness: Harness) -> None:
    for reference in ("linear", "linear@1"):
        response = await harness.forecast({"model": reference, "inputs": [{"target": [1] * 50}]})
        assert response.json()["model"] == "linear"


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
async def test_bad_forecast_requests(
    harness: Harness, body: bytes, status: int, code: str, pointer: str | None
) -> None:
    document = problem(await harness.forecast(body), status, code)
    assert [error["pointer"] for error in document["errors"]] == ([pointer] if pointer else [])
    assert (await harness.forecast(BODY)).status_code == 200  # and the service lives on


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
async def test_bad_digit_requests(harness: Harness, body: dict[str, Any], status: int, code: str) -> None:
    problem(await harness.classify(body), status, code)
    assert (await harness.classify(DIGIT)).status_code == 200


async def test_nothing_of_the_request_is_repeated(harness: Harness) -> None:
    response = await harness.forecast(series(", ".join(['"hunter2"'] * 1000)))
    document = problem(response, 422, "wrong_type")
    assert document["errors_total"] == 1000
    assert "hunter2" not in response.text
    assert len(response.content) < 3000


async def test_an_image_as_it_is(harness: Harness) -> None:
    response = await harness.client.post(
        "/classify-digit?trace=true&item_id=a", content=encoded(drawn(), "JPEG"), headers={"Content-Type": "image/jpeg"}
    )
    (prediction,) = response.json()["predictions"]
    assert prediction["item_id"] == "a"
    assert len(prediction["probabilities"]) == 10
    assert len(prediction["trace"]) == prediction["rows_used"] == 28
    assert prediction["preprocessing"]["inverted"] is True


async def test_a_form_with_several_files(harness: Harness) -> None:
    files = [("file", ("one.png", encoded(drawn("1")))), ("file", ("two.png", encoded(drawn("2"))))]
    response = await harness.client.post("/classify-digit", files=files, data={"stop_at_confidence": "0.5"})
    assert [p["item_id"] for p in response.json()["predictions"]] == ["one.png", "two.png"]
    assert [getattr(item, "stop", None) for item in harness.digits.items] == [0.5, 0.5]


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
async def test_bad_forms_and_images(harness: Harness, content_type: str, body: bytes, status: int, code: str) -> None:
    response = await harness.client.post("/classify-digit", content=body, headers={"Content-Type": content_type})
    problem(response, status, code)


async def test_an_unknown_option_of_an_image_is_refused(harness: Harness) -> None:
    response = await harness.client.post(
        "/classify-digit?tarce=1", content=encoded(drawn()), headers={"Content-Type": "image/png"}
    )
    assert "'trace'" in problem(response, 422, "unknown_field")["detail"]


async def test_a_deadline_that_passed(harness: Harness) -> None:
    harness.forecaster.error = DeadlineExceeded("too late")
    assert problem(await harness.forecast(BODY), 504, "deadline_exceeded")["retryable"]


async def test_a_full_queue(harness: Harness) -> None:
    harness.forecaster.error = Unavailable("full", code="queue_full", retry_after=1.0)
    response = await harness.forecast(BODY)
    assert response.headers["retry-after"] == "1"
    assert problem(response, 503, "queue_full")["retryable"]


async def test_a_model_that_is_loading(harness: Harness) -> None:
    harness.forecaster.state = "loading"
    response = await harness.forecast(BODY)
    problem(response, 503, "model_not_ready")
    assert response.headers["retry-after"] == "3"


async def test_a_model_fault_is_logged_and_not_retryable(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.forecaster.error = RitmoError("model forecaster@1 gave no sound answer", code="model_fault")
    response = await harness.forecast(BODY)
    document = problem(response, 500, "model_fault")
    assert "retry-after" not in response.headers
    assert not document["retryable"]
    assert "forecaster@1" in document["detail"]
    assert "forecaster@1" in caplog.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/forecast?x=1", BODY),
        ("/forecast?model=linear", BODY),
        ("/classify-digit?model=digits", DIGIT),
        ("/classify-digit?trace=true&x", DIGIT),
    ],
)
async def test_query_fields_that_a_route_does_not_use_are_refused(harness: Harness, path: str, body: Any) -> None:
    document = problem(await harness.client.post(path, json=body), 422, "unknown_field")
    assert document["errors"][0]["pointer"] in {"#/x", "#/model", "#/trace"}
    assert document["errors_total"] == path.count("=") + path.count("&x")


@pytest.mark.parametrize(("count", "code"), [(100, "unknown_field"), (101, "out_of_range")])
async def test_many_query_fields_are_a_fault_of_the_request(harness: Harness, count: int, code: str) -> None:
    query = "&".join(f"a{number}=1" for number in range(count))
    headers = {"Content-Type": "image/png"}
    response = await harness.client.post("/classify-digit?" + query, content=encoded(drawn()), headers=headers)
    problem(response, 422, code)
    problem(await harness.client.post("/forecast?" + query, json=BODY), 422, code)


async def test_a_model_of_another_task_is_not_counted_as_reached(harness: Harness) -> None:
    problem(await harness.forecast({"model": "digits", **BODY}), 404, "model_not_found")
    assert harness.metric('ritmo_requests_total{code="404",model="",route="/forecast"}') == 1


class Threads:
    """A pool that runs everything at once, and counts."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    async def run(self, kind: str, size: int, client: Client, deadline: float, call: Any, *args: Any) -> Any:
        assert size > 0
        assert client.group == "127.0.0.1"
        assert time.monotonic() < deadline < time.monotonic() + 60
        self.kinds.append(kind.rsplit(maxsplit=1)[-1])
        return call(*args)


IMAGE = encoded(drawn())
BASE64 = base64.b64encode(IMAGE).decode()
MANY = {"inputs": [{"target": [1] * 330}] * 60}
OF_LISTS = ["prepare"] if compiled.built is None else []  # the extension reads arrays


@pytest.mark.parametrize(
    ("path", "media_type", "content", "hops"),
    [
        ("/forecast", "application/json", json.dumps(BODY).encode(), []),
        ("/forecast", "application/json", json.dumps(BODY).encode() + b" " * 70_000, ["decode"]),
        ("/forecast", "application/json", json.dumps({"inputs": [{"target": [1] * 21_000}]}).encode(), ["prepare"]),
        ("/forecast", "application/json", json.dumps(MANY).encode(), ["prepare"]),
        ("/forecast", "application/json", json.dumps(MANY).encode() + b" " * 10_000, ["decode", *OF_LISTS]),
        ("/classify-digit", "application/json", json.dumps(DIGIT).encode(), []),
        ("/classify-digit", "application/json", json.dumps({"inputs": [{"image": BASE64}]}).encode(), ["prepare"]),
        ("/classify-digit", "application/json", b'{"inputs": [{"\\u0069mage": "%s"}]}' % BASE64.encode(), ["prepare"]),
        ("/classify-digit", "image/png", IMAGE, ["prepare"]),
    ],
)
async def test_large_work_is_done_in_a_thread_and_only_that(
    harness: Harness, path: str, media_type: str, content: bytes, hops: list[str]
) -> None:
    """An image is prepared in a thread; its answer, ten numbers, is encoded where it arrives."""
    threads = Threads()
    endpoint = harness.app.endpoints[path]
    assert isinstance(endpoint, InferenceEndpoint)
    endpoint._texts = endpoint._inputs = cast(FairPool, threads)
    response = await harness.client.post(path, content=content, headers={"Content-Type": media_type})
    assert response.status_code == 200, response.text
    assert threads.kinds == hops


async def test_a_large_answer_is_encoded_in_a_thread(harness: Harness) -> None:
    threads = Threads()
    endpoint = harness.app.endpoints["/forecast"]
    assert isinstance(endpoint, InferenceEndpoint)
    endpoint._texts = endpoint._inputs = cast(FairPool, threads)
    levels = [number / 100 for number in range(1, 100)]
    parameters = {"prediction_length": 256, "quantile_levels": levels}
    assert (await harness.forecast({**BODY, "parameters": parameters})).status_code == 200
    assert threads.kinds == ["encode"]


class BusyThreads:
    """A pool that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def run(self, *_: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code"), [(_full(7.2), 503, "queue_full"), (_late(), 504, "deadline_exceeded")]
)
async def test_what_a_thread_has_no_time_for_is_refused(
    harness: Harness, error: Exception, status: int, code: str
) -> None:
    endpoint = harness.app.endpoints["/classify-digit"]
    assert isinstance(endpoint, InferenceEndpoint)
    endpoint._texts = endpoint._inputs = cast(FairPool, BusyThreads(error))
    response = await harness.client.post("/classify-digit", content=IMAGE, headers={"Content-Type": "image/png"})
    problem(response, status, code)
    assert response.headers.get("retry-after") == ("8" if status == 503 else None)


async def test_a_model_is_told_whose_request_it_is(harness: Harness) -> None:
    await harness.forecast(BODY)
    assert harness.forecaster.client == Client("127.0.0.1", 123)  # httpx's


async def test_an_answer_without_room_is_not_computed() -> None:
    harness = Harness(max_held_bytes=70_000)
    levels = [level / 10 for level in range(1, 10)]
    parameters = {"prediction_length": 256, "quantile_levels": levels}
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        assert (
            await harness.forecast(BODY | {"parameters": parameters | {"prediction_length": 200}})
        ).status_code == 200
        harness.forecaster.items = ()
        problem(await harness.forecast(BODY | {"parameters": parameters}), 503, "queue_full")
        assert harness.forecaster.items == ()
        assert harness.app.state.budget.held_bytes == 0
