"""Nixtla's API as documents; tests/integration/test_wires.py has its unmodified client."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service.api.harness import Harness

SERIES = {"y": [1, 2, 3, None, 5, 9, 8, 7], "sizes": [5, 3], "X": None, "X_future": None}


async def ask(harness: Harness, route: str, **fields: Any) -> httpx.Response:
    body = {"series": SERIES, "model": "timegpt-2.1", "h": 2, "freq": "D", "clean_ex_first": True} | fields
    return await harness.client.post(f"/v2/{route}", json=body)


async def test_what_the_client_asks_first(harness: Harness) -> None:
    assert (await harness.client.get("/validate_api_key")).json()["detail"]
    detail = (await harness.client.get("/model_params?model=timegpt-1&freq=D")).json()["detail"]
    assert detail == {"input_size": 50, "horizon": 256}
    assert (await harness.client.get("/v2/models")).json() == {"models": [{"name": "forecaster"}, {"name": "linear"}]}
    assert (await harness.client.get("/model_params?model=digits")).status_code == 404


async def test_a_forecast_is_flat(harness: Harness) -> None:
    answer = (await ask(harness, "forecast", level=[80, 97.5, 0, 80])).json()
    assert answer["mean"] == [5, 5, 7, 7]
    assert set(answer["intervals"]) == {"lo-80", "hi-80", "lo-97.5", "hi-97.5", "lo-0", "hi-0"}
    assert answer["intervals"]["lo-80"] == pytest.approx([4.2, 4.2, 6.2, 6.2])
    assert answer["intervals"]["lo-0"] == answer["intervals"]["hi-0"] == answer["mean"]
    assert (answer["weights_x"], "data" in answer) == (None, False)
    assert (await ask(harness, "forecast")).json()["intervals"] is None


async def test_cross_validation(harness: Harness) -> None:
    series = {"y": [1, 2, 3, 4, 5, 6, 7, 8], "sizes": [8]}
    answer = (await ask(harness, "cross_validation", series=series, n_windows=2, step_size=1)).json()
    assert answer["idxs"] == [5, 6, 6, 7]
    assert (answer["sizes"], answer["mean"]) == ([4], [5, 5, 6, 6])
    response = await ask(harness, "cross_validation", n_windows=9)
    assert response.status_code == 422


async def test_history_and_anomalies(harness: Harness) -> None:
    answer = (
        await ask(harness, "cross_validation", series={"y": [1, 2, 3, 4], "sizes": [4]}, full_history=True)
    ).json()
    assert (answer["sizes"], answer["mean"]) == ([3], [1, 2, 3])
    harness.forecaster.spread = 1.0
    series = {"y": [1, 2, 9, 4], "sizes": [4]}
    found = (await ask(harness, "anomaly_detection", series=series, level=99)).json()
    assert found["anomaly"] == [False, True, True]
    assert set(found["intervals"]) == {"lo-99", "hi-99"}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"series": SERIES | {"X": [[1]]}}, 422),
        ({"finetune_steps": 3}, 422),
        ({"multivariate": True}, 422),
        ({"h": 999}, 422),
        ({"h": 0}, 422),
        ({"model": "nobody"}, 404),
        ({"model": "digits"}, 404),
        ({"level": [100]}, 422),
        ({"series": {"y": [1, 2], "sizes": [3]}}, 422),
        ({"series": {"y": [None, None], "sizes": [2]}}, 422),
        ({"series": {"y": [1], "sizes": []}}, 422),
        ({"model": "linear"}, 422),
    ],
)
async def test_what_is_not_offered_is_refused(harness: Harness, fields: dict[str, Any], status: int) -> None:
    response = await ask(harness, "forecast", **fields)
    assert response.status_code == status
    assert response.json()["detail"]


@pytest.mark.parametrize("route", ["finetune", "online_anomaly_detection"])
async def test_other_routes_answer_in_json(harness: Harness, route: str) -> None:
    response = await ask(harness, route)
    assert (response.status_code, response.headers["content-type"]) == (422, "application/json")


async def test_zstd(harness: Harness) -> None:
    zstandard = pytest.importorskip("zstandard", reason="the extra nixtla is not installed")
    body = zstandard.ZstdCompressor().compress(b'{"series": {"y": [1, 2], "sizes": [2]}, "h": 1}')
    headers = {"Content-Encoding": "zstd", "Content-Type": "application/json"}
    assert (await harness.client.post("/v2/forecast", content=body, headers=headers)).json()["mean"] == [2]
    broken = await harness.client.post("/v2/forecast", content=body[:9], headers=headers)
    assert 400 <= broken.status_code < 500
