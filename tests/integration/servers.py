"""`python -m service serve` as a process of its own, on a port that the system chose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
PATIENCE = 300.0  # seconds, a guard against what hangs: a start takes 90 s at a load of 10


class Server:
    """A running server and what it has logged so far."""

    def __init__(self, models: Path, **settings: object) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RITMO_")}
        given = {"models": models, "port": 0, "device": "cpu", "threads": 1, "drain_delay_seconds": 0.3} | settings
        environment |= {f"RITMO_{name.upper()}": str(value) for name, value in given.items()}
        command = [sys.executable, "-m", "service", "serve"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.port = 0
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := LISTENING.search(line):
                self.port = int(found.group(1))
                self._listening.set()
        self._listening.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        """Every line so far; each is JSON, or this fails."""
        return [json.loads(line) for line in self.lines]

    def listening(self) -> Server:
        """Wait for the port."""
        assert self._listening.wait(PATIENCE), self.lines
        assert self.port, self.lines
        return self

    def settled(self) -> Server:
        """Wait until every model is ready or has failed."""
        self.listening()
        until = time.monotonic() + PATIENCE
        with httpx.Client(base_url=self.url, timeout=PATIENCE) as client:
            while any(model["state"] == "loading" for model in client.get("/models").json()["models"]):
                assert time.monotonic() < until, self.lines
                time.sleep(0.05)
        return self

    def ready(self) -> Server:
        """Wait until every process can answer."""
        self.listening()
        until = time.monotonic() + PATIENCE
        with httpx.Client(base_url=self.url, timeout=PATIENCE) as client:
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < until, self.lines
                time.sleep(0.05)
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE)
        if self.process.stderr is not None:
            self.process.stderr.close()


@contextlib.contextmanager
def running(models: Path, **settings: object) -> Iterator[Server]:
    """A server with `settings`; it may not be listening yet."""
    server = Server(models, **settings)
    try:
        yield server
    finally:
        server.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what only asking can tell."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - another process changes it, and sets no event of ours
            await asyncio.sleep(0.02)
