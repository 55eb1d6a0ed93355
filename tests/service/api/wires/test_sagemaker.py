from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.runtime.version import version
from tests.pictures import drawn, encoded
from tests.service.api.harness import Harness


async def invoke(harness: Harness, body: dict[str, Any]) -> httpx.Response:
    return await harness.client.post("/invocations", json=body)


async def test_ping_says_whether_it_is_ready(harness: Harness) -> None:
    assert (await harness.client.get("/ping")).status_code == 200
    harness.registry.is_ready = False
    assert (await harness.client.get("/ping")).status_code == 503


async def test_mlflow_asks_for_a_version(harness: Harness) -> None:
    response = await harness.client.get("/version")
    assert (response.status_code, response.text) == (200, version())


async def test_the_json_of_chronos_endpoints(harness: Harness) -> None:
    body = {
        "inputs": [
            {"target": [1, 2, 3], "item_id": "a", "start": "2024-01-01"},
            {"target": [4.5], "start": "2024-01-01"},
        ],
        "parameters": {"prediction_length": 2, "quantile_levels": [0.1, 0.9], "freq": "D"},
    }
    first, second = (await invoke(harness, body)).json()["predictions"]
    assert first == {"mean": [3, 3], "0.1": [2.2, 2.2], "0.9": [3.8, 3.8], "item_id": "a", "start": "2024-01-04"}
    assert (second["start"], "item_id" in second) == ("2024-01-02", False)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"target": [1, 2, 3], "item_id": "a"}], "parameters": {"prediction_length": 2}},
        {"inputs": [{"target": [1, 2, 3], "item_id": "a"}], "params": {"prediction_length": 2}},
        {"dataframe_records": [{"target": [1, 2, 3], "item_id": "a"}], "params": {"prediction_length": 2}},
        {
            "dataframe_split": {"index": [0], "columns": ["item_id", "target"], "data": [["a", [1, 2, 3]]]},
            "params": {"prediction_length": 2},
        },
    ],
    ids=["Vertex AI", "MLflow inputs", "MLflow records", "MLflow split"],
)
async def test_the_same_series_in_the_clothes_of_others(harness: Harness, body: dict[str, Any]) -> None:
    (prediction,) = (await invoke(harness, body)).json()["predictions"]
    assert prediction == {"mean": [3, 3], "0.1": [2.2, 2.2], "0.5": [3, 3], "0.9": [3.8, 3.8], "item_id": "a"}
    assert (await harness.client.get("/health")).status_code == 200


async def test_the_start_alone_has_no_times(harness: Harness) -> None:
    (prediction,) = (await invoke(harness, {"inputs": [{"target": [1, 2]}]})).json()["predictions"]
    assert set(prediction) == {"mean", "0.1", "0.5", "0.9"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": [{"target": [1], "past_covariates": {"a": [1]}}]}, "covariates are not read"),
        ({"inputs": [{"target": [[1, 2], [3, 4]]}]}, "must be a number"),
        ({"inputs": [{"target": [1]}], "parameters": {"batch_size": 3}}, "no such field"),
        ({"inputs": 3}, "must be an array"),
        ({}, "required"),
        ({"inputs": [{"target": [1]}], "instances": [{"target": [1]}]}, "says again what inputs says"),
        ({"dataframe_split": {"columns": ["target"]}}, "must have arrays"),
        ({"dataframe_split": {"columns": ["target"], "data": [[[1], 2]]}}, "must be an array of 1 cells"),
        ({"dataframe_split": 3}, "must have arrays"),
    ],
)
async def test_what_is_not_offered_is_refused(harness: Harness, body: dict[str, Any], words: str) -> None:
    response = await invoke(harness, body)
    assert response.status_code == 422
    assert words in response.json()["error"]


@pytest.mark.parametrize("media_type", ["image/png", "application/x-image"])
async def test_a_picture(harness: Harness, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    response = await harness.client.post("/invocations", content=encoded(drawn(), "png"), headers=headers)
    assert response.json()["predictions"][0]["label"] == 8


async def test_other_bodies_are_refused(harness: Harness) -> None:
    headers = {"Content-Type": "application/x-npy"}
    response = await harness.client.post("/invocations", content=b"x", headers=headers)
    assert response.status_code == 415


async def test_rows_of_a_frame_are_counted_before_they_are_series(harness: Harness) -> None:
    response = await invoke(harness, {"dataframe_split": {"columns": ["target"], "data": [[1, 2]] * 65}})
    assert (response.status_code, response.json()["code"]) == (413, "too_many_items")
