"""Registries as settings describe them, and the application over one with real models that give no sound answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.api.app import create_app
from service.registry.factory import make_registry, one_shot_registry
from service.settings import Settings
from tests.models import LastValue, RunningMean, write_model

EXTREME = {"model": "mean", "inputs": [{"target": [1.7e308, -1.7e308]}]}
ORDINARY = {"model": "mean", "inputs": [{"target": [1.0, 2.0]}]}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    models = tmp_path_factory.mktemp("models")
    write_model(models, "mean", RunningMean(), version=2)
    write_model(models, "forecaster", LastValue())
    return Settings(models=models, device="cpu", threads=1, max_queue_items=2048)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings, registry=one_shot_registry(settings, "mean"))
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://r") as client:
        await app.state.registry.loaded()
        yield client


async def test_an_unsound_answer_is_a_logged_500_that_names_the_model(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = await client.post("/forecast", json=EXTREME, headers={"X-Request-ID": "find-me"})
    document = response.json()
    assert (response.status_code, document["code"], document["retryable"]) == (500, "model_fault", False)
    assert "mean@2" in document["detail"]
    assert "retry-after" not in response.headers
    (record,) = caplog.records
    fields = record.__dict__
    assert (fields["request_id"], fields["model"], fields["version"]) == ("find-me", "mean", 2)


async def test_an_unsound_answer_harms_no_request_of_the_same_batch(client: httpx.AsyncClient) -> None:
    responses = await asyncio.gather(
        *(client.post("/forecast", json=body) for body in [ORDINARY, EXTREME, ORDINARY] * 5)
    )
    assert [response.status_code for response in responses] == [200, 500, 200] * 5


async def test_a_one_shot_registry_loads_the_named_model_only_and_does_not_warm_it(settings: Settings) -> None:
    registry = one_shot_registry(settings, "mean")
    await registry.start()
    await registry.loaded()
    (version,) = registry.models()
    assert (version.reference, version.state, version.batch_invariant) == ("mean@2", "ready", None)
    await registry.close()


async def test_a_default_name_means_the_model_that_is_set_for_it(settings: Settings) -> None:
    chosen = settings.model_copy(update={"default_models": "forecaster=mean"})
    for registry in (make_registry(chosen), one_shot_registry(chosen, "forecaster")):
        await registry.start()
        await registry.loaded()
        assert registry.get("forecaster").manifest.name == "mean"
        await registry.close()
    registry = make_registry(chosen)
    await registry.start()
    await registry.loaded()
    assert registry.get("forecaster@1").manifest.name == "forecaster", "a version is that of the model of this name"
    await registry.close()


async def test_a_registry_has_the_limits_of_its_settings(settings: Settings) -> None:
    registry = make_registry(settings)
    await registry.start()
    await registry.warmed()
    assert [version.reference for version in registry.models()] == ["forecaster@1", "mean@2"]
    assert registry.get("forecaster").queue.limits.queue_items == 2048
    assert registry.models()[0].batch_invariant is True
    await registry.close()


async def test_an_absent_folder_of_models_is_503_for_a_request(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path / "absent", device="cpu", threads=1)
    app = create_app(settings, registry=make_registry(settings))
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://r") as client:
        await app.state.registry.loaded()
        response = await client.post("/forecast", json={"inputs": [{"target": [1, 2]}]})
    assert (response.status_code, response.json()["code"]) == (503, "model_not_ready")
