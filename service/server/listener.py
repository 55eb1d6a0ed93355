"""A listener that several processes share: each takes connections one by one, and who has more than others waits.

Left alone, the process that happens to be awake takes all that wait: of 256 connections 239 went to one of two workers.
One listener for all is kept nevertheless, because a connection that waits while a worker dies is taken by another.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, MutableSequence, Sized

SLACK = 4  # connections that a process may have more than the one that has the fewest
PAUSE = 0.002  # seconds it leaves a connection to the others; one that nobody takes then is taken after all
_SHORTAGE = 0.1  # seconds until the next try where the process may open no more files

logger = logging.getLogger(__name__)


class BalancedListener:
    """What uvicorn expects of a listening server, for one process among several.

    `counts` has the connections of every process, `open` those of this one, `make` the protocol of a new one.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        open_: Sized,
        counts: MutableSequence[int],
        place: int,
    ) -> None:
        self._listener = listener
        self._make = make
        self._open = open_
        self._counts = counts
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[object]] = set()
        self._waited = False
        self._closed = False
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Take no more connections; those that wait are for the others."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._ready)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._loop.call_later(seconds, self._listen)

    def _ready(self) -> None:
        """A connection waits, or did: all processes are told of it."""
        mine = self._counts[self._place] = len(self._open) + len(self._coming)
        if not self._waited and mine > min(self._counts) + SLACK:
            self._waited = True
            self._pause(PAUSE)
            return
        self._waited = False
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another one took it, or it is gone
            return
        except OSError as error:
            logger.error("no connection can be taken: %s", errno.errorcode.get(error.errno or 0, error))
            self._pause(_SHORTAGE)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        coming = self._loop.create_task(self._loop.connect_accepted_socket(self._make, connection))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)
