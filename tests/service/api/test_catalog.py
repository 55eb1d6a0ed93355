from __future__ import annotations

from tests.service.api.harness import Harness, problem


async def test_models(harness: Harness) -> None:
    document = (await harness.client.get("/models")).json()
    assert [m["name"] for m in document["models"]] == ["forecaster", "linear", "digits"]
    first = document["models"][0]
    assert first["default"] is True
    assert first["digest"] == "sha256:" + "ab" * 32
    assert first["input"]["context"] == 50
    assert first["metrics"] == {"mse": 0.5}
    assert document["limits"]["max_items"] == 64
    linear = (await harness.client.get("/models/linear")).json()
    assert [v["version"] for v in linear["versions"]] == ["1"]
    assert linear["versions"][0]["input"]["max_length"] == 50
    assert "'digits'" in problem(await harness.client.get("/models/digist"), 404, "model_not_found")["detail"]


async def test_a_query_is_refused(harness: Harness) -> None:
    for path in ("/models", "/models/linear"):
        document = problem(await harness.client.get(f"{path}?state=ready&x=1"), 422, "unknown_field")
        assert [error["pointer"] for error in document["errors"]] == ["#/state", "#/x"]
