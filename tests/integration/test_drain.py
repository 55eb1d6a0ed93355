"""A stop under load: every request of a client that could connect is answered, and the service ends in time."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from benchmarks.faults.stop_load import StopLoad
from tests.integration.servers import TIMEOUT, Server, running, until

CLIENTS = ((64, 8), (512, 64))  # that keep their connections, and that make one for each request


async def stopped_under_load(
    server: Server, number: signal.Signals, clients: tuple[int, int]
) -> tuple[StopLoad, float]:
    """The load, and the seconds from the last answer to the end of the process."""
    server.ready()
    load = StopLoad(server.port, *clients)
    asking = asyncio.create_task(load.run())
    async with asyncio.timeout(TIMEOUT):
        await load.warm.wait()
        server.signal(number)
        if number == signal.SIGUSR2:  # it goes on with other processes
            await until(server.restarted)
            server.signal(signal.SIGTERM)
        status = await asyncio.to_thread(server.wait)
        seconds = time.monotonic() - load.last_answer
        await asking
    assert status == 0, server.lines
    return load, seconds


STOPS = ((1, signal.SIGTERM), (1, signal.SIGINT), (2, signal.SIGTERM), (2, signal.SIGINT), (2, signal.SIGUSR2))


async def check(one_model: Path, workers: int, number: signal.Signals, clients: tuple[int, int]) -> None:
    with running(one_model, workers=workers) as server:
        load, seconds = await stopped_under_load(server, number, clients)
    print(f"{workers} workers, {number.name}: {load.answered} answered, gone after {seconds:.2f} s")
    assert load.errors == []
    assert seconds < 10, "a fraction of the 20 s that it may drain, on a busy machine too"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_stop_under_load_loses_no_request(one_model: Path, workers: int) -> None:
    await check(one_model, workers, signal.SIGTERM, CLIENTS[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("workers", "number", "clients"), [(*stop, clients) for stop in STOPS for clients in CLIENTS])
async def test_stops_under_load_lose_no_request(
    one_model: Path, workers: int, number: signal.Signals, clients: tuple[int, int]
) -> None:
    for _ in range(3):
        await check(one_model, workers, number, clients)
