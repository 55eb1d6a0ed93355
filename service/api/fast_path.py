"""Small requests, complete on arrival, answered without a task: from the callbacks of the parser and of the queue.

A task, its futures and the messages of ASGI cost more than a small network. What is checked, computed, answered,
counted and logged is the same, by the same functions, as on the ordinary way (`service.api.dispatch`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from service.api.problems import Answer, Header
from service.api.request import RawRequest, complete_headers
from service.codec.common import Body
from service.contract.types import BatchResult

MAX_BYTES = 32 << 10  # of a body: what is larger goes the ordinary way, which has threads for it

Reply = Callable[[int, list[Header], bytes], None]  # sends status, headers and body


class Computation(Protocol):
    """What a queue computes, and how its results become an answer."""

    @property
    def results(self) -> asyncio.Future[BatchResult]: ...
    def answer(self) -> Answer:
        """The answer, once there are results; raises what took their place."""


class FastEndpoint(Protocol):
    """The part of a direct route that a fast request needs."""

    @property
    def media_types(self) -> tuple[str, ...]: ...
    @property
    def max_body_bytes(self) -> int: ...
    def begin(
        self, request: RawRequest, body: Body, on_settled: Callable[[asyncio.Future[BatchResult]], None]
    ) -> Computation | None:
        """Have the request computed; None where a part of it is no work for the event loop. Raises `RitmoError`."""


class FastRequest:
    """One request to a direct route, from its body to its answer.

    `fail` makes an answer of an exception, `record` counts it. The owner of the connection says when that is lost.
    """

    __slots__ = ("_computation", "_fail", "_record", "_reply", "_request")

    def __init__(
        self,
        request: RawRequest,
        reply: Reply,
        fail: Callable[[Exception, str], Answer],
        record: Callable[[RawRequest, Answer | None], None],
    ) -> None:
        self._request = request
        self._reply = reply
        self._fail = fail
        self._record = record
        self._computation: Computation | None = None

    def begin(self, endpoint: FastEndpoint, content: bytes) -> bool:
        """Whether the request is answered, or will be; where it is not, nothing has happened."""
        request = self._request
        try:
            body = request.take(content, endpoint.media_types, endpoint.max_body_bytes)
            self._computation = endpoint.begin(request, body, self._settled)
        except Exception as error:  # noqa: BLE001 (every exception becomes an answer)
            self._finish(self._fail(error, request.request_id))
            return True
        if self._computation is None:
            request.close()
            return False
        return True

    def cancel(self, answer: Answer | None = None) -> None:
        """Drop what is being computed: the connection is lost, or `answer` is sent instead."""
        computation, self._computation = self._computation, None
        if computation is not None:
            computation.results.cancel()
        if answer is None:
            self._close(None)
        else:
            self._finish(answer)

    @property
    def request_id(self) -> str:
        """See `RawRequest`."""
        return self._request.request_id

    def _settled(self, _results: Any) -> None:
        # The computation refers to its results, and these to this method.
        computation, self._computation = self._computation, None
        if computation is None:
            return
        try:
            answer = computation.answer()
        except Exception as error:  # noqa: BLE001 (every exception becomes an answer)
            answer = self._fail(error, self._request.request_id)
        self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        self._reply(answer.status, complete_headers(answer, self._request.request_id), answer.body)
        self._close(answer)

    def _close(self, answer: Answer | None) -> None:
        self._request.close()
        self._record(self._request, answer)
