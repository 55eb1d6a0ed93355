"""The workloads: seeded series and drawn digits as requests in each server's dialect, with the expected answers.

The main workload is one series a request, of 10 to 100 values; the same 1,024 series for every server.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.serving.load import Request

SEED = 2026
COUNT = 1024  # different requests of the main workload
SHORTEST, LONGEST = 10, 100  # values of a series
BULK, BULK_LENGTH = 512, 50  # series in a bulk request, values of each
BULK_COUNT = 16  # different bulk requests
TOKENS = 16  # different series of the token workload

Series = list[float]
Decode = Callable[[Any], Sequence[float]]


@dataclass(frozen=True)
class Workload:
    """Requests that are sent in turn, at each of `levels` connections; None: at the levels of the command line."""

    name: str
    requests: Sequence[Request]
    decode: Decode  # from the parsed answer to its numbers
    expected: Sequence[Sequence[float]] | None = None
    items: int = 1  # series or digits in a request
    levels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Dialect:
    """A server's requests for the forecast of one series, or of a batch, and the reading of its answers."""

    encode: Callable[[Series], Request]
    decode: Decode
    encode_batch: Callable[[list[Series]], Request] | None = None
    decode_batch: Decode | None = field(default=None)


def ragged(count: int = COUNT) -> list[Series]:
    """Random walks of 10 to 100 values with four decimals."""
    rng = np.random.default_rng(SEED)
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    return [_walk(rng, int(n)) for n in lengths]


def even(seed: int) -> list[Series]:
    """The series of a bulk request, all of one length."""
    rng = np.random.default_rng((SEED, seed))
    return [_walk(rng, BULK_LENGTH) for _ in range(BULK)]


def _walk(rng: np.random.Generator, length: int) -> Series:
    steps = rng.normal(0, 0.3, length)
    walk: Series = np.round(np.cumsum(steps) + rng.normal(), 4).tolist()
    return walk


Expect = Callable[[Sequence[Series]], list[list[float]]]


class Reference:
    """The expected answers: the plain module, one series at a time."""

    def __init__(self, file: Path) -> None:
        self._model = torch.jit.load(io.BytesIO(file.read_bytes()))

    def __call__(self, series: Sequence[Series]) -> list[list[float]]:
        with torch.inference_mode():
            return [[self._model(torch.tensor([values]), torch.tensor([len(values)])).item()] for values in series]


def series_workload(dialect: Dialect, reference: Expect) -> Workload:
    """One series a request."""
    series = ragged()
    return Workload("series", [dialect.encode(values) for values in series], dialect.decode, reference(series))


def bulk_workload(dialect: Dialect, reference: Expect) -> Workload | None:
    """512 series of 50 values a request; None where the server has no natural way to take them."""
    if dialect.encode_batch is None or dialect.decode_batch is None:
        return None
    bulks = [even(seed) for seed in range(BULK_COUNT)]
    expected = [[answer for (answer,) in reference(bulk)] for bulk in bulks]
    requests = [dialect.encode_batch(bulk) for bulk in bulks]
    return Workload("bulk", requests, dialect.decode_batch, expected, items=BULK, levels=(1, 2))


# --- this service ----------------------------------------------------------------------------------------------------


def ritmo(model: str) -> Dialect:
    """POST /forecast for `model`, with its defaults: mean, three quantiles, context."""

    def encode(batch: list[Series]) -> Request:
        return _post("/forecast", {"model": model, "inputs": [{"target": values} for values in batch]})

    def decode(answer: Any) -> list[float]:
        return [prediction["mean"][0] for prediction in answer["predictions"]]

    return Dialect(lambda values: encode([values]), decode, encode, decode)


def token_workloads(port: int, model: str) -> list[Workload]:
    """One new value for a series continued by its token, after 10 and after 10,000 values; none without tokens."""
    workloads = []
    for length in (10, 10_000):
        rng = np.random.default_rng((SEED, length))
        requests = []
        for _ in range(TOKENS):
            parameters = {"return_state": True}
            opening = {"model": model, "inputs": [{"target": _walk(rng, length)}], "parameters": parameters}
            status, answer = send(port, _post("/forecast", opening))
            token = answer["predictions"][0].get("state") if status == 200 else None
            if token is None:
                return []
            update = {"target": _walk(rng, 1), "state": token}
            requests.append(_post("/forecast", {"model": model, "inputs": [update], "parameters": parameters}))
        workloads.append(Workload(f"token after {length} ({model})", requests, ritmo(model).decode, levels=(1, 64)))
    return workloads


