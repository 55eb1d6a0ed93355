"""SageMaker's container contract: `GET /ping` and `POST /invocations` with the JSON of Chronos endpoints.

The body is that of `POST /forecast`, but that `freq` may stand in `parameters` and quantiles are keys of a prediction;
an image is answered as `POST /classify-digit` does. Covariates and series of several dimensions are refused.

The same routes serve Vertex AI, which names the series `instances`, and clients of MLflow's scoring server, which send
them as rows of a frame (`dataframe_records`, `dataframe_split`) and parameters as `params`, and ask `GET /health` and
`GET /version`.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from service.api.wires.common import Pipeline, body_of, json_answer, with_errors
from service.codec.common import JSON, Body
from service.codec.digits import IMAGES
from service.contract.errors import InvalidRequest
from service.runtime.version import version

_ANY_IMAGE = "application/x-image"  # what SageMaker's own clients call an image of any format
_COVARIATES = ("past_covariates", "future_covariates")
_SERIES = ("inputs", "instances", "dataframe_records", "dataframe_split")  # one of them holds the series


def sagemaker_router(pipeline: Pipeline) -> APIRouter:
    """The four routes."""
    router = APIRouter(include_in_schema=False)

    async def ping() -> Response:
        is_ready = pipeline.registry.health().ready
        return json_answer({"status": "healthy" if is_ready else "loading"}, 200 if is_ready else 503)

    async def invocations(request: Request) -> Response:
        async with body_of(request, pipeline) as content:
            return await answer(content, request, pipeline.of(request))

    async def answer(content: bytes, request: Request, pipeline: Pipeline) -> Response:
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        media_type = IMAGES[0] if media_type == _ANY_IMAGE else media_type  # its first bytes say what it is
        codec: Any = pipeline.digits if media_type in IMAGES else pipeline.forecasts
        body = Body(content, media_type) if media_type in IMAGES else Body(_as_forecast(content, media_type))
        decoded = await pipeline.in_thread("decode", len(content), pipeline.deadline(), codec.decode, body)
        model = pipeline.registry.get(decoded.model)
        deadline = pipeline.deadline(decoded.parameters.timeout_ms)
        call = await pipeline.in_thread(
            "items", len(content), deadline, codec.to_items, decoded, model.manifest, deadline
        )
        results = await pipeline.compute(model, call.items, deadline)
        document = json.loads(
            await pipeline.in_thread("encode", call.answer_size, deadline, codec.encode, call, results)
        )
        if media_type in IMAGES:
            return json_answer(document)
        return json_answer({"predictions": [_flat(prediction) for prediction in document["predictions"]]})

    async def version_of_service() -> Response:
        return PlainTextResponse(version())

    for path in ("/ping", "/health"):
        router.add_api_route(path, ping)
    router.add_api_route("/version", version_of_service)
    router.add_api_route("/invocations", with_errors(invocations), methods=["POST"])
    return router


def _as_forecast(content: bytes, media_type: str) -> bytes:
    """The body of `POST /forecast` that means the same."""
    if media_type != JSON:
        detail = "send application/json, or an image; a table such as CSV goes to POST /forecast"
        raise InvalidRequest(detail, code="unsupported_media_type")
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return content  # the codec words the error
    if not isinstance(document, dict):
        return content
    _rename(document)
    if not isinstance(document.get("inputs"), list):
        return msgspec.json.encode(document)
    parameters = document.get("parameters")
    freq = parameters.pop("freq", None) if isinstance(parameters, dict) else None
    for index, series in enumerate(document["inputs"]):
        if not isinstance(series, dict):
            continue
        for name in _COVARIATES:
            if series.pop(name, None):
                raise InvalidRequest(f"#/inputs/{index}/{name}: covariates are not read", code="unknown_field")
        if freq is not None:
            series.setdefault("freq", freq)
    return msgspec.json.encode(document)


def _rename(document: dict[str, Any]) -> None:
    """Give the names of Vertex AI and MLflow those of `POST /forecast`; raises `InvalidRequest` for two of a kind."""
    for ours, names in (("inputs", _SERIES), ("parameters", ("parameters", "params"))):
        found = [name for name in names if name in document]
        if len(found) > 1:
            raise InvalidRequest(f"#/{found[1]}: says again what {found[0]} says", code="unknown_field")
        if found:
            document[ours] = document.pop(found[0])
            if found == ["dataframe_split"]:
                document[ours] = _records(document[ours])


def _records(frame: object) -> list[dict[str, Any]]:
    """The rows of a frame that is split into `columns` and `data`; raises `InvalidRequest`."""
    columns, data = (frame.get("columns"), frame.get("data")) if isinstance(frame, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list):
        raise InvalidRequest("#/dataframe_split: must have arrays columns and data", code="wrong_type")
    for index, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            detail = f"#/dataframe_split/data/{index}: must be an array of {len(columns)} cells"
            raise InvalidRequest(detail, code="wrong_type")
    return [dict(zip(map(str, columns), row, strict=True)) for row in data]


def _flat(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction with its quantiles as members, and with the time of its first step alone."""
    times = prediction.get("timestamps")
    flat = {"mean": prediction["mean"], **prediction["quantiles"]}
    flat |= {"item_id": prediction["item_id"]} if prediction["item_id"] is not None else {}
    return flat | ({"start": times[0]} if times else {})
