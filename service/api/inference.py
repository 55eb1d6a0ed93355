"""The routes to models: a body is decoded, a model computes its items, the results are encoded.

`InferenceEndpoint` serves `POST /forecast` and `POST /classify-digit`, `service.api.websockets` their live versions;
both go the same way. Small bodies are decoded on the event loop, where they arrive; images, large bodies and large
answers are work for a thread of the pool.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Generic, ParamSpec, TypeVar

from msgspec import Struct

from service.api.problems import Answer, Header
from service.api.request import MAX_TIMEOUT_MS, RawRequest
from service.codec.common import JSON, Body, CallT, Codec, OpeningT, RequestT
from service.codec.digits import FORM
from service.contract.errors import DeadlineExceeded, UnknownModel
from service.contract.manifest import Manifest, Task
from service.contract.types import BatchResult, Item
from service.registry.registry import Registry
from service.registry.served import Served
from service.runtime.fair_pool import FairPool
from service.runtime.fair_share import Client
from service.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

MAX_INLINE_BYTES = 64 << 10  # of a body: decoding it takes half a millisecond
MAX_INLINE_NUMBERS = 20_000  # of a request or an answer: making items of them, or encoding them, takes a millisecond
FREE_NUMBERS = 2_000  # of an answer: what they take is not looked at before they are computed
_BYTES_PER_NUMBER = 24  # of an answer: as text, and as it was computed
_JSON_BYTES = JSON.encode()


class ModelRoute(Generic[RequestT, CallT, OpeningT]):
    """What every route to a model needs: its codec, the models, the limits, and threads for large work."""

    def __init__(
        self,
        codec: Codec[RequestT, CallT, OpeningT],
        registry: Registry,
        settings: Settings,
        texts: FairPool,
        inputs: FairPool,
    ) -> None:
        """`texts` decodes and encodes, `inputs` makes items of what was decoded."""
        self.media_types = codec.media_types  # of the bodies that are read
        self._codec = codec
        self._registry = registry
        self._texts = texts
        self._inputs = inputs
        self.default_timeout_ms = settings.timeout_ms
        self.max_body_bytes = codec.max_body_bytes
        self.max_file_bytes = 0

    def _find(self, request: RawRequest, reference: str, asked_ms: int | None) -> tuple[Served, float]:
        """The model that `reference` means, and the deadline of a request that asks for an answer in `asked_ms`."""
        deadline = self._deadline_of(request, asked_ms)
        model = self._registry.get(reference)
        if model.manifest.task != self._codec.task:
            raise wrong_task(model.manifest, self._codec.task)
        request.model = model.manifest.name
        if time.monotonic() >= deadline:
            raise DeadlineExceeded("the deadline passed before the computation began")
        return model, deadline

    def _deadline_of(self, request: RawRequest, asked_ms: int | None = None) -> float:
        """When the answer is due (`time.monotonic()`): what the header says, else the body, which may ask for less."""
        timeout_ms = min(request.timeout_ms or asked_ms or self.default_timeout_ms, asked_ms or MAX_TIMEOUT_MS)
        return request.started + timeout_ms / 1000

    def _in_thread(
        self,
        kind: str,
        size: int,
        client: Client,
        deadline: float,
        function: Callable[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Awaitable[R]:
        """`function` in a thread, since its work of `size` bytes or numbers would hold up the event loop.

        Raises `Unavailable` (`queue_full`) where too much such work waits, `DeadlineExceeded`, or what it raises.
        """
        pool = self._inputs if kind == "prepare" else self._texts
        return pool.run(f"{self._codec.task} {kind}", size, client, deadline, function, *args, **kwargs)


async def compute_in_parts(
    model: Served, items: Sequence[Item], settings: Settings, client: Client, deadline: float
) -> list[Any]:
    """The results of `items`, computed in parts, each within the limits of a request and half the queue's values."""
    lengths = [item.length for item in items]
    client = model.charge(client, len(items), sum(lengths))
    results: list[Any] = []
    for part in parts(lengths, settings.max_items, settings.max_queue_observations // 2):
        results += (await model.submit(items[part], deadline, client)).results
    return results


def parts(lengths: Sequence[int], max_items: int, max_values: int) -> list[slice]:
    """What of items with `lengths` is computed at once: at most `max_items`, and `max_values` unless one has more."""
    slices: list[slice] = []
    first, values = 0, 0
    for index, length in enumerate(lengths):
        if index > first and (values + length > max_values or index - first == max_items):
            slices.append(slice(first, index))
            first, values = index, 0
        values += length
    return [*slices, slice(first, len(lengths))] if lengths else []


class InlineComputation(Struct, Generic[CallT], eq=False):
    """The items of a small request that are being computed (see `service.api.fast_path.Computation`)."""

    codec: Codec[Any, CallT, Any]
    call: CallT
    model: Served
    results: asyncio.Future[BatchResult]

    def answer(self) -> Answer:
        """The answer, once there are results; raises what took their place."""
        result = self.results.result()
        return Answer(200, _headers(self.model, result), self.codec.encode(self.call, result.results))


class InferenceEndpoint(ModelRoute[RequestT, CallT, OpeningT]):
    """A direct route (see `service.api.dispatch.Endpoint`): decode, find the model, make items, compute, encode."""

    async def __call__(self, request: RawRequest, body: Body) -> Answer:
        """The answer; raises the errors of the domain."""
        call, model, result, deadline = await self._compute(request, body)
        codec, client, n_numbers = self._codec, request.client, call.answer_size
        headers = _headers(model, result)
        if n_numbers > MAX_INLINE_NUMBERS:
            content = await self._in_thread("encode", n_numbers, client, deadline, codec.encode, call, result.results)
        else:
            content = codec.encode(call, result.results)
        return Answer(200, headers, content)

    def begin(
        self, request: RawRequest, body: Body, on_settled: Callable[[asyncio.Future[BatchResult]], None]
    ) -> InlineComputation[CallT] | None:
        """See `service.api.fast_path.FastEndpoint`."""
        if body.media_type != JSON:
            return None
        codec = self._codec
        decoded = codec.decode(body)
        n_numbers = codec.preparation_size(decoded)
        model, deadline = self._find(request, decoded.model, decoded.parameters.timeout_ms)
        if n_numbers > MAX_INLINE_NUMBERS:
            return None
        call = codec.to_items(decoded, model.manifest, deadline)
        if call.answer_size > FREE_NUMBERS:
            return None
        return InlineComputation(codec, call, model, model.submit(call.items, deadline, request.client, on_settled))

    async def _compute(self, request: RawRequest, body: Body) -> tuple[CallT, Served, BatchResult, float]:
        """The items of the request, the model that computed them, its results, and the deadline of the answer."""
        codec, client, n_bytes = self._codec, request.client, len(body.content)
        if body.media_type == FORM or (n_bytes > MAX_INLINE_BYTES and body.media_type == JSON):
            limit = self._deadline_of(request)
            decoded = await self._texts.run(f"{codec.task} decode", n_bytes, client, limit, codec.decode, body)
        else:
            decoded = codec.decode(body)
        n_numbers = codec.preparation_size(decoded)
        model, deadline = self._find(request, decoded.model, decoded.parameters.timeout_ms)
        if n_numbers > MAX_INLINE_NUMBERS:
            prepare = partial(codec.to_items, decoded, model.manifest, deadline)
            call = await self._inputs.run(f"{codec.task} prepare", n_numbers, client, deadline, prepare)
        else:
            call = codec.to_items(decoded, model.manifest, deadline)
        if call.answer_size > FREE_NUMBERS:
            request.hold(call.answer_size * _BYTES_PER_NUMBER)
        return call, model, await model.submit(call.items, deadline, client), deadline


def _headers(model: Served, result: BatchResult) -> list[Header]:
    timing = f"queue;dur={result.queue_seconds * 1e3:.3f}, compute;dur={result.compute_seconds * 1e3:.3f}"
    digest = digest_header(model.manifest.sha256)
    return [(b"content-type", _JSON_BYTES), digest, (b"server-timing", timing.encode())]


def wrong_task(manifest: Manifest, task: Task) -> UnknownModel:
    """The error of a request to a model that has another task."""
    return UnknownModel(f"'{manifest.name}' serves /{manifest.task}, not /{task}", code="model_not_found")


@lru_cache(maxsize=256)
def digest_header(sha256: str) -> Header:
    """The header with the digest of the model that answers."""
    return (b"x-model-digest", f"sha256:{sha256}".encode())
