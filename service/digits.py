"""Digits in and out of `POST /classify-digit`: rows as they are, images prepared, results as the answer's bytes.

`read` takes a JSON body, `from_files` images that came as they are; both give one `DigitRequest`. `pack` makes the
engine's items, and prepares images, which is work for a thread; `unpack` writes the answer.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct, field
from numpy.typing import NDArray

from service import tokens
from service.documents import Faults, Reader
from service.errors import DeadlineExceeded, InvalidRequest, RitmoError
from service.images import Preparation, prepare
from service.items import DigitItem, DigitResult
from service.manifest import Manifest
from service.series import ItemId, Timeout
from service.settings import Settings

DEFAULT_MODEL = "digits"
WIDTH = 28  # numbers in a row
MOST_ROWS = 64
_LITERAL = re.compile(r"true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,")

_ROWS = "top to bottom, 28 numbers each, ink bright on dark; 0..255, or 0..1 when none is above 1"

Confidence = Annotated[float, Meta(gt=0, le=1, description="stop reading at the first row that reaches this score")]


class DigitInput(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One digit: either `rows` or `image`."""

    rows: Annotated[list[list[float]], Meta(description=_ROWS)] | None = None
    image: Annotated[str, Meta(description="base64 of a PNG, JPEG, WebP or BMP file")] | None = None
    item_id: ItemId | None = None
    state: Annotated[str, Meta(description="token of an earlier answer")] | None = None


class DigitParameters(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What to answer."""

    trace: Annotated[bool, Meta(description="also answer label and score after every row")] = False
    stop_at_confidence: Confidence | None = None
    return_state: bool = False
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
    return_state: bool = False
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


_reader = Reader(DigitRequest)
_options_reader = Reader(DigitOptions)
_encoder = msgspec.json.Encoder()


def read(body: bytes, settings: Settings) -> DigitRequest:
    """The request in a JSON `body`; raises `InvalidRequest` for everything that is wrong whatever the model."""
    request = _reader.read(body)
    _check_count(len(request.inputs), settings)
    faults = Faults()
    for index, item in enumerate(request.inputs):
        _check_input(item, f"#/inputs/{index}", faults)
    tokens.check_wish(request.parameters.return_state, faults)
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
    faults = Faults()
    tokens.check_wish(options.return_state, faults)
    faults.check()
    inputs = [DigitInput(item_id=options.item_id or (file.name[:256] if file.name else None)) for file in files]
    parameters = DigitParameters(options.trace, options.stop_at_confidence, False, options.timeout_ms)
    return DigitRequest(inputs, options.model, parameters), [file.data for file in files]


def pack(
    request: DigitRequest,
    manifest: Manifest,
    settings: Settings,
    images: Sequence[bytes] | None = None,
    deadline: float = math.inf,
) -> PackedDigits:
    """The engine's items; raises `InvalidRequest` for images that cannot be prepared and rows this model cannot read.

    `images` are the files of `from_files`; `deadline` (`time.monotonic()`) is looked at between images.
    """
    faults = Faults()
    items: list[DigitItem] = []
    preparations: list[Preparation | None] = []
    pixels = settings.max_pixels
    for index, asked in enumerate(request.inputs):
        preparation = None
        pointer = f"#/inputs/{index}"
        if asked.rows is not None:
            rows = _rows(asked.rows, f"{pointer}/rows", faults)
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
        _check_length(len(rows), f"{pointer}/rows", manifest, faults)
        items.append(DigitItem(rows, request.parameters.trace, request.parameters.stop_at_confidence))
        preparations.append(preparation)
    faults.check()
    return PackedDigits(items, preparations)


def unpack(request: DigitRequest, manifest: Manifest, packed: PackedDigits, results: Sequence[DigitResult]) -> bytes:
    """The answer as JSON."""
    predictions = []
    parts = zip(request.inputs, packed.items, packed.preparations, results, strict=True)
    for asked, item, preparation, result in parts:
        probabilities: list[float] = result.probabilities.tolist()
        if not math.isfinite(sum(probabilities)):
            raise RitmoError("the model answered with a number that is not finite")
        label = int(result.probabilities.argmax())
        warnings = [] if item.rows.any() else ["no_ink"]
        predictions.append(
            DigitPrediction(
                item_id=asked.item_id,
                label=label,
                score=probabilities[label],
                probabilities=probabilities,
                rows_used=result.rows_used,
                trace=None if result.trace is None else _trace(result.trace),
                state=None,
                preprocessing=preparation,
                warnings=warnings,
            )
        )
    return _encoder.encode(DigitAnswer(manifest.name, str(manifest.version), manifest.digest, predictions))


def holds_images(request: DigitRequest) -> bool:
    """Whether `pack` has images to prepare."""
    return any(item.rows is None for item in request.inputs)


def _check_count(count: int, settings: Settings) -> None:
    if count > settings.max_items:
        raise InvalidRequest(f"{count} digits in one request; at most {settings.max_items}", code="too_many_items")
    if not count:
        faults = Faults()
        faults.add("#/inputs", "out_of_range", "at least one digit")
        faults.check()


def _check_input(item: DigitInput, pointer: str, faults: Faults) -> None:
    tokens.check(item.state, f"{pointer}/state", faults)
    if item.rows is None and item.image is None:
        faults.add(pointer, "missing_field", "either rows or image is required")
    elif item.rows is not None and item.image is not None:
        faults.add(f"{pointer}/image", "out_of_range", "either rows or image, not both")
    elif item.rows is not None:
        if not item.rows:
            faults.add(f"{pointer}/rows", "out_of_range", "at least one row")
        for number, row in enumerate(item.rows):
            if len(row) != WIDTH:
                faults.add(f"{pointer}/rows/{number}", "wrong_row_width", f"{len(row)} numbers; a row has {WIDTH}")


def _rows(rows: list[list[float]], pointer: str, faults: Faults) -> NDArray[np.float32]:
    """(T, 28) in 0..1; values above 1 anywhere mean that the scale is 0..255."""
    ink = np.array(rows, np.float64)
    wrong = np.argwhere((ink < 0) | (ink > 255))
    if len(wrong):
        row, column = wrong[0].tolist()
        faults.add(f"{pointer}/{row}/{column}", "out_of_range", "must be at least 0 and at most 255")
        return np.zeros(ink.shape, np.float32)
    return (ink / 255 if ink.max() > 1 else ink).astype(np.float32)


def _check_length(count: int, pointer: str, manifest: Manifest, faults: Faults) -> None:
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


def _trace(trace: NDArray[np.float64]) -> list[TracePoint]:
    labels, scores = trace.argmax(axis=1).tolist(), trace.max(axis=1).tolist()
    return [TracePoint(row, label, score) for row, (label, score) in enumerate(zip(labels, scores, strict=True), 1)]
