"""`POST /forecast` with a body, or an answer, that is a table; the ordinary request goes its straight way past it.

A table may hold more series than a request of JSON: it is computed in parts, each within the limits of a request, so
that no queue sees more of it than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from service.api.inference import InferenceEndpoint, InlineComputation, digest_header, parts
from service.api.problems import Answer, Header
from service.api.request import RawRequest
from service.codec.common import JSON, Body
from service.codec.forecast import ForecastCall, ForecastCodec
from service.codec.forecast_types import ForecastRequest, SeriesOpening, SeriesPrediction
from service.codec.tables.codec import (
    CSV,
    PARQUET,
    READING_HEADER,
    TABLES,
    TableCodec,
    encode_answer,
    header_value,
    with_warnings,
)
from service.contract.types import BatchResult
from service.registry.registry import Registry
from service.runtime.fair_pool import FairPool
from service.settings import Settings

PROGRESS = "ritmo.progress"  # extension of a request in this process: called with series answered, and all series
_PLAIN = (None, b"*/*", JSON.encode())  # of the header Accept: the answer is JSON


class ForecastEndpoint(InferenceEndpoint[ForecastRequest, ForecastCall, SeriesOpening]):
    """The direct route `POST /forecast`, which also reads and writes tables."""

    def __init__(self, codec: ForecastCodec, registry: Registry, settings: Settings, pool: FairPool) -> None:
        super().__init__(codec, registry, settings, pool, pool)
        self.media_types = (JSON, *TABLES)
        self._tables = TableCodec(codec, settings)
        self._forecasts = codec
        self._settings = settings

    def __call__(self, request: RawRequest, body: Body) -> Coroutine[Any, Any, Answer]:
        """The answer; raises the errors of the domain."""
        if body.media_type == JSON and request.headers.get(b"accept") in _PLAIN:
            return super().__call__(request, body)
        return self._answer(request, body)

    def begin(
        self, request: RawRequest, body: Body, on_settled: Callable[[asyncio.Future[BatchResult]], None]
    ) -> InlineComputation[ForecastCall] | None:
        """See `service.api.fast_path.FastEndpoint`; a table is none for it."""
        return super().begin(request, body, on_settled) if request.headers.get(b"accept") in _PLAIN else None

    async def _answer(self, request: RawRequest, body: Body) -> Answer:
        accepted = _accepted(request.headers.get(b"accept", b""), body.media_type)
        if body.media_type != JSON:
            return await self._answer_table(request, body, accepted)
        if accepted == JSON:
            return await super().__call__(request, body)
        call, model, result, deadline = await self._compute(request, body)
        predictions = self._forecasts.predictions(call, result.results)
        content = await self._in_thread(
            "encode",
            call.answer_size,
            request.client,
            deadline,
            encode_answer,
            predictions,
            model.manifest,
            None,
            accepted,
        )
        return Answer(200, [_content_type(accepted), digest_header(model.manifest.sha256)], content)

    async def _answer_table(self, request: RawRequest, body: Body, accepted: str) -> Answer:
        client, limit = request.client, self._deadline_of(request)
        table = await self._in_thread("table", len(body.content), client, limit, self._tables.read, body)
        model, deadline = self._find(request, table.model, table.parameters.timeout_ms)
        report = _progress(request)
        predictions: list[SeriesPrediction] = []
        lengths = [len(series.target) for series in table.inputs]
        for part in parts(lengths, self._settings.max_items, self._settings.max_queue_observations):
            size = sum(lengths[part])
            call = await self._in_thread(
                "prepare", size, client, deadline, self._tables.to_items, table, part, model.manifest
            )
            result = await model.submit(call.items, deadline, client)
            size = call.answer_size
            predictions += await self._in_thread(
                "encode", size, client, deadline, self._tables.predictions, call, result.results
            )
            report(len(predictions), len(table.inputs))
        headers = [_content_type(accepted), digest_header(model.manifest.sha256)]
        if accepted != JSON:
            headers.append((READING_HEADER, header_value(with_warnings(table.reading, predictions))))
        size = sum([len(prediction.mean) for prediction in predictions])
        content = await self._in_thread(
            "encode", size, client, deadline, encode_answer, predictions, model.manifest, table, accepted
        )
        return Answer(200, headers, content)


def _content_type(media_type: str) -> Header:
    return (b"content-type", b"text/csv; charset=utf-8" if media_type == CSV else media_type.encode())


def _accepted(accept: bytes, request_type: str) -> str:
    """The type that the header Accept names first among those that are written here, else that of the request."""
    for part in accept.decode("latin-1").lower().split(","):
        media_type = part.partition(";")[0].strip()
        if media_type in {JSON, CSV, PARQUET}:
            return media_type
    return request_type


def _progress(request: RawRequest) -> Callable[[int, int], None]:
    """What to call after each part of a table; a request over HTTP has nothing to call."""
    report: Callable[[int, int], None] | None = request.scope.get("extensions", {}).get(PROGRESS)
    return report or (lambda _answered, _total: None)
