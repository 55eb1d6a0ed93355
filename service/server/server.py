"""The server process: uvicorn with our application, and a stop that loses no request.

On SIGTERM uvicorn alone closes its listener at once, while load balancers still send requests there. Here readiness
turns false first, requests are taken for a while, and every answer says that its connection ends. Then the listener
closes, in-flight requests are finished (bounded), idle connections close, and the process ends with 0. Ctrl-C skips the
wait. SIGHUP looks for models again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.api.app import create_app
from service.api.management import create_management_app
from service.api.websockets import LiveConnections
from service.registry.control import ModelControl
from service.registry.registry import Registry
from service.registry.repository import folder_state
from service.runtime import logs
from service.runtime.descriptors import max_connections
from service.runtime.malloc import limit_arenas
from service.runtime.model_plan import Action, Change
from service.runtime.starvation import longest_wait, waits
from service.runtime.watched_file import UnusableFile
from service.runtime.worker_group import WorkerGroup
from service.server.connection import ConnectionLimits
from service.server.crowding import close_waiting
from service.server.exposure import exposed_host, is_local
from service.server.http_protocol import PlainProtocol, Protocol
from service.server.known_heads import KnownHeads
from service.server.listener import BalancedListener, OpenConnections, always, listen
from service.server.management import ManagementServer
from service.server.tls import Certificate
from service.settings import Settings

_POLL = 0.02  # seconds between two looks at the connections that are still open, while the server stops
_IDLE_LINGER = 1.5  # seconds an idle connection stays open after the drain began: a request may be on its way
_CLOSING = 5.0  # seconds for the end of the application, when all connections are closed
_LAST_REFUSALS = 0.2  # seconds for requests that wait for their bodies to answer that the service stops
_LAST_ANSWERS = 1.0  # seconds for requests that were cut to answer that the service stops
_REPORT = 1.0  # seconds between two heartbeats, and between two reports of the engine's state to the other processes
_ENDLESS_CALL = 60.0  # seconds after which a model's call is one that does not return
_HUNG_LOOKS = 30  # seconds, one after the other, in which a process alone does not turn
_PING, _PONG = 30.0, 60.0  # seconds between two pings of a live connection, and for its answer
_SWITCH = 0.001  # seconds the inference thread waits at most for a busy event loop; 5 ms is Python's default

_NO_SNIFFING = ("x-content-type-options", "nosniff")
_TLS_ALONE = ("strict-transport-security", "max-age=31536000")

logger = logging.getLogger(__name__)


def default_headers(settings: Settings, *, has_tls: bool) -> list[tuple[str, str]]:
    """Headers of every answer: a browser takes its type as stated, and returns to a name on the network by TLS only."""
    return [_NO_SNIFFING, _TLS_ALONE] if has_tls and not is_local(exposed_host(settings)) else [_NO_SNIFFING]


class Server(uvicorn.Server):
    """uvicorn's server that drains before it stops, and ends with 0 after a signal."""

    def __init__(
        self,
        config: uvicorn.Config,
        registry: Registry,
        streams: LiveConnections,
        settings: Settings,
        listeners: Sequence[socket.socket],
        limits: ConnectionLimits,
        group: WorkerGroup | None = None,
        certificate: Certificate | None = None,
        control: ModelControl | None = None,
    ) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._registry = registry
        self._streams = streams
        self._limits = limits
        self._settings = settings
        self._listeners = listeners
        self._group = group
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turned = time.monotonic()  # when the event loop did so last
        self._drain_started: float | None = None  # time of the event loop
        self._tasks: list[asyncio.Task[None]] = []
        self._control = control
        self._known_heads = KnownHeads()
        self._connections = self.server_state.connections = OpenConnections()
        self._changes: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen; a replacement of a worker listens once it serves what the others do."""
        self._loop = asyncio.get_running_loop()
        if self._group is not None:
            self._watch_parent(self._loop)
        self._start_task(self._beat())
        if self._group is None and self._settings.model_updates == "poll":
            self._start_task(self._poll_models())
        await super().startup(sockets or [])
        if self._group is not None and self._group.is_replacement:
            await self._registry.loaded()
            if not self.should_exit and self._missing_versions(self._group):
                await self.lifespan.shutdown()
                sys.exit(STARTUP_FAILURE)
        if self.should_exit:
            return
        if self._group is None:
            try:
                listen(self._listeners, self._settings.host, self._settings.scheme)
            except OSError as error:
                logger.error("%s", error.strerror)
                await self.lifespan.shutdown()
                sys.exit(STARTUP_FAILURE)
        listening: list[Any]  # what uvicorn expects of its servers: that they close
        listening = [self._listener(sock, self._group) for sock in self._listeners]
        if self._group is not None:
            self._start_task(self._report(self._group))
        self.servers = listening

    def _listener(self, listener: socket.socket, group: WorkerGroup | None) -> BalancedListener:
        connections, tls = self._connections, self._tls()
        room = max_connections(), partial(close_waiting, connections)
        counts, index, is_stopping = None, 0, always
        if group is not None:
            shared = group.shared
            counts, index, is_stopping = shared.connections, group.index, lambda: shared.stopping
        return BalancedListener(
            listener, self._protocol, connections, counts, index, is_stopping, tls, *room, self._plain_protocol
        )

    def _tls(self) -> dict[str, Any]:
        """What the event loop needs to serve with TLS; nothing without."""
        if self._certificate is None:
            return {}
        return {"ssl": self._certificate.context, "ssl_handshake_timeout": self._settings.receive_seconds}

    def _protocol(self) -> asyncio.Protocol:
        return self._new_protocol(Protocol)

    def _plain_protocol(self) -> asyncio.Protocol:
        return self._new_protocol(PlainProtocol)

    def _new_protocol(self, kind: type[Protocol]) -> asyncio.Protocol:
        return kind(
            self.config,
            self.server_state,
            self.lifespan.state,
            limits=self._limits,
            is_draining=lambda: self._drain_started is not None,
            known_heads=self._known_heads,
        )

    def _watch_parent(self, loop: asyncio.AbstractEventLoop) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:  # a worker without a parent would keep the port for ever
            loop.add_reader(int(parent.sentinel), self._orphaned, int(parent.sentinel))

    def _orphaned(self, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        logger.error("the parent process has died")
        if self._group is not None:
            self._group.shared.stop()
        self.handle_exit(signal.SIGTERM, None)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._on_task_done)
        self._tasks.append(task)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """A process that no longer reports stands in for one that serves: it ends, and the parent replaces it."""
        if not task.cancelled() and task.exception() is not None:
            logger.critical("the process cannot report to the others", exc_info=task.exception())
            self.handle_exit(signal.SIGTERM, None)

    async def _beat(self) -> None:
        """Show the parent and the management port, for as long as the process lives, that the event loop turns.

        And that models are computed: where one of them does not return from a call, no request gets an answer any more.
        """
        while True:
            if self._registry.call_seconds < _ENDLESS_CALL:
                self._turned = time.monotonic()
                if self._group is not None:
                    self._group.beat()
            self._registry.metrics.refresh()
            if self._certificate is not None:
                self._certificate.check()
            await asyncio.sleep(_REPORT)

    def silence(self) -> float:
        """Seconds since the event loop has turned."""
        return max(0.0, time.monotonic() - self._turned - _REPORT)

    def may_answer_probes(self) -> bool:
        """Whether this process speaks for the service: not while it starts, or ends alone, and another one serves."""
        group = self._group
        if group is None or group.shared.stopping or not group.others_listen():
            return True
        return bool(getattr(self, "servers", None)) and not self._registry.draining

    def end_when_hung(self) -> None:
        """End the process when it has hung for long; for a thread of its own, where no parent does that.

        It could not even be stopped by SIGTERM otherwise. Silent looks are counted, not seconds, as a process that was
        stopped does not look; nor are looks in which a thread waited for a processor.
        """
        looks, waited_before = 0, waits(os.getpid())
        while looks < _HUNG_LOOKS:
            time.sleep(_REPORT)
            if self.silence() <= _REPORT:
                looks = 0
                continue
            waited = waits(os.getpid())
            looks += longest_wait(waited_before, waited) < _REPORT / 2
            waited_before = waited
        logger.critical("the process ends: it has hung in a call of a model, or of the system")
        logging.shutdown()
        os._exit(1)

    async def _report(self, group: WorkerGroup) -> None:
        """Share with the other processes when this one is ready, and the state of its engine."""
        await self._registry.loaded()
        if self._registry.ready:
            group.models.add_served(self._ready_versions())
            group.mark_ready()
        while not self._registry.draining:
            if self._missing_versions(group):
                self.handle_exit(signal.SIGTERM, None)
            await asyncio.sleep(_REPORT)

    def _ready_versions(self) -> set[str]:
        return {served.reference for served in self._registry.models() if served.state == "ready"}

    def _missing_versions(self, group: WorkerGroup) -> list[str]:
        """The versions that other processes serve and this one cannot; they are logged."""
        ready = self._ready_versions()
        missing = [name for name in group.models.missing(ready) if self._registry.expects(name)]
        if missing:
            logger.error("this process ends: other processes serve %s, and it cannot", ", ".join(missing))
        return missing

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Called by the signal. uvicorn would send itself the signal again afterwards, and the exit status say so."""
        if self._registry.draining:  # a second signal: stop now; a third: without waiting for anything
            if self._group is not None and self._group.shared.stop_signals == 1:
                return  # the same stop: systemd signals all processes of a service, and the parent passes its signal on
            self.force_exit = self.should_exit
            self.should_exit = True
            return
        self._registry.drain()
        if self._loop is None or not getattr(self, "servers", None):  # nothing listens yet
            self.should_exit = True
            return
        delay = 0.0 if sig == signal.SIGINT else self._settings.drain_delay_seconds
        self._loop.call_soon_threadsafe(self._drain, delay)

    def reload(self, _sig: int, _frame: FrameType | None) -> None:
        """Called by SIGHUP: look for models on disk, and serve what is there."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: self._start_change("reload"))

    def _start_change(self, action: Action) -> None:
        if self._control is None or len(self._changes) > 1:  # one is being made, and one reads the folder after it
            return
        change = asyncio.create_task(self._control.change(Change(action)))
        self._changes.add(change)
        change.add_done_callback(self._on_change_done)

    def _on_change_done(self, change: asyncio.Task[None]) -> None:
        self._changes.discard(change)
        if not change.cancelled() and change.exception() is not None:
            logger.error("the models could not be changed: %s", change.exception())

    async def _poll_models(self) -> None:
        """Reload when the folder of models has changed, and has not gone on changing since the look before."""
        loaded = previous = await asyncio.to_thread(folder_state, self._settings.models)
        while True:
            await asyncio.sleep(self._settings.model_poll_seconds)
            current = await asyncio.to_thread(folder_state, self._settings.models)
            if current == previous != loaded:
                loaded = current
                self._start_change("reload")
            previous = current

    def _drain(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._drain_started = loop.time()
        for connection in self.server_state.connections:
            if isinstance(connection, Protocol):
                connection.drain()
        if not delay:
            self.should_exit = True
            return
        logger.info("not ready any more; the listener closes in %g s", delay)
        loop.call_later(delay, self._stop)

    def _stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, end live connections after the answers they wait for, finish what is in flight.

        uvicorn alone would cut a live connection in the middle of an answer, close an idle connection on which a
        request arrives, and reset connections that wait at the listener.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.drain_seconds
        self._streams.close()
        await asyncio.gather(*(server.drain() for server in self._own_servers()))
        # A signal may end the waiting, too, and signals set no event.
        while self._in_use() and not self.force_exit and loop.time() < deadline:
            self._close_idle(loop.time() - _IDLE_LINGER)
            await asyncio.sleep(_POLL)
        await self._streams.cut()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Protocol):
                connection.cut()
        # uvicorn cuts the rest, or finds none.
        self.config.timeout_graceful_shutdown = 1 if not self._in_use() else _LAST_REFUSALS  # type: ignore[assignment]
        try:
            await asyncio.wait_for(super().shutdown(sockets), _CLOSING)
        except TimeoutError:
            logger.error("the application did not end within %g s", _CLOSING)
        if self.server_state.tasks:
            await asyncio.wait(list(self.server_state.tasks), timeout=_LAST_ANSWERS)
        for task in self._tasks:
            task.cancel()

    def _own_servers(self) -> list[BalancedListener]:
        servers: list[Any] = self.servers
        return servers

    def _in_use(self) -> bool:
        return bool(self.server_state.connections or self.server_state.tasks or len(self._streams))

    def _close_idle(self, limit: float) -> None:
        """Close HTTP connections without a request that were open, and the drain under way, before `limit`."""
        if self._drain_started is not None and self._drain_started > limit:
            return
        for connection in list(self.server_state.connections):
            if isinstance(connection, Protocol) and connection.connected_at <= limit:
                connection.close_if_idle()


def run(
    settings: Settings,
    listeners: Sequence[socket.socket],
    group: WorkerGroup | None = None,
    management: Sequence[socket.socket] = (),
) -> int:
    """Serve in this process until a signal stops it, then end the process; returns only where it cannot start.

    `group`: where the process is one of several. `management`: listeners of the management port, where there is one.
    The result is the exit status.
    """
    logs.configure(settings.log_level)
    limit_arenas()
    try:
        app = create_app(settings, group=group)
        files = (settings.tls_certificate, settings.tls_key)
        certificate = Certificate(files[0], files[1]) if files[0] and files[1] else None
    except (OSError, UnusableFile) as error:
        logger.error("the process cannot start: %s", error)
        return STARTUP_FAILURE
    except Exception:
        logger.exception("the process cannot start")
        return STARTUP_FAILURE
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Protocol,
        proxy_headers=False,  # nothing here depends on a caller's address or scheme
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=default_headers(settings, has_tls=certificate is not None),
        ws="websockets-sansio",
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,  # its dictionaries cost more memory than a live series
        ws_ping_interval=_PING,
        ws_ping_timeout=_PONG,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )
    sys.setswitchinterval(_SWITCH)
    limits = ConnectionLimits(settings, app.state.budget, app.state.request_metrics)
    state = app.state
    server = Server(
        config, state.registry, state.streams, settings, listeners, limits, group, certificate, state.control
    )
    if group is None:
        threading.Thread(target=server.end_when_hung, name="watchdog", daemon=True).start()
    if management:
        probes = create_management_app(app.state.registry, server.silence, group)
        ManagementServer(probes, management, settings, server.may_answer_probes).start()
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, server.reload if settings.model_updates != "none" else signal.SIG_IGN)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        status = 0
        try:
            runner.run(server.serve())
        except SystemExit as stop:  # the application could not start: already logged
            status = int(stop.code or 0)
        except Exception:
            logger.exception("the server failed")
            status = 1
        # Both the end of the loop and the end of the interpreter wait for threads, and a thread may work for minutes.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
