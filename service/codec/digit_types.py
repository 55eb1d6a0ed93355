"""The JSON of digits, as `msgspec` structures: requests, options of images, answers, messages of live connections."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

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
from service.imaging.report import Preparation

DEFAULT_MODEL = "digits"
WIDTH = 28  # numbers in a row
IMAGE_ROWS = 28  # rows of a whole digit; with fewer, a low score says only that there is more to read

_ROWS = (
    "top to bottom, 28 numbers each, ink bright on dark; 0..255, or 0..1 when none is above 1; with state only the new "
    "rows, or none"
)

_IMAGE = "base64 of a PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF file, or a data URL"

_ITEM = '{"image": "…base64…"}'
_REQUEST = f'{{"inputs": [{_ITEM}]}}'

# Names of other tools, with what they are called here.
_PICTURES = (
    {
        name: f"use 'image', the base64 of a picture, in an entry of 'inputs', not '{name}'"
        for name in (
            *("img", "picture", "photo", "file", "content"),
            *("base64", "b64", "image_base64", "image_b64", "image_data", "images"),
        )
    }
    | {
        name: f"use 'rows', 28 rows of 28 numbers, in an entry of 'inputs', not '{name}'"
        for name in ("pixels", "data", "array", "values", "matrix", "grid", "digit", "tensor", "x", "X", "input")
    }
    | {"url": "the service fetches nothing: send the file itself in base64, as 'image'"}
)
_OPTIONS = {
    name: f"use 'stop_at_confidence' in 'parameters', not '{name}'"
    for name in ("threshold", "confidence", "stop_at", "min_confidence")
}
_BELONGS = "it belongs in 'parameters'"
_PARAMETERS = ("trace", "stop_at_confidence", "return_state", "timeout_ms", "digits")

Confidence = Annotated[float, Meta(gt=0, le=1, description="stop reading at the first row that reaches this score")]


class DigitInput(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One digit: either `rows` or `image`."""

    rows: Annotated[list[list[float]], Meta(description=_ROWS)] | None = None
    image: Annotated[str, Meta(description=_IMAGE)] | None = None
    item_id: ItemId | None = None
    state: StateToken | None = None

    example: ClassVar[str] = f'{{"rows": […]}} or {_ITEM}'
    hints: ClassVar[dict[str, str]] = {
        **_PICTURES,
        **_OPTIONS,
        **dict.fromkeys(_PARAMETERS, _BELONGS),
        "id": "use 'item_id'",
    }


Digits = Annotated[
    Literal["one", "all"], Meta(description="of a picture: the likeliest digit, or besides it all, as a number")
]


class DigitParameters(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What to answer."""

    trace: Annotated[bool, Meta(description="also answer label and score after every row")] = False
    stop_at_confidence: Confidence | None = None
    return_state: ReturnState = False
    timeout_ms: Timeout | None = None
    digits: Digits = "one"

    hints: ClassVar[dict[str, str]] = _OPTIONS


class LiveDigitParameters(DigitParameters, forbid_unknown_fields=True, frozen=True, gc=False):
    """What to answer on a live connection."""

    auto_reset: Annotated[bool, Meta(description="after 28 rows, the next ones begin another digit")] = False


class DigitRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /classify-digit`."""

    inputs: Annotated[list[DigitInput], Meta(description="digits", extra_json_schema={"minItems": 1})]
    model: RequestedModel = DEFAULT_MODEL
    parameters: DigitParameters = field(default_factory=DigitParameters)

    example: ClassVar[str] = _REQUEST
    hints: ClassVar[dict[str, str]] = {
        **_PICTURES,
        **_OPTIONS,
        **dict.fromkeys(_PARAMETERS, _BELONGS),
        **dict.fromkeys(("image", "rows"), f"it belongs in an entry of 'inputs': {_REQUEST}"),
        "instances": f"use 'inputs': {_REQUEST}",
    }


class DigitOptions(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What accompanies images that come as they are: query parameters, or fields of the form."""

    model: ModelReference = DEFAULT_MODEL
    item_id: ItemId | None = None
    trace: bool = False
    stop_at_confidence: Confidence | None = None
    return_state: ReturnState = False
    timeout_ms: Timeout | None = None
    digits: Digits = "one"


class TracePoint(Struct, frozen=True, gc=False):
    """The answer after one row; rows count from 1."""

    row: int
    label: int
    score: float


class NumberDigit(Struct, frozen=True, gc=False):
    """One digit of a number; `box` is left, top, right, bottom in pixels of the upright source, lines count from 1."""

    label: int
    score: float
    box: tuple[int, int, int, int]
    line: int
    rows_used: int


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
    name: str | UnsetType | None = UNSET  # of the label, where the model's are no digits
    number: str | UnsetType = UNSET  # with "all", of a picture; lines are joined by a newline
    number_score: float | UnsetType | None = UNSET
    digits: list[NumberDigit] | UnsetType = UNSET


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
