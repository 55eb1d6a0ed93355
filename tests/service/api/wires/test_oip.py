"""The Open Inference Protocol as bytes; tests/integration/test_wires.py has its unmodified clients."""

from __future__ import annotations

import gzip
import json
import math
import struct
import zlib
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.wires.oip import HEADER_LENGTH
from tests.service.api.harness import ROW, Harness

URL = "/v2/models/forecaster/infer"
TARGET = {"name": "target", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6]}


async def infer(harness: Harness, body: Any, url: str = URL, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await harness.client.post(url, content=content, headers=headers)


def binary(*inputs: dict[str, Any], data: bytes, **head: Any) -> tuple[bytes, dict[str, str]]:
    text = json.dumps({"inputs": list(inputs), **head}).encode()
    return text + data, {HEADER_LENGTH: str(len(text))}


def outputs(response: httpx.Response) -> dict[str, list[Any]]:
    assert response.status_code == 200, response.text
    return {entry["name"]: entry["data"] for entry in response.json()["outputs"]}


async def test_the_server_and_its_models(harness: Harness) -> None:
    for path in ("/v2", "/v2/"):
        assert "binary_tensor_data" in (await harness.client.get(path)).json()["extensions"]
    assert (await harness.client.get("/v2/health/live")).json() == {"live": True}
    assert (await harness.client.get("/v2/health/ready")).json() == {"ready": True}
    metadata = (await harness.client.get("/v2/models/forecaster/versions/1")).json()
    assert (metadata["versions"], metadata["inputs"][0]["name"]) == (["1"], "target")
    assert (await harness.client.get("/v2/models/digits/ready")).json()["ready"] is True
    assert {entry["name"] for entry in (await harness.client.post("/v2/repository/index")).json()} >= {
        "digits",
        "linear",
    }


async def test_what_is_not_ready_says_so(harness: Harness) -> None:
    harness.registry.is_ready = False
    harness.forecaster.state = "loading"
    assert (await harness.client.get("/v2/health/ready")).status_code == 503
    response = await harness.client.get("/v2/models/forecaster/ready")
    assert (response.status_code, response.headers["content-type"]) == (503, "application/json")
    missing = await harness.client.get("/v2/models/forecastre/ready")
    assert missing.status_code == 404
    assert missing.json()["error"] == "there is no model 'forecastre'; did you mean 'forecaster'?"


async def test_a_forecast_as_json(harness: Harness) -> None:
    parameters = {"prediction_length": 2, "quantile_levels": "0.1,0.9", "sequence_id": 0, "priority": 0}
    body = {"id": "7", "model_name": "forecaster", "inputs": [TARGET], "parameters": parameters}
    response = await infer(harness, body)
    assert outputs(response)["mean"] == [3, 3, 6, 6]
    document = response.json()
    assert (document["model_name"], document["id"], document["outputs"][1]["shape"]) == ("forecaster", "7", [2, 2, 2])
    assert response.headers["content-type"] == "application/json"


async def test_nan_null_and_lengths(harness: Harness) -> None:
    head = b'{"inputs": [{"name": "target", "shape": [2, 3], "datatype": "FP32", "data": [1, NaN, 9, null, 5, 6]},'
    head += b'{"name": "lengths", "shape": [2], "datatype": "INT64", "data": [2, 3]}]}'
    assert outputs(await infer(harness, head))["mean"] == [1, 6]
    assert [len(item.values) for item in harness.forecaster.items] == [2, 3]  # type: ignore[union-attr]


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "INT16", "UINT8"])
async def test_binary_both_ways(harness: Harness, datatype: str) -> None:
    dtype = {"FP64": "<f8", "FP32": "<f4", "INT16": "<i2", "UINT8": "<u1"}[datatype]
    data = np.array([1, 2, 3], dtype).tobytes()
    tensor = {"name": "target", "shape": [1, 3], "datatype": datatype, "parameters": {"binary_data_size": len(data)}}
    content, headers = binary(tensor, data=data, parameters={"binary_data_output": True})
    response = await infer(harness, content, **headers)
    split = int(response.headers[HEADER_LENGTH])
    first, second = json.loads(response.content[:split])["outputs"]
    assert (first["name"], first["parameters"]["binary_data_size"]) == ("mean", 8)
    assert np.frombuffer(response.content[split : split + 8]).tolist() == [3.0]
    assert len(response.content) == split + 8 + second["parameters"]["binary_data_size"]


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_both_ways(harness: Harness, name: str, pack: Any) -> None:
    body = pack(json.dumps({"inputs": [TARGET]}).encode())
    response = await infer(harness, body, **{"Content-Encoding": name, "Accept-Encoding": name})
    assert response.headers["content-encoding"] == name
    assert outputs(response)["mean"] == [3, 6]


