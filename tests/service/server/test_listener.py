"""Which process takes which connection of a shared listener, and what a stop does with those that wait."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.runtime.worker_group import NOT_LISTENING
from service.server.listener import BURST, BalancedListener, OpenConnections, bind, listen
from service.server.tls import new_context

FILES = Path(__file__).resolve().parents[2] / "certificates"
TIMEOUT = 200.0


class Process:
    """The connections of one worker; `counts` are those of all."""

    def __init__(
        self,
        listener: socket.socket,
        counts: list[int] | None,
        index: int = 0,
        *,
        is_stopping: bool = True,
        limit: tuple[Any, ...] = (),
        tls: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.open = OpenConnections()
        self.is_empty = asyncio.Event()  # again
        self.listener = BalancedListener(
            listener.dup(), self.protocol, self.open, counts, index, lambda: is_stopping, tls, *limit, **options
        )

    def protocol(self) -> asyncio.Protocol:
        process = self

        class Greeting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                process.open.add(self)
                self.transport = transport
                transport.write(b"hello")

            def connection_lost(self, exc: Exception | None) -> None:
                process.open.discard(self)
                if not process.open:
                    process.is_empty.set()

        return Greeting()

    def close(self) -> None:
        self.listener.close()
        self.listener.close()  # uvicorn does, too
        for each in self.open:
            each.transport.abort()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener


async def greeted(listener: socket.socket, count: int, stack: contextlib.ExitStack) -> None:
    """Open `count` connections and wait until each was taken."""
    async with asyncio.timeout(TIMEOUT):
        for _ in range(count):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            stack.callback(writer.close)
            assert await reader.readexactly(5) == b"hello"


@pytest.mark.parametrize("count", [2, 60])
async def test_connections_are_shared_evenly(listener: socket.socket, count: int) -> None:
    counts = [NOT_LISTENING, NOT_LISTENING]
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(contextlib.closing(Process(listener, counts, index))) for index in (0, 1))
        await greeted(listener, count, stack)
        assert len(first.open) + len(second.open) == count
        assert abs(len(first.open) - len(second.open)) <= 1


async def test_connections_that_are_closed_do_not_count(listener: socket.socket) -> None:
    """Else those of an earlier load would be a reason to give one process all of the next."""
    counts = [NOT_LISTENING, NOT_LISTENING]
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(contextlib.closing(Process(listener, counts, index))) for index in (0, 1))
        with contextlib.ExitStack() as load:
            await greeted(listener, 40, load)
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(first.is_empty.wait(), second.is_empty.wait())
        assert counts == [0, 0]
        await greeted(listener, 2, stack)
        assert len(first.open) == len(second.open) == 1


async def test_a_process_takes_its_share_of_those_that_wait_at_once(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others may be busy for a while: one connection at a time would keep the last of many waiting."""
    paused = asyncio.Event()

    def pause(listener: Any, _: float) -> None:
        listener._loop.remove_reader(listener._listener.fileno())
        paused.set()

    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        monkeypatch.setattr(BalancedListener, "_pause", pause)
        counts = [NOT_LISTENING, 0]
        process = stack.enter_context(contextlib.closing(Process(listener, counts)))
        async with asyncio.timeout(TIMEOUT):
            await paused.wait()
            await process.listener.wait_closed()
        assert len(process.open) == counts[0] == 20


