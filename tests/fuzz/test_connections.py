"""Bytes for a real server: requests and frames, changed and cut; it answers what it answers, and lives on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.fuzz.decoders import CORPUS
from tests.integration.servers import TIMEOUT, running
from tests.models import LastValue, LSTMDigits, write_model

ROUNDS = int(os.environ.get("FUZZ_EXAMPLES", "20000")) // 4
STATUS = b"HTTP/1.1 "
BODY = (CORPUS / "forecast" / "one").read_bytes()
HOST = b"Host: test\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
SOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SEEDS = [
    b"POST /forecast HTTP/1.1\r\n" + HOST + LENGTH + b"Content-Type: application/json\r\n\r\n" + BODY,
    b"POST /forecast HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
    b"%x\r\n%s\r\n0\r\nX-Late: 1\r\n\r\n" % (len(BODY), BODY),
    b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\nGET /readyz HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /forecast HTTP/1.1\r\n" + HOST + LENGTH + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + BODY,
    b"POST /classify-digit?a=1 HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /forecast/stream HTTP/1.1\r\n" + HOST + SOCKET + b"\r\n"
    b"\x81\x82\0\0\0\0{}\x81\x8e\0\0\0\0" + b'{"target":[1]}' + b"\x89\x81\0\0\0\0x\x88\x82\0\0\0\0\x03\xe8",
    b"OPTIONS * HTTP/1.0\r\n\r\n",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b": ",
    b" ",
    b"\xff",
    b"0\r\n\r\n",
    b"Content-Length: 1\r\n",
    b"HTTP/1.1",
    b"\x81\xff",
]

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]


def mutated(rng: random.Random) -> bytes:
    data = rng.choice(SEEDS)
    if rng.random() < 0.2:
        data += rng.choice(SEEDS)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        added = rng.choice(PIECES) if rng.random() < 0.6 else rng.randbytes(rng.randrange(1, 6))
        data = data[:at] + added * rng.randrange(1, 3) + data[at + rng.randrange(6) :]
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.2 else data


def test_conversations(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write_model(tmp_path, "forecaster", LastValue())
    write_model(tmp_path, "digits", LSTMDigits())
    rng = random.Random(int(request.config.getoption("hypothesis_seed") or 0))
    with running(tmp_path, receive_seconds=1, send_seconds=2, keep_alive_seconds=1) as server:
        server.settled()
        for _ in range(ROUNDS):
            data = mutated(rng)
            with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as sock:
                answer = b""
                with contextlib.suppress(OSError):  # the server may have closed
                    middle = rng.randrange(len(data) + 1)
                    sock.sendall(data[:middle])
                    sock.sendall(data[middle:])
                    sock.shutdown(socket.SHUT_WR)
                    while piece := sock.recv(1 << 16):
                        answer += piece
            for part in answer.split(STATUS)[1:]:
                assert not part.startswith(b"500"), data
        with httpx.Client(base_url=server.url, timeout=TIMEOUT) as client:
            assert client.get("/livez").status_code == 200
            page = client.get("/metrics").text
        assert 'code="500"' not in page
        assert [entry for entry in server.log() if entry["level"] in {"error", "critical"}] == []
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
