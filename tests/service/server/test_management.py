"""The management port: a thread that answers while the event loop that serves cannot."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.server.listener import bind
from service.server.management import ManagementServer
from service.settings import Settings

TIMEOUT = 100.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default one takes longer than the test


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"alive"})


def listening() -> socket.socket:
    (sock,) = bind("127.0.0.1", 0)
    sock.listen()
    return sock


def test_it_answers_while_the_main_thread_is_busy() -> None:
    """This very test blocks the thread in which the service would serve."""
    sock = listening()
    server = ManagementServer(application, [sock], Settings())
    server.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/livez"
    with httpx.Client(timeout=TIMEOUT) as client:
        for _ in range(3):
            assert client.get(url).text == "alive"
        assert client.head(url).status_code == 200
    assert server.failure is None


def test_a_process_that_starts_or_ends_leaves_the_answers_to_the_others() -> None:
    sock, answers = listening(), [True, False]

    def named(body: bytes) -> Any:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            await send({"type": "http.response.body", "body": body})

        return answer

    for index, body in enumerate((b"a", b"b")):
        ManagementServer(named(body), [sock], Settings(), partial(answers.__getitem__, index)).start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/readyz"
    for index, name in [(0, "a"), (1, "b"), (0, "a")]:
        answers[:] = [index == 0, index == 1]
        time.sleep(0.5)
        with httpx.Client(timeout=TIMEOUT, verify=NO_TLS, headers={"Connection": "close"}) as client:
            assert {client.get(url).text for _ in range(10)} == {name}


def test_heads_and_bodies_are_bounded_as_everywhere() -> None:
    sock = listening()
    ManagementServer(application, [sock], Settings(max_header_fields=3)).start()
    with socket.create_connection(sock.getsockname(), timeout=TIMEOUT) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 5 + b"\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 431 ")


def test_connections_that_are_left_open_make_room_for_probes() -> None:
    sock = listening()
    ManagementServer(application, [sock], Settings()).start()
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(socket.create_connection(sock.getsockname(), timeout=TIMEOUT))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/livez"
        for _ in range(3):
            assert httpx.get(url, timeout=TIMEOUT).text == "alive"


def test_a_port_that_cannot_be_served_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    closed = listening()
    closed.close()
    server = ManagementServer(application, [closed], Settings())
    server.start()
    deadline = time.monotonic() + TIMEOUT
    while server.failure is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    failure: Any = server.failure
    assert isinstance(failure, OSError | ValueError)
    assert "the management port is not served any more" in caplog.messages
