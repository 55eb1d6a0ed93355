"""Models are changed while they are served: by signals, requests and polling, without a lost request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor

from service.contract.manifest import MODEL_FILE, InputContract
from tests.integration.servers import Server, new_client, running, until
from tests.models import LastValue, write_model

ROUNDS = int(os.environ.get("RITMO_TEST_RELOADS", "4"))  # of the slow test; 20 take ten minutes on two busy cores
CLIENTS = 64
SHORT = InputContract(features=1, min_length=1, max_length=60, missing=True, max_horizon=24)


class Plus(LastValue):
    """Forecasts the last value and a constant, by which a version is told from others."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        mean = state + self.constant
        return torch.cat((mean, mean + levels - 0.5), 1).unsqueeze(1).repeat(1, horizon, 1)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        latest = self._latest(values, lengths, state)
        mean = latest[:, :-1].unsqueeze(2) + self.constant
        return latest[:, -1:], torch.cat((mean, mean + levels.unsqueeze(1) - 0.5), 2)


def add_version(models: Path, version: int) -> Path:
    """Write a version aside and rename it, as an export does; it adds its number to the last value."""
    aside = models / ".aside"
    folder = write_model(aside, "forecaster", Plus(float(version)), version=version, inputs=SHORT)
    target = models / "forecaster" / str(version)
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)
    shutil.rmtree(aside)
    return target


def spoil(folder: Path) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(bytes(data))


class Clients:
    """Clients that ask one after the other without a pause; each answer is right for the version that gave it."""

    def __init__(self, server: Server, count: int = CLIENTS) -> None:
        self.versions: list[int] = []
        self.failures: list[str] = []
        self.stopping = False
        self._server = server
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Clients:
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(self._count)]
        await until(self._all_have_asked)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping = True
        await asyncio.gather(*self._tasks)

    async def _all_have_asked(self) -> bool:
        return len(self.versions) + len(self.failures) >= self._count

    async def answered(self, count: int = CLIENTS) -> None:
        """Wait for so many more answers."""
        enough = len(self.versions) + len(self.failures) + count

        async def condition() -> bool:
            return len(self.versions) + len(self.failures) >= enough

        await until(condition)

    async def _ask(self, number: int) -> None:
        async with new_client(self._server.url) as client:
            while not self.stopping:
                value = float(number)
                body = {"inputs": [{"target": [value]}], "model": "forecaster"}
                try:
                    response = await client.post("/forecast", json=body)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if response.status_code != 200:
                    self.failures.append(response.text)
                    continue
                answer = response.json()
                version = int(answer["model_version"])
                self.versions.append(version)
                if answer["predictions"][0]["mean"] != [value + (version if version > 1 else 0.0)]:
                    self.failures.append(f"version {version} answered {answer}")


@contextlib.asynccontextmanager
async def serving(models: Path, **settings: Any) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    write_model(models, "forecaster", LastValue(), inputs=SHORT)
    with running(models, **settings) as server:
        server.ready()
        async with new_client(server.url) as client:
            yield server, client


async def current(server: Server, fresh: int = 8) -> set[int]:
    """The versions that the bare name means, over several connections: several processes answer."""
    versions = set()
    for _ in range(fresh):
        async with new_client(server.url) as client:
            response = await client.post("/forecast", json={"inputs": [{"target": [1.0]}]})
            versions.add(int(response.json()["model_version"]))
    return versions


