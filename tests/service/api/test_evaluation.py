"""`POST /backtest` and `POST /anomalies`, with a model that goes on with the last value, one up and one down."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.contract.types import ForecastItem
from tests.service.api.harness import Harness, problem

WEEK = [1.0, 2, 3, 4, 5, 9, 9]


async def post(harness: Harness, path: str, series: list[dict[str, Any]], **parameters: Any) -> httpx.Response:
    return await harness.client.post(path, json={"inputs": series, "parameters": parameters})


async def test_a_model_beside_simple_methods(harness: Harness) -> None:
    series = [{"item_id": "week", "target": WEEK * 6, "start": "2024-01-01", "freq": "D"}]
    response = await post(harness, "/backtest", series, prediction_length=7, windows=2)
    document = response.json()
    assert response.status_code == 200, response.text
    assert set(document["methods"]) == {"forecaster", "naive", "seasonal_naive", "drift", "exponential_smoothing"}
    (entry,) = document["series"]
    assert (entry["item_id"], entry["windows"], entry["season_length"]) == ("week", 2, 7)
    assert document["methods"]["seasonal_naive"]["wql"] == 0
    # The last value goes on, with the 80 % interval of 0.8 to either side: a method of this file, too.
    assert document["methods"]["forecaster"]["coverage"] == pytest.approx(2 / 7)


async def test_series_that_are_too_short_are_named(harness: Harness) -> None:
    series = [{"target": [1, 2, 4, 3, 5, 6, 7, 8]}, {"target": [1, 2, 3]}, {"target": [1, 2, 3, 4, 5, 6]}]
    document = (await post(harness, "/backtest", series, prediction_length=3, windows=2)).json()
    assert [entry["windows"] for entry in document["series"]] == [2, 0, 1]
    assert [entry["warnings"] for entry in document["series"]] == [[], ["too_short"], ["fewer_windows"]]


async def test_a_table_is_judged_too(harness: Harness) -> None:
    content = "id,date,y\n" + "".join(f"a,2024-01-{day:02},{day}\n" for day in range(1, 31))
    headers = {"Content-Type": "text/csv"}
    response = await harness.client.post("/backtest?prediction_length=3&windows=4", content=content, headers=headers)
    document = response.json()
    assert (document["series"][0]["windows"], document["table"]["freq"]) == (4, "D")
    assert document["methods"]["drift"]["mase"] == pytest.approx(0)
    assert document["best"] == "drift"
    response = await harness.client.post("/backtest?quantile_levels=0.1", content=content, headers=headers)
    problem(response, 422, "unknown_field")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"inputs": [{"target": [1, 2, 3]}]}, "out_of_range"),
        ({"inputs": [{"target": [1] * 50}], "parameters": {"prediction_length": 999}}, "out_of_range"),
        ({"inputs": [{"target": [1] * 50}], "parameters": {"windows": 0}}, "out_of_range"),
        ({"inputs": [{"target": [1] * 50, "state": "x"}]}, "unknown_field"),
        ({"inputs": [{"target": [None] * 50}]}, "out_of_range"),
        ({"inputs": []}, "out_of_range"),
        ({"inputs": [{"target": [1] * 9 + [None] * 41}], "model": "linear", "parameters": {"prediction_length": 1}},
         "wrong_type"),
    ],
)  # fmt: skip
async def test_what_cannot_be_tested_is_refused(harness: Harness, body: dict[str, Any], code: str) -> None:
    response = await harness.client.post("/backtest", json=body)
    assert (response.status_code, response.json()["code"]) == (422, code)


async def test_many_windows_are_computed_in_parts(harness: Harness) -> None:
    series = [{"target": [float(i % 5) for i in range(60)]}] * 40
    document = (await post(harness, "/backtest", series, prediction_length=2, windows=5)).json()
    assert [entry["windows"] for entry in document["series"]] == [5] * 40


async def test_forecasts_of_the_windows_where_asked_for(harness: Harness) -> None:
    series = [{"target": [float(i) for i in range(30)], "start": "2024-01-01", "freq": "D"}]
    document = (await post(harness, "/backtest", series, prediction_length=2, windows=3, include=["forecasts"])).json()
    forecasts = document["series"][0]["forecasts"]
    assert [window["index"] for window in forecasts] == [24, 26, 28]
    assert forecasts[0]["timestamps"] == ["2024-01-25", "2024-01-26"]
    assert forecasts[0]["lower"] < forecasts[0]["median"] == [23.0, 23.0] < forecasts[0]["upper"]
    plain = (await post(harness, "/backtest", series, prediction_length=2, windows=3)).json()
    assert "forecasts" not in plain["series"][0]
    rows = "date,y\n" + "".join(f"2024-01-{day:02},{day}\n" for day in range(1, 31))
    headers = {"Content-Type": "text/csv"}
    url = "/backtest?prediction_length=2&windows=2&include="
    document = (await harness.client.post(f"{url}forecasts", content=rows, headers=headers)).json()
    assert len(document["series"][0]["forecasts"]) == 2
    assert (await harness.client.post(f"{url}series", content=rows, headers=headers)).status_code == 422


async def test_values_outside_their_interval(harness: Harness) -> None:
    target = [float(i % 2) / 2 for i in range(20)]
    target[15] = 9.0
    series = [{"item_id": "a", "target": target, "start": "2024-01-01", "freq": "D"}]
    harness.forecaster.spread = 1.0
    document = (await post(harness, "/anomalies", series)).json()
    (entry,) = document["predictions"]
    assert entry["judged"] == 12
    assert [(one["index"], one["timestamp"]) for one in entry["anomalies"]] == [(15, "2024-01-16"), (16, "2024-01-17")]
    first = entry["anomalies"][0]
    assert (first["value"], first["lower"], first["upper"], first["score"]) == (9.0, -1.0, 1.0, 9.0)


async def test_an_ordinary_series_has_no_anomaly(harness: Harness) -> None:
    harness.forecaster.spread = 1.0
    document = (await post(harness, "/anomalies", [{"target": [1.0, 2.0] * 20}], level=0.9)).json()
    assert document["predictions"][0]["anomalies"] == []
    assert document["level"] == 0.9


@pytest.mark.parametrize("level", [0, 1, 1.5, "x"])
async def test_a_level_is_between_0_and_1(harness: Harness, level: object) -> None:
    assert (await post(harness, "/anomalies", [{"target": [1.0] * 20}], level=level)).status_code == 422


@pytest.mark.parametrize("values", [[1e308, -1e308] * 20, [1.0, 2] * 20 + [1e308, -1e308], [5e-324, 0] * 20], ids=str)
@pytest.mark.parametrize("path", ["/backtest", "/anomalies"])
async def test_values_at_the_ends_of_what_floats_hold_are_judged(
    harness: Harness, path: str, values: list[float]
) -> None:
    """Their distances are none of those that floats hold: warnings in the log, and scores that were no numbers."""
    parameters = {"prediction_length": 2} if path == "/backtest" else {}
    response = await post(harness, path, [{"target": values}], **parameters)
    assert response.status_code == 200, response.text
    anomalies = response.json().get("predictions", [{}])[0].get("anomalies", [])
    assert all(isinstance(anomaly["score"], float) for anomaly in anomalies)


@pytest.mark.parametrize("level", [1e-300, 1 - 1e-12, 1 - 1e-16])
async def test_intervals_of_any_level_have_ends(harness: Harness, level: float) -> None:
    response = await post(harness, "/anomalies", [{"target": WEEK * 2}], level=level)
    assert response.status_code == 200, response.text
    (item,) = harness.forecaster.items
    assert isinstance(item, ForecastItem)
    levels = item.levels
    assert 0 < levels[0] <= levels[1] <= levels[2] < 1
