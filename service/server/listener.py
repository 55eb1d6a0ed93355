"""The listeners of a process: of its own, or shared with others.

An event loop takes one connection in each of its rounds, and a round may be a batch of requests that takes 20 ms: the
last of 256 clients would wait five seconds to be taken. So all that wait are taken at once.

Where several processes serve, the one that happens to be awake would take all: of 256 connections 239 went to one of
two workers, and of two, which may both send in bulk, both. So a process that has more than others pauses before it
takes another. One listener for all is kept nevertheless, because a connection that waits while a worker dies is taken
by another worker.

A stop loses no connection: those that are established or in their handshake are taken, and new ones refused meanwhile.

A process that has as many connections as it may open files for makes room for the next: handshakes of TLS that do not
come to an end are given up, and connections that wait for their clients closed (`service.server.crowding`).

Where connections have TLS, a connection costs no more than its socket until its client has sent something. What begins
like plain HTTP gets an answer as plain HTTP, which says what is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import itertools
import logging
import socket
import struct
import sys
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Any

from service.runtime.worker_group import NOT_LISTENING

BURST = 64  # connections that are taken at once: they take a few milliseconds
PAUSE = 0.002  # seconds a process leaves a connection to the others; it takes one that is still there afterwards
_SHORTAGE = 0.1  # seconds until the next try where the process may open no more files
_SHORTAGE_NEWS = 10.0  # seconds between two lines in the log about that
_TLS_HANDSHAKE = 1.5  # seconds that a stop, or a process without room, gives a client to end its handshake of TLS
_MAX_HANDSHAKES = 1024  # of TLS at once: 60 KiB each
_HANDSHAKES_IN_A_ROUND = 8  # that begin: they take a millisecond each
_ROOM = 32  # connections that are closed at once, where there is no room for the next, at least
_SHARE_OF_ROOM = 64  # one in so many is: all are looked at each time
_HANDSHAKE = 0.2  # seconds for the last handshakes to complete: more than a round trip to most clients
_BACKLOG = 2048
_NO_SUCH_FAMILY = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))

logger = logging.getLogger(__name__)


def bind(host: str, port: int) -> list[socket.socket]:
    """One socket for every address of `host`, not listening yet; raises `OSError` where an address is not free.

    Port 0 takes a free one, the same for all addresses.
    """
    sockets: list[socket.socket] = []
    addresses = _addresses(host, port)
    for number, (family, kind, protocol, _, address) in enumerate(addresses, 1):
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bound(family, kind, protocol, (address[0], chosen, *address[2:])))
        except OSError as error:
            if error.errno in _NO_SUCH_FAMILY and (sockets or number < len(addresses)):
                continue  # a name with addresses of two families, on a machine that has one
            for sock in sockets:
                sock.close()
            raise _cannot_listen(host, port, error) from error
    return sockets


def _addresses(host: str, port: int) -> list[Any]:
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    except UnicodeError as error:  # a part of the name is empty, or longer than 63 characters
        raise OSError(errno.EINVAL, f"cannot listen on {host}: it is no name and no address") from error
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> OSError:
    return OSError(error.errno, f"cannot listen on {host}, port {port}: {(error.strerror or str(error)).lower()}")


def _bound(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def listen(sockets: Sequence[socket.socket], host: str, scheme: str = "http") -> None:
    """Connections may come from now on; they wait until a process takes them.

    Raises `OSError` where another service, which started at the same time, listens already.
    """
    port = sockets[0].getsockname()[1]
    try:
        for sock in sockets:
            sock.listen(_BACKLOG)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    name = f"[{host}]" if ":" in host else host
    logger.info("Uvicorn running on %s://%s:%d (Press CTRL+C to quit)", scheme, name, port)


def always() -> bool:
    """The service stops as a whole where one process is all of it."""
    return True


def _no_room(_: int) -> int:
    return 0


class OpenConnections(set[Any]):
    """The connections of a process; `on_closed` is called where one of them is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.on_closed: Callable[[], object] = always

    def discard(self, connection: object) -> None:
        super().discard(connection)
        self.on_closed()

    def remove(self, connection: object) -> None:
        super().remove(connection)
        self.on_closed()


