"""The management port of real processes, beside the port that serves."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import httpx
import pytest

from tests.integration.servers import TIMEOUT, Server, running

PORT = re.compile(r"management port: (\d+)")


def management_url(server: Server) -> str:
    lines = "".join(server.listening().lines)
    found = PORT.search(lines)
    assert found is not None, lines
    return f"http://127.0.0.1:{found[1]}"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_probes_are_answered_beside_a_full_port(one_model: Path, workers: int) -> None:
    """The serving port is out of reach: its backlog is full of connections that say nothing."""
    with running(one_model, workers=workers, management_port=0) as server, httpx.Client(timeout=TIMEOUT) as client:
        url = management_url(server.ready())
        sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) for _ in range(500)]
        for sock in sockets:
            sock.sendall(b"GET /slow")
        for _ in range(10):
            for path in ("/livez", "/readyz"):
                with httpx.Client(timeout=TIMEOUT) as fresh:
                    assert fresh.get(url + path).status_code == 200
        page = client.get(url + "/metrics").text
        assert "ritmo_held_bytes" in page
        for sock in sockets:
            sock.close()


def test_a_port_that_is_taken_is_a_reason_not_to_start(one_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with running(one_model, management_port=taken.getsockname()[1]) as server:
            assert server.wait() == 3
            assert "cannot listen on" in json.loads(server.lines[-1])["message"]
