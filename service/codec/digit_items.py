"""From a decoded request for digits to the items of its call: rows are scaled, pictures prepared as MNIST was.

Preparing a picture is work for a thread. The limit of rows and the scale of its numbers are those of a digit as a
whole: the rows that were sent before count, too.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from service.codec.common import ALL_INPUTS, MESSAGE, SequenceState
from service.codec.digit_calls import FLAG_0_1, FLAG_0_255, DigitCall, ScaledRows, call_of, check_length
from service.codec.digit_types import WIDTH, DigitInput, DigitOpening, DigitParameters
from service.codec.image_cost import ImageLimits
from service.codec.images import ImagePreparer, PreparedImage
from service.codec.state_tokens import StateTokens
from service.codec.strict_json import COUNTED, FieldErrors
from service.contract.manifest import Manifest
from service.settings import Settings


class DigitBatch(Struct, frozen=True, eq=False):
    """A decoded request: a JSON document, or image files (one for each of the inputs) with their options."""

    model: str
    inputs: list[DigitInput]
    parameters: DigitParameters
    files: list[bytes] | None = None


class DigitItems:
    """The stage of `DigitCodec` between a decoded request and the model."""

    def __init__(self, settings: Settings, tokens: StateTokens) -> None:
        self._tokens = tokens
        self._image_limits = ImageLimits(
            settings.max_pixels,
            settings.max_image_bytes,
            settings.max_image_scans,
            settings.max_image_chunks,
            settings.max_run_length_bytes,
        )

    def to_items(self, batch: DigitBatch, manifest: Manifest, deadline: float = math.inf) -> DigitCall:
        """The items of `batch`; raises `InvalidRequest` for images that cannot be prepared and rows the model refuses.

        `deadline` (`time.monotonic()`) is checked between images.
        """
        tokens = [digit.state for digit in batch.inputs]
        is_resumed = tokens.count(None) < len(tokens)
        resumed_from = self._tokens.open_all(tokens, manifest) if is_resumed else [None] * len(tokens)
        errors = FieldErrors()
        images = ImagePreparer(
            self._image_limits,
            deadline,
            errors,
            blank_is_answer=len(batch.inputs) > 1,
            all_digits=batch.parameters.digits == "all",
        )
        prepared: list[ScaledRows | PreparedImage] = []
        for index, (digit, state) in enumerate(zip(batch.inputs, resumed_from, strict=True)):
            pointer = ALL_INPUTS.format(index)
            if digit.rows is not None:
                prepared.append(_scaled_rows(digit.rows, state, manifest, pointer, errors))
            elif batch.files is None:
                prepared.append(images.prepare_base64(digit.image or "", f"{pointer}/image"))
            else:
                prepared.append(images.prepare(batch.files[index], pointer))
        return call_of(prepared, batch.inputs, batch.parameters, manifest, errors)

    @staticmethod
    def message_call(
        rows: list[list[float]], opening: DigitOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> DigitCall:
        """The item of a message of a live stroke that brings `rows`."""
        errors = FieldErrors()
        check_rows(rows, resumed_from is not None, f"{MESSAGE}/rows", errors)
        errors.check()
        scaled = _scaled_rows(rows, resumed_from, manifest, MESSAGE, errors)
        return call_of([scaled], [opening], opening.parameters, manifest, errors)


def check_rows(rows: list[list[float]], is_resumed: bool, pointer: str, errors: FieldErrors) -> None:
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


def _scaled_rows(
    numbers: list[list[float]], state: SequenceState | None, manifest: Manifest, pointer: str, errors: FieldErrors
) -> ScaledRows:
    """The rows `numbers` of a digit, which follow those of `state`; records what the model cannot read."""
    flags, earlier_rows = (state.flags, state.observations) if state else (0, 0)
    rows, scale = _scaled(numbers, f"{pointer}/rows", flags, errors)
    check_length(earlier_rows + len(rows), manifest, pointer, errors)
    return ScaledRows(rows, state, flags | scale)


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
