"""Valid requests of every protocol with odd values where they belong: times, levels, shapes, pictures of any shape."""

from __future__ import annotations

import io
import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.integration.servers import TIMEOUT, running
from tests.models import LastValue, LSTMDigits, write_model

ROUNDS = int(os.environ.get("FUZZ_EXAMPLES", "20000")) // 10
NUMBERS = [0, -0.0, 1, -1, 5e-324, 1e-300, 1e308, -1e308, 2**53, 0.1, 255, None]
LEVELS = [5e-324, 1e-300, 1e-9, 0.1, 0.5, 0.9, 1 - 1e-9, 1 - 1e-16]
TIMES = [
    *("2024-01-01", "0001-01-01", "9999-12-31", "9999-12-31T24:00", "2024-02-30", "2016-12-31T23:59:60Z", "2024-W53-7"),
    *("2024-03-31T02:30+01:00[Europe/Berlin]", "2024-10-27T02:30[Europe/Berlin]", "2011-12-30[Pacific/Apia]"),
    *("2024-01-01T00:00[America/Nowhere]", "2024-01-01T00:00[/etc/localtime]", "2024-01-01T00:00[tzdata.zi]"),
    *("2024-01-01T00:00+23:59", "0001-01-01T00:00+14:00", "1970-01-01T00:00:00.123456789Z", "24:00", "2024Q5", "²"),
]
FREQUENCIES = ["D", "h", "MS", "W-SUN", "B", "PT15M", "1h30min", "999999999D", "0D", "9999Y", "P1Y2M3DT4H", "ns"]
SIDES = [1, 2, 3, 5, 28, 100, 2000]

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]
Request = dict[str, Any]  # arguments of httpx.Client.post


def series(rng: random.Random) -> dict[str, Any]:
    entry: dict[str, Any] = {"target": rng.choices(NUMBERS, k=rng.choice([1, 2, 12, 40]))}
    if rng.random() < 0.5:
        entry |= {"start": rng.choice(TIMES), "freq": rng.choice(FREQUENCIES)}
    return entry


def forecast(rng: random.Random) -> Request:
    levels = rng.sample(LEVELS, rng.randrange(len(LEVELS)))
    include = rng.sample(["history", "anomaly"], rng.randrange(3))
    parameters = {"prediction_length": rng.choice([1, 7, 1000]), "quantile_levels": levels, "include": include}
    return {"url": "/forecast", "json": {"inputs": [series(rng)], "parameters": parameters}}


def evaluation(rng: random.Random) -> Request:
    if rng.random() < 0.5:
        return {"url": "/anomalies", "json": {"inputs": [series(rng)], "parameters": {"level": rng.choice(LEVELS)}}}
    parameters = {"prediction_length": rng.choice([1, 7]), "windows": rng.choice([1, 3, 50])}
    return {"url": "/backtest", "json": {"inputs": [series(rng)], "parameters": parameters}}


def table(rng: random.Random) -> Request:
    usual = [f"2024-01-{day:02}" for day in range(1, 13)]
    rows = [(time if rng.random() < 0.8 else rng.choice(TIMES), rng.choice(NUMBERS)) for time in usual]
    text = "date,sales\n" + "".join(f"{time},{'' if value is None else value}\n" for time, value in rows)
    url = f"/forecast?freq={quote(rng.choice(FREQUENCIES))}" if rng.random() < 0.3 else "/forecast"
    return {"url": url, "content": text.encode(), "headers": {"Content-Type": "text/csv"}}


def tensor(rng: random.Random) -> Request:
    name, model, last = rng.choice(
        [("target", "forecaster", []), ("rows", "digits", [rng.choice([28, 28, 14, 0, 56])])]
    )
    shape = [rng.choice([0, 1, 2]), rng.choice([0, 1, 3, 28]), *last]
    entry = {"name": name, "datatype": "FP64", "shape": shape, "data": rng.choices(NUMBERS, k=math.prod(shape))}
    return {"url": f"/v2/models/{model}/infer", "json": {"inputs": [entry]}}


def picture(rng: random.Random) -> Request:
    shape = rng.choice(SIDES), rng.choice(SIDES[:-1])
    pixels = np.full(shape if rng.random() < 0.5 else shape[::-1], rng.choice([0, 20, 230, 255]), np.uint8)
    for _ in range(rng.randrange(4)):
        top, left = (rng.randrange(size) for size in pixels.shape)
        pixels[top : top + 1 + shape[0] // 3, left : left + 1 + shape[1] // 3] = rng.randrange(256)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, rng.choice(["PNG", "BMP", "TIFF", "GIF"]))
    url = rng.choice(["/classify-digit", "/classify-digit?digits=all", "/prepare-digit", "/invocations"])
    return {"url": url, "content": file.getvalue(), "headers": {"Content-Type": "image/png"}}


MAKERS: list[Callable[[random.Random], Request]] = [forecast, evaluation, table, tensor, picture]


def test_odd_values_are_answered_or_refused(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write_model(tmp_path, "forecaster", LastValue())
    write_model(tmp_path, "digits", LSTMDigits())
    rng = random.Random(int(request.config.getoption("hypothesis_seed") or 0))
    with running(tmp_path) as server, httpx.Client(base_url=server.settled().url, timeout=TIMEOUT) as client:
        for _ in range(ROUNDS):
            sent = rng.choice(MAKERS)(rng)
            if "json" in sent:
                content = json.dumps(sent.pop("json")).encode()
                sent |= {"content": content, "headers": {"Content-Type": "application/json"}}
            response = client.post(**sent)
            assert response.status_code < 500, (sent, response.text)
        assert [entry for entry in server.log() if entry["level"] in {"warning", "error", "critical"}] == []
