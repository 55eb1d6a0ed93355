"""Several processes on one port: one service to every client."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.faults.stop_load import StopLoad
from service.runtime.scratch_folder import scratch_folder
from tests.integration.servers import Server, new_client, running, until
from tests.models import Fatal, LastValue, write_model

STARTED = re.compile(r"Started server process \[(\d+)\]")


def workers(server: Server) -> list[int]:
    """Process ids of all that have start to serve, in the order of their start."""
    return [int(match.group(1)) for line in list(server.lines) if (match := STARTED.search(line))]


async def ask(server: Server, path: str, item: dict[str, Any] | None = None, **parameters: Any) -> httpx.Response:
    """One request over a connection of its own, which any of the processes may take."""
    async with new_client(server.url) as client:
        if item is None:
            return await client.get(path)
        return await client.post(path, json={"inputs": [item], "parameters": parameters})


async def counted(server: Server, sample: str) -> float:
    lines = (await ask(server, "/metrics")).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(sample))


@pytest.mark.slow
async def test_two_processes_are_one_service(one_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness, counters, tokens; one is killed and replaced; then the parent is killed, and no process stays."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running(one_model, as_command=True, workers=2) as server:
        server.listening()

        async def ready() -> bool:
            response = await ask(server, "/readyz")
            if response.status_code == 200:  # then every process says so, and from the first time on
                return True
            assert response.json()["code"] == "model_not_ready"
            return False

        await until(ready)
        assert sum("forecaster@1 is ready" in line for line in server.lines) == 2
        assert [(await ask(server, "/readyz")).status_code for _ in range(10)] == [200] * 10

        start = (await ask(server, "/forecast", {"target": [1, 2]}, return_state=True)).json()["predictions"][0]
        item = {"target": [3], "state": start["state"]}
        answers = await asyncio.gather(*(ask(server, "/forecast", item) for _ in range(39)))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["predictions"][0]["context"]["observations"] for answer in answers} == {3}
        sample = 'ritmo_requests_total{code="200",model="forecaster",route="/forecast"}'
        assert [await counted(server, sample) for _ in range(10)] == [40.0] * 10

        async def seen_by_both() -> bool:  # each process writes down its state once a second
            models = await counted(server, 'ritmo_model_state{model="forecaster",state="ready"')
            return models == 2 and await counted(server, "ritmo_queue_items{") == 0

        await until(seen_by_both)
        assert await counted(server, "ritmo_process_restarts_total") == 0

        killed, survivor = workers(server)
        os.kill(killed, signal.SIGKILL)

        async def replaced() -> bool:
            try:
                response = await ask(server, "/readyz")
            except httpx.TransportError:  # taken by the one that died, in the moment that it died
                return False
            assert response.status_code == 200, response.text
            return len(workers(server)) == 3 and sum("forecaster@1 is ready" in line for line in server.lines) == 3

        await until(replaced)
        assert (await ask(server, "/readyz")).json()["warnings"] == ["a serving process died and was replaced 1 times"]
        assert [await counted(server, sample) for _ in range(5)] == [40.0] * 5  # nothing that was counted is lost
        assert await counted(server, "ritmo_process_restarts_total") == 1
        assert (await ask(server, "/forecast", item)).status_code == 200
        errors = [entry["message"] for entry in server.log() if entry["level"] == "error"]
        assert errors == ["a worker died"]

        server.signal(signal.SIGKILL)

        async def all_ended() -> bool:
            try:
                await ask(server, "/livez")
            except httpx.TransportError:
                return not any(alive(pid) for pid in workers(server)[1:])
            return False

        await until(all_ended)
        assert survivor in workers(server)
    assert len(folders(tmp_path)) == 1  # left behind by the parent, and swept at the next start
    with scratch_folder(tmp_path) as folder:
        assert folders(tmp_path) == [folder]


@pytest.mark.slow
async def test_a_replacement_serves_what_the_others_do_or_does_not_listen(tmp_path: Path) -> None:
    """The folder changes while the service runs; then SIGHUP makes all serve what is there, SIGUSR2 too."""
    write_model(tmp_path, "forecaster", LastValue())
    with running(tmp_path, workers=2) as server:
        server.ready()
        digest = (await ask(server, "/readyz")).json()["models"][0]["digest"]
        changed = tmp_path / ".changed"
        shutil.move(tmp_path / "forecaster" / "1", changed)
        os.kill(workers(server)[0], signal.SIGKILL)

        async def failed_twice() -> bool:
            return sum("a replacement could not start" in line for line in server.lines) >= 2

        await until(failed_twice)
        answers = [await ask(server, "/forecast", {"target": [1, 2]}) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        health = (await ask(server, "/readyz")).json()
        assert [model["digest"] for model in health["models"]] == [digest]
        assert "a replacement of a serving process could not start" in health["warnings"][1]
        assert any("other processes serve forecaster@1, and it cannot" in line for line in server.lines)

        shutil.move(changed, tmp_path / "forecaster" / "1")
        write_model(tmp_path, "linear", LastValue())

        async def healthy() -> bool:
            return len((await ask(server, "/readyz")).json()["warnings"]) == 1

        await until(healthy)
        answers = [await ask(server, "/readyz") for _ in range(20)]
        assert {len(answer.json()["models"]) for answer in answers} == {1}  # the new model would be in one of them only

        load = StopLoad(server.port, keep_alive=4, fresh=2)
        clients = asyncio.create_task(load.run())
        await load.warm.wait()
        server.signal(signal.SIGHUP)

        async def reloaded() -> bool:
            return len((await ask(server, "/readyz")).json()["models"]) == 2

        await until(reloaded)
        server.signal(signal.SIGUSR2)
        await until(server.restarted)
        answers = [await ask(server, "/readyz") for _ in range(20)]
        assert {len(answer.json()["models"]) for answer in answers} == {2}
        server.signal(signal.SIGTERM)
        await clients
        assert load.errors == []
        assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.slow
async def test_versions_that_end_their_processes_are_set_aside(one_model: Path, tmp_path: Path) -> None:
    """One when it is loaded, one when it is warmed up; the others are served."""
    shutil.copytree(one_model, tmp_path, dirs_exist_ok=True)
    write_model(tmp_path, "loading", Fatal(rows=1))
    write_model(tmp_path, "warming", Fatal(rows=40))
    with running(tmp_path, workers=2) as server:
        server.listening()

        async def set_aside() -> bool:
            try:
                states = (await ask(server, "/readyz")).json()
            except httpx.TransportError:  # taken by one that died
                return False
            return [each["state"] for each in states["models"]] == ["ready", "failed", "failed"]

        await until(set_aside)
        await until(lambda: _answers(server, 200))
        health = (await ask(server, "/readyz")).json()
        assert health["warnings"][:2] == [
            "loading@1: 2 processes ended while it was loaded, the last one by SIGFPE",
            "warming@1: 2 processes ended while it was warmed up, the last one by SIGFPE",
        ]
        assert (await ask(server, "/forecast", {"target": [1, 2]})).status_code == 200
        # Two for each, and those that had started with it when the second one died.
        assert 4 <= sum("a worker died" in line for line in server.lines) <= 6
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0


async def _answers(server: Server, status: int) -> bool:
    try:
        return (await ask(server, "/readyz")).status_code == status
    except httpx.TransportError:
        return False


def test_workers_that_cannot_start_end_the_service(one_model: Path) -> None:
    with running(one_model, workers=2, device="cuda:77") as server:
        assert server.wait() not in (0, None)
        assert any("cuda:77" in line for line in server.lines)


def folders(parent: Path) -> list[Path]:
    return list(parent.iterdir())


def alive(pid: int) -> bool:
    """Whether it runs; a zombie, which only waits to be reaped, does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
