"""The routes to models: a body is decoded, a model computes its items, the results are encoded.

`InferenceEndpoint` serves `POST /forecast` and `POST /classify-digit`, `service.api.websockets` their live versions;
both go the same way. Small bodies are decoded on the event loop, where they arrive; images, large bodies and large
answers are work for a thread of the pool.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import lru_cache, partial
from typing import Generic, ParamSpec, TypeVar

from service.api.problems import Answer, Header
from service.api.request import MAX_TIMEOUT_MS, RawRequest
from service.codec.common import JSON, Body, CallT, Codec, OpeningT, RequestT
from service.codec.digit_types import DigitOpening
from service.codec.digits import DigitBatch, DigitCall
from service.contract.errors import DeadlineExceeded, UnknownModel
from service.contract.manifest import Manifest, Task
from service.registry.registry import Registry
from service.registry.served import Served
from service.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

MAX_INLINE_BYTES = 64 << 10  # of a body: decoding it takes half a millisecond
MAX_INLINE_NUMBERS = 20_000  # of an answer: encoding them takes a millisecond
_FREE_NUMBERS = 2_000  # of an answer: what they take is not looked at before they are computed
_BYTES_PER_NUMBER = 24  # of an answer: as text, and as it was computed
_IMAGE_MARKS = (b'"image"', b"\\")
_JSON_BYTES = JSON.encode()


class ModelRoute(Generic[RequestT, CallT, OpeningT]):
    """What every route to a model needs: its codec, the models, the limits, and threads for large work."""

    def __init__(
        self, codec: Codec[RequestT, CallT, OpeningT], registry: Registry, settings: Settings, pool: Executor
    ) -> None:
        self.media_types = codec.media_types  # of the bodies that are read
        self._codec = codec
        self._registry = registry
        self._pool = pool
        self.default_timeout_ms = settings.timeout_ms

    async def _run(self, is_large: bool, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`function` on the event loop, or in a thread if its work is so large that it would hold up the others."""
        if not is_large:
            return function(*args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *args, **kwargs))


class InferenceEndpoint(ModelRoute[RequestT, CallT, OpeningT]):
    """A direct route (see `service.api.dispatch.Endpoint`): decode, find the model, make items, compute, encode."""

    async def __call__(self, request: RawRequest, body: Body) -> Answer:
        """The answer; raises the errors of the domain."""
        call, model, deadline = await self._run(self._is_large(body), self._prepare, request, body)
        if call.answer_size > _FREE_NUMBERS:
            request.hold(call.answer_size * _BYTES_PER_NUMBER)
        result = await model.submit(call.items, deadline)
        is_large = call.answer_size > MAX_INLINE_NUMBERS
        content = await self._run(is_large, self._codec.encode, call, result.results)
        timing = f"queue;dur={result.queue_seconds * 1e3:.3f}, compute;dur={result.compute_seconds * 1e3:.3f}"
        digest = _digest_header(model.manifest.sha256)
        headers = [(b"content-type", _JSON_BYTES), digest, (b"server-timing", timing.encode())]
        return Answer(200, headers, content)

    def _prepare(self, request: RawRequest, body: Body) -> tuple[CallT, Served, float]:
        """The items of the request, the model that computes them, and the deadline (`time.monotonic()`)."""
        decoded = self._codec.decode(body)
        model = self._registry.get(decoded.model)
        manifest = model.manifest
        if manifest.task != self._codec.task:
            raise wrong_task(manifest, self._codec.task)
        request.model = manifest.name
        asked_ms = decoded.parameters.timeout_ms
        timeout_ms = min(request.timeout_ms or asked_ms or self.default_timeout_ms, asked_ms or MAX_TIMEOUT_MS)
        deadline = request.started + timeout_ms / 1000
        if time.monotonic() >= deadline:
            raise DeadlineExceeded("the deadline passed before the computation began")
        return self._codec.to_items(decoded, manifest, deadline), model, deadline

    def _is_large(self, body: Body) -> bool:
        """Whether `_prepare` would hold up the event loop."""
        return len(body.content) > MAX_INLINE_BYTES


class ClassifyDigitEndpoint(InferenceEndpoint[DigitBatch, DigitCall, DigitOpening]):
    """`POST /classify-digit`, where a small body may hold a large image."""

    def _is_large(self, body: Body) -> bool:
        # In a JSON document the field `image` is spelled so, or with an escape.
        return body.media_type != JSON or any(mark in body.content for mark in _IMAGE_MARKS) or super()._is_large(body)


def wrong_task(manifest: Manifest, task: Task) -> UnknownModel:
    """The error of a request to a model that has another task."""
    return UnknownModel(f"'{manifest.name}' serves /{manifest.task}, not /{task}", code="model_not_found")


@lru_cache(maxsize=256)
def _digest_header(sha256: str) -> Header:
    return (b"x-model-digest", f"sha256:{sha256}".encode())
