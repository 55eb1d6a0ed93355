"""The service under a fault: a process of its own, other clients beside the fault, and what both show."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.processes import Server

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180.0
JSON = {"Content-Type": "application/json"}
SMALL = json.dumps({"model": "naive", "inputs": [{"target": [1, 2, 3]}]}).encode()
_SERVING = re.compile(r"running on https?://127\.0\.0\.1:(\d+)")
_MANAGEMENT = re.compile(r"management port: (\d+)")


@dataclass(frozen=True)
class Outcome:
    """What a fault did: to others, in figures, and whether the service held."""

    passed: bool
    figures: str
    bystanders: str = ""


@dataclass(frozen=True)
class Fault:
    """A fault that is tried: its id in the list of faults, its kind, what is sent, and the tests that pin the mend."""

    id: str
    kind: str
    load: str
    tests: str
    run: Callable[[], Outcome]


FAULTS: list[Fault] = []


def fault(id: str, kind: str, load: str, tests: str) -> Callable[[Callable[[], Outcome]], Callable[[], Outcome]]:  # noqa: A002
    """Put a function into the list of faults."""

    def add(run: Callable[[], Outcome]) -> Callable[[], Outcome]:
        FAULTS.append(Fault(id, kind, load, tests, run))
        return run

    return add


class SkippedError(Exception):
    """The machine lacks what the fault needs."""


class Service(Server):
    """A running service; its log is kept in a file."""

    management = 0

    def __init__(self, child: subprocess.Popen[bytes], log: Path) -> None:
        super().__init__(child, 0, log)
        self.child = child

    def listening(self) -> Service:
        """Wait until both ports are known."""
        self._until(lambda: bool(_SERVING.search(self.text())))
        self.port = int(_match(_SERVING, self.text()))
        self.management = int(_match(_MANAGEMENT, self.text()))
        return self

    def ready(self) -> Service:
        self.listening()
        self._until(lambda: request(self.management, "GET", "/readyz")[0] == 200)
        return self

    def warm(self, versions: int) -> Service:
        """Wait until so many versions are warm."""
        self._until(lambda: self.text().count("is warm after") >= versions)
        return self

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def rss(self) -> float:
        """MiB of all its processes."""
        return self.memory().rss

    def metric(self, sample: str) -> float:
        page = request(self.management, "GET", "/metrics")[1].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(sample))

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def wait(self, seconds: float) -> float | None:
        """Seconds until its end, None where it does not end."""
        start = time.monotonic()
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - start

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                if condition():
                    return
            if not self.alive or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start:\n{self.log_tail()}")
            time.sleep(0.05)


def _match(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise RuntimeError(f"not in the log: {pattern.pattern}")
    return match[1]


@contextlib.contextmanager
def models(*names: str) -> Iterator[Path]:
    """A folder with the last versions of those of the committed models."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            version = max((ROOT / "models" / name).iterdir(), key=lambda path: int(path.name))
            shutil.copytree(version, Path(folder) / name / version.name)
        yield Path(folder)


@contextlib.contextmanager
def started(folder: Path, *, open_files: int | None = None, **settings: object) -> Iterator[Service]:
    """A service that may not be listening yet; it may open so many files."""
    defaults: dict[str, object] = {"models": folder, "port": 0, "management_port": 0, "device": "cpu", "threads": 1}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RITMO_")}
    environment |= {f"RITMO_{name.upper()}": str(value) for name, value in (defaults | settings).items()}
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as out:
            limit = [] if open_files is None else ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"]
            command = [*limit, sys.executable, "-m", "service", "serve"]
            child = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        service = Service(child, log)
        try:
            yield service
        finally:
            service.stop()


@contextlib.contextmanager
def serving(*names: str, open_files: int | None = None, **settings: object) -> Iterator[Service]:
    """A service that is ready, with those of the committed models (`naive` where none is named)."""
    with models(*(names or ("naive",))) as folder, started(folder, open_files=open_files, **settings) as service:
        yield service.ready()


def connect(port: int, *, receive_buffer: int | None = None, address: str = "") -> socket.socket:
    """A connection, from that `address` of this machine; with a small `receive_buffer`, answers stay unsent."""
    sock = socket.socket()
    if address:
        sock.bind((address, 0))
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", port))
    return sock


def head(path: str, length: int = 0, *fields: str, method: str = "POST", kind: str = "application/json") -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *fields]
    if method == "POST":
        lines += [f"Content-Type: {kind}", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def received(sock: socket.socket, seconds: float = 60.0) -> bytes:
    """All that comes until the other side closes, or nothing comes for so long."""
    sock.settimeout(seconds)
    data = b""
    with contextlib.suppress(OSError):
        while piece := sock.recv(1 << 20):
            data += piece
    return data


def status(answer: bytes) -> int:
    """The status of an answer, 0 where there is none."""
    match = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return int(match[1]) if match else 0


def request(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """Status and body of the answer, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body or None, JSON | headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send_all(sock: socket.socket, data: bytes) -> bool:
    """Whether all of `data` was taken."""
    try:
        sock.sendall(data)
    except OSError:
        return False
    return True


def series(count: int, values: list[Any], **fields: Any) -> bytes:
    """The body of a forecast of `count` equal series by the model `naive`, or another."""
    return json.dumps({"model": "naive", "inputs": [{"target": values}] * count} | fields).encode()


def quantile(values: list[float], level: float) -> float:
    """Of a list that may be empty."""
    if len(values) < 2:
        return max(values, default=0.0)
    return statistics.quantiles(values, n=1000, method="inclusive")[min(998, round(level * 1000) - 1)]


class Flood:
    """Threads that repeat `work` until they are stopped; how often it succeeded, by what it returned."""

    def __init__(self, count: int, work: Callable[[], int]) -> None:
        self.statuses: dict[int, int] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._work = work
        self._threads = [threading.Thread(target=self._repeat, daemon=True) for _ in range(count)]

    def _repeat(self) -> None:
        while not self._ended.is_set():
            try:
                result = self._work()
            except (OSError, http.client.HTTPException):
                result = 0
            with self._lock:
                self.statuses[result] = self.statuses.get(result, 0) + 1

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(120)

    def text(self) -> str:
        return ", ".join(f"{count} x {code or 'no answer'}" for code, count in sorted(self.statuses.items()))
