"""The items of digits: rows are taken as they are, of a picture each hypothesis is an item.

Images are prepared as MNIST was, which is work for a thread. The limit of rows and the scale of its numbers are those
of a digit as a whole: the rows that were sent before count, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from service.codec.common import ALL_INPUTS, INPUT_NUMBERS, MESSAGE, STATE_NUMBERS, SequenceState
from service.codec.digit_types import WIDTH, DigitInput, DigitOpening, DigitParameters, NumberDigit
from service.codec.image_cost import ImageLimits
from service.codec.images import ImagePreparer, PreparedImage
from service.codec.state_tokens import StateTokens
from service.codec.strict_json import COUNTED, FieldErrors
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest
from service.contract.types import DigitItem
from service.imaging.hypotheses import Hypothesis
from service.imaging.numbers import Line
from service.imaging.report import Preparation
from service.settings import Settings

MAX_ROWS = 64
TRACE_NUMBERS = 3  # in the answer for each row of a trace
# The flags in the token of a digit: the scale of its numbers, and whether any of them was ink.
FLAG_0_255, FLAG_0_1, FLAG_HAS_INK = 1, 2, 4


class DigitBatch(Struct, frozen=True, eq=False):
    """A decoded request: a JSON document, or image files (one for each of the inputs) with their options."""

    model: str
    inputs: list[DigitInput]
    parameters: DigitParameters
    files: list[bytes] | None = None


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

    @staticmethod
    def message_call(
        rows: list[list[float]], opening: DigitOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> DigitCall:
        """The item of a message of a live stroke that brings `rows`."""
        errors = FieldErrors()
        check_rows(rows, resumed_from is not None, f"{MESSAGE}/rows", errors)
        errors.check()
        builder = _CallBuilder(opening.parameters, manifest, errors)
        builder.add_rows(rows, opening.item_id, resumed_from, MESSAGE)
        return builder.build()


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
        answer_size = (
            len(self._readings) * (INPUT_NUMBERS + self._manifest.classes + token_numbers) + TRACE_NUMBERS * traced_rows
        )
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
