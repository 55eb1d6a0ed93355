from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.models import series


def targets(lengths: list[int], seed: int = 0) -> list[list[float | None]]:
    """Random walks with gaps, as JSON has them."""
    return [[None if math.isnan(v) else v for v in walk.tolist()] for walk in series(lengths, seed)]


async def ask(client: httpx.AsyncClient, *inputs: list[float | None], model: str = "lstm", **parameters: Any) -> Any:
    body = {"model": model, "inputs": [{"target": target} for target in inputs], "parameters": parameters}
    response = await client.post("/forecast", json=body)
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


async def test_the_shortest_legal_body(client: httpx.AsyncClient) -> None:
    response = await client.post("/forecast", json={"inputs": [{"target": [1, 2, 3, 4, 5]}]})
    assert response.status_code == 200
    document = response.json()
    assert document["model"] == "forecaster"
    assert document["model_digest"] == response.headers["x-model-digest"]
    assert "queue;dur=" in response.headers["server-timing"]
    assert "compute;dur=" in response.headers["server-timing"]
    (prediction,) = document["predictions"]
    assert prediction["mean"] == [3.0]
    assert list(prediction["quantiles"]) == ["0.1", "0.5", "0.9"]


async def test_mixed_lengths_in_one_request_are_answered_as_alone(client: httpx.AsyncClient) -> None:
    inputs = targets([1, 5, 40, 99, 100, 250, 3])
    predictions = await ask(client, *inputs, prediction_length=7, include=["history"])
    for target, prediction in zip(inputs, predictions, strict=True):
        (single,) = await ask(client, target, prediction_length=7, include=["history"])
        assert single == prediction  # bit for bit: JSON has every digit
        assert len(prediction["mean"]) == 7
        assert prediction["context"]["used"] == min(len(target), 100)


async def test_requests_at_the_same_time_change_nothing(client: httpx.AsyncClient) -> None:
    inputs = targets([int(n) for n in np.random.default_rng(1).integers(1, 120, 60)], seed=1)
    single = [await ask(client, target) for target in inputs[:10]]
    concurrent = await asyncio.gather(*(ask(client, target) for target in inputs))
    assert concurrent[:10] == single


async def test_models_and_versions_can_be_chosen(client: httpx.AsyncClient) -> None:
    fifty: list[float | None] = [float(i) for i in range(50)]
    for reference in ("forecaster", "forecaster@1", "linear", "lstm"):
        assert len(await ask(client, fifty, model=reference)) == 1


async def test_the_model_of_fixed_length_says_so(client: httpx.AsyncClient) -> None:
    response = await client.post("/forecast", json={"model": "linear", "inputs": [{"target": [1.0] * 49}]})
    document = response.json()
    assert (response.status_code, document["code"]) == (422, "length_not_supported")
    assert document["errors"][0]["pointer"] == "#/inputs/0/target"
    assert "exactly 50" in document["detail"]


async def test_history_depends_only_on_the_past(client: httpx.AsyncClient) -> None:
    (target,) = targets([20])
    (prediction,) = await ask(client, target, include=["history"])
    history = prediction["history"]
    for t in (1, 7, 19):
        (prefix,) = await ask(client, target[:t])
        assert history["mean"][t] == pytest.approx(prefix["mean"][0], rel=1e-9)
        assert history["quantiles"]["0.9"][t] == pytest.approx(prefix["quantiles"]["0.9"][0], rel=1e-9)
    assert len(history["median"]) == 20
    assert history["mean"][0] is None


async def test_a_step_does_not_depend_on_the_horizon(client: httpx.AsyncClient) -> None:
    (target,) = targets([30])
    (short,) = await ask(client, target, prediction_length=3)
    (long,) = await ask(client, target, prediction_length=60)
    assert long["mean"][:3] == short["mean"]


finite = st.floats(min_value=-1e12, max_value=1e12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.none() | finite, min_size=1, max_size=30), min_size=1, max_size=5),
    st.integers(1, 5),
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5),
)
async def test_finite_input_gives_ordered_finite_output(
    client: httpx.AsyncClient, inputs: list[list[float | None]], steps: int, levels: list[float]
) -> None:
    inputs = [[*target, 1.0] for target in inputs]  # at least one value is there
    for prediction in await ask(client, *inputs, model="forecaster", prediction_length=steps, quantile_levels=levels):
        bands = list(prediction["quantiles"].values())
        assert all(math.isfinite(value) for row in [prediction["mean"], *bands] for value in row)
        assert all(
            low <= high for below, above in itertools.pairwise(bands) for low, high in zip(below, above, strict=True)
        )
