"""What is asked: seeded series and drawn digits as requests in each server's own words, with the answers expected.

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
SHORTEST, LONGEST = 10, 100
BULK, BULK_LENGTH = 512, 50
BULK_COUNT = 16  # different bulk requests
TOKENS = 16  # different series of the token workload

Series = list[float]
Read = Callable[[Any], Sequence[float]]


@dataclass(frozen=True)
class Workload:
    """Requests that are sent in turn, at each of `levels` connections; None: at the levels of the command line."""

    name: str
    requests: Sequence[Request]
    read: Read  # from the parsed answer
    expected: Sequence[Sequence[float]] | None = None
    items: int = 1  # series or digits in a request
    levels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Dialect:
    """How a server is asked for the forecast of one series, or of many at once, and how its answer is read."""

    one: Callable[[Series], Request]
    read: Read
    many: Callable[[list[Series]], Request] | None = None
    read_many: Read | None = field(default=None)


def ragged(count: int = COUNT) -> list[Series]:
    """Random walks of 10 to 100 values with four decimals."""
    rng = np.random.default_rng(SEED)
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    return [_walk(rng, int(n)) for n in lengths]


def even(seed: int) -> list[Series]:
    """A bulk request's series, all of one length."""
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
            return [[self._model(torch.tensor([one]), torch.tensor([len(one)])).item()] for one in series]


def series_workload(dialect: Dialect, reference: Expect) -> Workload:
    """One series a request."""
    series = ragged()
    return Workload("series", [dialect.one(one) for one in series], dialect.read, reference(series))


def bulk_workload(dialect: Dialect, reference: Expect) -> Workload | None:
    """512 series of 50 values a request; None where the server has no natural way to take them."""
    if dialect.many is None or dialect.read_many is None:
        return None
    bulks = [even(seed) for seed in range(BULK_COUNT)]
    expected = [[answer for (answer,) in reference(bulk)] for bulk in bulks]
    requests = [dialect.many(bulk) for bulk in bulks]
    return Workload("bulk", requests, dialect.read_many, expected, items=BULK, levels=(1, 2))


# --- this service ----------------------------------------------------------------------------------------------------


def ritmo(model: str) -> Dialect:
    """POST /forecast for `model`, with its defaults: mean, three quantiles, context."""

    def many(batch: list[Series]) -> Request:
        return _post("/forecast", {"model": model, "inputs": [{"target": one} for one in batch]})

    def read(answer: Any) -> list[float]:
        return [prediction["mean"][0] for prediction in answer["predictions"]]

    return Dialect(lambda one: many([one]), read, many, read)


def token_workloads(port: int, model: str) -> list[Workload]:
    """One new value for a series continued by its token, after 10 and after 10,000 values; none without tokens."""
    found = []
    for length in (10, 10_000):
        rng = np.random.default_rng((SEED, length))
        requests = []
        for _ in range(TOKENS):
            parameters = {"return_state": True}
            first = {"model": model, "inputs": [{"target": _walk(rng, length)}], "parameters": parameters}
            status, answer = ask(port, _post("/forecast", first))
            token = answer["predictions"][0].get("state") if status == 200 else None
            if token is None:
                return []
            update = {"target": _walk(rng, 1), "state": token}
            requests.append(_post("/forecast", {"model": model, "inputs": [update], "parameters": parameters}))
        found.append(Workload(f"token after {length} ({model})", requests, ritmo(model).read, levels=(1, 64)))
    return found


def digit_workloads() -> list[Workload]:
    """POST /classify-digit with rows as JSON, and with PNG files, for drawn digits."""
    from PIL import Image

    from training.data import drawn_digits as glyphs

    images, _ = glyphs.digit_images(COUNT // 4, seed=SEED)
    rows, files = [], []
    for image in images:
        rows.append(_post("/classify-digit", {"inputs": [{"rows": image.astype(int).tolist()}]}))
        png = io.BytesIO()
        Image.fromarray(image.astype(np.uint8)).resize((140, 140), Image.Resampling.BILINEAR).save(png, "PNG")
        files.append(Request("/classify-digit", png.getvalue(), "image/png"))
    encoded = [base64.b64encode(one.body).decode() for one in files]
    in_json = [_post("/classify-digit", {"inputs": [{"image": one}]}) for one in encoded]

    def read(answer: Any) -> list[float]:
        return [prediction["score"] for prediction in answer["predictions"]]

    return [
        Workload("digits, rows", rows, read),
        Workload("digits, PNG", files, read),
        Workload("digits, PNG in JSON", in_json, read, levels=(64,)),
    ]


# --- the peers -------------------------------------------------------------------------------------------------------


def values(path: str) -> Dialect:
    """`{"values": […]}` to `{"forecast": x}`."""
    return Dialect(lambda one: _post(path, {"values": one}), lambda answer: [answer["forecast"]])


FASTAPI = Dialect(
    values("/forecast").one,
    values("/forecast").read,
    lambda batch: _post("/bulk", {"series": batch}),
    lambda answer: answer["forecasts"],
)
BENTOML = Dialect(
    lambda one: _post("/forecast", {"values": [one]}),
    lambda answer: answer,
    lambda batch: _post("/forecast", {"values": batch}),
    lambda answer: answer,
)
CONSTANT = Dialect(values("/").one, lambda answer: [answer["forecast"]])


def _infer(batch: list[Series]) -> Request:
    width = LONGEST if len(batch) == 1 else max(map(len, batch))
    padded = [value for one in batch for value in one + [0] * (width - len(one))]
    rows = len(batch)
    inputs = [
        {"name": "values", "shape": [rows, width], "datatype": "FP32", "data": padded},
        {"name": "lengths", "shape": [rows, 1], "datatype": "INT64", "data": [len(one) for one in batch]},
    ]
    return _post("/v2/models/lstm/infer", {"inputs": inputs})


def _inferred(answer: Any) -> list[float]:
    data: list[float] = answer["outputs"][0]["data"]
    return data


OPEN_INFERENCE = Dialect(lambda one: _infer([one]), _inferred, _infer, _inferred)


# --- asking ----------------------------------------------------------------------------------------------------------


def ask(port: int, request: Request, connection: http.client.HTTPConnection | None = None) -> tuple[int, Any]:
    """Status and parsed answer of one request; OSError or HTTPException where there is none."""
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        own.request("POST", request.path, request.body, {"Content-Type": request.content_type})
        answer = own.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else body[:500]
    finally:
        if connection is None:
            own.close()


def _post(path: str, content: Any) -> Request:
    return Request(path, json.dumps(content, separators=(",", ":")).encode())
