"""Other clients beside a fault, in a process of their own: in that of the flood they would wait for its interpreter.

`python -m benchmarks.faults.bystanders PORT CALLER...` probes and calls until its standard input ends; then it prints
latencies.
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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.faults.bench import JSON, ROOT, SMALL, Service, quantile, request

PROBE_SECONDS = 0.05  # between two probes
CALL_SECONDS = 0.01  # between two calls


SERIES = json.dumps({"model": "forecaster", "inputs": [{"target": list(range(60))}]}).encode()
TABLE = "date,value\n" + "".join(f"2024-01-{day:02},{day}\n" for day in range(1, 31))
CALLERS: dict[str, tuple[str, dict[str, str], bytes]] = {  # path, headers and body of each
    "small caller": ("/forecast", JSON, SMALL),
    "series": ("/forecast", JSON, SERIES),
    "picture": ("/classify-digit", {"Content-Type": "image/png"}, (ROOT / "docs" / "seven.png").read_bytes()),
    "table": ("/forecast?model=naive", {"Content-Type": "text/csv"}, TABLE.encode()),
}
SMALL_CALLER = "small caller"


@dataclass
class Latencies:
    """Of fresh probes of the serving port, and of callers that keep their connections: the seconds of each."""

    probes: list[float] = field(default_factory=list)
    calls_by_caller: dict[str, list[float]] = field(default_factory=dict)
    refused: int = 0  # calls

    @property
    def calls(self) -> list[float]:
        """Those of the small caller."""
        return self.calls_by_caller.get(SMALL_CALLER, [])

    def text(self) -> str:
        answered = sum(map(len, self.calls_by_caller.values()))
        callers = [
            f"{caller}: p50 {1e3 * quantile(calls, 0.5):.0f}, p99 {1e3 * quantile(calls, 0.99):.0f} ms"
            for caller, calls in self.calls_by_caller.items()
        ]
        of_all = f"{answered} of {answered + self.refused} answered"
        return "; ".join([f"/livez waits {1e3 * self.worst_probe:.0f} ms at most", of_all, *callers])

    @property
    def worst_probe(self) -> float:
        return max(self.probes, default=0.0)


class Bystanders:
    """The process; the first look at its latencies ends it."""

    def __init__(self, port: int, callers: Sequence[str]) -> None:
        command = [sys.executable, "-m", "benchmarks.faults.bystanders", str(port), *callers]
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
def bystanders_of(service: Service, callers: Sequence[str] = (SMALL_CALLER,)) -> Iterator[Bystanders]:
    """Probe and call while the block runs, or until the first look at their latencies."""
    bystanders = Bystanders(service.port, callers)
    try:
        yield bystanders
    finally:
        _ = bystanders.latencies


def main(port: int, callers: Sequence[str]) -> None:
    latencies, ended = Latencies(calls_by_caller={caller: [] for caller in callers}), threading.Event()

    def probe() -> None:
        while not ended.is_set():
            start = time.monotonic()
            with contextlib.suppress(OSError, http.client.HTTPException):
                request(port, "GET", "/livez")
            latencies.probes.append(time.monotonic() - start)
            ended.wait(PROBE_SECONDS)

    def call(caller: str) -> None:
        path, headers, body = CALLERS[caller]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not ended.is_set():
            start = time.monotonic()
            try:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                answer.read()
                good = answer.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                good = False
            if good:
                latencies.calls_by_caller[caller].append(time.monotonic() - start)
            else:
                latencies.refused += 1
            ended.wait(CALL_SECONDS)
        connection.close()

    threads = [threading.Thread(target=probe, daemon=True)]
    threads += [threading.Thread(target=call, args=(caller,), daemon=True) for caller in callers]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join(60)
    print(json.dumps(asdict(latencies)))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
