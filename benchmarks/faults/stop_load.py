"""Clients that ask a service for forecasts without a pause until it stops, and count what they lose."""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import time
from collections.abc import AsyncIterator

BODY = b'{"inputs":[{"target":[1,2,3]}]}'
REQUEST = b"POST /forecast HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class StopLoad:
    """Clients that ask as fast as they are answered, until they cannot connect any more.

    `keep_alive` of them keep their connections, and `fresh` make one for each request.
    """

    def __init__(self, port: int, keep_alive: int, fresh: int, body: bytes = BODY) -> None:
        self.port = port
        self.keep_alive = keep_alive
        self.fresh = fresh
        self.answered = 0
        self.errors: list[str] = []
        self.last_answer = 0.0
        self.warm = asyncio.Event()  # every client has had an answer
        self._request = REQUEST % (len(body), body)

    async def run(self) -> None:
        """Ask until the listener is closed."""
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
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = LENGTH.search(head)
            if length is not None:
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
