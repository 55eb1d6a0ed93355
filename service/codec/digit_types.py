"""The JSON of digits, as `msgspec` structures: requests, options of images, answers, messages of live connections."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from service.codec.common import (
    ItemId,
    ModelAnswer,
    ModelReference,
    Opening,
    RequestedModel,
    Reset,
    ReturnState,
    StateToken,
    Timeout,
)
from service.imaging.mnist import Preparation

DEFAULT_MODEL = "digits"

_ROWS = (
    "top to bottom, 28 numbers each, ink bright on dark; 0..255, or 0..1 when none is above 1; with state only the new "
    "rows, or none"
)

_IMAGE = "base64 of a PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF file, or a data URL"

Confidence = Annotated[float, Meta(gt=0, le=1, description="stop reading at the first row that reaches this score")]


class DigitInput(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One digit: either `rows` or `image`."""

    rows: Annotated[list[list[float]], Meta(description=_ROWS)] | None = None
    image: Annotated[str, Meta(description=_IMAGE)] | None = None
    item_id: ItemId | None = None
    state: StateToken | None = None


class DigitParameters(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What to answer."""

    trace: Annotated[bool, Meta(description="also answer label and score after every row")] = False
    stop_at_confidence: Confidence | None = None
    return_state: ReturnState = False
    timeout_ms: Timeout | None = None


class LiveDigitParameters(DigitParameters, forbid_unknown_fields=True, frozen=True, gc=False):
    """What to answer on a live connection."""

    auto_reset: Annotated[bool, Meta(description="after 28 rows, the next ones begin another digit")] = False


class DigitRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /classify-digit`."""

    inputs: Annotated[list[DigitInput], Meta(description="digits", extra_json_schema={"minItems": 1})]
    model: RequestedModel = DEFAULT_MODEL
    parameters: DigitParameters = field(default_factory=DigitParameters)


class DigitOptions(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What accompanies images that come as they are: query parameters, or fields of the form."""

    model: ModelReference = DEFAULT_MODEL
    item_id: ItemId | None = None
    trace: bool = False
    stop_at_confidence: Confidence | None = None
    return_state: ReturnState = False
    timeout_ms: Timeout | None = None


class TracePoint(Struct, frozen=True, gc=False):
    """The answer after one row; rows count from 1."""

    row: int
    label: int
    score: float


class DigitPrediction(Struct, frozen=True, gc=False):
    """The answer for one digit."""

    item_id: str | None
    label: int | None  # null where there is no ink
    score: float | None
    probabilities: list[float]
    rows_used: int
    trace: list[TracePoint] | None
    state: str | None
    preprocessing: Preparation | None
    warnings: list[str]


class DigitAnswer(ModelAnswer, frozen=True):
    """The body of the answer; one prediction per input, in the order of the inputs."""

    predictions: list[DigitPrediction]


class DigitOpening(Opening, forbid_unknown_fields=True, frozen=True):
    """The first message of a live stroke."""

    model: ModelReference = DEFAULT_MODEL
    parameters: LiveDigitParameters = field(default_factory=LiveDigitParameters)
    rows: list[list[float]] | None = None


class NewRows(Struct, forbid_unknown_fields=True, frozen=True):
    """A later message of a live stroke: the rows since the last one; none asks for the reading again."""

    rows: list[list[float]] | None = None
    reset: Reset = False