async def change(client: httpx.AsyncClient, action: str, version: int | None = None) -> httpx.Response:
    body = {} if version is None else {"version": version}
    return await client.post(f"/models/forecaster/{action}", json=body)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_reloads_and_rollbacks_under_load_lose_no_request(tmp_path: Path, workers: int) -> None:
    async with serving(tmp_path, workers=workers, model_versions=3) as (server, client), Clients(server) as clients:
        for number in range(2, 2 + ROUNDS):
            add_version(tmp_path, number)
            loaded = await change(client, "load")
            assert loaded.status_code == 200, loaded.text
            assert loaded.json()["versions"][0]["state"] == "ready"
            assert await current(server) == {number}
            before = len(clients.versions)
            await clients.answered()
            assert set(clients.versions[before + CLIENTS :]) <= {number}
            rolled_back = await change(client, "default", 1)
            assert rolled_back.status_code == 200, rolled_back.text
            assert await current(server) == {1}
            assert (await change(client, "default")).status_code == 200
            assert await current(server) == {number}
            await clients.answered()
            if number > 3:
                assert (await change(client, "unload", number - 1)).status_code == 200
    assert clients.failures == []
    assert {1, 2} <= set(clients.versions)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_serves_what_is_on_disk(tmp_path: Path, workers: int) -> None:
    async with serving(tmp_path, workers=workers) as (server, client):
        add_version(tmp_path, 2)
        spoil(add_version(tmp_path, 3))
        server.signal(signal.SIGHUP)

        async def reloaded() -> bool:
            return len((await client.get("/models/forecaster")).json()["versions"]) == 3

        await until(reloaded)
        assert await current(server) == {2}
        versions = {v["version"]: v for v in (await client.get("/models/forecaster")).json()["versions"]}
        assert (versions["3"]["state"], versions["2"]["default"]) == ("failed", True)
        assert "sha256" in versions["3"]["reason"]
        shutil.rmtree(tmp_path / "forecaster" / "2")
        server.signal(signal.SIGHUP)

        async def gone() -> bool:
            return len((await client.get("/models/forecaster")).json()["versions"]) == 2

        await until(gone)
        assert await current(server) == {1}
        refused = await client.post("/forecast", json={"inputs": [{"target": [1]}], "model": "forecaster@3"})
        assert refused.status_code == 503
        assert "sha256" in refused.json()["detail"]
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0


async def test_a_new_version_that_is_broken_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        spoil(add_version(tmp_path, 2))
        for action, version in (("load", None), ("default", 2)):
            response = await change(client, action, version)
            assert response.status_code == 503
            assert response.json()["code"] == "model_not_ready"
            assert "sha256" in response.json()["detail"]
        assert await current(server) == {1}
        shutil.rmtree(tmp_path / "forecaster" / "2")
        add_version(tmp_path, 2)
        assert (await change(client, "load")).status_code == 200
        assert await current(server) == {2}


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        assert (await client.post("/models/nothing/load")).json()["code"] == "model_not_found"
        missing = await change(client, "default", 9)
        assert (missing.status_code, missing.json()["code"]) == (404, "version_not_found")
        assert "it has 1" in missing.json()["detail"]
        assert (await change(client, "default", 0)).status_code == 422
        assert (await client.post("/models/forecaster/load", json={"versions": 1})).status_code == 422


