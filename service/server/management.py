"""The management port: health and metrics, answered by a thread with an event loop of its own.

On the port that serves, a probe waits behind the connections and the requests that came before it. Here it does not,
however many they are: an orchestrator neither takes a busy service for a dead one, nor a hung one for a busy one. Where
several processes serve, they share the port, and any of them answers; one that starts or ends leaves the answers to the
others, which are what the service is meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from service.api.byte_budget import ByteBudget
from service.api.request_metrics import RequestMetrics
from service.metrics.page import Metrics
from service.server.connection import ConnectionLimits
from service.server.crowding import close_waiting
from service.server.http_protocol import Protocol
from service.server.listener import BalancedListener, OpenConnections
from service.settings import Settings

_MAX_CONNECTIONS = 64
_MAX_HELD_BYTES = 1 << 20
_PAGES = 2  # pages of metrics that are written at once
_POLL = 0.1  # seconds between two looks at whether this process is to answer

logger = logging.getLogger(__name__)


class ManagementServer:
    """Serves the ASGI application `app` on `listeners`, which listen already, until the process ends."""

    def __init__(
        self,
        app: Any,
        listeners: Sequence[socket.socket],
        settings: Settings,
        may_answer: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_answer()`: whether connections are to be taken at the moment, and not left to other processes."""
        self._listeners = listeners
        self._may_answer = may_answer
        self._config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
        self._config.load()
        # Its requests are not counted: the numbers of the process belong to the event loop that serves.
        self._limits = ConnectionLimits(settings, ByteBudget(_MAX_HELD_BYTES), RequestMetrics(Metrics()))
        self._state = ServerState()
        self._connections = self._state.connections = OpenConnections()
        self.failure: Exception | None = None

    def start(self) -> None:
        """Serve from now on, in a thread that does not keep the process from ending."""
        threading.Thread(target=self._run, name="management", daemon=True).start()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._config.get_loop_factory()) as runner:
                runner.run(self._serve())
        except Exception as error:
            logger.critical("the management port is not served any more", exc_info=error)
            self.failure = error

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_PAGES, thread_name_prefix="page"))
        make_room = partial(close_waiting, self._connections)
        listeners: list[BalancedListener] = []
        while True:
            if self._may_answer() and not listeners:
                # Copies: a listener closes its socket with it, and may be needed again.
                listeners = [
                    BalancedListener(
                        each.dup(),
                        self._protocol,
                        self._connections,
                        max_connections=_MAX_CONNECTIONS,
                        make_room=make_room,
                    )
                    for each in self._listeners
                ]
            elif not self._may_answer():
                for listener in listeners:
                    listener.close()
                    await listener.wait_closed()
                listeners = []
            await asyncio.sleep(_POLL)

    def _protocol(self) -> Protocol:
        return Protocol(self._config, self._state, {}, limits=self._limits)
