"""Which connections make room for others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from service.server.crowding import close_waiting
from service.server.http_protocol import Protocol
from tests.service.server.harness import TIMEOUT, Running, post, running, until

IDLE = b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n"


@contextlib.asynccontextmanager
async def connections(server: Running, *requests: bytes) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that have sent so much, in this order."""
    readers = []
    with contextlib.ExitStack() as stack:
        for request in requests:
            reader, writer = await server.connect()
            stack.callback(writer.close)
            writer.write(request)
            await asyncio.sleep(0.02)
            readers.append(reader)
        yield readers


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.1):
            while await reader.read(1 << 16):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def test_those_that_wait_longest_for_their_clients_are_closed() -> None:
    requests = (post(b"/wait"), b"", b"GET / HT", post(b"/a", b"hello")[:-1], IDLE, b"")
    async with running(Protocol) as server, connections(server, *requests) as readers, asyncio.timeout(TIMEOUT):
        assert close_waiting(server.server.server_state.connections, 4) == 4
        assert [await is_closed(reader) for reader in readers] == [False, True, True, True, True, False]
        assert server.metric('ritmo_connections_cut_total{reason="crowded"}') == 4
        assert close_waiting(server.server.server_state.connections, 4) == 1
        assert close_waiting(server.server.server_state.connections, 4) == 0
        await until(lambda: len(server.server.server_state.connections) == 1)


async def test_a_request_that_has_come_is_not_lost() -> None:
    async with running(Protocol) as server, asyncio.timeout(TIMEOUT):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            await until(lambda: len(server.server.server_state.connections) == 1)
            client.sendall(IDLE)  # and the event loop has not read it yet
            assert close_waiting(server.server.server_state.connections, 1) == 0
            client.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(client, 1 << 16)
            assert answer.startswith(b"HTTP/1.1 200 ")


async def test_the_address_with_most_connections_makes_room() -> None:
    async with running(Protocol) as server, connections(server, *[b""] * 5) as readers, asyncio.timeout(TIMEOUT):
        open_now: list[Any] = [*server.server.server_state.connections]
        for each in sorted(open_now, key=lambda each: each.connected_at)[:2]:
            each.client = ("192.0.2.1", 1)
        assert close_waiting(server.server.server_state.connections, 2) == 2
        assert [await is_closed(reader) for reader in readers] == [False, False, True, True, False]
