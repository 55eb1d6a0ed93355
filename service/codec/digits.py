"""Digits in and out of `POST /classify-digit`: rows as they are, images prepared, results as the answer's bytes.

`read` takes a JSON body, `from_files` images that came as they are; both give one `DigitRequest`. `pack` makes the
engine's items, and prepares images, which is work for a thread; `predictions` and `unpack` make the answer. A digit
that goes on (`state`, or a live connection) is judged as a whole: `rows_used`, the row numbers of the trace, the limit
of rows and the scale of its numbers include what was sent before.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct, field
from numpy.typing import NDArray

from service.codec.forecast import ItemId, ReturnState, StateToken, Timeout
from service.codec.state_tokens import SequenceState
from service.codec.strict_json import FieldErrors, StrictDecoder
from service.contract.errors import DeadlineExceeded, InvalidRequest, RitmoError
from service.contract.manifest import Manifest
from service.contract.types import DigitItem, DigitResult
from service.imaging.mnist import Preparation, prepare
from service.settings import Settings

DEFAULT_MODEL = "digits"
WIDTH = 28  # numbers in a row
SQUARE = 28  # rows of a whole image: before, a low score says only that there is more to read
MOST_ROWS = 64
_LITERAL = re.compile(r"true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,")

# What a token says of a digit, beside its state: the scale its numbers had, and whether any of them was ink.
BYTES, UNIT, INK = 1, 2, 4

_ROWS = (
    "top to bottom, 28 numbers each, ink bright on dark; 0..255, or 0..1 when none is above 1; with state only the new "
    "rows, or none"
)

Confidence = Annotated[float, Meta(gt=0, le=1, description="stop reading at the first row that reaches this score")]


class DigitInput(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One digit: either `rows` or `image`."""

    rows: Annotated[list[list[float]], Meta(description=_ROWS)] | None = None
    image: Annotated[str, Meta(description="base64 of a PNG, JPEG, WebP or BMP file")] | None = None
    item_id: ItemId | None = None
    state: StateToken | None = None


