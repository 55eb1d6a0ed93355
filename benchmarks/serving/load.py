"""wrk as the load generator: prepared requests written to a file, one measurement, its figures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.processes import FREE, pin

LUA = Path(__file__).with_name("wrk.lua")
JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One prepared request."""

    path: str
    body: bytes
    content_type: str = JSON
    extra_header: tuple[str, str] = ("", "")  # name and value; none by default

    @property
    def headers(self) -> dict[str, str]:
        """All headers that the dialect needs."""
        name, value = self.extra_header
        return {"Content-Type": self.content_type} | ({name: value} if name else {})


@dataclass(frozen=True)
class Load:
    """Figures of one measurement. Times in ms; `failed` counts answers of 400 and above, socket errors and timeouts."""

    requests: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    failed: int
    wrk_cpu: float  # share of one core that the load generator itself took

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


def require_wrk() -> str:
    """wrk's version; ends the program with advice where there is none."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk, the load generator, is not installed: apt-get install wrk")
    output = subprocess.run(["wrk", "-v"], check=False, capture_output=True, text=True).stdout
    return " ".join(output.split()[:2])


def write_requests(file: Path, requests: Sequence[Request]) -> None:
    """Write `requests` as wrk.lua reads them."""
    with file.open("wb") as out:
        for request in requests:
            head = (request.path, request.content_type, str(len(request.body)), *request.extra_header)
            out.write("\t".join(head).encode() + b"\n" + request.body + b"\n")


def run(port: int, requests: Path, *, connections: int, seconds: int, cores: frozenset[int] = FREE.client) -> Load:
    """Keep `connections` requests in flight for `seconds`: each connection sends its next request after an answer."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(LUA)]
    started = time.monotonic()
    child = subprocess.Popen(
        [*command, f"http://127.0.0.1:{port}", "--", str(requests)], stdout=subprocess.PIPE, text=True
    )
    pin(child.pid, cores)
    try:
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if child.returncode is None:
            child.kill()
            child.wait()
    result = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if result is None:
        raise RuntimeError(f"wrk gave no result (status {child.returncode}): {output}")
    figures = {name: float(value) for name, value in (pair.split("=") for pair in result[1].split())}
    elapsed = time.monotonic() - started
    return Load(
        requests=int(figures["requests"]),
        seconds=figures["seconds"],
        p50_ms=figures["p50"] / 1e3,
        p90_ms=figures["p90"] / 1e3,
        p99_ms=figures["p99"] / 1e3,
        max_ms=figures["max"] / 1e3,
        failed=int(figures["status"] + figures["socket"] + figures["timeout"]),
        wrk_cpu=(usage.ru_utime + usage.ru_stime) / elapsed,
    )
