"""The items of a request or message for digits, and what is kept of each input until its result is there.

Rows are one item; of a picture each hypothesis is an item, and each piece of a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from service.codec.common import ALL_INPUTS, INPUT_NUMBERS, STATE_NUMBERS, SequenceState
from service.codec.digit_types import WIDTH, DigitInput, DigitOpening, DigitParameters, NumberDigit
from service.codec.images import PreparedImage
from service.codec.strict_json import FieldErrors
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest
from service.contract.types import DigitItem
from service.imaging.hypotheses import Hypothesis
from service.imaging.numbers import Line
from service.imaging.report import Preparation

MAX_ROWS = 64
TRACE_NUMBERS = 3  # in the answer for each row of a trace
# The flags in the token of a digit: the scale of its numbers, and whether any of them was ink.
FLAG_0_255, FLAG_0_1, FLAG_HAS_INK = 1, 2, 4


class ScaledRows(Struct, frozen=True, eq=False, gc=False):
    """The rows (T, 28) of an input in 0..1, and the state that they go on from."""

    rows: NDArray[np.float32]
    state: SequenceState | None
    flags: int  # of the rows before, and the scale of these


class PictureItems(Struct, frozen=True, eq=False, gc=False):
    """Where the items of one input begin among those of a call, and its hypotheses: none for rows and blank images."""

    first: int
    hypotheses: tuple[Hypothesis, ...] = ()
    is_blank: bool = False
    refusal: InvalidRequest | None = None  # why it may be blank all the same
    lines: tuple[Line, ...] = ()  # the items of their pieces begin at `lines_first`
    lines_first: int = 0
    stopped: int | None = None  # where the items begin that are the same, but may stop early


class Reading(Struct, frozen=True, eq=False, gc=False):
    """What `encode` needs of one digit in addition to its item and result."""

    item_id: str | None
    preparation: Preparation | None  # of an image
    earlier_rows: int
    flags: int  # of the rows before, and the scale of these
    digits: list[NumberDigit] | None = None  # all of an image, where they are asked for
    has_signs: bool = False  # in addition to these
    agreement: float = 1.0  # that the score was tempered by


class DigitCall(Struct, frozen=True, eq=False):
    """The items of a request or message, with what `encode` needs to turn their results into an answer."""

    manifest: Manifest
    parameters: DigitParameters
    items: list[DigitItem]
    readings: list[Reading]
    answer_size: int  # see `service.codec.common.Call`
    pictures: list[PictureItems] | None = None  # of each input; None where each input is one item, rows as they came


def call_of(
    prepared: Sequence[ScaledRows | PreparedImage],
    inputs: Sequence[DigitInput | DigitOpening],
    parameters: DigitParameters,
    manifest: Manifest,
    errors: FieldErrors,
) -> DigitCall:
    """The call for `inputs`, which are `prepared`.

    Raises `InvalidRequest` with all `errors`, and for pictures that the model cannot read.
    """
    items: list[DigitItem] = []
    readings: list[Reading] = []
    pictures: list[PictureItems] = []
    has_pictures = False
    for index, (digit, source) in enumerate(zip(prepared, inputs, strict=True)):
        if isinstance(digit, ScaledRows):
            state = digit.state
            pictures.append(PictureItems(len(items)))
            state_row, earlier_rows = (None, 0) if state is None else (state.state, state.observations)
            items.append(DigitItem(digit.rows, parameters.trace, parameters.stop_at_confidence, state_row))
            readings.append(Reading(source.item_id, None, earlier_rows, digit.flags))
        else:
            has_pictures = True
            picture, of_picture = picture_items(
                digit, len(items), trace=parameters.trace, stop=parameters.stop_at_confidence
            )
            if of_picture:
                check_length(len(of_picture[0].rows), manifest, ALL_INPUTS.format(index), errors)
            pictures.append(picture)
            items += of_picture
            readings.append(Reading(source.item_id, None, 0, 0))
    if errors.total:
        errors.check()
    if not items:  # all images are blank, and the model computes no empty batch
        items.append(DigitItem(np.zeros((1, WIDTH), np.float32)))
    answer_size = _answer_size(items, len(readings), parameters, manifest)
    return DigitCall(manifest, parameters, items, readings, answer_size, pictures if has_pictures else None)


def check_length(count: int, manifest: Manifest, pointer: str, errors: FieldErrors) -> None:
    """Record that a digit has more or fewer rows, `count`, than the model reads."""
    contract = manifest.input
    shortest, longest = contract.min_length, min(contract.max_length or MAX_ROWS, MAX_ROWS)
    if not shortest <= count <= longest:
        lengths = f"exactly {shortest}" if shortest == longest else f"{shortest} to {longest}"
        errors.add(f"{pointer}/rows", "length_not_supported", f"{count} rows; '{manifest.name}' reads {lengths}")


def picture_items(
    prepared: PreparedImage, first: int, *, trace: bool, stop: float | None
) -> tuple[PictureItems, list[DigitItem]]:
    """The items of a picture, for its hypotheses and for the pieces of its lines; those of a call begin at `first`."""
    if not prepared.hypotheses:
        return PictureItems(first, is_blank=True), []
    items, stopped = hypothesis_items(prepared.hypotheses, trace=trace, stop=stop)
    picture = PictureItems(
        first,
        tuple(prepared.hypotheses),
        refusal=prepared.refusal,
        lines=prepared.lines,
        lines_first=first + len(items),
        stopped=None if stopped is None else first + stopped,
    )
    return picture, items + [DigitItem(piece.rows) for line in prepared.lines for piece in line.pieces]


def hypothesis_items(
    hypotheses: Sequence[Hypothesis], *, trace: bool, stop: float | None
) -> tuple[list[DigitItem], int | None]:
    """The items for all hypotheses, and after how many come those that may stop early (None: there are none).

    Rows that were not read would not tell which hypothesis is right, so each is read to its end as well.
    """
    if stop is None or len(hypotheses) == 1:
        return [DigitItem(hypothesis.rows, trace, stop) for hypothesis in hypotheses], None
    items = [DigitItem(hypothesis.rows, trace) for hypothesis in hypotheses]
    return [*items, *(DigitItem(hypothesis.rows, trace, stop) for hypothesis in hypotheses)], len(items)


def _answer_size(items: Sequence[DigitItem], count: int, parameters: DigitParameters, manifest: Manifest) -> int:
    """The numbers in the answer to `count` digits with `items`."""
    traced_rows = sum([len(item.rows) for item in items]) if parameters.trace else 0
    token_numbers = parameters.return_state * manifest.state.width // STATE_NUMBERS
    return count * (INPUT_NUMBERS + manifest.classes + token_numbers) + TRACE_NUMBERS * traced_rows
