"""`python -m service serve` as a process of its own, on a port that the system chose.

Its process is forked from one that has imported everything (`tests.integration.prepared`), which saves three seconds of
a processor each time, or is started as a command where the start belongs to the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.integration.prepared import PreparedService

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"running on (https?)://[\d.]+:(\d+)")
TIMEOUT = 300.0  # seconds, a guard against what hangs: a start that takes 4 s takes 90 at a load of 10
POLL_SECONDS = 0.02
# Of all clients: one of their own, with the machine's list of authorities, takes each longer than twenty requests.
_TLS = ssl.create_default_context()


def new_client(url: str, **options: Any) -> httpx.AsyncClient:
    """A client with connections of its own."""
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT, verify=_TLS, **options)


class Server:
    """A running server and what it has logged so far."""

    def __init__(self, models: Path, *, as_command: bool = False, **settings: object) -> None:
        """`as_command`: start the command itself, which imports torch first."""
        defaults = {"models": models, "port": 0, "device": "cpu", "threads": 1, "drain_delay_seconds": 0.3}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RITMO_")}
        environment |= {f"RITMO_{name.upper()}": str(value) for name, value in (defaults | settings).items()}
        self.workers = int(environment.get("RITMO_WORKERS", 1))
        receiver, sender = os.pipe()
        start = _start_command if as_command else PreparedService
        self.process = start(environment, sender)
        os.close(sender)
        self._log = os.fdopen(receiver, encoding="utf-8")
        self.lines: list[str] = []
        self.scheme, self.port = "http", 0
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._log:
            self.lines.append(line)
            if match := LISTENING.search(line):
                self.scheme, self.port = match.group(1), int(match.group(2))
                self._listening.set()
        self._listening.set()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        """Every line so far; each is JSON, or this fails."""
        return [json.loads(line) for line in self.lines]

    def listening(self) -> Server:
        """Wait for the port."""
        assert self._listening.wait(TIMEOUT), self.lines
        assert self.port, self.lines
        return self

    def settled(self) -> Server:
        """Wait until every model is ready or has failed."""
        return self._wait_until(self._has_settled)

    def ready(self) -> Server:
        """Wait until every process can answer."""
        return self._wait_until(lambda client: client.get("/readyz").status_code == 200)

    @staticmethod
    def _has_settled(client: httpx.Client) -> bool:
        models = client.get("/models").json()["models"]  # none while the folder has not been looked at
        return bool(models) and all(model["state"] != "loading" for model in models)

    def _wait_until(self, condition: Callable[[httpx.Client], bool]) -> Server:
        self.listening()
        deadline = time.monotonic() + TIMEOUT
        with httpx.Client(base_url=self.url, timeout=TIMEOUT, verify=_TLS) as client:
            while not condition(client):
                assert time.monotonic() < deadline, self.lines
                time.sleep(POLL_SECONDS)
        return self

    async def restarted(self) -> bool:
        """Whether every worker has been replaced after SIGUSR2."""
        return sum("Finished server process" in line for line in self.lines) == self.workers

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        status = self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        return status

    def close(self) -> None:
        """End it, in any state."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(TIMEOUT)
        self._log.close()


def _start_command(environment: Mapping[str, str], stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "service", "serve"], cwd=ROOT, env=environment, stderr=stderr)


@contextlib.contextmanager
def running(models: Path, *, as_command: bool = False, **settings: object) -> Iterator[Server]:
    """A server with `settings`; it may not be listening yet."""
    server = Server(models, as_command=as_command, **settings)
    try:
        yield server
    finally:
        server.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition of another process, which can only be polled."""
    async with asyncio.timeout(TIMEOUT):
        while not await condition():  # noqa: ASYNC110 - another process sets no event here
            await asyncio.sleep(POLL_SECONDS)


def sample(page: str, name: str) -> float:
    """Sum of the samples of a metrics page that begin with `name`."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))


async def computing(client: httpx.AsyncClient, items: int = 1) -> None:
    """Wait until the engine has `items` series or digits that are queued or being computed."""

    async def condition() -> bool:
        return sample((await client.get("/metrics")).text, "ritmo_queue_items{") >= items

    await until(condition)
