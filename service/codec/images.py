"""Image files to the rows of a digit, within the limits of one request."""

from __future__ import annotations

import base64
import binascii
import re
import time

import numpy as np
from numpy.typing import NDArray

from service.codec.image_cost import ImageLimits, check_cost
from service.codec.strict_json import FieldErrors
from service.contract.errors import DeadlineExceeded, InvalidRequest
from service.imaging.mnist import Preparation, prepare

Prepared = tuple[NDArray[np.float32], Preparation | None]  # rows (28, 28), ink 0..1; without a report: no rows

_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,")
_FAILED: Prepared = (np.zeros((0, 28), np.float32), None)


class ImagePreparer:
    """Prepares the images of one request, which share a budget of pixels, a deadline and a list of errors."""

    def __init__(self, limits: ImageLimits, deadline: float, errors: FieldErrors) -> None:
        self._limits = limits
        self._pixels_left = limits.pixels
        self._deadline = deadline
        self._errors = errors

    def prepare_base64(self, text: str, pointer: str) -> Prepared:
        """`prepare` for the file in base64 `text`, which may be a data URL."""
        self._check_deadline()
        prefix = _DATA_URL.match(text)
        try:
            content = base64.b64decode(text[prefix.end() :] if prefix else text, validate=True)
        except (binascii.Error, ValueError):
            self._errors.add(pointer, "bad_image", "not base64")
            return _FAILED
        return self.prepare(content, pointer)

    def prepare(self, content: bytes, pointer: str) -> Prepared:
        """The rows of the image file `content`; where there are none, the errors say why."""
        self._check_deadline()
        try:
            check_cost(content, self._limits)
        except InvalidRequest as error:
            self._errors.add(pointer, error.code, error.detail)
            return _FAILED
        try:
            rows, preparation = prepare(content, self._pixels_left)
        except InvalidRequest as error:
            detail = error.detail
            if error.code == "image_too_large":
                detail = f"the images of a request have at most {self._limits.pixels} pixels together"
            self._errors.add(pointer, error.code, detail)
            return _FAILED
        self._pixels_left -= preparation.source_size[0] * preparation.source_size[1]
        return rows, preparation

    def _check_deadline(self) -> None:
        if time.monotonic() > self._deadline:
            raise DeadlineExceeded("the deadline passed while images were prepared")