async def test_a_connection_that_no_other_process_takes_is_taken(listener: socket.socket) -> None:
    """The other process has no connections, and takes none: it may be stopped by a debugger."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.closing(Process(listener, [0, 0])))
        await greeted(listener, 12, stack)
        assert len(first.open) == 12


async def test_a_process_that_does_not_listen_is_not_waited_for(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dead, or still loads its models."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.closing(Process(listener, [0, NOT_LISTENING])))
        pauses: list[float] = []
        monkeypatch.setattr(BalancedListener, "_pause", lambda self, seconds: pauses.append(seconds))
        await greeted(listener, 12, stack)
        assert len(first.open) == 12
        assert not pauses


async def test_a_process_that_has_closed_takes_no_more(listener: socket.socket) -> None:
    counts = [0, 0]
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(contextlib.closing(Process(listener, counts, index))) for index in (0, 1))
        first.listener.close()
        await first.listener.wait_closed()
        assert counts[0] == NOT_LISTENING
        await greeted(listener, 8, stack)
        assert len(first.open) == 0
        assert len(second.open) == 8


async def test_a_stop_takes_every_connection_that_waits(listener: socket.socket) -> None:
    with contextlib.ExitStack() as stack, contextlib.closing(Process(listener, [0])) as process:
        address = listener.getsockname()
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(50)]
        async with asyncio.timeout(TIMEOUT):
            listener.close()  # the process has the last descriptor: its end would reset what waits
            await process.listener.drain()
            assert len(process.open) == 50  # all of them registered, none on its way
            for client in clients:
                client.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(client, 5) == b"hello"
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)


async def test_the_only_process_takes_all_connections_that_wait_in_one_round(listener: socket.socket) -> None:
    """A round may be a batch of 20 ms: the last of 256 clients would wait for seconds if each of them took a round."""
    loop, turns = asyncio.get_running_loop(), 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(BURST)]
        async with asyncio.timeout(TIMEOUT):
            process = stack.enter_context(contextlib.closing(Process(listener, None)))
            turn()
            while len(process.open) < len(clients):  # noqa: ASYNC110 (the rounds are counted)
                await asyncio.sleep(0)
            assert turns < BURST / 4


async def test_no_connection_is_established_behind_the_last_that_is_taken(listener: socket.socket) -> None:
    """From the beginning of the stop on, the handshake of a new one does not begin."""
    async with asyncio.timeout(TIMEOUT):
        with contextlib.closing(Process(listener, [0])) as process:
            address = listener.getsockname()
            listener.close()
            stopping = asyncio.create_task(process.listener.drain())
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):  # in its second attempt; nothing was sent
                await asyncio.open_connection(*address)
            assert stopping.done()
            assert len(process.open) == 0


async def test_a_process_that_stops_alone_leaves_what_waits_to_the_others(listener: socket.socket) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.closing(Process(listener, [0, 0], is_stopping=False)))
        stack.enter_context(socket.create_connection(listener.getsockname()))
        async with asyncio.timeout(TIMEOUT):
            await first.listener.drain()
            assert len(first.open) == 0
            second = stack.enter_context(contextlib.closing(Process(listener, [0, 0], 1)))
            await greeted(listener, 1, stack)
            assert len(second.open) == 2


async def test_a_stop_waits_for_connections_on_their_way(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection was taken, and its protocol is not made yet: it is not among the open ones."""
    loop, accepted, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    connect = loop.connect_accepted_socket

    async def slowly(*arguments: Any) -> Any:
        accepted.set()
        await go_on.wait()
        return await connect(*arguments)

    monkeypatch.setattr(loop, "connect_accepted_socket", slowly)
    async with asyncio.timeout(TIMEOUT):
        with (
            contextlib.closing(Process(listener, [0])) as process,
            socket.create_connection(listener.getsockname()),
        ):
            await accepted.wait()
            stopping = asyncio.create_task(process.listener.drain())
            await asyncio.sleep(0.5)
            assert not stopping.done()
            go_on.set()
            await stopping
            assert len(process.open) == 1


