"""The transport of a connection with TLS, which passes a large answer on in pieces.

uvloop encrypts all that it is given, and hands all of it to the connection below, of which the protocol above learns
nothing: an answer of 9 MiB that its client does not read took 29 MiB, without an end and without being counted. So no
more is handed over than what makes uvloop say that it has enough; the rest waits here.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import termios
from collections import deque
from collections.abc import Iterable
from typing import Any

_PARTING_SECONDS = 2.0  # that a client has to close its side, too, once it has taken all that was sent
_PIECE = 64 << 10  # bytes: with TLS around it more than the connection below takes before it pauses


def untaken_in_system(transport: asyncio.BaseTransport) -> int:
    """Bytes in the system's buffer that the client has not taken; 0 where the system does not tell."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        descriptor = transport.get_extra_info("socket").fileno()
        return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])
    return 0


class TlsTransport(asyncio.Transport):
    """The part of `asyncio.Transport` that connections use, over uvloop's `transport`."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        limit_reading: Any = getattr(transport, "set_read_buffer_limits", None)
        if limit_reading is not None:  # uvloop's, which would keep 256 KiB of what is not read
            limit_reading(high=_PIECE)
        self._pending: deque[memoryview] = deque()
        self._size = 0  # bytes of them
        self._is_paused = False
        self._is_closing = False
        self._parting: asyncio.TimerHandle | None = None

    def pause(self) -> None:
        """uvloop has enough."""
        self._is_paused = True

    def resume(self) -> bool:
        """uvloop takes more; whether all has been handed over, and it takes more still."""
        self._is_paused = False
        self._hand_over()
        return not self._is_paused

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`."""
        if self._is_closing:
            return
        if len(data) <= _PIECE and not self._pending and not self._is_paused:
            self._transport.write(data)
            return
        self._pending.append(memoryview(data))
        self._size += len(data)
        self._hand_over()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """See `asyncio.WriteTransport`."""
        for data in list_of_data:
            self.write(data)

    def _hand_over(self) -> None:
        while self._pending and not self._is_paused:
            data = self._pending.popleft()
            if len(data) > _PIECE:
                self._pending.appendleft(data[_PIECE:])
                data = data[:_PIECE]
            self._size -= len(data)
            self._transport.write(data)
        if self._is_closing and not self._pending:
            self._close()

    def close(self) -> None:
        """See `asyncio.BaseTransport`: what was written is sent before."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._pending:
            self._transport.pause_reading()
        else:
            self._close()

    def _close(self) -> None:
        self._transport.close()
        self._parting = asyncio.get_running_loop().call_later(_PARTING_SECONDS, self._part)

    def _part(self) -> None:
        """End the connection once its client has taken all that was sent: uvloop waits for it to close, for 30 s."""
        if self.get_write_buffer_size() or untaken_in_system(self):
            self._parting = asyncio.get_running_loop().call_later(_PARTING_SECONDS, self._part)
        else:
            self._transport.abort()

    def connection_lost(self) -> None:
        """The connection is lost."""
        if self._parting is not None:
            self._parting.cancel()

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._is_closing = True
        self._pending.clear()
        self._size = 0
        self._transport.abort()

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._is_closing or self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return self._size + self._transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._transport.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`: TLS ends both directions at once."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport`."""
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_protocol()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if not (self._is_closing and self._pending):
            self._transport.resume_reading()
