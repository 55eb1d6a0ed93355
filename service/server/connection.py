"""What the connections of both protocols have in common: their limits, their clocks, and the bytes they hold.

A client may send slowly, read slowly, or not at all. Every wait for it has a deadline (`Deadline`), and every byte that
is held for it is counted in the budget of the process (`Flow`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from uvicorn.protocols.http.flow_control import FlowControl

from service.api.byte_budget import ByteBudget
from service.api.clients import group_of
from service.api.request_metrics import RequestMetrics
from service.server.tls_transport import TlsTransport, untaken_in_system
from service.settings import Settings

MIN_BYTES_PER_SECOND = 4096  # that a client takes of an answer that it is sent, on average over `send_seconds`
LINGER_SECONDS = 2.0  # without a byte from a client that was refused while it still sent
LINGER_IN_ALL_SECONDS = 30.0
LINGER_BYTES = 1 << 30  # as much as a table may have: refusing one costs less than reading it
_NO_ROUTE = "other"  # the label of requests that reached no route


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The settings that bound a connection, the budget that all share, and where refusals are counted."""

    settings: Settings
    budget: ByteBudget
    metrics: RequestMetrics

    def record_refusal(self, status: int, seconds: float) -> None:
        """A request was answered with `status` before it reached the application."""
        self.metrics.record(_NO_ROUTE, "", status, seconds)


class Deadline:
    """A time at which `expired` is called, unless it is moved or cleared before.

    A later time costs no timer: the one that runs finds, when it fires, that there is time left.
    """

    __slots__ = ("_at", "_expired", "_loop", "_timer", "_timer_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def start(self, seconds: float) -> None:
        """Expire in so many seconds, and at no other time."""
        self._at = at = self._loop.time() + seconds
        if at < self._timer_at:
            self._schedule()

    def clear(self) -> None:
        """Do not expire; costs nothing, so that a connection may clear and start for each request."""
        self._at = math.inf

    def close(self) -> None:
        """Clear, and keep no timer."""
        self._at = self._timer_at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def is_running(self) -> bool:
        """Whether it will expire."""
        return self._at != math.inf

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._at
        self._timer = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._at == math.inf:
            return
        if self._loop.time() < self._at:
            self._schedule()
            return
        self._at = math.inf
        self._expired()


class _Lingering:
    """The end of a connection while its client may still be sending: input is read and forgotten, for a while.

    Closing at once would make the system reset the connection, and the client lose an answer that it has not read yet
    (RFC 9112, 9.6).
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._until = loop.time() + LINGER_IN_ALL_SECONDS
        self._count = 0
        self._silence = Deadline(loop, transport.abort)
        self._silence.start(LINGER_SECONDS)
        if transport.can_write_eof():
            transport.write_eof()
        transport.resume_reading()

    def discard(self, count: int) -> None:
        """So many bytes came and are forgotten."""
        self._count += count
        if self._count > LINGER_BYTES or self._loop.time() > self._until:
            self._transport.abort()
        else:
            self._silence.start(LINGER_SECONDS)

    def close(self) -> None:
        """The connection is lost."""
        self._silence.close()


class Flow(FlowControl):
    """The flow control of one connection, in both directions, and the account of what it holds.

    `held_bytes` are those that came and wait. The transport tells about every answer that the system did not take at
    once; from then on it is counted, and the client has to take some of it, or it is cut off.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        limits: ConnectionLimits,
        address: str,
    ) -> None:
        """`address`: of the client."""
        super().__init__(transport)
        self._client = group_of(address)
        self.has_backlog = False  # whether requests wait that have arrived: no more are read
        self.is_ending = False  # whether the last answer has been written
        self.held_bytes = 0
        self._unsent = 0
        self._untaken_bytes = 0  # bytes that the client had not taken at the last look
        self._limits = limits
        self._loop = loop
        self._lingering: _Lingering | None = None
        self._deadline = Deadline(loop, self._check_progress)
        self._tls = transport if isinstance(transport, TlsTransport) else None
        # Under TLS, uvloop pauses a protocol whose buffer holds `high` bytes or more: with 0 also one that holds none.
        transport.set_write_buffer_limits(high=1 if self._tls is not None else 0, low=0)

    def hold(self, count: int) -> None:
        """`count` bytes that came are held now; raises `Unavailable` where there is no room for more."""
        growth = count - self.held_bytes
        if growth > 0:
            self._limits.budget.acquire(growth, self._client, count)
        else:
            self._limits.budget.release(-growth, self._client)
        self.held_bytes = count

    def release(self, count: int) -> None:
        """`count` of the bytes that are held are held no more, or counted elsewhere."""
        count = min(count, self.held_bytes)
        self._limits.budget.release(count, self._client)
        self.held_bytes -= count

    def end(self, *, gently: bool) -> None:
        """Close the connection when all that was written has been sent; `gently` where its client may be sending."""
        self.is_ending = True
        if gently and self._lingering is None and not self._transport.is_closing():
            self._lingering = _Lingering(self._transport, self._loop)
        elif not gently:
            self._transport.close()

    def discard(self, count: int) -> bool:
        """Whether the connection has ended, so that the `count` bytes that came are forgotten."""
        if self._lingering is not None:
            self._lingering.discard(count)
        return self.is_ending

    def resume_reading(self) -> None:
        """See `FlowControl`; not while requests wait."""
        if not self.has_backlog:
            super().resume_reading()

    def pause_writing(self) -> None:
        """The system took only a part of what was written."""
        super().pause_writing()
        if self._tls is not None:
            self._tls.pause()
        self._count_unsent()
        self._untaken_bytes = self._untaken()
        self._deadline.start(self._limits.settings.send_seconds)

    def resume_writing(self) -> None:
        """All that was written has been taken."""
        if self._tls is not None and not self._tls.resume():
            return
        self._deadline.clear()
        self._limits.budget.release(self._unsent, self._client)
        self._unsent = 0
        super().resume_writing()

    def close(self) -> None:
        """The connection is lost, or another protocol's: nothing is held any more."""
        self._deadline.close()
        if self._tls is not None:
            self._tls.connection_lost()
        if self._lingering is not None:
            self._lingering.close()
        self._limits.budget.release(self.held_bytes + self._unsent, self._client)
        self.held_bytes = self._unsent = 0

    def _count_unsent(self) -> None:
        size = self._transport.get_write_buffer_size()
        self._limits.budget.add(size - self._unsent, self._client)
        self._unsent = size

    def _untaken(self) -> int:
        """Bytes of answers that the client has not taken: those in the transport, and those in the system's buffer."""
        return self._transport.get_write_buffer_size() + untaken_in_system(self._transport)

    def _check_progress(self) -> None:
        seconds = self._limits.settings.send_seconds
        untaken_bytes = self._untaken()
        if self._untaken_bytes - untaken_bytes < min(seconds * MIN_BYTES_PER_SECOND, self._untaken_bytes):
            self._limits.metrics.connection_cut("slow_reader")
            self._transport.abort()
            return
        self._count_unsent()
        self._untaken_bytes = untaken_bytes
        self._deadline.start(seconds)