async def test_a_stop_does_not_wait_for_handshakes_without_end(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = hold_handshakes(monkeypatch)
    monkeypatch.setattr("service.server.listener._TLS_HANDSHAKE", 0.05)
    async with asyncio.timeout(TIMEOUT):
        with contextlib.closing(Process(listener, [0])) as process:
            with socket.create_connection(listener.getsockname()):
                await taken.wait()
                await process.listener.drain()
                await asyncio.sleep(0)
            assert len(process.open) == 0


def hold_handshakes(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Connections are taken, and never made; set when the first is."""
    taken = asyncio.Event()

    async def wait(_: object, connection: socket.socket) -> None:
        with connection:
            taken.set()
            await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", wait)
    return taken


async def test_where_there_is_no_room_connections_are_closed_for_the_next(listener: socket.socket) -> None:
    asked = []

    def make_room(count: int) -> int:
        asked.append(count)
        for each in [*process.open][:2]:
            each.transport.abort()
        return min(2, len(process.open))

    with contextlib.ExitStack() as stack:
        process = stack.enter_context(contextlib.closing(Process(listener, None, limit=(4, make_room))))
        await greeted(listener, 4, stack)
        assert not asked
        await greeted(listener, 20, stack)
        assert 8 <= len(asked) <= 10
        assert len(process.open) <= 4


async def test_where_all_connections_are_in_use_the_next_waits_and_the_log_stays_short(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(contextlib.closing(Process(listener, None, limit=(4, lambda _: 0))))
        await greeted(listener, 4, stack)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        stack.callback(writer.close)
        await asyncio.sleep(0.25)
        assert len(process.open) == 4
        assert len(caplog.records) == 1
        next(iter(process.open)).transport.abort()
        async with asyncio.timeout(TIMEOUT):
            assert await reader.readexactly(5) == b"hello"


def tls() -> dict[str, Any]:
    return {"ssl": new_context(FILES / "first.pem", FILES / "first-key.pem"), "ssl_handshake_timeout": 20.0}


async def test_handshakes_that_take_long_are_given_up_for_others(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server.listener._TLS_HANDSHAKE", 0.0)
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            contextlib.closing(Process(listener, counts := [0], limit=(3, lambda _: 0), tls=tls()))
        )
        for _ in range(20):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            await asyncio.sleep(0.01)
            assert counts[0] <= 8
        await process.listener.drain()
        await asyncio.sleep(0)


async def test_no_more_handshakes_are_under_way_than_there_may_be(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those that are given up keep no socket, whatever their clients do."""
    monkeypatch.setattr("service.server.listener._MAX_HANDSHAKES", 3)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(FILES / "first.pem")
    client.check_hostname = False
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(Process(listener, [0], tls=tls())))
        for _ in range(30):  # they cost nothing, and stay
            stack.enter_context(socket.create_connection(listener.getsockname()))
        begun = []
        for _ in range(5):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            stack.callback(writer.close)
            writer.write(b"\x16\x03\x01\x02\x00\x01")
            begun.append(reader)
            await asyncio.sleep(0.02)
        async with asyncio.timeout(TIMEOUT):
            for reader in begun[:2]:
                assert await reader.read() == b""
            reader, writer = await asyncio.open_connection(*listener.getsockname(), ssl=client)
            stack.callback(writer.close)
            assert await reader.readexactly(5) == b"hello"
            assert await begun[2].read() == b""
        assert not begun[4].at_eof()


async def test_plain_http_in_place_of_tls_is_answered(listener: socket.socket) -> None:
    class Refusal(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"https:// not " + data)
            self.transport.close()

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(Process(listener, [0], tls=tls(), make_refusal=Refusal)))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        stack.callback(writer.close)
        await asyncio.sleep(0.02)
        assert not reader.at_eof()
        writer.write(b"GET /")
        async with asyncio.timeout(TIMEOUT):
            assert await reader.read() == b"https:// not GET /"


def test_every_address_of_a_name_is_bound_and_a_taken_port_is_named() -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in bind("127.0.0.1", 0)]
        port = sockets[0].getsockname()[1]
        with pytest.raises(
            ConnectionRefusedError
        ):  # bound early, so that a taken port is found early; deaf until later
            socket.create_connection(("127.0.0.1", port))
        listen(sockets, "127.0.0.1")
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}: address already in use") as error:
            bind("127.0.0.1", port)
        assert error.value.errno == errno.EADDRINUSE


def test_an_address_family_that_the_machine_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in bind("both", 0)]
        assert [each.getsockname()[0] for each in sockets] == ["127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses[:1])
    with pytest.raises(OSError, match="cannot listen on both"):
        bind("both", 0)


@pytest.mark.parametrize("host", ["..", "a" * 64 + ".example", "name.invalid", "[::1]", "127.0.0.1:80"])
def test_a_host_that_is_none_is_named(host: str) -> None:
    with pytest.raises(OSError, match=re.escape(f"cannot listen on {host}")):
        bind(host, 0)


def test_all_addresses_of_a_name_have_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number}", 0)) for number in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in bind("both", 0)]
        assert len({each.getsockname()[1] for each in sockets}) == 1


def test_two_that_start_at_once_and_want_one_port() -> None:
    with contextlib.ExitStack() as stack:
        (first,) = (stack.enter_context(each) for each in bind("127.0.0.1", 0))
        port = first.getsockname()[1]
        second = [stack.enter_context(each) for each in bind("127.0.0.1", port)]
        listen([first], "127.0.0.1")
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}: address already in use"):
            listen(second, "127.0.0.1")
