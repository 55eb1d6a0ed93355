"""Image files to hypotheses about the digit in them, within the limits of one request."""

from __future__ import annotations

import time

from msgspec import Struct

from service.codec.base64_files import decode_base64
from service.codec.image_cost import ImageLimits, check_cost
from service.codec.strict_json import FieldErrors
from service.contract.errors import DeadlineExceeded, InvalidRequest
from service.imaging.decode import decode
from service.imaging.hypotheses import Hypothesis, hypotheses
from service.imaging.numbers import Line, lines_of_digits


class PreparedImage(Struct, frozen=True, eq=False, gc=False):
    """The hypotheses about an image, and why it is blank in the likeliest view of it."""

    hypotheses: list[Hypothesis]
    refusal: InvalidRequest | None = None
    lines: tuple[Line, ...] = ()  # of all digits, where they are asked for


NO_IMAGE = PreparedImage([])


class ImagePreparer:
    """Prepares the images of one request, which share a budget of pixels, a deadline and a list of errors."""

    def __init__(
        self,
        limits: ImageLimits,
        deadline: float,
        errors: FieldErrors,
        *,
        blank_is_answer: bool = False,
        all_digits: bool = False,
    ) -> None:
        """With `blank_is_answer`, an image without ink is no error; with `all_digits`, all are looked for."""
        self._limits = limits
        self._pixels_left = limits.pixels
        self._deadline = deadline
        self._errors = errors
        self._blank_is_answer = blank_is_answer
        self._all_digits = all_digits

    def prepare_base64(self, text: str, pointer: str) -> PreparedImage:
        """`prepare` for the file in base64 `text`, which may be a data URL."""
        self._check_deadline()
        try:
            content = decode_base64(text)
        except ValueError as error:
            self._errors.add(pointer, "bad_image", str(error))
            return NO_IMAGE
        return self.prepare(content, pointer)

    def prepare(self, content: bytes, pointer: str) -> PreparedImage:
        """The hypotheses about the image file `content`; none where it is blank, or the errors say why."""
        self._check_deadline()
        try:
            check_cost(content, self._limits)
        except InvalidRequest as error:
            self._errors.add(pointer, error.code, error.detail)
            return NO_IMAGE
        try:
            picture = decode(content, self._pixels_left)
            self._pixels_left -= picture.size[0] * picture.size[1]
            prepared, refusal = hypotheses(picture)
            return PreparedImage(prepared, refusal, tuple(lines_of_digits(picture)) if self._all_digits else ())
        except InvalidRequest as error:
            detail = error.detail
            if error.code == "image_too_large":
                detail = f"the images of a request have at most {self._limits.pixels} pixels together"
            if error.code != "blank_image" or not self._blank_is_answer:
                self._errors.add(pointer, error.code, detail)
            return NO_IMAGE

    def _check_deadline(self) -> None:
        if time.monotonic() > self._deadline:
            raise DeadlineExceeded("the deadline passed while images were prepared")
