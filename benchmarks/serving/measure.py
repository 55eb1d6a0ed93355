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
from benchmarks.serving.processes import FREE, START_TIMEOUT, Cores, Server, free_port, server
from benchmarks.serving.rows import Row
from benchmarks.serving.workloads import Workload, send

TOLERANCE = 1e-5
CHECK_CONCURRENCY = 32  # series in flight while answers are checked, so that batches are checked too
READY_STREAK = 64  # answers of 200 in a row, on fresh connections, after which all processes count as started


class InvalidServer(Exception):
    """The server does not start, or its answers are not those of the network."""


def measure(
    contestant: Contestant,
    processes: int,
    number: int,
    *,
    levels: Sequence[int],
    seconds: int,
    warm_seconds: int,
    cores: Cores = FREE,
) -> Iterator[Row]:
    """The rows of round `number`; raises `InvalidServer` before anything is timed."""
    port = free_port()
    launch = contestant.launch(port, processes)
    first = contestant.first()
    log = SCRATCH / "logs" / f"{contestant.name}-{processes}.log".replace(" ", "-")
    start = time.monotonic()
    with server(
        launch.command, port=port, environment=launch.variables, folder=launch.folder, log=log, cores=cores.server
    ) as process:
        first_answer(process, first.requests[0])
        cold = time.monotonic() - start
        _wait_for_all_processes(process, first)
        check(process, first)
        wait_until_warm(process, contestant)
        time.sleep(1.0)
        idle = process.memory()
        for workload in (first, *contestant.other_workloads(port)):
            if workload is not first:
                _wait_for_all_processes(process, workload)  # the model may be another one
                check(process, workload)
            yield from _loads(
                process,
                contestant.name,
                processes,
                number,
                workload,
                levels=workload.levels or levels,
                seconds=seconds,
                warm_seconds=warm_seconds,
                cores=cores,
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
            loaded_pss_mib=process.memory().pss,
        )


def _loads(
    process: Server,
    name: str,
    processes: int,
    number: int,
    workload: Workload,
    *,
    levels: Sequence[int],
    seconds: int,
    warm_seconds: int,
    cores: Cores,
) -> Iterator[Row]:
    requests = SCRATCH / "requests.bin"
    load.write_requests(requests, workload.requests)
    load.run(process.port, requests, connections=max(levels), seconds=warm_seconds, cores=cores.client)
    for connections in levels:
        cpu_start, start = process.cpu_seconds(), time.monotonic()
        result = load.run(process.port, requests, connections=connections, seconds=seconds, cores=cores.client)
        cpu, elapsed = process.cpu_seconds() - cpu_start, time.monotonic() - start
        yield Row(
            name, processes, workload.name, connections, number,
            requests_per_second=result.rate,
            items_per_second=result.rate * workload.items,
            p50_ms=result.p50_ms, p90_ms=result.p90_ms, p99_ms=result.p99_ms, max_ms=result.max_ms,
            failed=result.failed, requests=result.requests,
            server_cores=cpu / elapsed, wrk_cores=result.wrk_cpu,
            cpu_us_per_request=cpu / max(1, result.requests) * 1e6,
        )  # fmt: skip


def first_answer(process: Server, request: Request) -> None:
    """Wait for the first answer of 200."""
    until = time.monotonic() + START_TIMEOUT
    status: Any = "no answer"
    while time.monotonic() < until:
        if not process.alive:
            raise InvalidServer(f"the server ended:\n{process.log_tail()}")
        try:
            status, answer = send(process.port, request)
            if status == 200:
                return
            status = f"{status} {answer!r}"
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.01)
    raise InvalidServer(f"no answer within {START_TIMEOUT:.0f} s ({status}):\n{process.log_tail()}")


def _wait_for_all_processes(process: Server, workload: Workload) -> None:
    """Wait until `READY_STREAK` requests on fresh connections are answered, so that every process has its share."""
    until, streak = time.monotonic() + START_TIMEOUT, 0
    while streak < READY_STREAK:
        if time.monotonic() > until:
            raise InvalidServer(f"not all of its processes answer within {START_TIMEOUT:.0f} s:\n{process.log_tail()}")
        try:
            status, _ = send(process.port, workload.requests[streak % len(workload.requests)])
        except (OSError, http.client.HTTPException):
            status = 0
        streak = streak + 1 if status == 200 else 0
        if status != 200:
            time.sleep(0.1)


def wait_until_warm(process: Server, contestant: Contestant) -> None:
    """Wait until every process, as far as `READY_STREAK` fresh connections meet them, is as fast as it will be."""
    until, streak = time.monotonic() + START_TIMEOUT, 0
    while streak < READY_STREAK:
        if time.monotonic() > until:
            raise InvalidServer(f"it is not warm within {START_TIMEOUT:.0f} s:\n{process.log_tail()}")
        streak = streak + 1 if contestant.is_warm(process.port) else 0
        if not streak:
            time.sleep(0.2)


def check(process: Server, workload: Workload) -> None:
    """Send every request of `workload` once, many at a time; raises `InvalidServer` at an unexpected answer."""
    local = threading.local()

    def check_answer(index: int) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
        status, answer = send(process.port, workload.requests[index], local.connection)
        if status != 200:
            raise InvalidServer(
                f"{workload.name}: request {index} was answered with {status}: {answer!r}\n{process.log_tail()}"
            )
        numbers = list(workload.decode(answer))
        if not _is_expected(numbers, workload, index):
            expected = workload.expected and workload.expected[index][:3]
            raise InvalidServer(f"{workload.name}: the answer to request {index} is {numbers[:3]}, not {expected}")

    with ThreadPoolExecutor(max(2, CHECK_CONCURRENCY // workload.items)) as pool:
        for future in [pool.submit(check_answer, index) for index in range(len(workload.requests))]:
            future.result()


def _is_expected(numbers: Sequence[float], workload: Workload, index: int) -> bool:
    """Whether these are the expected numbers; without any, whether there is a finite number for each item."""
    if workload.expected is None:
        return len(numbers) == workload.items and all(map(math.isfinite, numbers))
    expected = workload.expected[index]
    return len(numbers) == len(expected) and all(
        abs(a - b) <= TOLERANCE for a, b in zip(numbers, expected, strict=True)
    )
