"""The routes to models: a body is decoded, a model computes its items, the results are encoded.

`InferenceEndpoint` serves `POST /forecast` and `POST /classify-digit`, `service.api.websockets` their live versions;
both go the same way. Small bodies are decoded on the event loop, where they arrive; images, large bodies and large
answers are work for a thread of the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Generic

from msgspec import Struct

from service.api.model_route import ModelRoute, digest_header
from service.api.problems import Answer, Header
from service.api.request import RawRequest
from service.codec.common import JSON, Body, CallT, Codec, OpeningT, RequestT
from service.codec.digits import FORM
from service.contract.types import BatchResult
from service.registry.served import Served

MAX_INLINE_BYTES = 64 << 10  # of a body: decoding it takes half a millisecond
MAX_INLINE_NUMBERS = 20_000  # of a request or an answer: making items of them, or encoding them, takes a millisecond
FREE_NUMBERS = 2_000  # of an answer: what they take is not looked at before they are computed
_BYTES_PER_NUMBER = 24  # of an answer: as text, and as it was computed
_JSON_BYTES = JSON.encode()


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
