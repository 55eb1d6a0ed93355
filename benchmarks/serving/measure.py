"""One server from start to stop: first answer, all answers checked, idle memory, every workload at every level."""

from __future__ import annotations

import http.client
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.serving import load
from benchmarks.serving.contestants import SCRATCH, Contestant
from benchmarks.serving.load import Request
from benchmarks.serving.processes import PATIENCE, Server, free_port, server
from benchmarks.serving.rows import Row
from benchmarks.serving.workloads import Workload, ask

TOLERANCE = 1e-5
TOGETHER = 32  # series in flight while answers are checked, so that batches are checked too
STEADY = 64  # right answers in a row, on fresh connections, that say that all processes have started


class Wrong(Exception):
    """A server that does not start, or whose answers are not those of the network."""


def measure(
    contestant: Contestant, processes: int, number: int, *, levels: Sequence[int], seconds: int, warm_seconds: int
) -> Iterator[Row]:
    """The rows of round `number`; raises `Wrong` before anything is timed that is not right."""
    port = free_port()
    launch = contestant.launch(port, processes)
    first = contestant.first()
    log = SCRATCH / "logs" / f"{contestant.name}-{processes}.log".replace(" ", "-")
    begun = time.monotonic()
    with server(launch.command, port=port, environment=launch.variables, folder=launch.folder, log=log) as running:
        first_answer(running, first.requests[0])
        cold = time.monotonic() - begun
        _steady(running, first)
        check(running, first)
        time.sleep(1.0)
        idle = running.memory()
        for workload in (first, *contestant.more(port)):
            if workload is not first:
                check(running, workload)
            yield from _loads(
                running,
                contestant.name,
                processes,
                number,
                workload,
                levels=workload.levels or levels,
                seconds=seconds,
                warm_seconds=warm_seconds,
            )
        yield Row(
            contestant.name,
            processes,
            "start",
            None,
            number,
            cold_start_s=cold,
            idle_pss_mib=idle.pss,
            idle_rss_mib=idle.rss,
            loaded_pss_mib=running.memory().pss,
        )


def _loads(
    running: Server,
    name: str,
    processes: int,
    number: int,
    workload: Workload,
    *,
    levels: Sequence[int],
    seconds: int,
    warm_seconds: int,
) -> Iterator[Row]:
    requests = SCRATCH / "requests.bin"
    load.write_requests(requests, workload.requests)
    load.run(running.port, requests, connections=max(levels), seconds=warm_seconds)
    for connections in levels:
        before, start = running.cpu_seconds(), time.monotonic()
        seen = load.run(running.port, requests, connections=connections, seconds=seconds)
        used, elapsed = running.cpu_seconds() - before, time.monotonic() - start
        yield Row(
            name, processes, workload.name, connections, number,
            requests_per_second=seen.rate,
            items_per_second=seen.rate * workload.items,
            p50_ms=seen.p50_ms, p90_ms=seen.p90_ms, p99_ms=seen.p99_ms, max_ms=seen.max_ms,
            failed=seen.failed, requests=seen.requests,
            server_cores=used / elapsed, wrk_cores=seen.wrk_cpu,
            cpu_us_per_request=used / max(1, seen.requests) * 1e6,
        )  # fmt: skip


def first_answer(running: Server, request: Request) -> None:
    """Wait for the first answer of 200."""
    until = time.monotonic() + PATIENCE
    status: Any = "no answer"
    while time.monotonic() < until:
        if not running.alive:
            raise Wrong(f"the server ended:\n{running.tail()}")
        try:
            status, answer = ask(running.port, request)
            if status == 200:
                return
            status = f"{status} {answer!r}"
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.01)
    raise Wrong(f"no answer within {PATIENCE:.0f} s ({status}):\n{running.tail()}")


def _steady(running: Server, workload: Workload) -> None:
    """Wait until every process that was asked for answers."""
    until, right = time.monotonic() + PATIENCE, 0
    while right < STEADY:
        if time.monotonic() > until:
            raise Wrong(f"not all of its processes answer within {PATIENCE:.0f} s:\n{running.tail()}")
        try:
            status, _ = ask(running.port, workload.requests[right % len(workload.requests)])
        except (OSError, http.client.HTTPException):
            status = 0
        right = right + 1 if status == 200 else 0
        if status != 200:
            time.sleep(0.1)


def check(running: Server, workload: Workload) -> None:
    """Every request of `workload` once, many at a time; raises `Wrong` at an answer that is not the expected one."""
    local = threading.local()

    def one(index: int) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        status, answer = ask(running.port, workload.requests[index], local.connection)
        if status != 200:
            raise Wrong(f"{workload.name}: request {index} was answered with {status}: {answer!r}\n{running.tail()}")
        got = list(workload.read(answer))
        if not _right(got, workload, index):
            expected = workload.expected and workload.expected[index][:3]
            raise Wrong(f"{workload.name}: the answer to request {index} is {got[:3]}, not {expected}")

    with ThreadPoolExecutor(max(2, TOGETHER // workload.items)) as pool:
        for done in [pool.submit(one, index) for index in range(len(workload.requests))]:
            done.result()


def _right(got: Sequence[float], workload: Workload, index: int) -> bool:
    """Whether these are the expected numbers; where none are known, whether they are as many, and finite."""
    if workload.expected is None:
        return len(got) == workload.items and all(map(math.isfinite, got))
    wanted = workload.expected[index]
    return len(got) == len(wanted) and all(abs(a - b) <= TOLERANCE for a, b in zip(got, wanted, strict=True))
