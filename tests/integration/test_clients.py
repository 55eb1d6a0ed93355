"""Clients of other languages, as they come: each sends the same five bodies, and each body has its answer."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.integration.servers import TIMEOUT, Server

CLIENTS = Path(__file__).parent / "clients"
BODY = json.dumps({"inputs": [{"target": [1, 2, 3]}]})
STATUSES = ["200", "200", "400", "413", "200"]  # good, again, malformed, too large, good

pytestmark = pytest.mark.slow


def java(url: str, _: Path) -> Sequence[str]:
    return ["java", str(CLIENTS / "Client.java"), url, BODY]


def node(url: str, _: Path) -> Sequence[str]:
    return ["node", str(CLIENTS / "client.mjs"), url, BODY]


def go(url: str, _: Path) -> Sequence[str]:
    return ["go", "run", str(CLIENTS / "client.go"), url, BODY]


def curl(url: str, folder: Path, *options: str) -> Sequence[str]:
    """All five in one process, over one connection where the server keeps it."""
    command = ["curl", "--silent", "--no-progress-meter"]
    for number, body in enumerate([BODY, BODY, "{", " " * 6_000_000, BODY]):
        file = folder / f"{number}.json"
        file.write_text(body)
        command += ["--next"] if number else []
        command += [*options, "--header", "Content-Type: application/json", "--data-binary", f"@{file}"]
        command += ["--output", str(folder / "answer"), "--write-out", "%{http_code}\n", f"{url}/forecast"]
    return command


def curl_with_an_offer(url: str, folder: Path) -> Sequence[str]:
    return curl(url, folder, "--http2")


@pytest.mark.parametrize(
    ("program", "command"),
    [("java", java), ("node", node), ("go", go), ("curl", curl), ("curl", curl_with_an_offer)],
    ids=["java", "node", "go", "curl", "curl --http2"],
)
def test_a_client_gets_its_answers(
    program: str, command: Callable[[str, Path], Sequence[str]], server: Server, tmp_path: Path
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    result = subprocess.run(command(server.url, tmp_path), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert result.stdout.split() == STATUSES, result.stdout + result.stderr
