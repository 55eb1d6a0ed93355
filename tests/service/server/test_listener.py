"""Who takes which connection of a shared listener."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from service.server.listener import SLACK, BalancedListener

PATIENCE = 20.0


class Process:
    """What a worker has of connections; `others` are the counts of all."""

    def __init__(self, listener: socket.socket, counts: list[int], place: int) -> None:
        self.open: set[asyncio.Protocol] = set()
        self.listener = listener.dup()
        self.acceptor = BalancedListener(self.listener, self.protocol, self.open, counts, place)

    def protocol(self) -> asyncio.Protocol:
        process = self

        class Greeting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                process.open.add(self)
                self.transport = transport
                transport.write(b"hello")

        return Greeting()

    def close(self) -> None:
        self.acceptor.close()
        self.acceptor.close()  # uvicorn does, too
        self.listener.close()
        for each in self.open:
            each.transport.abort()  # type: ignore[attr-defined]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener


async def greeted(listener: socket.socket, count: int, stack: contextlib.ExitStack) -> None:
    """Open `count` connections and wait until each was taken by somebody."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(count):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            stack.callback(writer.close)
            assert await reader.readexactly(5) == b"hello"


async def test_connections_are_shared_evenly(listener: socket.socket) -> None:
    counts = [0, 0]
    with contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(contextlib.closing(Process(listener, counts, place))) for place in (0, 1))
        await greeted(listener, 60, stack)
        assert len(one.open) + len(other.open) == 60
        assert abs(len(one.open) - len(other.open)) <= 2 * SLACK


async def test_what_nobody_else_takes_is_taken(listener: socket.socket) -> None:
    """The other process is dead, or still loads its models: it has no connections, and takes none."""
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(contextlib.closing(Process(listener, [0, 0], 0)))
        await greeted(listener, 3 * SLACK, stack)
        assert len(one.open) == 3 * SLACK


async def test_who_has_closed_takes_no_more(listener: socket.socket) -> None:
    counts = [0, 0]
    with contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(contextlib.closing(Process(listener, counts, place))) for place in (0, 1))
        one.acceptor.close()
        await one.acceptor.wait_closed()
        await greeted(listener, 2 * SLACK, stack)
        assert len(one.open) == 0
        assert len(other.open) == 2 * SLACK
