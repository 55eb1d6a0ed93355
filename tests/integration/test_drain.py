"""A stop under load: every request of a client that could connect is answered, and the service ends in time."""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.servers import TIMEOUT, Server, running, until

CLIENTS = ((64, 8), (512, 64))  # that keep their connections, and that make one for each request
BODY = b'{"inputs":[{"target":[1,2,3]}]}'
REQUEST = b"POST /forecast HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Load:
    """Clients that ask as fast as they are answered, until they cannot connect any more."""

    def __init__(self, port: int, keep_alive: int, fresh: int) -> None:
        self.port = port
        self.keep_alive = keep_alive
        self.fresh = fresh
        self.answered = 0
        self.errors: list[str] = []
        self.last_answer = 0.0
        self.warm = asyncio.Event()  # every client has had an answer

    async def run(self) -> None:
        keep_alive = (self._keep_alive() for _ in range(self.keep_alive))
        await asyncio.gather(*keep_alive, *(self._fresh() for _ in range(self.fresh)))

    async def _keep_alive(self) -> None:
        while (streams := await self._connect()) is not None:
            async with _closing(streams[1]):
                while await self._ask(*streams):
                    pass

    async def _fresh(self) -> None:
        while (streams := await self._connect()) is not None:
            async with _closing(streams[1]):
                await self._ask(*streams)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:  # refused: nothing was sent, and the client can go elsewhere
            return None

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection goes on. A client that finds its connection closed sends nothing."""
        if _was_closed(writer):
            return False
        try:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            length = LENGTH.search(head)
            assert length is not None
            await reader.readexactly(int(length[1]))
        except (OSError, EOFError) as error:
            self.errors.append(repr(error))
            return False
        self.answered += 1
        self.last_answer = time.monotonic()
        if self.answered >= 2 * (self.keep_alive + self.fresh):
            self.warm.set()
        if not head.startswith(b"HTTP/1.1 200 "):
            self.errors.append(head.decode())
        return b"connection: close" not in head


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _was_closed(writer: asyncio.StreamWriter) -> bool:
    """Whether the server closed the idle connection: clients look before they use it again, as urllib3 does.

    On a busy machine hundreds of clients may need longer for the next request than a stop waits for one.
    """
    poll = select.poll()
    poll.register(writer.get_extra_info("socket"), select.POLLIN)
    return bool(poll.poll(0))


async def stopped_under_load(server: Server, number: signal.Signals, clients: tuple[int, int]) -> tuple[Load, float]:
    """The load, and the seconds from the last answer to the end of the process."""
    server.ready()
    load = Load(server.port, *clients)
    asking = asyncio.create_task(load.run())
    async with asyncio.timeout(TIMEOUT):
        await load.warm.wait()
        server.signal(number)
        if number == signal.SIGUSR2:  # it goes on with other processes
            await until(server.restarted)
            server.signal(signal.SIGTERM)
        status = await asyncio.to_thread(server.wait)
        seconds = time.monotonic() - load.last_answer
        await asking
    assert status == 0, server.lines
    return load, seconds


STOPS = ((1, signal.SIGTERM), (1, signal.SIGINT), (2, signal.SIGTERM), (2, signal.SIGINT), (2, signal.SIGUSR2))


async def check(one_model: Path, workers: int, number: signal.Signals, clients: tuple[int, int]) -> None:
    with running(one_model, workers=workers) as server:
        load, seconds = await stopped_under_load(server, number, clients)
    print(f"{workers} workers, {number.name}: {load.answered} answered, gone after {seconds:.2f} s")
    assert load.errors == []
    assert seconds < 10, "a fraction of the 20 s that it may drain, on a busy machine too"


@pytest.mark.parametrize(("workers", "number"), STOPS)
async def test_a_stop_under_load_loses_no_request(one_model: Path, workers: int, number: signal.Signals) -> None:
    await check(one_model, workers, number, CLIENTS[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("workers", "number", "clients"), [(*stop, clients) for stop in STOPS for clients in CLIENTS])
async def test_stops_under_load_lose_no_request(
    one_model: Path, workers: int, number: signal.Signals, clients: tuple[int, int]
) -> None:
    for _ in range(3):
        await check(one_model, workers, number, clients)
