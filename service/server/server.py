"""The server process: uvicorn with our application, and a stop that nobody notices.

On SIGTERM uvicorn alone closes its listener at once, while load balancers still send requests there. Here readiness
turns false first, requests are taken for a while, then the listener closes, what is in flight is finished (bounded),
and the process ends with 0. Ctrl-C skips the wait.
"""

from __future__ import annotations

import asyncio
import logging
import math
import multiprocessing
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any

import uvicorn

from service.api.app import create_app
from service.api.websockets import LiveConnections
from service.registry.registry import Registry
from service.runtime import logs
from service.runtime.worker_group import WorkerGroup
from service.server.http_protocol import Protocol
from service.server.listener import BalancedListener
from service.settings import Settings

_GLANCE = 0.02  # seconds between two looks at the live connections, while the last ones end
_PING, _PONG = 30.0, 60.0  # seconds: a live connection is asked whether it is there, and has so long to say so
_SWITCH = 0.001  # seconds the inference thread waits at most for a busy event loop; 5 ms is Python's default
_KEEP_ALIVE = 75  # seconds an idle connection stays open: longer than common load balancers keep theirs

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Uvicorn's server that drains before it stops, and ends with 0 when it was told to."""

    def __init__(
        self,
        config: uvicorn.Config,
        registry: Registry,
        streams: LiveConnections,
        settings: Settings,
        group: WorkerGroup | None = None,
    ) -> None:
        super().__init__(config)
        self._crew = group
        self._registry = registry
        self._streams = streams
        self._delay = settings.drain_delay_seconds
        self._patience = settings.drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening; the loop is remembered for the signal that will come."""
        self._loop = asyncio.get_running_loop()
        parent = multiprocessing.parent_process()
        if parent is not None:  # nobody may stay behind alone and keep the port
            self._loop.add_reader(int(parent.sentinel), self._orphaned, int(parent.sentinel))
        if self._crew is None or not sockets:
            await super().startup(sockets)
            return
        await super().startup([])  # all but the listening
        listening: list[Any] = [  # what uvicorn needs of its servers: that they close
            BalancedListener(
                each, self._protocol, self.server_state.connections, self._crew.connections, self._crew.place
            )
            for each in sockets
        ]
        self.servers = listening

    def _protocol(self) -> asyncio.Protocol:
        return Protocol(self.config, self.server_state, self.lifespan.state)

    def _orphaned(self, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        logger.error("the parent process is gone")
        self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Called by the signal. uvicorn would send itself the signal again afterwards, and the exit status say so."""
        if self._registry.draining:  # a second signal: stop now; a third: without waiting for anybody
            self.force_exit = self.should_exit
            self.should_exit = True
            return
        self._registry.drain()
        if sig == signal.SIGINT or not self.started or self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        logger.info("not ready any more; the listener closes in %g s", self._delay)
        asyncio.get_running_loop().call_later(self._delay, self._stop)

    def _stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, send live connections away with what they wait for, then finish as uvicorn does.

        uvicorn alone would cut a live connection in the middle of an answer.
        """
        for server in self.servers:
            server.close()
        begun = time.monotonic()
        self._streams.close()
        # A signal may end the waiting, too, and signals set no event.
        while len(self._streams) and not self.force_exit and time.monotonic() - begun < self._patience:  # noqa: ASYNC110
            await asyncio.sleep(_GLANCE)
        self.config.timeout_graceful_shutdown = math.ceil(max(1, self._patience - (time.monotonic() - begun)))
        await super().shutdown(sockets)


def run(settings: Settings, group: WorkerGroup | None = None, listener: socket.socket | None = None) -> int:
    """Serve in this process until told to stop; the exit status. `group` and `listener`: where it is one of several."""
    logs.configure(settings.log_level)
    app = create_app(settings, group=group)
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
        ws="websockets-sansio",
        ws_max_size=settings.max_message_bytes,
        ws_per_message_deflate=False,  # its dictionaries cost more memory than a live series
        ws_ping_interval=_PING,
        ws_ping_timeout=_PONG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )
    sys.setswitchinterval(_SWITCH)
    server = Server(config, app.state.registry, app.state.streams, settings, group)
    try:
        server.run([listener] if listener else None)
    except SystemExit as stop:  # the port is taken, or the application could not start: already logged
        return int(stop.code or 0)
    return 0