def digit_workloads() -> list[Workload]:
    """POST /classify-digit with rows as JSON, and with PNG files, for drawn digits."""
    from PIL import Image

    from training.data import drawn_digits

    images, _ = drawn_digits.digit_images(COUNT // 4, seed=SEED)
    rows, files = [], []
    for image in images:
        rows.append(_post("/classify-digit", {"inputs": [{"rows": image.astype(int).tolist()}]}))
        png = io.BytesIO()
        Image.fromarray(image.astype(np.uint8)).resize((140, 140), Image.Resampling.BILINEAR).save(png, "PNG")
        files.append(Request("/classify-digit", png.getvalue(), "image/png"))
    encoded = [base64.b64encode(request.body).decode() for request in files]
    in_json = [_post("/classify-digit", {"inputs": [{"image": image}]}) for image in encoded]

    def decode(answer: Any) -> list[float]:
        return [prediction["score"] for prediction in answer["predictions"]]

    return [
        Workload("digits, rows", rows, decode),
        Workload("digits, PNG", files, decode),
        Workload("digits, PNG in JSON", in_json, decode, levels=(64,)),
    ]


# --- the peers -------------------------------------------------------------------------------------------------------


def values(path: str) -> Dialect:
    """`{"values": […]}` to `{"forecast": x}`."""
    return Dialect(lambda series: _post(path, {"values": series}), lambda answer: [answer["forecast"]])


FASTAPI = Dialect(
    values("/forecast").encode,
    values("/forecast").decode,
    lambda batch: _post("/bulk", {"series": batch}),
    lambda answer: answer["forecasts"],
)
BENTOML = Dialect(
    lambda series: _post("/forecast", {"values": [series]}),
    lambda answer: answer,
    lambda batch: _post("/forecast", {"values": batch}),
    lambda answer: answer,
)
CONSTANT = Dialect(values("/").encode, lambda answer: [answer["forecast"]])

INFER = "/v2/models/lstm/infer"


def _padded(batch: list[Series]) -> list[Series]:
    """Rows of one length, as servers that batch by shape need them; single series all get the greatest length."""
    width = LONGEST if len(batch) == 1 else max(map(len, batch))
    return [series + [0] * (width - len(series)) for series in batch]


def _infer(batch: list[Series]) -> Request:
    """The Open Inference Protocol with its tensors as JSON."""
    padded = _padded(batch)
    rows, width = len(batch), len(padded[0])
    data = [value for series in padded for value in series]
    inputs = [
        {"name": "values", "shape": [rows, width], "datatype": "FP32", "data": data},
        {"name": "lengths", "shape": [rows, 1], "datatype": "INT64", "data": [len(series) for series in batch]},
    ]
    return _post(INFER, {"inputs": inputs})


def _infer_binary(batch: list[Series]) -> Request:
    """The Open Inference Protocol with its input tensors as bytes behind the JSON (binary tensor data extension)."""
    tensors: dict[str, tuple[str, np.ndarray[Any, Any]]] = {
        "values": ("FP32", np.array(_padded(batch), np.float32)),
        "lengths": ("INT64", np.array([[len(series)] for series in batch], np.int64)),
    }
    inputs = [
        {"name": name, "shape": array.shape, "datatype": kind, "parameters": {"binary_data_size": array.nbytes}}
        for name, (kind, array) in tensors.items()
    ]
    head = _post(INFER, {"inputs": inputs}).body
    body = head + b"".join(array.tobytes() for _, array in tensors.values())
    return Request(INFER, body, "application/octet-stream", ("Inference-Header-Content-Length", str(len(head))))


def _inferred(answer: Any) -> list[float]:
    data: list[float] = answer["outputs"][0]["data"]
    return data


OPEN_INFERENCE = Dialect(lambda series: _infer([series]), _inferred, _infer, _inferred)
BINARY_INFERENCE = Dialect(lambda series: _infer_binary([series]), _inferred, _infer_binary, _inferred)


# --- sending ---------------------------------------------------------------------------------------------------------


def send(port: int, request: Request, connection: http.client.HTTPConnection | None = None) -> tuple[int, Any]:
    """Status and parsed answer of one request; OSError or HTTPException where there is none."""
    client = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("POST", request.path, request.body, request.headers)
        answer = client.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else body[:500]
    finally:
        if connection is None:
            client.close()


def _post(path: str, content: Any) -> Request:
    return Request(path, json.dumps(content, separators=(",", ":")).encode())