class BalancedListener:
    """A listening socket, which other processes may share; uvicorn closes it as it would close a server of its own.

    `make_protocol` makes the protocol of a new connection, and `connections` are those that are open in this process.
    Where there are other processes, `counts` has the number of connections of each, this one's at `index`, and
    `is_stopping` tells at the end whether the whole service stops, or the others go on to take connections.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        connections: OpenConnections,
        counts: MutableSequence[int] | None = None,
        index: int = 0,
        is_stopping: Callable[[], bool] = always,
        tls: Mapping[str, Any] | None = None,
        max_connections: int = sys.maxsize,
        make_room: Callable[[int], int] = _no_room,
        make_refusal: Callable[[], asyncio.Protocol] | None = None,
    ) -> None:
        """`tls`: what the event loop needs for a connection with TLS; `make_room` closes so many connections, or as
        many as it can, where there are `max_connections`, and returns their number; `make_refusal` makes the protocol
        of a connection that sends plain HTTP in place of TLS."""
        self._tls = tls or {}
        self._make_refusal = make_refusal or make_protocol
        self._handshakes: dict[asyncio.Task[Any], None] = {}  # of TLS that have begun, the oldest first
        self._turns = asyncio.Semaphore(_HANDSHAKES_IN_A_ROUND)
        self._listener = listener
        self._make_protocol = make_protocol
        self._connections = connections
        self._counts = [0] if counts is None else counts
        self._index = index
        self._is_stopping = is_stopping
        self._loop = asyncio.get_running_loop()
        self._max_connections = max_connections
        self._make_room = make_room
        self._room = 0  # connections that may be taken since others were closed for them
        self._shortage_told = -_SHORTAGE_NEWS  # time of the event loop
        # Taken, and not among `connections` yet: since when, the oldest first.
        self._registering: dict[asyncio.Task[object], float] = {}
        self._left_to_others = False  # during a pause
        self._pause_end: asyncio.TimerHandle | None = None  # while others are left the connections that wait
        self._closed = False
        listener.setblocking(False)
        connections.on_closed = self._on_closed
        self._count()
        self._resume()

    async def drain(self) -> None:
        """Take what has connected so far, then no more; where the whole service stops, new connections are refused.

        Linux resets the connections that wait at a listening socket when its last owner closes it.
        """
        if self._closed:
            return
        self._room = sys.maxsize  # of the last ones none is to be lost
        if self._is_stopping():
            refuse_connections(self._listener)
            await asyncio.sleep(_HANDSHAKE)
            while self._accept():
                pass
        self.close()
        await self.wait_closed()

    def close(self) -> None:
        """Take no more connections; those that wait are left to the other processes."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._counts[self._index] = NOT_LISTENING

    async def wait_closed(self) -> None:
        """Wait until every connection that was taken is among `connections`, but not for ever for its TLS."""
        if self._registering:
            await asyncio.wait(self._registering, timeout=_TLS_HANDSHAKE)
        for registering in self._registering:
            registering.cancel()

    def _resume(self) -> None:
        self._pause_end = None
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._on_readable)

    def _pause(self, seconds: float) -> asyncio.TimerHandle:
        self._loop.remove_reader(self._listener.fileno())
        return self._loop.call_later(seconds, self._resume)

    def _on_closed(self) -> None:
        """One connection is gone: the next may be this process's turn again."""
        self._count()
        if self._pause_end is not None and not self._closed and not self._has_its_share():
            self._pause_end.cancel()
            self._resume()

    def _count(self) -> int:
        count = len(self._connections) + len(self._registering)
        if not self._closed:
            self._counts[self._index] = count
        return count

    def _on_readable(self) -> None:
        """Connections wait, or did: all processes are woken by them."""
        left_to_others, self._left_to_others = self._left_to_others, False
        for number in range(BURST):
            if self._has_its_share() and (number or not left_to_others):
                if not number or _n_waiting(self._listener):  # else all have been taken
                    self._left_to_others = True
                    self._pause_end = self._pause(PAUSE)
                return
            if not self._accept():
                return

    def _has_its_share(self) -> bool:
        """Whether others have fewer connections, and those that wait would not make up for it, evenly shared out."""
        count = self._count()
        if count <= min(self._counts):
            return False
        counts = [each for each in self._counts if each != NOT_LISTENING]
        return count * len(counts) >= sum(counts) + _n_waiting(self._listener)

    def _accept(self) -> bool:
        """Take a connection; False where none is there, or none can be taken."""
        if self._count() >= self._max_connections and not self._has_room():
            return False
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError):  # another process took it
            return False
        except ConnectionAbortedError:  # its client has left
            return True
        except OSError as error:
            self._report_shortage(errno.errorcode.get(error.errno or 0, str(error)))
            self._pause(_SHORTAGE)
            return False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            connecting: Any = self._begin_tls(connection)
        else:
            connecting = self._loop.connect_accepted_socket(self._make_protocol, connection)
        registering: asyncio.Task[object] = self._loop.create_task(connecting)
        self._registering[registering] = self._loop.time()
        registering.add_done_callback(self._registered)
        return True

    async def _begin_tls(self, connection: socket.socket) -> None:
        """Make the protocol of a connection once its client has begun a handshake, or a request without one."""
        try:
            first = await self._first_byte(connection)
            if first.isalpha():
                await self._loop.connect_accepted_socket(self._make_refusal, connection)
            elif first:
                await self._shake_hands(connection)
            else:
                connection.close()
        except BaseException:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # the event loop, which may have it, would wait for its client
            connection.close()
            raise

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """The first byte that comes, which stays to be read; empty where the client closes."""
        is_readable = self._loop.create_future()
        self._loop.add_reader(connection.fileno(), _resolve, is_readable)
        try:
            async with asyncio.timeout(self._tls["ssl_handshake_timeout"]):
                await is_readable
        finally:
            self._loop.remove_reader(connection.fileno())
        return connection.recv(1, socket.MSG_PEEK)

    async def _shake_hands(self, connection: socket.socket) -> None:
        """The handshake of TLS, a few in each round of the event loop; of too many the oldest is given up."""
        await self._turns.acquire()
        self._loop.call_soon(self._turns.release)
        task: Any = asyncio.current_task()
        if len(self._handshakes) >= _MAX_HANDSHAKES:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
        self._handshakes[task] = None
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection, **self._tls)
        finally:
            self._handshakes.pop(task, None)

    def _has_room(self) -> bool:
        """Whether one waits, and others could be closed for it, since the process has as many as it may."""
        if sys.platform == "linux" and not _n_waiting(self._listener):
            return False
        if not self._room:  # else those that make room for the next few are closing still
            self._room = self._give_up_handshakes()
            if not self._room:
                self._room = self._make_room(max(_ROOM, self._max_connections // _SHARE_OF_ROOM))
        if not self._room:
            self._report_shortage(f"there are {self._count()}, and all are in use")
            self._pause(_SHORTAGE)
            return False
        self._room -= 1
        return True

    def _give_up_handshakes(self) -> int:
        """End those that have taken long; their number."""
        limit = self._loop.time() - _TLS_HANDSHAKE
        late = [handshake for handshake, since in itertools.islice(self._registering.items(), _ROOM) if since < limit]
        for registering in late:
            registering.cancel()
        return len(late)

    def _report_shortage(self, reason: str) -> None:
        if self._loop.time() - self._shortage_told >= _SHORTAGE_NEWS:
            self._shortage_told = self._loop.time()
            logger.error("no connection can be taken: %s", reason)

    def _registered(self, registering: asyncio.Task[object]) -> None:
        self._registering.pop(registering, None)
        if not registering.cancelled() and (error := registering.exception()) is not None:
            logger.debug("a connection could not be opened: %s", error)  # no TLS, or an unfinished handshake


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _n_waiting(listener: socket.socket) -> int:
    """How many connections wait to be taken; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    size = 28  # bytes: of a socket that listens, `tcpi_unacked` is the length of its queue
    (waiting,) = struct.unpack_from("I", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size), size - 4)
    return int(waiting)


def refuse_connections(listener: socket.socket) -> None:
    """Drop the first packet of every new connection, so that none is established behind the last `accept`.

    The client tries again after a second; by then the port is closed (refused) or belongs to the next service. A filter
    does that without touching the handshakes that are under way; where the system has none, nothing happens.
    """
    if sys.platform != "linux":
        return
    load_byte, mask, equals, give_up = 0x30, 0x54, 0x15, 0x06  # opcodes of the classic Berkeley packet filter
    syn, syn_or_ack, flags_at = 0x02, 0x12, 13  # RFC 9293 3.1: the byte of a TCP header that holds its flags
    program = (
        (load_byte, 0, 0, flags_at),
        (mask, 0, 0, syn_or_ack),
        (equals, 0, 1, syn),
        (give_up, 0, 0, 0),  # keep no byte: the packet is dropped
        (give_up, 0, 0, 0xFFFFFFFF),  # keep all
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    so_attach_filter = 26
    try:
        description = struct.pack("HP", len(program), ctypes.addressof(code))
        listener.setsockopt(socket.SOL_SOCKET, so_attach_filter, description)
    except OSError as error:
        logger.debug("new connections are not refused before the listener closes: %s", error)
