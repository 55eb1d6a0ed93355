"""Digits in and out: JSON or images to the items of `POST /classify-digit` and its stream, and their results to JSON.

Rows are taken as they are, images are prepared as MNIST was, which is work for a thread. A digit that is resumed
(`state`, or a live connection) is judged as a whole: `rows_used`, the row numbers of the trace, the limit of rows and
the scale of its numbers include the rows that were sent before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from service.codec.common import (
    ALL_INPUTS,
    ANY_IMAGE,
    INPUT_NUMBERS,
    JSON,
    MESSAGE,
    STATE_NUMBERS,
    UNSPECIFIC,
    Body,
    SequenceState,
    unsupported_media_type,
)
from service.codec.digit_choice import PictureItems, blank_reading, picture_items, read_input, read_number
from service.codec.digit_types import (
    DigitAnswer,
    DigitInput,
    DigitOpening,
    DigitOptions,
    DigitParameters,
    DigitPrediction,
    DigitRequest,
    NewRows,
    NumberDigit,
    TracePoint,
)
from service.codec.image_cost import ImageLimits
from service.codec.images import ImagePreparer
from service.codec.multipart import File, parse_form
from service.codec.query import decode_fields, parse_query, refuse_query
from service.codec.state_tokens import StateTokens
from service.codec.strict_json import COUNTED, FieldErrors, StrictDecoder
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest, Task
from service.contract.types import DigitItem, DigitResult
from service.imaging.formats import file_format
from service.imaging.report import Preparation
from service.settings import Settings

IMAGES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif", "image/tiff", "image/avif")
FORM = "multipart/form-data"
WIDTH = 28  # numbers in a row
IMAGE_ROWS = 28  # rows of a whole digit; with fewer, a low score says only that there is more to read
MAX_ROWS = 64
CLASSES = 10
IMAGE_NUMBERS = 100_000  # numbers of a series that are read in the time of a small image: 2 ms
TRACE_NUMBERS = 3  # in the answer for each row of a trace
# The flags in the token of a digit: the scale of its numbers, and whether any of them was ink.
FLAG_0_255, FLAG_0_1, FLAG_HAS_INK = 1, 2, 4

_TEXT_OPTIONS = frozenset({"model", "item_id"})
_request_decoder = StrictDecoder(DigitRequest)
_options_decoder = StrictDecoder(DigitOptions)
_opening_decoder = StrictDecoder(DigitOpening)
_message_decoder = StrictDecoder(NewRows)
_encoder = msgspec.json.Encoder()
_NO_OPTIONS = DigitOptions()


class DigitBatch(Struct, frozen=True, eq=False):
    """A decoded request: a JSON document, or image files (one for each of the inputs) with their options."""

    model: str
    inputs: list[DigitInput]
    parameters: DigitParameters
    files: list[bytes] | None = None


class Reading(Struct, frozen=True, eq=False, gc=False):
    """What `encode` needs of one digit in addition to its item and result."""

    item_id: str | None
    preparation: Preparation | None  # of an image
    earlier_rows: int
    flags: int  # of the rows before, and the scale of these
    digits: list[NumberDigit] | None = None  # all of an image, where they are asked for
    agreement: float = 1.0  # that the score was tempered by


class DigitCall(Struct, frozen=True, eq=False):
    """The items of a request or message, with what `encode` needs to turn their results into an answer."""

    manifest: Manifest
    parameters: DigitParameters
    items: list[DigitItem]
    readings: list[Reading]
    answer_size: int  # see `service.codec.common.Call`
    pictures: list[PictureItems] | None = None  # of each input; None where each input is one item, rows as they came


class DigitCodec:
    """The codec of `service.codec.common.Codec` for digits."""

    task: Final[Task] = "classify-digit"
    media_types = (JSON, *IMAGES, FORM, ANY_IMAGE)

    def __init__(self, settings: Settings, tokens: StateTokens) -> None:
        self._settings = settings
        self._tokens = tokens
        self._image_limits = ImageLimits(
            settings.max_pixels,
            settings.max_image_bytes,
            settings.max_image_scans,
            settings.max_image_chunks,
            settings.max_run_length_bytes,
        )
        # In JSON an image is base64, four characters for three bytes, in a document with a little more.
        self.max_body_bytes = max(settings.max_body_bytes, settings.max_image_bytes * 4 // 3 + (64 << 10))

    def decode(self, body: Body) -> DigitBatch:
        """The request in `body`; raises `InvalidRequest` for all that is wrong independently of the model."""
        if body.media_type == JSON:
            return self._decode_json(body)
        if body.media_type in UNSPECIFIC and file_format(body.content) is None:
            raise unsupported_media_type(body.media_type, self.media_types)
        options = parse_query(body.query_string) if body.query_string else {}
        if body.media_type != FORM:
            return self._from_files([File(body.content)], decode_options(options) if options else _NO_OPTIONS)
        max_parts = self._settings.max_items + len(DigitOptions.__struct_fields__)
        form = parse_form(body.content, body.content_type, max_parts)
        if not form.files:
            raise InvalidRequest("the form has no image: send one in the field 'file'", code="missing_field")
        return self._from_files(form.files, decode_options(options | form.fields))

    def preparation_size(self, batch: DigitBatch) -> int:
        """Numbers of all rows and bytes of all images, and what each digit takes besides; an image is work for a
        thread, however small its file."""
        if batch.files is not None:
            return IMAGE_NUMBERS * len(batch.files) + sum([len(content) for content in batch.files])
        return sum(
            [
                INPUT_NUMBERS + WIDTH * len(digit.rows or ()) + (IMAGE_NUMBERS + len(digit.image) if digit.image else 0)
                for digit in batch.inputs
            ]
        )

    def to_items(self, batch: DigitBatch, manifest: Manifest, deadline: float = math.inf) -> DigitCall:
        """The items of `batch`; raises `InvalidRequest` for images that cannot be prepared and rows the model refuses.

        `deadline` (`time.monotonic()`) is checked between images.
        """
        tokens = [digit.state for digit in batch.inputs]
        is_resumed = tokens.count(None) < len(tokens)
        resumed_from = self._tokens.open_all(tokens, manifest) if is_resumed else [None] * len(tokens)
        errors = FieldErrors()
        parameters = batch.parameters
        builder = _CallBuilder(parameters, manifest, errors)
        images = ImagePreparer(
            self._image_limits,
            deadline,
            errors,
            blank_is_answer=len(batch.inputs) > 1,
            all_digits=parameters.digits == "all",
        )
        for index, (digit, state) in enumerate(zip(batch.inputs, resumed_from, strict=True)):
            pointer, n_items = ALL_INPUTS.format(index), len(builder.items)
            if digit.rows is not None:
                builder.add_rows(digit.rows, digit.item_id, state, pointer)
                continue
            if batch.files is None:
                prepared = images.prepare_base64(digit.image or "", f"{pointer}/image")
            else:
                prepared = images.prepare(batch.files[index], pointer)
            picture, items = picture_items(
                prepared, n_items, trace=parameters.trace, stop=parameters.stop_at_confidence
            )
            builder.add_picture(picture, items, digit.item_id, pointer)
        return builder.build()

    def encode(self, call: DigitCall, results: Sequence[DigitResult]) -> bytes:
        """The answer to a request as JSON."""
        manifest = call.manifest
        if call.pictures is not None:
            call, results = _chosen_readings(call, call.pictures, results)
        states = sequence_states(call, results)
        tokens: Sequence[str | None] = [None] * len(states)
        if call.parameters.return_state:
            tokens = self._tokens.seal_all(states, manifest)
        predictions = _predictions(call, results, states, tokens, is_whole=True)
        return _encoder.encode(DigitAnswer(manifest.name, str(manifest.version), manifest.digest, predictions))

    def decode_opening(self, content: bytes) -> DigitOpening:
        """The first message of a live stroke."""
        return _opening_decoder.decode(content)

    def resume(self, opening: DigitOpening, manifest: Manifest) -> SequenceState | None:
        """The state that a live stroke begins with."""
        (state,) = self._tokens.open_all([opening.state], manifest, MESSAGE)
        return state

    def message_to_items(
        self, content: bytes, opening: DigitOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> DigitCall | None:
        """The rows of a later message of a live stroke; None where it only asks for another digit."""
        message = _message_decoder.decode(content)
        if message.rows is None:
            if message.reset:
                return None
            errors = FieldErrors()
            errors.add(f"{MESSAGE}/rows", "missing_field", "this field is required")
            errors.check()
        is_new = message.reset or (
            opening.parameters.auto_reset and resumed_from is not None and resumed_from.observations >= IMAGE_ROWS
        )
        return self._message_call(message.rows or [], opening, manifest, None if is_new else resumed_from)

    def opening_to_items(
        self, opening: DigitOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> DigitCall | None:
        """The rows of the first message of a live stroke, where it brings any."""
        if opening.rows is None:
            return None
        return self._message_call(opening.rows, opening, manifest, resumed_from)

    def encode_message(self, call: DigitCall, results: Sequence[DigitResult]) -> tuple[bytes, SequenceState]:
        """The prediction of a live stroke as JSON, and its state."""
        states = sequence_states(call, results)
        token = self._tokens.seal(states[0], call.manifest) if call.parameters.return_state else None
        (prediction,) = _predictions(call, results, states, [token], is_whole=False)
        return _encoder.encode(prediction), states[0]

    def continued(self, opening: DigitOpening, _call: DigitCall) -> DigitOpening:
        """`opening`, which is the same for all messages."""
        return opening

    def last_token(self, state: SequenceState, manifest: Manifest) -> str | None:
        """The token of `state`, None where no other service could open it."""
        return self._tokens.seal(state, manifest) if self._tokens.outlive_service else None

    @staticmethod
    def _message_call(
        rows: list[list[float]], opening: DigitOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> DigitCall:
        errors = FieldErrors()
        _check_rows(rows, resumed_from is not None, f"{MESSAGE}/rows", errors)
        errors.check()
        builder = _CallBuilder(opening.parameters, manifest, errors)
        builder.add_rows(rows, opening.item_id, resumed_from, MESSAGE)
        return builder.build()

    def _decode_json(self, body: Body) -> DigitBatch:
        if body.query_string:
            refuse_query(body.query_string)
        request = _request_decoder.decode(body.content)
        self._check_count(len(request.inputs))
        errors = FieldErrors()
        for index, digit in enumerate(request.inputs):
            _check_input(digit, ALL_INPUTS.format(index), errors)
        errors.check()
        return DigitBatch(request.model, request.inputs, request.parameters)

    def _from_files(self, files: Sequence[File], options: DigitOptions) -> DigitBatch:
        self._check_count(len(files))
        inputs = [DigitInput(item_id=options.item_id or (file.name[:256] if file.name else None)) for file in files]
        parameters = DigitParameters(
            options.trace, options.stop_at_confidence, options.return_state, options.timeout_ms, options.digits
        )
        return DigitBatch(options.model, inputs, parameters, [file.content for file in files])

    def _check_count(self, count: int) -> None:
        max_items = self._settings.max_items
        if count > max_items:
            raise InvalidRequest(f"{count} digits in one request; at most {max_items}", code="too_many_items")
        if not count:
            errors = FieldErrors()
            errors.add("#/inputs", "out_of_range", "at least one digit")
            errors.check()


class _CallBuilder:
    """Collects the items of a request or message, and the errors of those that this model cannot read."""

    def __init__(self, parameters: DigitParameters, manifest: Manifest, errors: FieldErrors) -> None:
        self._parameters = parameters
        self._manifest = manifest
        self._errors = errors
        self.items: list[DigitItem] = []
        self._firsts: list[PictureItems] = []
        self._has_pictures = False
        self._readings: list[Reading] = []

    def add_rows(
        self, numbers: list[list[float]], item_id: str | None, state: SequenceState | None, pointer: str
    ) -> None:
        """A digit with the rows `numbers`, which follow those of `state`."""
        flags, earlier_rows = (state.flags, state.observations) if state else (0, 0)
        rows, scale = _scaled(numbers, f"{pointer}/rows", flags, self._errors)
        self._check_length(earlier_rows + len(rows), pointer)
        self._add(rows, state, Reading(item_id, None, earlier_rows, flags | scale))

    def add_picture(self, picture: PictureItems, items: list[DigitItem], item_id: str | None, pointer: str) -> None:
        """A digit from the `items` of its picture; none stand for a blank one."""
        self._has_pictures = True
        if picture.hypotheses:
            self._check_length(len(items[0].rows), pointer)
        self._readings.append(Reading(item_id, None, 0, 0))
        self._firsts.append(picture)
        self.items += items

    def build(self) -> DigitCall:
        """The call; raises `InvalidRequest` with all errors."""
        if self._errors.total:
            self._errors.check()
        parameters, items = self._parameters, self.items
        if not items:  # all images are blank, and the model computes no empty batch
            items.append(DigitItem(np.zeros((1, WIDTH), np.float32)))
        traced_rows = sum([len(item.rows) for item in items]) if parameters.trace else 0
        token_numbers = parameters.return_state * self._manifest.state.width // STATE_NUMBERS
        answer_size = len(self._readings) * (INPUT_NUMBERS + CLASSES + token_numbers) + TRACE_NUMBERS * traced_rows
        pictures = self._firsts if self._has_pictures else None
        return DigitCall(self._manifest, parameters, items, self._readings, answer_size, pictures)

    def _add(self, rows: NDArray[np.float32], state: SequenceState | None, reading: Reading) -> None:
        parameters, state_row = self._parameters, None if state is None else state.state
        self._firsts.append(PictureItems(len(self.items)))
        self.items.append(DigitItem(rows, parameters.trace, parameters.stop_at_confidence, state_row))
        self._readings.append(reading)

    def _check_length(self, count: int, pointer: str) -> None:
        contract = self._manifest.input
        shortest, longest = contract.min_length, min(contract.max_length or MAX_ROWS, MAX_ROWS)
        if not shortest <= count <= longest:
            lengths = f"exactly {shortest}" if shortest == longest else f"{shortest} to {longest}"
            detail = f"{count} rows; '{self._manifest.name}' reads {lengths}"
            self._errors.add(f"{pointer}/rows", "length_not_supported", detail)


def decode_options(options: Mapping[str, str]) -> DigitOptions:
    """Query parameters or form fields; raises `InvalidRequest` as for a JSON body."""
    return decode_fields(options, _options_decoder, _TEXT_OPTIONS)


def first_reading(call: DigitCall, results: Sequence[DigitResult]) -> tuple[DigitItem, Reading]:
    """What was read of the first input of `call`, and how."""
    if call.pictures is not None:
        call, _ = _chosen_readings(call, call.pictures, results)
    return call.items[0], call.readings[0]


def _chosen_readings(
    call: DigitCall, pictures: Sequence[PictureItems], results: Sequence[DigitResult]
) -> tuple[DigitCall, list[DigitResult]]:
    """The call and its results with one item for each input: of a picture, that of the chosen hypothesis.

    Raises `InvalidRequest` (`blank_image`) where that is none, of the only input.
    """
    items, readings, answers = [], [], []
    for picture, reading in zip(pictures, call.readings, strict=True):
        read = read_input(picture, call.items, results, call.parameters.stop_at_confidence)
        if read is None and picture.refusal is not None and len(pictures) == 1:
            errors = FieldErrors()
            errors.add(ALL_INPUTS.format(0), picture.refusal.code, picture.refusal.detail)
            errors.check()
        item, result = (read.item, read.result) if read else blank_reading(call.manifest.state.width)
        items.append(item)
        answers.append(result)
        digits = None
        if call.parameters.digits == "all" and (picture.is_blank or picture.hypotheses):
            n_pieces = sum(len(line.pieces) for line in picture.lines) if read else 0
            pieces = results[picture.lines_first : picture.lines_first + n_pieces]
            digits = read_number(picture.lines if n_pieces else (), pieces)
        report, agreement = (read.report, read.agreement) if read else (None, 1.0)
        readings.append(replace(reading, preparation=report, digits=digits, agreement=agreement))
    return replace(call, items=items, readings=readings, pictures=None), answers


def sequence_states(call: DigitCall, results: Sequence[DigitResult]) -> list[SequenceState]:
    """The state of each digit after `results`: at the last row that was used."""
    states = []
    for item, reading, result in zip(call.items, call.readings, results, strict=True):
        ink = FLAG_HAS_INK if item.rows[: result.rows_used].any() else 0
        observations = reading.earlier_rows + result.rows_used
        states.append(SequenceState(result.state, observations, flags=reading.flags | ink))
    return states


def _predictions(
    call: DigitCall,
    results: Sequence[DigitResult],
    states: Sequence[SequenceState],
    tokens: Sequence[str | None],
    *,
    is_whole: bool,
) -> list[DigitPrediction]:
    """The answers for `results`, one for each digit, with `tokens` as their states.

    An `is_whole` digit without ink has no label; of a live one, more rows may follow.
    """
    predictions = []
    unlikely = call.manifest.output.unlikely_below or 0.0
    for item, reading, result, state, token in zip(call.items, call.readings, results, states, tokens, strict=True):
        probabilities: list[float] = result.probabilities.tolist()
        label = int(result.probabilities.argmax())
        is_blank = not (state.flags & FLAG_HAS_INK or item.rows.any())
        warnings = []
        if is_blank:
            warnings.append("no_ink" if state.observations else "blank_image")
        if state.observations >= IMAGE_ROWS and not is_blank and _untempered(probabilities[label], reading) < unlikely:
            warnings.append("unlikely_digit")
            if reading.preparation is None and len(item.rows) >= IMAGE_ROWS and _looks_inverted(item.rows):
                warnings.append("looks_inverted")
        if reading.preparation is not None and reading.preparation.digits > 1:
            warnings.append("several_digits")
        predictions.append(
            DigitPrediction(
                item_id=reading.item_id,
                label=None if is_blank and is_whole else label,
                score=None if is_blank and is_whole else probabilities[label],
                probabilities=probabilities,
                rows_used=state.observations,
                trace=None if result.trace is None else _trace(result.trace, reading.earlier_rows + 1),
                state=token,
                preprocessing=reading.preparation,
                warnings=warnings,
                **_number(reading.digits),
            )
        )
    return predictions


def _untempered(score: float, reading: Reading) -> float:
    """The score before hypotheses that disagree lowered it: how like a digit the chosen one is."""
    return (score - (1 - reading.agreement) / CLASSES) / reading.agreement if reading.agreement < 1 else score


def _looks_inverted(rows: NDArray[np.float32]) -> bool:
    """Whether rows hold more ink than paper, along their sides too: they are bright paper with dark ink."""
    sides = np.concatenate((rows[:, 0], rows[:, -1], rows[0], rows[-1]))
    return bool(rows.mean() > 0.5 and np.median(sides) > 0.5)


def _number(digits: list[NumberDigit] | None) -> dict[str, Any]:
    """The fields that all digits of a picture fill; nothing where they were not asked for."""
    if digits is None:
        return {}
    by_line: dict[int, str] = {}
    for digit in digits:
        by_line[digit.line] = by_line.get(digit.line, "") + str(digit.label)
    score = math.prod(digit.score for digit in digits) if digits else None
    return {"number": "\n".join(by_line.values()), "number_score": score, "digits": digits}


def _check_input(digit: DigitInput, pointer: str, errors: FieldErrors) -> None:
    if digit.rows is None and digit.image is None:
        errors.add(pointer, "missing_field", "either rows or image is required")
    elif digit.rows is not None and digit.image is not None:
        errors.add(f"{pointer}/image", "out_of_range", "either rows or image, not both")
    elif digit.rows is not None:
        _check_rows(digit.rows, digit.state is not None, f"{pointer}/rows", errors)
    elif digit.state is not None:
        errors.add(f"{pointer}/state", "out_of_range", "an image is a whole digit: only rows go on from a state")


def _check_rows(rows: list[list[float]], is_resumed: bool, pointer: str, errors: FieldErrors) -> None:
    """Record rows of a wrong width, or that there are none although there is no earlier state."""
    if not rows and not is_resumed:
        errors.add(pointer, "out_of_range", "at least one row")
    for number, row in enumerate(rows):
        if len(row) == WIDTH:
            continue
        if errors.is_full:
            wrong = sum([len(entry) != WIDTH for entry in rows[number : number + COUNTED]])
            errors.total = min(COUNTED, errors.total + wrong)
            return
        errors.add(f"{pointer}/{number}", "wrong_row_width", f"{len(row)} numbers; a row has {WIDTH}")


def _scaled(
    numbers: list[list[float]], pointer: str, flags: int, errors: FieldErrors
) -> tuple[NDArray[np.float32], int]:
    """(T, 28) in 0..1, and the flag of their scale: values above 1 anywhere mean that it is 0..255.

    Rows without ink show no scale. The one that a digit's earlier rows showed, in `flags`, holds for its later ones.
    """
    ink = np.array(numbers, np.float64).reshape(-1, WIDTH)
    limit = 1 if flags & FLAG_0_1 else 255
    wrong = np.argwhere((ink < 0) | (ink > limit))
    if len(wrong):
        row, column = wrong[0].tolist()
        reason = "" if limit == 255 else ", as the earlier rows of this digit, none of which was above 1"
        detail = f"must be at least 0 and at most {limit}{reason}"
        errors.add(f"{pointer}/{row}/{column}", "out_of_range", detail)
        return np.zeros(ink.shape, np.float32), 0
    largest = ink.max(initial=0)
    scale = FLAG_0_255 if flags & FLAG_0_255 or largest > 1 else FLAG_0_1 if largest > 0 else 0
    return (ink / 255 if scale == FLAG_0_255 else ink).astype(np.float32), scale


def _trace(trace: NDArray[np.float64], first_row: int) -> list[TracePoint]:
    labels, scores = trace.argmax(axis=1).tolist(), trace.max(axis=1).tolist()
    pairs = zip(labels, scores, strict=True)
    return [TracePoint(row, label, score) for row, (label, score) in enumerate(pairs, first_row)]
