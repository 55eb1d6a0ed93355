"""Digits in and out: what `POST /classify-digit` and its stream take and answer, in three stages.

A body is decoded here, `digit_items` makes items of what was decoded, `digit_answers` an answer of their results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from service.codec.common import (
    ALL_INPUTS,
    ANY_IMAGE,
    INPUT_NUMBERS,
    JSON,
    MESSAGE,
    UNSPECIFIC,
    Body,
    SequenceState,
    unsupported_media_type,
)
from service.codec.digit_answers import DigitAnswers
from service.codec.digit_calls import MAX_ROWS, DigitCall
from service.codec.digit_items import DigitBatch, DigitItems, check_rows
from service.codec.digit_types import (
    IMAGE_ROWS,
    WIDTH,
    DigitInput,
    DigitOpening,
    DigitOptions,
    DigitParameters,
    DigitRequest,
    NewRows,
)
from service.codec.multipart import File, parse_form
from service.codec.query import decode_fields, parse_query, refuse_query
from service.codec.state_tokens import StateTokens
from service.codec.strict_json import FieldErrors, StrictDecoder
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest, Task
from service.imaging.formats import file_format
from service.settings import Settings

IMAGES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif", "image/tiff", "image/avif")
FORM = "multipart/form-data"
_MAX_ID = 300  # characters of an item's id that may look like numbers and objects, and objects of an item
IMAGE_NUMBERS = 100_000  # numbers of a series that are read in the time of a small image: 2 ms

_TEXT_OPTIONS = frozenset({"model", "item_id"})
_request_decoder = StrictDecoder(DigitRequest)
_options_decoder = StrictDecoder(DigitOptions)
_opening_decoder = StrictDecoder(DigitOpening)
_message_decoder = StrictDecoder(NewRows)
_NO_OPTIONS = DigitOptions()


class DigitCodec(DigitItems, DigitAnswers):
    """The codec of `service.codec.common.Codec` for digits."""

    task: Final[Task] = "classify-digit"
    media_types = (JSON, *IMAGES, FORM, ANY_IMAGE)

    def __init__(self, settings: Settings, tokens: StateTokens) -> None:
        DigitItems.__init__(self, settings, tokens)
        DigitAnswers.__init__(self, tokens)
        self._settings = settings
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

    def check_inputs(self, batch: DigitBatch) -> None:
        """Raise `InvalidRequest` for what is wrong with the inputs of `batch`, which came without files."""
        self._check_count(len(batch.inputs))
        errors = FieldErrors()
        for index, digit in enumerate(batch.inputs):
            _check_input(digit, ALL_INPUTS.format(index), errors)
        errors.check()

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
        return self.message_call(message.rows or [], opening, manifest, None if is_new else resumed_from)

    def opening_to_items(
        self, opening: DigitOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> DigitCall | None:
        """The rows of the first message of a live stroke, where it brings any."""
        if opening.rows is None:
            return None
        return self.message_call(opening.rows, opening, manifest, resumed_from)

    def continued(self, opening: DigitOpening, _call: DigitCall) -> DigitOpening:
        """`opening`, which is the same for all messages."""
        return opening

    def _decode_json(self, body: Body) -> DigitBatch:
        if body.query_string:
            refuse_query(body.query_string)
        if len(body.content) > self._settings.max_body_bytes:
            self._check_entries(body.content)
        request = _request_decoder.decode(body.content)
        batch = DigitBatch(request.model, request.inputs, request.parameters)
        self.check_inputs(batch)
        return batch

    def _check_entries(self, content: bytes) -> None:
        """Raise `InvalidRequest` for a document that has more numbers, or objects, than any request may.

        Bodies are as large as pictures may be; decoded as numbers, such a one would keep everybody waiting for seconds.
        """
        n_texts = self._settings.max_items * _MAX_ID
        n_numbers = self._settings.max_items * MAX_ROWS * WIDTH
        if content.count(b",") > n_numbers + n_texts or content.count(b"{") > n_texts:
            detail = f"more than {self._settings.max_items} digits of {MAX_ROWS} rows in one request"
            raise InvalidRequest(detail, code="too_many_items")

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


def decode_options(options: Mapping[str, str]) -> DigitOptions:
    """Query parameters or form fields; raises `InvalidRequest` as for a JSON body."""
    return decode_fields(options, _options_decoder, _TEXT_OPTIONS)


def _check_input(digit: DigitInput, pointer: str, errors: FieldErrors) -> None:
    if digit.rows is None and digit.image is None:
        errors.add(pointer, "missing_field", "either rows or image is required")
    elif digit.rows is not None and digit.image is not None:
        errors.add(f"{pointer}/image", "out_of_range", "either rows or image, not both")
    elif digit.rows is not None:
        check_rows(digit.rows, digit.state is not None, f"{pointer}/rows", errors)
    elif digit.state is not None:
        errors.add(f"{pointer}/state", "out_of_range", "an image is a whole digit: only rows go on from a state")
