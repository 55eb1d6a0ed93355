"""Tables in and forecasts out: what `POST /forecast` needs for a body, or an answer, that is a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from service.codec.common import CSV, JSON, PARQUET, Body
from service.codec.forecast import ForecastCall, ForecastCodec, with_times
from service.codec.forecast_types import ForecastRequest, SeriesPrediction
from service.codec.query import decode_query
from service.codec.strict_json import FieldErrors, StrictDecoder
from service.codec.tables import parquet
from service.codec.tables.parts import read_parts
from service.codec.tables.reader import Limits, read_csv, read_table
from service.codec.tables.types import Table, TableAnswer, TableOptions, TableReading, printable
from service.codec.tables.writer import columns_of, write_csv
from service.contract.errors import FieldError, InvalidRequest
from service.contract.manifest import Manifest
from service.settings import Settings

READING_HEADER = b"x-table-reading"  # of an answer that is a table: how the request's table was read, as JSON
MAX_HEADER = 4000  # characters
MAX_NAMES = 20  # of columns in a warning
IGNORED = "columns_ignored"  # a warning; `notes` of the reading have the same in detail
TEXT_OPTIONS = frozenset(
    {"model", "quantile_levels", "freq", "id", "time", "value", "missing", "delimiter", "decimal", "encoding"}
)  # of the query: never literals
options_decoder = StrictDecoder(TableOptions)
_encoder = msgspec.json.Encoder()
_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE)


class TableCodec:
    """Bodies that are tables, to series; predictions to the bytes of an answer of any type."""

    def __init__(self, forecasts: ForecastCodec, settings: Settings) -> None:
        self._forecasts = forecasts
        self._settings = settings

    def read(self, body: Body, options: TableOptions | None = None) -> Table:
        """The table in `body`, with `options` or those of its query; raises `InvalidRequest`."""
        if options is None:
            options = decode_query(body.query_string, options_decoder, TEXT_OPTIONS)
        limits = Limits(self._settings.max_observations)
        if body.media_type == PARQUET:
            table = read_table(parquet.read_rows(body.content), options, limits, "parquet")
        else:
            if options.encoding is None:
                options = replace(options, encoding=_charset(body.content_type))
            table = read_csv(body.content, options, limits)
        return table

    def read_parts(self, body: Body) -> Iterator[Table]:
        """The tables that a file of a request is cut into; raises `InvalidRequest`, also while it is read on."""
        options = decode_query(body.query_string, options_decoder, TEXT_OPTIONS)
        if options.include is not None:
            limit = f"a table of at most {self._settings.max_body_bytes} bytes"
            advice = "larger ones are answered while they are read, to curl or by `ritmo forecast`"
            raise InvalidRequest(f"include=series goes with {limit}; {advice}", code="too_many_items")
        if body.media_type == CSV and options.encoding is None:
            options = replace(options, encoding=_charset(body.content_type))
        if body.file is None:
            raise ValueError("the body is in no file")
        return read_parts(body.file, body.media_type, options, Limits(self._settings.max_observations))

    def most_series(self, table: Table) -> int:
        """How many series are computed at once, so that no part of an answer is larger than an answer may be."""
        numbers = (1 + len(table.parameters.quantile_levels)) * table.parameters.prediction_length
        return max(1, min(self._settings.max_items, self._settings.max_answer_numbers // numbers))

    def is_large(self, table: Table) -> bool:
        """Whether the answer is written in parts, for its numbers; raises `InvalidRequest` where that cannot be."""
        numbers = (1 + len(table.parameters.quantile_levels)) * len(table.inputs) * table.parameters.prediction_length
        if numbers <= self._settings.max_answer_numbers:
            return False
        if table.includes_series:
            detail = f"the answer would hold {numbers} numbers; with include=series at most"
            raise InvalidRequest(f"{detail} {self._settings.max_answer_numbers}", code="too_many_items")
        return True

    def to_items(self, table: Table, part: slice, manifest: Manifest) -> ForecastCall:
        """The items of a part of the table; the errors of `InvalidRequest` name the series."""
        request = ForecastRequest(table.inputs[part], table.model, table.parameters)
        try:
            call = self._forecasts.to_items(request, manifest)
        except InvalidRequest as error:
            raise _of_series(error, table, part) from error
        return with_times(call, table.timelines[part], table.seasons[part])

    def predictions(self, table: Table, call: ForecastCall, results: Sequence[object]) -> list[SeriesPrediction]:
        """The predictions for a part of the table, with a warning of columns that were left out."""
        predictions = self._forecasts.predictions(call, results)  # type: ignore[arg-type]
        if not table.reading.ignored_columns:
            return predictions
        names = ", ".join(f"'{printable(name)}'" for name in table.reading.ignored_columns[:MAX_NAMES])
        details = {IGNORED: f"the columns {names} were not used: a forecast is made from the values alone."}
        return [
            replace(entry, warnings=[*entry.warnings, IGNORED], warning_details=(entry.warning_details or {}) | details)
            for entry in predictions
        ]


def read_file(content: bytes, query: str) -> Table:
    """The table in a file on this machine, with options as in the query; raises `ValueError` with all that is wrong."""
    limits = Limits(1 << 30)
    try:
        options = decode_query(query.encode(), options_decoder, TEXT_OPTIONS)
        if content.startswith(b"PAR1"):
            return read_table(parquet.read_rows(content, parquet.MAX_LOCAL_CELLS), options, limits, "parquet")
        return read_csv(content, options, limits)
    except InvalidRequest as error:
        details = [fault.detail for fault in error.errors] or [error.detail]
        raise ValueError("\n".join(details)) from error


def _charset(content_type: bytes) -> str | None:
    """The encoding that the header Content-Type states; None for UTF-8, which clients state without a look."""
    match = _CHARSET.search(content_type.decode("latin-1"))
    return None if match is None or match[1].lower() in {"utf-8", "utf8", "us-ascii"} else match[1]


def encode_answer(
    predictions: Sequence[SeriesPrediction], manifest: Manifest, table: Table | None, media_type: str
) -> bytes:
    """The answer in `media_type`; `table` is None where the request was none."""
    if media_type == JSON:
        version, digest = str(manifest.version), manifest.digest
        if table is None:
            raise ValueError("an answer as JSON to JSON is made by the codec of forecasts")
        answer = TableAnswer(
            series=table.series() if table.includes_series else UNSET,
            model=manifest.name,
            model_version=version,
            model_digest=digest,
            predictions=list(predictions),
            table=table.reading,
        )
        return _encoder.encode(answer)
    if media_type == PARQUET:
        return parquet.write(columns_of(predictions))
    return write_csv(predictions)


def head_of(manifest: Manifest) -> dict[str, str]:
    """What an answer as JSON says of the model."""
    return {"model": manifest.name, "model_version": str(manifest.version), "model_digest": manifest.digest}


def with_warnings(reading: TableReading, predictions: Sequence[SeriesPrediction]) -> TableReading:
    """`reading` with the warnings of all predictions among its notes, for an answer that has no other place."""
    codes = sorted({code for prediction in predictions for code in prediction.warnings} - {IGNORED})
    return replace(reading, notes=[*reading.notes, *(f"warning of a forecast: {code}" for code in codes)])


def header_value(reading: TableReading) -> bytes:
    """`reading` as the value of a header, cut down to a size that servers and proxies take."""
    fields = msgspec.to_builtins(reading)
    for name in ("notes", "ignored_columns", "value"):
        while len(json.dumps(fields)) > MAX_HEADER and len(fields.get(name, ())) > 1:
            fields[name] = [*fields[name][: len(fields[name]) // 2], "…"][: len(fields[name]) - 1]
    return json.dumps(fields).encode("ascii")[: 2 * MAX_HEADER]


def _of_series(error: InvalidRequest, table: Table, part: slice) -> InvalidRequest:
    """The error with the names of series in place of their numbers in a part."""
    errors = FieldErrors()
    for fault in error.errors:
        errors.add(fault.pointer, fault.code, _named(fault, table, part))
    errors.total = error.errors_total
    detail = errors.listed[0].detail if errors.listed else error.detail
    return InvalidRequest(detail, code=error.code, errors=errors.listed, errors_total=errors.total)


def _named(fault: FieldError, table: Table, part: slice) -> str:
    steps = fault.pointer.split("/")
    if len(steps) > 2 and steps[1] == "inputs":
        name = table.inputs[part][int(steps[2])].item_id
        return f"series '{printable(name)}': {fault.detail}" if name else fault.detail
    return f"{'/'.join(steps[2:])}: {fault.detail}" if len(steps) > 2 else fault.detail
