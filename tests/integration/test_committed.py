"""The committed checkpoints, served: every one of them loads, passes its self-test and answers over a real port."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.contract.manifest import Manifest, read_manifest
from tests.integration.servers import ROOT, Server, new_client
from tests.models import series
from tests.pictures import drawn, encoded

MODELS = ROOT / "models"
MANIFESTS = [read_manifest(path.parent) for path in sorted(MODELS.glob("*/*/manifest.json"))]
FORECASTERS = [manifest for manifest in MANIFESTS if manifest.task == "forecast"]
READERS = [manifest for manifest in MANIFESTS if manifest.task == "classify-digit"]


def name(manifest: Manifest) -> str:
    return f"{manifest.name}@{manifest.version}"


@pytest.fixture
async def service(committed: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with new_client(committed.url) as client:
        yield client


async def forecast(service: httpx.AsyncClient, model: str, *targets: list[float | None], **parameters: Any) -> Any:
    body = {"model": model, "inputs": [{"target": target} for target in targets], "parameters": parameters}
    response = await service.post("/forecast", json=body)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


async def test_every_committed_version_is_ready(service: httpx.AsyncClient) -> None:
    assert (await service.get("/readyz")).status_code == 200
    listed = (await service.get("/models")).json()["models"]
    assert {f"{m['name']}@{m['version']}": m["state"] for m in listed} == {name(m): "ready" for m in MANIFESTS}
    assert {m["digest"] for m in listed} == {manifest.digest for manifest in MANIFESTS}


@pytest.mark.parametrize("manifest", FORECASTERS, ids=name)
async def test_every_forecaster_answers_series_of_many_lengths(service: httpx.AsyncClient, manifest: Manifest) -> None:
    contract = manifest.input
    longest = contract.max_length or 3000
    lengths = sorted({contract.min_length, min(longest, 50), min(longest, 700), longest})
    targets = [
        [None if math.isnan(v) else v for v in walk.tolist()]
        for walk in series(lengths, seed=5, missing=0.1 if contract.missing else 0.0)
    ]
    horizon = min(contract.max_horizon or 1, 12)
    predictions = await forecast(service, name(manifest), *targets, prediction_length=horizon)
    for target, prediction in zip(targets, predictions, strict=True):
        bands = list(prediction["quantiles"].values())
        assert all(len(row) == horizon and all(map(math.isfinite, row)) for row in [prediction["mean"], *bands])
        for below, above in itertools.pairwise(bands):
            assert all(low <= high for low, high in zip(below, above, strict=True))
        assert prediction["context"]["observations"] == len(target)
        (single,) = await forecast(service, name(manifest), target, prediction_length=horizon)
        assert single["mean"] == pytest.approx(prediction["mean"], rel=1e-6)


@pytest.mark.parametrize("manifest", FORECASTERS, ids=name)
@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-6, 1e12, 1e300, -1e300, 1.7e308])
async def test_extreme_but_finite_series_are_never_a_failure(
    service: httpx.AsyncClient, manifest: Manifest, scale: float
) -> None:
    length = manifest.input.max_length or 60
    targets = [[scale] * length, [scale * (-1) ** i for i in range(length)], [0.0] * (length - 1) + [scale]]
    for target in targets:
        body = {"model": name(manifest), "inputs": [{"target": target}]}
        response = await service.post("/forecast", json=body)
        if abs(scale) <= 1e12:
            assert response.status_code == 200, response.text
        else:
            assert response.status_code in (200, 422), response.text
            assert response.status_code == 200 or response.json()["code"] == "out_of_range"


def sine_mixtures(count: int, length: int) -> NDArray[np.float64]:
    """The tutorial's series: two sines and some noise."""
    rng = np.random.default_rng(2024)
    frequency, offset = rng.random((2, 2, count, 1))
    time = np.linspace(0, 1, length)
    values = 0.5 * np.sin((time - offset[0]) * (frequency[0] * 10 + 10))
    values += 0.2 * np.sin((time - offset[1]) * (frequency[1] * 20 + 20))
    values += 0.1 * (rng.random((count, length)) - 0.5)
    return np.asarray(values, np.float64)


@pytest.mark.parametrize(
    "manifest", [m for m in FORECASTERS if m.name in {"forecaster", "linear", "rnn-20", "sines"}], ids=name
)
async def test_forecasts_of_the_tutorials_series_beat_the_last_value(
    service: httpx.AsyncClient, manifest: Manifest
) -> None:
    past, truth = (mixtures := sine_mixtures(200, 51))[:, :50], mixtures[:, 50]
    predictions = await forecast(service, name(manifest), *past.tolist())
    error = np.mean((np.array([p["mean"][0] for p in predictions]) - truth) ** 2)
    assert error < 0.6 * np.mean((past[:, -1] - truth) ** 2)


@pytest.mark.parametrize("manifest", READERS, ids=name)
async def test_every_reader_answers(service: httpx.AsyncClient, manifest: Manifest) -> None:
    body = {"model": name(manifest), "inputs": [{"rows": [[0.0] * 28] * 28}]}
    (prediction,) = (await service.post("/classify-digit", json=body)).json()["predictions"]
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-5)


async def read_image(service: httpx.AsyncClient, data: bytes) -> Any:
    response = await service.post("/classify-digit", content=data, headers={"Content-Type": "image/png"})
    assert response.status_code == 200, response.text
    return response.json()["predictions"][0]


needs_digits = pytest.mark.skipif(not any(m.name == "digits" for m in READERS), reason="no digit reader is committed")


@needs_digits
async def test_printed_digits_are_read(service: httpx.AsyncClient) -> None:
    answers = [await read_image(service, encoded(drawn(str(digit)))) for digit in range(10)]
    assert sum(answer["label"] == digit for digit, answer in enumerate(answers)) >= 8


@needs_digits
@pytest.mark.data
async def test_mnist_is_read_as_rows_and_as_images(service: httpx.AsyncClient, real_data: Path) -> None:
    folder, count = real_data / "mnist", 400
    raw = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)[:count]
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)[
        :count
    ]
    body = {"inputs": [{"rows": image.tolist()} for image in images]}
    predictions = (await service.post("/classify-digit", json=body)).json()["predictions"]
    assert np.mean([p["label"] for p in predictions] == labels) >= 0.985

    pictures = [encoded(Image.fromarray(image)) for image in images]
    answers = await asyncio.gather(*(read_image(service, picture) for picture in pictures))
    assert np.mean([answer["label"] for answer in answers] == labels) >= 0.98
