"""SageMaker's container contract: `GET /ping` and `POST /invocations` with the JSON of Chronos endpoints.

The body is that of `POST /forecast`, but that `freq` may stand in `parameters` and quantiles are keys of a prediction;
an image is answered as `POST /classify-digit` does. Covariates and series of several dimensions are refused.

The same routes serve Vertex AI, which names the series `instances`, and clients of MLflow's scoring server, which send
them as rows of a frame (`dataframe_records`, `dataframe_split`) and parameters as `params`, and ask `GET /health` and
`GET /version`.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from msgspec import Struct

from service.api.wires.common import Pipeline, body_of, json_answer, with_errors
from service.codec.common import JSON, Body
from service.codec.digits import IMAGES
from service.contract.errors import InvalidRequest
from service.runtime.version import version

_ANY_IMAGE = "application/x-image"  # what SageMaker's own clients call an image of any format
_COVARIATES = ("past_covariates", "future_covariates")
_SERIES = ("inputs", "instances", "dataframe_records", "dataframe_split")  # one of them holds the series
NULL = msgspec.Raw(b"null")
_EMPTY_VALUES = (NULL, msgspec.Raw(b"[]"), msgspec.Raw(b"{}"))  # covariates that are none


class Frame(Struct):
    """A frame in parts; its cells are decoded where they belong."""

    columns: list[str]
    data: list[list[msgspec.Raw]]


_fields_decoder: Any = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_frame_decoder = msgspec.json.Decoder(Frame)


def sagemaker_router(pipeline: Pipeline) -> APIRouter:
    """The four routes."""
    router = APIRouter(include_in_schema=False)

    async def ping() -> Response:
        is_ready = pipeline.registry.health().ready
        return json_answer({"status": "healthy" if is_ready else "loading"}, 200 if is_ready else 503)

    async def invocations(request: Request) -> Response:
        own = pipeline.of(request)
        async with body_of(request, own) as content:
            return await answer(content, request, own)

    async def answer(content: bytes, request: Request, pipeline: Pipeline) -> Response:
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        media_type = IMAGES[0] if media_type == _ANY_IMAGE else media_type  # its first bytes say what it is
        codec: Any = pipeline.digits if media_type in IMAGES else pipeline.forecasts
        if media_type not in (*IMAGES, JSON):
            detail = "send application/json, or an image; a table such as CSV goes to POST /forecast"
            raise InvalidRequest(detail, code="unsupported_media_type")
        body = Body(content, media_type)
        if media_type == JSON:
            size, max_items = len(content), pipeline.settings.max_items
            body = Body(
                await pipeline.in_thread("invocation", size, pipeline.deadline(), _as_forecast, content, max_items)
            )
        decoded = await pipeline.in_thread("decode", len(content), pipeline.deadline(), codec.decode, body)
        model = pipeline.registry.get(decoded.model)
        deadline = pipeline.deadline(decoded.parameters.timeout_ms)
        call = await pipeline.in_thread(
            "items", len(content), deadline, codec.to_items, decoded, model.manifest, deadline
        )
        results = await pipeline.compute(model, call.items, deadline)
        content = await pipeline.in_thread("encode", call.answer_size, deadline, codec.encode, call, results)
        if media_type in IMAGES:
            return Response(content, media_type=JSON)
        return await pipeline.in_thread("flat", len(content), deadline, _flat_answer, content)

    async def version_of_service() -> Response:
        return PlainTextResponse(version())

    for path in ("/ping", "/health"):
        router.add_api_route(path, ping)
    router.add_api_route("/version", version_of_service)
    router.add_api_route("/invocations", with_errors(invocations), methods=["POST"])
    return router


def _as_forecast(content: bytes, max_items: int) -> bytes:
    """The body of `POST /forecast` that means the same; members that are not renamed stay as they came."""
    try:
        document = _fields_decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return content  # the codec words the error
    _rename(document, max_items)
    try:
        series, freq = _series_of(document, max_items), _freq_of(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.encode(document)  # likewise
    for index, fields in enumerate(series):
        for name in _COVARIATES:
            if fields.pop(name, NULL) not in _EMPTY_VALUES:
                raise InvalidRequest(f"#/inputs/{index}/{name}: covariates are not read", code="unknown_field")
        if freq not in _EMPTY_VALUES:
            fields.setdefault("freq", freq)
    return msgspec.json.encode(document | {"inputs": series})


def _rename(document: dict[str, Any], max_items: int) -> None:
    """Give the names of Vertex AI and MLflow those of `POST /forecast`; raises `InvalidRequest` for two of a kind."""
    for ours, names in (("inputs", _SERIES), ("parameters", ("parameters", "params"))):
        found = [name for name in names if name in document]
        if len(found) > 1:
            raise InvalidRequest(f"#/{found[1]}: says again what {found[0]} says", code="unknown_field")
        if found:
            document[ours] = document.pop(found[0])
            if found == ["dataframe_split"]:
                document[ours] = _records(document[ours], max_items)


def _series_of(document: dict[str, Any], max_items: int) -> list[dict[str, Any]]:
    """The members of each series; raises `msgspec.DecodeError` where there are none."""
    items = document.get("inputs", NULL)
    if isinstance(items, msgspec.Raw):
        items = _items_decoder.decode(items)
    _check_count(items, max_items)
    return [_fields_decoder.decode(item) if isinstance(item, msgspec.Raw) else item for item in items]


def _check_count(items: Sized, max_items: int) -> None:
    if len(items) > max_items:
        raise InvalidRequest(f"{len(items)} series in one request; at most {max_items}", code="too_many_items")


def _freq_of(document: dict[str, Any]) -> msgspec.Raw:
    """The member `freq` of the parameters, which is taken out of them."""
    if "parameters" not in document:
        return NULL
    parameters = _fields_decoder.decode(document["parameters"])
    freq: msgspec.Raw = parameters.pop("freq", NULL)
    document["parameters"] = parameters
    return freq


def _records(frame: msgspec.Raw, max_items: int) -> list[dict[str, Any]]:
    """The rows of a frame that is split into `columns` and `data`; raises `InvalidRequest`."""
    try:
        split = _frame_decoder.decode(frame)
    except msgspec.ValidationError as error:
        detail = f"#/dataframe_split: must have arrays columns and data: {error}"
        raise InvalidRequest(detail, code="wrong_type") from error
    _check_count(split.data, max_items)
    for index, row in enumerate(split.data):
        if len(row) != len(split.columns):
            detail = f"#/dataframe_split/data/{index}: must be an array of {len(split.columns)} cells"
            raise InvalidRequest(detail, code="wrong_type")
    return [dict(zip(split.columns, row, strict=True)) for row in split.data]


def _flat_answer(content: bytes) -> Response:
    """The answer that has the predictions of one of `POST /forecast`."""
    document = msgspec.json.decode(content)
    return json_answer({"predictions": [_flat(prediction) for prediction in document["predictions"]]})


def _flat(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction with its quantiles as members, and with the time of its first step alone."""
    times = prediction.get("timestamps")
    flat = {"mean": prediction["mean"], **prediction["quantiles"]}
    flat |= {"item_id": prediction["item_id"]} if prediction["item_id"] is not None else {}
    return flat | ({"start": times[0]} if times else {})
