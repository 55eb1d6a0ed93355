from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks.digits.preparation import prepare
from tests.models import digits
from tests.pictures import drawn, encoded


async def ask(client: httpx.AsyncClient, *inputs: dict[str, Any], **parameters: Any) -> Any:
    response = await client.post("/classify-digit", json={"inputs": list(inputs), "parameters": parameters})
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


def rows(length: int, seed: int = 0) -> list[list[float]]:
    ink: list[list[float]] = digits([length], seed)[0].tolist()
    return ink


async def test_rows_of_any_length(client: httpx.AsyncClient) -> None:
    lengths = [1, 28, 5, 64, 19]
    inputs = [{"item_id": str(n), "rows": rows(n)} for n in lengths]
    predictions = await ask(client, *inputs)
    assert [p["item_id"] for p in predictions] == [str(n) for n in lengths]
    assert [p["rows_used"] for p in predictions] == lengths
    for item, prediction in zip(inputs, predictions, strict=True):
        assert await ask(client, item) == [prediction]
        assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-6)
        assert prediction["label"] == int(np.argmax(prediction["probabilities"]))
        assert prediction["score"] == max(prediction["probabilities"])


async def test_the_scale_of_rows_is_0_to_1_or_to_255(client: httpx.AsyncClient) -> None:
    ink = np.round(np.array(rows(10)) * 255)
    bytes_scale, unit_scale = await ask(client, {"rows": ink.tolist()}, {"rows": (ink / 255).tolist()})
    assert bytes_scale["probabilities"] == pytest.approx(unit_scale["probabilities"], rel=1e-5)


async def test_the_trace_is_what_shorter_prefixes_give(client: httpx.AsyncClient) -> None:
    ink = rows(12)
    (prediction,) = await ask(client, {"rows": ink}, trace=True)
    assert [point["row"] for point in prediction["trace"]] == list(range(1, 13))
    for n in (1, 6, 12):
        (prefix,) = await ask(client, {"rows": ink[:n]})
        assert prediction["trace"][n - 1]["label"] == prefix["label"]
        assert prediction["trace"][n - 1]["score"] == pytest.approx(prefix["score"], rel=1e-5)


async def test_reading_stops_when_the_answer_is_sure(client: httpx.AsyncClient) -> None:
    ink = rows(40, seed=3)
    (complete,) = await ask(client, {"rows": ink}, trace=True)
    best = max(point["score"] for point in complete["trace"][:-1])
    first = next(point["row"] for point in complete["trace"] if point["score"] >= best)
    (early,) = await ask(client, {"rows": ink}, trace=True, stop_at_confidence=best * 0.999999)
    assert early["rows_used"] == first < 40
    assert early["trace"] == complete["trace"][:first]
    assert early["score"] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "bmp"])
async def test_an_image_however_it_is_sent(client: httpx.AsyncClient, form: str) -> None:
    data = encoded(drawn("3"), form)
    (in_json,) = await ask(client, {"image": base64.b64encode(data).decode()})
    raw = await client.post("/classify-digit", content=data, headers={"Content-Type": f"image/{form}"})
    files = await client.post("/classify-digit", files=[("file", data), ("file", data)])
    (as_rows,) = await ask(client, {"rows": prepare(data, 10**6)[0].tolist()})
    first, second = files.json()["predictions"]
    assert raw.json()["predictions"] == [in_json]
    assert {**first, "item_id": None} == {**second, "item_id": None} == in_json
    assert as_rows["probabilities"] == in_json["probabilities"]
    assert in_json["preprocessing"]["source_size"] == [280, 280]


async def test_options_of_an_image(client: httpx.AsyncClient) -> None:
    url = "/classify-digit?model=digits@1&trace=true&item_id=x"
    response = await client.post(url, content=encoded(drawn("3")), headers={"Content-Type": "image/png"})
    (prediction,) = response.json()["predictions"]
    assert prediction["item_id"] == "x"
    assert len(prediction["trace"]) == 28


async def test_a_photograph_of_a_phone(client: httpx.AsyncClient) -> None:
    large = drawn("5", size=3000, paper=200, ink=60, mode="RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(large.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)
    response = await client.post("/classify-digit", content=data, headers={"Content-Type": "image/jpeg"})
    (photo,) = response.json()["predictions"]
    (plain,) = await ask(client, {"image": base64.b64encode(encoded(drawn("5"))).decode()})
    assert photo["preprocessing"]["rotated"] is True
    assert photo["probabilities"] == pytest.approx(plain["probabilities"], abs=0.15)