async def test_a_state_out_and_in(harness: Harness) -> None:
    body = {"inputs": [TARGET], "parameters": {"return_state": True}}
    states = outputs(await infer(harness, body))["state"]
    state = {"name": "state", "shape": [2], "datatype": "BYTES", "data": states}
    again = {"inputs": [TARGET, state], "outputs": [{"name": "mean"}]}
    assert list(outputs(await infer(harness, again))) == ["mean"]
    data = b"".join(struct.pack("<I", len(text)) + text.encode() for text in states)
    as_bytes = {"name": "state", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    content, headers = binary(TARGET, as_bytes, data=data)
    assert (await infer(harness, content, **headers)).status_code == 200


async def test_digits_and_classes(harness: Harness) -> None:
    tensor = {"name": "rows", "shape": [1, 3, 28], "datatype": "FP32", "data": [ROW, ROW, ROW]}
    wanted = [{"name": "label"}, {"name": "probabilities", "parameters": {"classification": 2}}]
    found = outputs(await infer(harness, {"inputs": [tensor], "outputs": wanted}, "/v2/models/digits/infer"))
    assert found["label"] == [3]
    assert found["probabilities"][0] == "0.550000:3"


async def test_series_are_counted(harness: Harness) -> None:
    await infer(harness, {"inputs": [TARGET]})
    (stats,) = (await harness.client.get("/v2/models/forecaster/stats")).json()["model_stats"]
    assert stats["inference_count"] == 2
    assert len((await harness.client.get("/v2/models/stats")).json()["model_stats"]) == 3


def changed(**fields: Any) -> bytes:
    return json.dumps({"inputs": [TARGET | fields]}).encode()


def sized(size: object, data: bytes = b"\0" * 48, **fields: Any) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "target", "shape": [2, 3], "datatype": "FP64", "parameters": {"binary_data_size": size}} | fields
    return binary(tensor, data=data)