async def test_tokens_of_a_version_go_on_with_it_by_name_and_not_with_the_next(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        parameters = {"return_state": True}
        first = await client.post("/forecast", json={"inputs": [{"target": [7.0]}], "parameters": parameters})
        state = first.json()["predictions"][0]["state"]
        add_version(tmp_path, 2)
        assert (await change(client, "load")).status_code == 200
        body = {"inputs": [{"target": [], "state": state}]}
        assert (await client.post("/forecast", json=body)).json()["errors"][0]["code"] == "state_model_mismatch"
        same = await client.post("/forecast", json=body | {"model": "forecaster@1"})
        assert same.json()["predictions"][0]["mean"] == [7.0]
        assert (await change(client, "unload", 1)).status_code == 200
        gone = await client.post("/forecast", json=body | {"model": "forecaster@1"})
        assert (gone.status_code, gone.json()["code"]) == (503, "model_not_ready")
        assert "it was unloaded" in gone.json()["detail"]


async def test_unloading_all_versions_and_loading_one_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        assert (await change(client, "unload")).json()["versions"][0]["state"] == "unloaded"
        assert (await client.post("/forecast", json={"inputs": [{"target": [1]}]})).status_code == 503
        server.signal(signal.SIGHUP)  # what was unloaded stays so
        assert (await change(client, "load")).status_code == 200
        assert await current(server) == {1}


async def test_the_repository_calls_of_oip(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        add_version(tmp_path, 2)
        assert (await client.post("/v2/repository/models/forecaster/load")).status_code == 200
        assert await current(server) == {2}
        index = (await client.post("/v2/repository/index", json={})).json()
        assert {(entry["name"], entry["version"], entry["state"]) for entry in index} == {
            ("forecaster", "1", "READY"),
            ("forecaster", "2", "READY"),
        }
        assert (await client.post("/v2/repository/models/forecaster/unload", json={})).status_code == 200
        answer = await client.post("/v2/repository/index")
        assert answer.status_code == 200, answer.text
        assert {e["state"] for e in answer.json()} == {"UNAVAILABLE"}
        missing = await client.post("/v2/repository/models/nothing/load")
        assert missing.status_code == 404
        assert "there is no model" in missing.json()["error"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_folder_that_is_polled_is_served_as_it_is(tmp_path: Path, workers: int) -> None:
    settings = {"workers": workers, "model_updates": "poll", "model_poll_seconds": 0.2}
    async with serving(tmp_path, **settings) as (server, _):
        add_version(tmp_path, 2)

        async def found() -> bool:
            return await current(server) == {2}

        await until(found)


async def test_management_can_be_forbidden(tmp_path: Path) -> None:
    async with serving(tmp_path, model_management="off") as (server, client):
        add_version(tmp_path, 2)
        for path in ("/models/forecaster/load", "/v2/repository/models/forecaster/load"):
            assert (await client.post(path)).status_code == 404
        assert await current(server) == {1}


async def test_pages_of_other_origins_change_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, client):
        for path in ("/models/forecaster/unload", "/v2/repository/models/forecaster/unload"):
            refused = await client.post(path, headers={"Origin": "https://elsewhere.example"})
            assert refused.status_code == 403
        assert await current(server) == {1}
        own = {"Origin": server.url}
        assert (await client.post("/models/forecaster/unload", headers=own)).status_code == 200


@pytest.mark.slow
async def test_pinned_versions_and_the_last_ones_only(tmp_path: Path) -> None:
    for number in (2, 3, 4):
        add_version(tmp_path, number)
    async with serving(tmp_path, model_pins="forecaster=2", model_versions=1) as (server, client):
        assert await current(server) == {2}
        versions = {v["version"]: v["state"] for v in (await client.get("/models/forecaster")).json()["versions"]}
        assert versions == {"1": "unloaded", "2": "ready", "3": "unloaded", "4": "ready"}
        assert (await change(client, "default")).status_code == 200
        assert await current(server) == {4}
        assert (await change(client, "default", 3)).status_code == 200
        assert await current(server) == {3}


@pytest.mark.slow
async def test_a_killed_worker_comes_back_with_what_is_served_now(tmp_path: Path) -> None:
    async with serving(tmp_path, workers=2) as (server, client):
        add_version(tmp_path, 2)
        assert (await change(client, "load")).status_code == 200
        assert (await change(client, "default", 1)).status_code == 200
        add_version(tmp_path, 3)  # nobody asked for it
        pids = [int(line.split("[")[1].split("]")[0]) for line in server.lines if "Started server process" in line]
        os.kill(pids[0], signal.SIGKILL)

        async def replaced() -> bool:
            return sum("Started server process" in line for line in server.lines) == 3 and _is_ready(
                await _health(server)
            )

        await until(replaced)
        assert await current(server, fresh=20) == {1}
        for _ in range(10):
            async with new_client(server.url) as fresh:
                assert len((await fresh.get("/models/forecaster")).json()["versions"]) == 2


def _is_ready(health: httpx.Response | None) -> bool:
    return health is not None and health.status_code == 200


async def _health(server: Server) -> httpx.Response | None:
    try:
        async with new_client(server.url) as client:
            return await client.get("/readyz")
    except httpx.TransportError:  # taken by the one that died
        return None
