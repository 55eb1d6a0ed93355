"""From the first line to the exit status: readiness, draining, broken models, several processes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import ROOT, TIMEOUT, Server, new_client, running, until
from tests.models import LastValue, write_endless, write_model

BODY = {"inputs": [{"target": [1, 2, 3]}]}
LONG = {"inputs": [{"target": [1.0] * 60_000}]}  # takes a second or more


async def test_ready_then_draining_then_gone(slow_model: Path) -> None:
    with running(slow_model, as_command=True, drain_delay_seconds=1.5, drain_seconds=TIMEOUT) as server:
        server.listening()
        async with new_client(server.url) as client:
            first = await client.get("/readyz")  # it listens before its models are loaded, and says so
            if first.status_code != 200:
                assert (first.status_code, first.json()["code"]) == (503, "model_not_ready")
                detail = first.json()["detail"]
                assert "forecaster@1" in detail or detail == "the models have not been looked for yet"
            server.settled()
            assert (await client.get("/readyz")).status_code == 200

            in_flight = asyncio.create_task(client.post("/forecast", json=LONG))
            await asyncio.sleep(0.1)
            server.signal(signal.SIGTERM)

            async def refused() -> bool:
                return (await client.get("/readyz")).status_code == 503

            await until(refused)
            assert (await client.get("/readyz")).json()["code"] == "draining"
            assert (await client.post("/forecast", json=BODY)).status_code == 200  # still taken
            assert (await in_flight).status_code == 200
        assert await asyncio.to_thread(server.wait) == 0
        assert all(entry["level"] in {"info", "debug"} for entry in server.log())


async def test_what_is_in_flight_when_the_listener_closes_is_finished(slow_model: Path) -> None:
    with running(slow_model, drain_delay_seconds=0, drain_seconds=TIMEOUT) as server:
        server.settled()
        async with new_client(server.url) as client:
            in_flight = asyncio.create_task(client.post("/forecast", json=LONG))
            await asyncio.sleep(0.2)
            server.signal(signal.SIGTERM)
            assert (await in_flight).status_code == 200
        assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.slow
async def test_what_takes_longer_than_the_server_waits_may_be_sent_again(slow_model: Path) -> None:
    more_than_it_finishes = 12
    options: dict[str, Any] = {
        "drain_delay_seconds": 0.5,
        "drain_seconds": 1,
        "max_queue_observations": 100_000_000,
        "max_queue_seconds": 3600,
    }
    with running(slow_model, **options) as server:
        server.settled()
        async with new_client(server.url) as client:
            body = json.dumps({"inputs": [{"target": [1] * 100_000}] * 15}, separators=(",", ":"))
            send = functools.partial(
                client.post, "/forecast", content=body, headers={"content-type": "application/json"}
            )
            in_flight = [asyncio.create_task(send()) for _ in range(more_than_it_finishes)]
            await asyncio.sleep(0.5)
            server.signal(signal.SIGTERM)
            responses = await asyncio.gather(*in_flight)
        answers = {(response.status_code, response.json().get("code")) for response in responses}
        assert answers <= {(200, None), (503, "draining")}
        assert (503, "draining") in answers
        assert await asyncio.to_thread(server.wait) == 0


async def test_control_c_ends_at_once(one_model: Path) -> None:
    with running(one_model, as_command=True, drain_delay_seconds=600) as server:
        server.listening()
        server.signal(signal.SIGINT)
        assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.parametrize("file", ["model.pt", "golden.npz", "manifest.json"])
async def test_a_flipped_byte_is_found_at_the_start(one_model: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(one_model / "forecaster", tmp_path / "forecaster")
    write_model(tmp_path, "linear", LastValue())
    path = tmp_path / "linear" / "1" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with running(tmp_path) as server:
        server.settled()
        async with new_client(server.url) as client:
            states = {m["name"]: m["state"] for m in (await client.get("/models")).json()["models"]}
            assert states == {"forecaster": "ready", "linear": "failed"}
            refused = await client.post("/forecast", json={"model": "linear", "inputs": [{"target": [1.0] * 50}]})
            assert (refused.status_code, refused.json()["code"]) == (503, "model_not_ready")
            assert (await client.post("/forecast", json=BODY)).status_code == 200
        assert any(entry["level"] == "error" and "linear@1" in entry["message"] for entry in server.log())


async def test_without_models_it_lives_and_is_not_ready(tmp_path: Path) -> None:
    with running(tmp_path / "nowhere") as server:
        server.listening()
        async with new_client(server.url) as client:
            assert (await client.get("/livez")).status_code == 200
            response = await client.get("/readyz")
            assert (response.status_code, response.json()["code"]) == (503, "model_not_ready")
            assert (await client.post("/forecast", json=BODY)).json()["code"] == "model_not_ready"


def test_a_port_that_is_taken_is_an_error(one_model: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        running(one_model, as_command=True, port=listener.getsockname()[1]) as server,
    ):
        assert server.wait() not in (0, None)
        assert any("address already in use" in line for line in server.lines)


def test_a_device_that_is_not_there_is_an_error(one_model: Path) -> None:
    with running(one_model, device="cuda:77") as server:
        assert server.wait() not in (0, None)
        assert any("cuda:77" in line for line in server.lines)


async def test_two_processes_share_the_port_and_end_together(one_model: Path) -> None:
    with running(one_model, workers=2) as server:
        server.listening()

        async def both_ready() -> bool:
            return sum("forecaster@1 is ready" in line for line in server.lines) == 2

        await until(both_ready)
        async with new_client(server.url) as client:
            assert (await client.post("/forecast", json=BODY)).status_code == 200
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0
        assert sum("Finished server process" in line for line in server.lines) == 2


@pytest.fixture
def endless_model(tmp_path: Path) -> Path:
    """`forecaster` loads at once, and `endless` never: reading a value takes for ever."""
    write_model(tmp_path, "forecaster", LastValue())
    write_endless(tmp_path)
    return tmp_path


async def test_a_stop_is_heard_while_a_model_loads_for_ever(endless_model: Path) -> None:
    with running(endless_model, drain_delay_seconds=0, drain_seconds=5) as server:
        server.listening()
        async with new_client(server.url) as client:

            async def answers() -> bool:
                return (await client.post("/forecast", json=BODY)).status_code == 200

            await until(answers)
            assert (await client.get("/readyz")).status_code == 503
        server.signal(signal.SIGTERM)
        assert await asyncio.wait_for(asyncio.to_thread(server.wait), 60) == 0


@pytest.mark.slow
async def test_a_model_that_loads_for_ever_fails_and_the_others_are_ready(endless_model: Path) -> None:
    with running(endless_model, model_load_seconds=5, drain_delay_seconds=0) as server:
        server.ready()
        async with new_client(server.url) as client:
            models = {model["name"]: model for model in (await client.get("/models")).json()["models"]}
            assert (models["forecaster"]["state"], models["endless"]["state"]) == ("ready", "failed")
            assert (await client.post("/forecast", json=BODY)).status_code == 200
            refused = await client.post("/forecast", json={"model": "endless", **BODY})
            assert (refused.status_code, refused.json()["code"]) == (503, "model_not_ready")
        assert any("not loaded within 5 s" in line for line in server.lines)
        server.signal(signal.SIGTERM)
        assert await asyncio.wait_for(asyncio.to_thread(server.wait), 60) == 0


def test_signals_of_every_kind_at_every_stage(one_model: Path) -> None:
    """Only a signal to stop ends the service, and a late one does not make that a failure."""
    with running(one_model, as_command=True, drain_delay_seconds=0) as server:
        until_text(server, "small requests are served")  # the first line, long before it listens
        for number in (signal.SIGHUP, signal.SIGUSR2):
            server.signal(number)
        server.settled()
        server.signal(signal.SIGUSR2)
        until_text(server, "one process alone")
        server.ready()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert all("exception" not in entry for entry in server.log())


def test_control_c_before_anything_is_served(one_model: Path) -> None:
    with running(one_model, as_command=True, workers=2) as server:
        until_text(server, "running on")
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert server.log()[-1]["level"] == "info"  # and no line is a traceback


def test_signals_do_not_make_the_end_of_several_processes_a_failure(one_model: Path) -> None:
    with running(one_model, as_command=True, workers=2, drain_delay_seconds=0) as server:
        server.ready()
        kinds = itertools.cycle((signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR2))
        while server.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                server.signal(next(kinds))
            time.sleep(0.005)
        assert server.wait() == 0
        assert all("exception" not in entry for entry in server.log())


@pytest.mark.parametrize("route", ["/forecast", "/v2/models/forecaster/infer", "/models/forecaster/load"])
async def test_a_stop_refuses_what_has_not_arrived(one_model: Path, route: str) -> None:
    with running(one_model, drain_delay_seconds=0, drain_seconds=0.5) as server:
        server.settled()
        with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as client:
            head = f"POST {route} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 99"
            client.sendall(f"{head}\r\n\r\n{{".encode())
            await asyncio.sleep(0.3)
            server.signal(signal.SIGTERM)
            answer = await asyncio.to_thread(client.recv, 1 << 16)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert server.wait() == 0
        assert all("exception" not in entry for entry in server.log())


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_files(one_model: Path, closed: str) -> None:
    environment = {**os.environ, "RITMO_MODELS": str(one_model), "RITMO_PORT": "0", "RITMO_DRAIN_DELAY_SECONDS": "0"}
    command = ["sh", "-c", f"exec {sys.executable} -m service serve {closed}"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
        time.sleep(2)
        process.terminate()
        _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert b"Traceback" not in errors


def until_text(server: Server, text: str) -> None:
    limit = time.monotonic() + TIMEOUT
    while not any(text in line for line in server.lines):
        assert time.monotonic() < limit
        time.sleep(0.005)