MALFORMED: dict[str, bytes | tuple[bytes, dict[str, Any]]] = {
    "no JSON": b"{",
    "no object": b"[]",
    "no inputs": b"{}",
    "inputs no list": b'{"inputs": 3}',
    "no name": b'{"inputs": [{}]}',
    "twice the same": json.dumps({"inputs": [TARGET, TARGET]}).encode(),
    "size short": sized(40),
    "size long": sized(56),
    "size negative": sized(-1),
    "size a string": sized("48"),
    "size a fraction": sized(4.5),
    "bytes left over": sized(48, b"\0" * 56),
    "odd bytes": sized(47, b"\0" * 47),
    "huge shape": sized(48, shape=[2**31, 2**31]),
    "huge shape of JSON": changed(shape=[2**31, 2**31]),
    "negative shape": changed(shape=[-2, -3]),
    "fractional shape": changed(shape=[2, 3.0]),
    "shape of many dimensions": changed(shape=[1] * 40),
    "wrong count": changed(shape=[2, 4]),
    "unknown datatype": changed(datatype="FP128"),
    "no datatype": changed(datatype=None),
    "words": changed(data=["a"] * 6),
    "booleans and lists": changed(data=[1, [2], 3, 4, 5, 6]),
    "a huge number": changed(data=[10**400, 1, 1, 1, 1, 1]),
    "infinite": b'{"inputs": [{"name": "target", "shape": [1, 1], "datatype": "FP64", "data": [Infinity]}]}',
    "head beyond the body": (changed(), {HEADER_LENGTH: "999999"}),
    "head negative": (changed(), {HEADER_LENGTH: "-1"}),
    "head no number": (changed(), {HEADER_LENGTH: "x"}),
    "head of other digits": (changed(), {HEADER_LENGTH: b"\xb2"}),
    "cut gzip": (gzip.compress(changed())[:-9], {"Content-Encoding": "gzip"}),
    "no gzip": (changed(), {"Content-Encoding": "gzip"}),
    "bomb": (gzip.compress(b" " * 3_000_000), {"Content-Encoding": "gzip"}),
    "bomb of deflate": (zlib.compress(b" " * 3_000_000), {"Content-Encoding": "deflate"}),
    "unknown encoding": (changed(), {"Content-Encoding": "br"}),
    "unknown input": changed(name="x"),
    "unknown parameter": json.dumps({"inputs": [TARGET], "parameters": {"horizon": 3}}).encode(),
    "unknown output": json.dumps({"inputs": [TARGET], "outputs": [{"name": "x"}]}).encode(),
    "an output twice": json.dumps({"inputs": [TARGET], "outputs": [{"name": "mean"}] * 2}).encode(),
    "outputs no list": json.dumps({"inputs": [TARGET], "outputs": 3}).encode(),
    "bad length": json.dumps({"inputs": [TARGET], "parameters": {"prediction_length": 0}}).encode(),
    "bad levels": json.dumps({"inputs": [TARGET], "parameters": {"quantile_levels": "2"}}).encode(),
    "levels no numbers": json.dumps({"inputs": [TARGET], "parameters": {"quantile_levels": "a"}}).encode(),
    "one dimension": changed(shape=[6]),
    "lengths too long": json.dumps(
        {"inputs": [TARGET, TARGET | {"name": "lengths", "shape": [2], "data": [9, 9]}]}
    ).encode(),
    "a state of another kind": json.dumps({"inputs": [TARGET, TARGET | {"name": "state"}]}).encode(),
    "classes of no scores": json.dumps(
        {"inputs": [TARGET], "outputs": [{"name": "quantiles", "parameters": {"classification": 2}}]}
    ).encode(),
    "too long": b" " * 300_000,
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_requests_are_refused_in_a_few_words(
    harness: Harness, request_: bytes | tuple[bytes, dict[str, Any]]
) -> None:
    content, headers = request_ if isinstance(request_, tuple) else (request_, {})
    response = await infer(harness, content, **headers)
    assert 400 <= response.status_code < 500
    assert response.headers["content-type"] == "application/json"
    assert isinstance(response.json()["error"], str)
    assert len(response.content) < 2000
    assert harness.forecaster.items == ()


@pytest.mark.parametrize("shape", [[0, 28, 28], [1, 0, 28], [1, 2, 14], [1, 28, 27], [1, 1, 0]])
async def test_rows_of_digits_are_checked_as_those_of_json(harness: Harness, shape: list[int]) -> None:
    rows = {"name": "rows", "shape": shape, "datatype": "FP32", "data": [1] * math.prod(shape)}
    response = await infer(harness, {"inputs": [rows]}, "/v2/models/digits/infer")
    assert (response.status_code, response.json()["errors"][0]["pointer"][:8]) == (422, "#/inputs")


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/v2/models/digits/config", "no such route"),  # tritonclient: get_model_config
        ("GET", "/v2/trace/setting", "no such route"),
        ("GET", "/v2/models/digits/infer", "this route takes POST"),
        ("GET", "/v2/models/digits/versions/99", "has no version '99'"),
    ],
)
async def test_what_there_is_not_is_said_as_its_clients_read_it(
    harness: Harness, method: str, path: str, words: str
) -> None:
    response = await harness.client.request(method, path)
    assert response.headers["content-type"] == "application/json"
    assert words in response.json()["error"]


async def test_wires_can_be_switched_off() -> None:
    harness = Harness(wires="sagemaker")
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        assert (await harness.client.get("/v2/health/live")).status_code == 404
        assert (await harness.client.get("/ping")).status_code == 200
        assert (await harness.client.get("/validate_api_key")).status_code == 404