class DigitParameters(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What to answer."""

    trace: Annotated[bool, Meta(description="also answer label and score after every row")] = False
    stop_at_confidence: Confidence | None = None
    return_state: ReturnState = False
    timeout_ms: Timeout | None = None


class DigitRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /classify-digit`."""

    inputs: Annotated[list[DigitInput], Meta(description="digits")]
    model: Annotated[str, Meta(max_length=256, description="a name, or name@version")] = DEFAULT_MODEL
    parameters: DigitParameters = field(default_factory=DigitParameters)


class DigitOptions(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What accompanies images that come as they are: query parameters, or fields of the form."""

    model: Annotated[str, Meta(max_length=256)] = DEFAULT_MODEL
    item_id: ItemId | None = None
    trace: bool = False
    stop_at_confidence: Confidence | None = None
    return_state: ReturnState = False
    timeout_ms: Timeout | None = None


class File(Struct, frozen=True, gc=False):
    """One image as it came, and its name where it had one."""

    data: bytes
    name: str | None = None


class TracePoint(Struct, frozen=True, gc=False):
    """The answer after one row; rows count from 1."""

    row: int
    label: int
    score: float


class DigitPrediction(Struct, frozen=True, gc=False):
    """The answer for one digit."""

    item_id: str | None
    label: int
    score: float
    probabilities: list[float]
    rows_used: int
    trace: list[TracePoint] | None
    state: str | None
    preprocessing: Preparation | None
    warnings: list[str]


class DigitAnswer(Struct, frozen=True):
    """The body of the answer; one prediction per input, in the order of the inputs."""

    model: str
    model_version: str
    model_digest: str
    predictions: list[DigitPrediction]


@dataclass(frozen=True, slots=True, eq=False)
class PackedDigits:
    """The engine's items, and what was done to those that were images."""

    items: list[DigitItem]
    preparations: list[Preparation | None]
    before: list[SequenceState | None]
    scales: list[int]  # BYTES, UNIT, or 0 while neither shows


_reader = StrictDecoder(DigitRequest)
_options_reader = StrictDecoder(DigitOptions)
_encoder = msgspec.json.Encoder()


def read(body: bytes, settings: Settings) -> DigitRequest:
    """The request in a JSON `body`; raises `InvalidRequest` for everything that is wrong whatever the model."""
    request = _reader.read(body)
    _check_count(len(request.inputs), settings)
    faults = FieldErrors()
    for index, item in enumerate(request.inputs):
        _check_input(item, f"#/inputs/{index}", faults)
    faults.check()
    return request


def read_options(options: Mapping[str, str]) -> DigitOptions:
    """Query parameters or form fields; raises `InvalidRequest` as for a JSON body."""
    texts = {"model", "item_id"}
    members = (
        f"{json.dumps(name)}:{value if name not in texts and _LITERAL.fullmatch(value) else json.dumps(value)}"
        for name, value in options.items()
    )
    return _options_reader.read(("{" + ",".join(members) + "}").encode())


def from_files(files: Sequence[File], options: DigitOptions, settings: Settings) -> tuple[DigitRequest, list[bytes]]:
    """The request that `files` and `options` make, and the images themselves, one per input."""
    _check_count(len(files), settings)
    inputs = [DigitInput(item_id=options.item_id or (file.name[:256] if file.name else None)) for file in files]
    parameters = DigitParameters(options.trace, options.stop_at_confidence, options.return_state, options.timeout_ms)
    return DigitRequest(inputs, options.model, parameters), [file.data for file in files]


def pack(
    request: DigitRequest,
    manifest: Manifest,
    settings: Settings,
    images: Sequence[bytes] | None = None,
    deadline: float = math.inf,
    *,
    before: list[SequenceState | None] | None = None,
    place: str = "#/inputs/{}",
) -> PackedDigits:
    """The engine's items; raises `InvalidRequest` for images that cannot be prepared and rows this model cannot read.

    `images` are the files of `from_files`; `deadline` (`time.monotonic()`) is looked at between images. `before` says
    of each digit where it stood; `place` is the pointer to an input in the document that was sent.
    """
    faults = FieldErrors()
    before = before or [None] * len(request.inputs)
    packed = PackedDigits([], [], before, [])
    pixels = settings.max_pixels
    for index, (asked, earlier) in enumerate(zip(request.inputs, before, strict=True)):
        preparation, scale = None, 0
        pointer = place.format(index)
        if asked.rows is not None:
            rows, scale = _rows(asked.rows, f"{pointer}/rows", earlier, faults)
        else:
            if time.monotonic() > deadline:
                raise DeadlineExceeded("the deadline passed while images were prepared")
            try:
                data = _unwrapped(asked.image or "") if images is None else images[index]
                rows, preparation = prepare(data, pixels)
                pixels -= preparation.source_size[0] * preparation.source_size[1]
            except InvalidRequest as error:
                detail = error.detail
                if error.code == "image_too_large":
                    detail = f"the images of a request have at most {settings.max_pixels} pixels together"
                faults.add(f"{pointer}/image" if images is None else pointer, error.code, detail)
                rows = np.zeros((manifest.input.min_length, WIDTH), np.float32)
        whole = len(rows) + (earlier.observations if earlier else 0)
        _check_length(whole, f"{pointer}/rows", manifest, faults)
        state = None if earlier is None else earlier.state
        packed.items.append(DigitItem(rows, request.parameters.trace, request.parameters.stop_at_confidence, state))
        packed.preparations.append(preparation)
        packed.scales.append(scale)
    faults.check()
    return packed


def progress(packed: PackedDigits, results: Sequence[DigitResult]) -> list[SequenceState]:
    """Where each digit stands after `results`: at the last row that was used."""
    reached = []
    for item, earlier, scale, result in zip(packed.items, packed.before, packed.scales, results, strict=True):
        rows, flags = (earlier.observations, earlier.flags) if earlier else (0, 0)
        ink = INK if item.rows[: result.rows_used].any() else 0
        reached.append(SequenceState(result.state, rows + result.rows_used, flags=flags | scale | ink))
    return reached


def predictions(
    request: DigitRequest,
    manifest: Manifest,
    packed: PackedDigits,
    results: Sequence[DigitResult],
    seal: Callable[[SequenceState, Manifest], str],
) -> list[DigitPrediction]:
    """The answers, one per digit; `seal` makes the tokens where they were asked for."""
    answers = []
    unlikely = manifest.output.unlikely_below or 0.0
    reached = progress(packed, results)
    parts = zip(request.inputs, packed.items, packed.preparations, reached, results, strict=True)
    for asked, item, preparation, after, result in parts:
        probabilities: list[float] = result.probabilities.tolist()
        if not math.isfinite(sum(probabilities)):
            raise RitmoError("the model answered with a number that is not finite", code="internal_error")
        label = int(result.probabilities.argmax())
        warnings = [] if after.flags & INK or item.rows.any() else ["no_ink"]
        if after.observations >= SQUARE and probabilities[label] < unlikely:
            warnings.append("unlikely_digit")
        if preparation is not None and preparation.digits > 1:
            warnings.append("several_digits")
        first = after.observations - result.rows_used + 1
        answers.append(
            DigitPrediction(
                item_id=asked.item_id,
                label=label,
                score=probabilities[label],
                probabilities=probabilities,
                rows_used=after.observations,
                trace=None if result.trace is None else _trace(result.trace, first),
                state=seal(after, manifest) if request.parameters.return_state else None,
                preprocessing=preparation,
                warnings=warnings,
            )
        )
    return answers


def unpack(
    request: DigitRequest,
    manifest: Manifest,
    packed: PackedDigits,
    results: Sequence[DigitResult],
    seal: Callable[[SequenceState, Manifest], str],
) -> bytes:
    """The answer as JSON; see `predictions`."""
    answers = predictions(request, manifest, packed, results, seal)
    return _encoder.encode(DigitAnswer(manifest.name, str(manifest.version), manifest.digest, answers))


def holds_images(request: DigitRequest) -> bool:
    """Whether `pack` has images to prepare."""
    return any(item.rows is None for item in request.inputs)


def _check_count(count: int, settings: Settings) -> None:
    if count > settings.max_items:
        raise InvalidRequest(f"{count} digits in one request; at most {settings.max_items}", code="too_many_items")
    if not count:
        faults = FieldErrors()
        faults.add("#/inputs", "out_of_range", "at least one digit")
        faults.check()


def _check_input(item: DigitInput, pointer: str, faults: FieldErrors) -> None:
    if item.rows is None and item.image is None:
        faults.add(pointer, "missing_field", "either rows or image is required")
    elif item.rows is not None and item.image is not None:
        faults.add(f"{pointer}/image", "out_of_range", "either rows or image, not both")
    elif item.rows is None:
        if item.state is not None:
            faults.add(f"{pointer}/state", "out_of_range", "an image is a whole digit: only rows go on from a state")
    else:
        check_rows(item.rows, item.state is not None, f"{pointer}/rows", faults)


def check_rows(rows: list[list[float]], goes_on: bool, pointer: str, faults: FieldErrors) -> None:
    """Note rows of a wrong width, or that there are none although the digit does not go on from earlier ones."""
    if not rows and not goes_on:
        faults.add(pointer, "out_of_range", "at least one row")
    for number, row in enumerate(rows):
        if len(row) != WIDTH:
            faults.add(f"{pointer}/{number}", "wrong_row_width", f"{len(row)} numbers; a row has {WIDTH}")


def _rows(
    rows: list[list[float]], pointer: str, before: SequenceState | None, faults: FieldErrors
) -> tuple[NDArray[np.float32], int]:
    """(T, 28) in 0..1, and the scale that the numbers show: values above 1 anywhere mean that it is 0..255.

    Rows without ink show none. What a digit's earlier rows showed holds for its later ones.
    """
    ink = np.array(rows, np.float64).reshape(-1, WIDTH)
    earlier = before.flags if before else 0
    most = 1 if earlier & UNIT else 255
    wrong = np.argwhere((ink < 0) | (ink > most))
    if len(wrong):
        row, column = wrong[0].tolist()
        why = "" if most == 255 else ", as the earlier rows of this digit, none of which was above 1"
        faults.add(f"{pointer}/{row}/{column}", "out_of_range", f"must be at least 0 and at most {most}{why}")
        return np.zeros(ink.shape, np.float32), 0
    largest = ink.max(initial=0)
    scale = BYTES if earlier & BYTES or largest > 1 else UNIT if largest > 0 else 0
    return (ink / 255 if scale == BYTES else ink).astype(np.float32), scale


def _check_length(count: int, pointer: str, manifest: Manifest, faults: FieldErrors) -> None:
    least, most = manifest.input.min_length, min(manifest.input.max_length or MOST_ROWS, MOST_ROWS)
    if not least <= count <= most:
        reads = f"exactly {least}" if least == most else f"{least} to {most}"
        faults.add(pointer, "length_not_supported", f"{count} rows; '{manifest.name}' reads {reads}")


def _unwrapped(text: str) -> bytes:
    """The file in base64 `text`, which may be a data URL."""
    prefix = _DATA_URL.match(text)
    try:
        return base64.b64decode(text[prefix.end() :] if prefix else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("not base64", code="bad_image") from error


def _trace(trace: NDArray[np.float64], first: int) -> list[TracePoint]:
    labels, scores = trace.argmax(axis=1).tolist(), trace.max(axis=1).tolist()
    return [TracePoint(row, label, score) for row, (label, score) in enumerate(zip(labels, scores, strict=True), first)]
