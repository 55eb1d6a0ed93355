"""The server process, with a small application in place of the service's: how it starts, and how it ends."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.config import STARTUP_FAILURE

import service.server.server as module
from service.api.byte_budget import ByteBudget
from service.api.request_metrics import RequestMetrics
from service.metrics.page import Metrics
from service.runtime.worker_group import SharedNumbers
from service.server.connection import ConnectionLimits
from service.server.http_protocol import Protocol
from service.server.server import _ENDLESS_CALL, Server, default_headers
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT = 200.0

BUSY = """
import asyncio, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
import service.server.server as server
from service.server.listener import bind
from service.settings import Settings

class Registry:
    draining = False
    call_seconds = 0.0
    metrics = SimpleNamespace(refresh=lambda: None)
    def drain(self):
        self.draining = True

pool = ThreadPoolExecutor(1)

async def app(scope, receive, send):
    await receive()
    if "hang" in sys.argv:
        server._REPORT, server._HUNG_LOOKS = 0.05, 10
        asyncio.get_running_loop().call_later(0.2, time.sleep, 600)
    pool.submit(time.sleep, 600)
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

class Streams(list):
    def close(self):
        pass
    async def cut(self):
        if "fail" in sys.argv:
            raise RuntimeError("a test says so")

app.state = SimpleNamespace(registry=Registry(), streams=Streams(), control=None, budget=None, request_metrics=None)
server.create_app = lambda settings, group=None: app
sys.exit(server.run(Settings(port=0, drain_delay_seconds=0, drain_seconds=1), bind("127.0.0.1", 0)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_ends_although_its_threads_work(number: signal.Signals) -> None:
    """A decoder may work for minutes; both the event loop's end and the interpreter's wait for such a thread."""
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = iter(process.stderr)
            assert any("running on" in line for line in lines)
            process.send_signal(number)
            assert process.wait(TIMEOUT) == 0
            assert any("Finished server process" in line for line in lines)
        finally:
            process.kill()


def test_a_process_whose_end_fails_ends_all_the_same() -> None:
    """Leaving the event loop in the usual way would wait for its threads."""
    command = [sys.executable, "-c", BUSY, "fail"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = iter(process.stderr)
            assert any("running on" in line for line in lines)
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT) == 1
            assert any("the server failed" in line for line in lines)
        finally:
            process.kill()


def test_a_process_alone_that_hangs_ends(tmp_path: Path) -> None:
    """Not even SIGTERM would end it: Python calls the handler between two steps of the thread that hangs."""
    with (tmp_path / "log").open("w+") as log:
        assert (
            subprocess.run(
                [sys.executable, "-c", BUSY, "hang"], check=False, cwd=ROOT, stderr=log, timeout=TIMEOUT
            ).returncode
            == 1
        )
        log.seek(0)
        assert "it has hung in a call" in log.readlines()[-1]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("No space left on device")])
def test_a_process_that_cannot_start_logs_why(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def create_app(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(module, "create_app", create_app)
    monkeypatch.setattr("service.runtime.logs.configure", lambda level: None)
    assert module.run(Settings(), []) == STARTUP_FAILURE
    assert caplog.messages[0].startswith("the process cannot start")
    assert "No space left on device" in caplog.text


class Registry:
    """The part of a registry that ends a process."""

    draining = False
    call_seconds = 0.0
    metrics = SimpleNamespace(refresh=lambda: None)

    def drain(self) -> None:
        self.draining = True


@pytest.fixture
def server() -> Iterator[tuple[Server, Registry]]:
    registry: Any = Registry()
    streams: Any = []
    with socket.socket() as listener:
        config = uvicorn.Config("app", log_config=None)
        limits = ConnectionLimits(Settings(), ByteBudget(0), RequestMetrics(Metrics()))
        yield Server(config, registry, streams, Settings(), [listener], limits), registry


async def test_a_process_that_can_no_longer_report_ends(
    server: tuple[Server, Registry], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("a test")

    server[0]._start_task(fail())
    async with asyncio.timeout(TIMEOUT):
        while not server[0].should_exit:  # noqa: ASYNC110 - what the callback of a task does sets no event
            await asyncio.sleep(0)
    assert server[1].draining
    assert "the process cannot report to the others" in caplog.messages


async def test_a_task_that_is_cancelled_ends_nothing(server: tuple[Server, Registry]) -> None:
    server[0]._start_task(asyncio.sleep(TIMEOUT))
    await asyncio.sleep(0)
    (task,) = server[0]._tasks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not server[1].draining


async def test_a_connection_that_is_made_after_the_drain_began_is_told(server: tuple[Server, Registry]) -> None:
    """The event loop makes a protocol when it accepts a connection, and connects it a round later."""
    loop = asyncio.get_running_loop()
    server[0].config.app = Registry  # none is called
    server[0].config.load()
    server[0].lifespan = server[0].config.lifespan_class(server[0].config)
    accepted = server[0]._protocol()
    server[0]._drain(0.1)
    client, connection = socket.socketpair()
    with client:
        transport, _ = await loop.connect_accepted_socket(lambda: accepted, connection)
        assert isinstance(accepted, Protocol)
        assert accepted.draining
        transport.close()
        await asyncio.sleep(0.01)


async def test_a_call_that_does_not_return_is_no_sign_of_life(server: tuple[Server, Registry]) -> None:
    for call_seconds, is_silent in ((0.0, False), (_ENDLESS_CALL + 1, True)):
        server[0]._turned = -math.inf
        server[1].call_seconds = call_seconds
        beating = asyncio.create_task(server[0]._beat())
        await asyncio.sleep(0)
        beating.cancel()
        assert (server[0].silence() == math.inf) == is_silent


def test_a_stop_that_all_processes_hear_is_one_stop(server: tuple[Server, Registry]) -> None:
    """systemd sends SIGTERM to every process of a service, and the parent passes on what it got."""
    shared = SharedNumbers(multiprocessing.get_context("spawn"), 1)
    group: Any = SimpleNamespace(shared=shared)
    server[0]._group = group
    server[0].handle_exit(signal.SIGTERM, None)
    server[0].should_exit = False
    shared.stop()
    server[0].handle_exit(signal.SIGTERM, None)
    assert not server[0].should_exit
    shared.stop()  # a second one
    server[0].handle_exit(signal.SIGTERM, None)
    assert server[0].should_exit


def test_a_second_signal_ends_the_drain_and_a_third_the_waiting(server: tuple[Server, Registry]) -> None:
    server[0].servers = []
    server[0].handle_exit(signal.SIGTERM, None)
    assert (server[1].draining, server[0].should_exit, server[0].force_exit) == (True, True, False)
    server[0].handle_exit(signal.SIGTERM, None)
    assert server[0].force_exit


@pytest.mark.parametrize(
    ("host", "has_tls", "is_told"),
    [("0.0.0.0", True, True), ("0.0.0.0", False, False), ("127.0.0.1", True, False)],
)
def test_browsers_come_back_with_tls_where_the_network_is_served(host: str, has_tls: bool, is_told: bool) -> None:
    """A name of this machine is used for other things, too, which may have no TLS."""
    headers = dict(default_headers(Settings(host=host), has_tls=has_tls))
    assert ("strict-transport-security" in headers) == is_told
    assert headers["x-content-type-options"] == "nosniff"
