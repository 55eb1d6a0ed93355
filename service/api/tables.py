"""`POST /forecast` with a body, or an answer, that is a table; the ordinary request goes its straight way past it.

A table may hold more series than a request of JSON: it is computed in parts, each within the limits of a request, so
that no queue sees more of it than that. One that is too large for memory, or whose answer is, is answered in parts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any

from service.api.inference import InferenceEndpoint, InlineComputation
from service.api.model_route import digest_header, parts
from service.api.problems import Answer, Header, StreamedAnswer
from service.api.request import RawRequest
from service.codec.common import CSV, JSON, PARQUET, READ_TABLES, XLSX, Body
from service.codec.forecast import ForecastCall, ForecastCodec
from service.codec.forecast_types import ForecastRequest, SeriesOpening, SeriesPrediction
from service.codec.tables.codec import (
    READING_HEADER,
    TableCodec,
    encode_answer,
    head_of,
    header_value,
    with_warnings,
)
from service.codec.tables.parts import PART_BYTES, joined
from service.codec.tables.types import Table, TableReading
from service.codec.tables.writer import PartWriter
from service.contract.errors import InvalidRequest
from service.contract.types import BatchResult
from service.registry.registry import Registry
from service.registry.served import Served
from service.runtime.fair_pool import FairPool
from service.settings import Settings

PROGRESS = "ritmo.progress"  # extension of a request in this process: called with series answered, and all series
_PLAIN = (None, b"*/*", JSON.encode())  # of the header Accept: the answer is JSON


class ForecastEndpoint(InferenceEndpoint[ForecastRequest, ForecastCall, SeriesOpening]):
    """The direct route `POST /forecast`, which also reads and writes tables."""

    def __init__(self, codec: ForecastCodec, registry: Registry, settings: Settings, pool: FairPool) -> None:
        super().__init__(codec, registry, settings, pool, pool)
        self.media_types = (JSON, *READ_TABLES)
        self._tables = TableCodec(codec, settings)
        self._forecasts = codec
        self._settings = settings
        self.max_file_bytes = settings.max_table_bytes

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
        if body.file is not None:
            return await self._answer_in_parts(request, self._tables.read_parts(body), accepted)
        table = await self._in_thread("table", len(body.content), client, limit, self._tables.read, body)
        if self._tables.is_large(table):
            return await self._answer_in_parts(request, iter([table]), accepted)
        model, deadline = self._find(request, table.model, table.parameters.timeout_ms)
        report = _progress(request)
        predictions: list[SeriesPrediction] = []
        lengths = [len(series.target) for series in table.inputs]
        most = model.manifest.input.max_length or self._settings.max_observations
        paid = model.charge(client, len(lengths), sum([min(length, most) for length in lengths]))
        for part in parts(lengths, self._settings.max_items, self._settings.max_queue_observations):
            size = sum(lengths[part])
            call = await self._in_thread(
                "prepare", size, client, deadline, self._tables.to_items, table, part, model.manifest
            )
            result = await model.submit(call.items, deadline, paid)
            size = call.answer_size
            predictions += await self._in_thread(
                "encode", size, client, deadline, self._tables.predictions, table, call, result.results
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

    async def _answer_in_parts(self, request: RawRequest, tables: Iterator[Table], accepted: str) -> StreamedAnswer:
        """An answer that is sent while later parts of the table are read and computed.

        What is wrong with the first part is an answer of its own; the deadline is that of each part.
        """
        first = await self._next(request, tables, None)
        if first is None:
            raise InvalidRequest("the table is empty", code="bad_table")
        model, _ = self._find(request, first.model, first.parameters.timeout_ms)
        parts = self._parts(request, first, tables, model, accepted)
        headers = [_content_type(accepted), digest_header(model.manifest.sha256)]
        if accepted != JSON:
            headers.append((READING_HEADER, header_value(first.reading)))
        return StreamedAnswer(200, headers, await anext(parts), parts=parts)

    async def _parts(
        self, request: RawRequest, first: Table, tables: Iterator[Table], model: Served, accepted: str
    ) -> AsyncGenerator[bytes, None]:
        """The answer to `first` and to all `tables` behind it, part by part."""
        client = request.client
        reading: TableReading | None = None
        writer = PartWriter(accepted, head_of(model.manifest), lambda: {"table": reading})
        table: Table | None = first
        while table is not None:
            reading = joined(reading, table.reading)
            lengths = [len(series.target) for series in table.inputs]
            for part in parts(lengths, self._tables.most_series(table), self._settings.max_queue_observations // 2):
                deadline = self._from_now(request, table)
                size = sum(lengths[part])
                call = await self._in_thread(
                    "prepare", size, client, deadline, self._tables.to_items, table, part, model.manifest
                )
                result = await model.submit(call.items, deadline, client)
                yield await self._in_thread(
                    "encode", call.answer_size, client, deadline, self._encode_part, writer, table, call, result
                )
            table = await self._next(request, tables, table)
        yield writer.end()

    def _encode_part(self, writer: PartWriter, table: Table, call: ForecastCall, result: BatchResult) -> bytes:
        return writer.part(self._tables.predictions(table, call, result.results))

    async def _next(self, request: RawRequest, tables: Iterator[Table], table: Table | None) -> Table | None:
        """The part of a table after `table`, None at its end."""
        deadline = self._from_now(request, table)
        return await self._in_thread("table", PART_BYTES, request.client, deadline, next, tables, None)

    def _from_now(self, request: RawRequest, table: Table | None) -> float:
        """The deadline of a part that begins now."""
        waited = time.monotonic() - request.started
        return waited + self._deadline_of(request, table.parameters.timeout_ms if table is not None else None)


def _content_type(media_type: str) -> Header:
    return (b"content-type", b"text/csv; charset=utf-8" if media_type == CSV else media_type.encode())


def _accepted(accept: bytes, request_type: str) -> str:
    """The type that the header Accept names first among those that are written here, else that of the request."""
    for part in accept.decode("latin-1").lower().split(","):
        media_type = part.partition(";")[0].strip()
        if media_type in {JSON, CSV, PARQUET}:
            return media_type
    return CSV if request_type == XLSX else request_type


def _progress(request: RawRequest) -> Callable[[int, int], None]:
    """What to call after each part of a table; a request over HTTP has nothing to call."""
    report: Callable[[int, int], None] | None = request.scope.get("extensions", {}).get(PROGRESS)
    return report or (lambda _answered, _total: None)
