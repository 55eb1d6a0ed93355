"""The README's commands do what it says: its curl lines answer, from a service started as it says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"  # as the README writes it

pytestmark = pytest.mark.timeout(360)


def commands() -> list[str]:
    """Every curl command of the README's shell blocks; one may span several lines."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [block.strip() for block in blocks if block.startswith("curl ")]


FORECAST, DIGIT = commands()


def start(port: int, log: Path) -> subprocess.Popen[bytes]:
    """The process that `make serve` ends in."""
    [command] = re.findall(r"^\.venv/bin/python (-m service serve)$", README, re.MULTILINE)
    environment = {"PATH": "/usr/bin:/bin", "RITMO_HOST": "127.0.0.1", "RITMO_PORT": str(port)}
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, *shlex.split(command)], cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT
        )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service with the committed models, ready; it must end with 0 when it is told to stop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    process = start(port, log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address, process, log)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
    assert status == 0, log.read_text()


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 300) -> None:
    """Return when `/readyz` says 200; fail when the process ends before, or takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{address}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.ConnectError:
            pass
        time.sleep(0.1)  # another process: nothing to wait on but its port
    pytest.fail(f"the service is not ready (exit status {process.poll()}):\n{log.read_text()}")


def answer(command: str, address: str) -> Any:
    """Run one of the README's commands against `address` and parse what it prints."""
    words = shlex.split(command.replace(ADDRESS, address))
    done = subprocess.run([*words, "--silent", "--show-error"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the README's commands need curl")


@needs_curl
def test_the_forecast_of_the_readme(address: str) -> None:
    [prediction] = answer(FORECAST, address)["predictions"]
    assert prediction["item_id"] == "sales"
    assert prediction["context"]["missing"] == 1
    assert len(prediction["mean"]) == 6
    # Sales rose by about five percent a year and peak in summer: the next half year lies near the last one's values.
    last_year = [140, 137, 158, 171, 187, 203]
    low, middle, high = (prediction["quantiles"][level] for level in ("0.1", "0.5", "0.9"))
    assert all(a <= b <= c for a, b, c in zip(low, middle, high, strict=True))
    assert all(0.75 * value < m < 1.35 * value for value, m in zip(last_year, middle, strict=True))


@needs_curl
def test_the_digit_of_the_readme(address: str) -> None:
    [prediction] = answer(DIGIT, address)["predictions"]
    assert prediction["label"] == 7
    assert prediction["score"] > 0.5


@needs_curl
@pytest.mark.parametrize("command", [FORECAST, DIGIT], ids=["forecast", "digit"])
def test_without_its_content_type_a_command_gets_a_problem(address: str, command: str) -> None:
    without = re.sub(r" -H 'Content-Type: [^']+'", "", command)
    assert without != command
    problem = answer(without, address)  # curl then says it is a form
    assert problem["code"] == "unsupported_media_type"
    assert problem["status"] == 415
