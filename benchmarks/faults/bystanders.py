"""Other clients beside a fault, in a process of their own: in that of the flood they would wait for its interpreter.

`python -m benchmarks.faults.bystanders PORT` probes and calls until its standard input ends; then it prints latencies.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from benchmarks.faults.bench import JSON, ROOT, SMALL, Service, quantile, request

PROBE_SECONDS = 0.05  # between two probes
CALL_SECONDS = 0.01  # between two calls


@dataclass
class Latencies:
    """Of fresh probes of the serving port, and of a small caller that keeps its connection: the seconds of each."""

    probes: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    refused: int = 0  # calls

    def text(self) -> str:
        total = len(self.calls) + self.refused
        return (
            f"/livez waits {1e3 * self.worst_probe:.0f} ms at most; "
            f"small caller: {len(self.calls)} of {total}, p50 {1e3 * quantile(self.calls, 0.5):.0f}, "
            f"p99 {1e3 * quantile(self.calls, 0.99):.0f} ms"
        )

    @property
    def worst_probe(self) -> float:
        return max(self.probes, default=0.0)


class Bystanders:
    """The process; the first look at its latencies ends it."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.faults.bystanders", str(port)]
        self._child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._child.stdout is not None
        self._child.stdout.readline()  # it has begun

    @functools.cached_property
    def latencies(self) -> Latencies:
        output, _ = self._child.communicate()
        return Latencies(**json.loads(output))

    def text(self) -> str:
        return self.latencies.text()

    @property
    def worst_probe(self) -> float:
        return self.latencies.worst_probe


@contextlib.contextmanager
def bystanders_of(service: Service) -> Iterator[Bystanders]:
    """Probe and call while the block runs, or until the first look at their latencies."""
    bystanders = Bystanders(service.port)
    try:
        yield bystanders
    finally:
        _ = bystanders.latencies


def main(port: int) -> None:
    latencies, ended = Latencies(), threading.Event()

    def probe() -> None:
        while not ended.is_set():
            start = time.monotonic()
            with contextlib.suppress(OSError, http.client.HTTPException):
                request(port, "GET", "/livez")
            latencies.probes.append(time.monotonic() - start)
            ended.wait(PROBE_SECONDS)

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not ended.is_set():
            start = time.monotonic()
            try:
                connection.request("POST", "/forecast", SMALL, JSON)
                answer = connection.getresponse()
                answer.read()
                good = answer.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                good = False
            if good:
                latencies.calls.append(time.monotonic() - start)
            else:
                latencies.refused += 1
            ended.wait(CALL_SECONDS)
        connection.close()

    threads = [threading.Thread(target=work, daemon=True) for work in (probe, call)]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join(60)
    print(json.dumps(asdict(latencies)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
