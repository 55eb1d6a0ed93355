from __future__ import annotations

from tests.service.api.harness import BODY, Harness, problem


async def test_liveness_asks_no_model(harness: Harness) -> None:
    harness.registry.is_ready = False
    assert (await harness.client.get("/livez")).json() == {"status": "alive"}


async def test_readiness(harness: Harness) -> None:
    response = await harness.client.get("/readyz")
    assert response.status_code == 200
    assert [(m["name"], m["state"]) for m in response.json()["models"]] == [
        ("forecaster", "ready"),
        ("linear", "ready"),
        ("digits", "ready"),
    ]
    harness.registry.is_ready = False
    harness.linear.state, harness.linear.reason = "failed", "a flipped byte"
    response = await harness.client.get("/readyz")
    document = problem(response, 503, "model_not_ready")
    linear = next(model for model in document["models"] if model["name"] == "linear")
    assert (linear["version"], linear["state"], linear["reason"]) == ("1", "failed", "a flipped byte")
    assert response.headers["retry-after"]


async def test_draining_is_reported_first_and_requests_are_still_taken(harness: Harness) -> None:
    harness.registry.drain()
    problem(await harness.client.get("/readyz"), 503, "draining")
    assert (await harness.forecast(BODY)).status_code == 200
