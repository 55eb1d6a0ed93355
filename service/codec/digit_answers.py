"""The answers to digits: what was read of their items, as JSON.

A digit that is resumed (`state`, or a live connection) is judged as a whole: `rows_used` and the row numbers of the
trace include the rows that were sent before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from numpy.typing import NDArray

from service.codec.common import ALL_INPUTS, SequenceState
from service.codec.digit_choice import blank_reading, read_input, read_number
from service.codec.digit_items import FLAG_HAS_INK, DigitCall, PictureItems, Reading
from service.codec.digit_types import IMAGE_ROWS, DigitAnswer, DigitPrediction, NumberDigit, TracePoint
from service.codec.state_tokens import StateTokens
from service.codec.strict_json import FieldErrors
from service.contract.manifest import Manifest
from service.contract.types import DigitItem, DigitResult

_encoder = msgspec.json.Encoder()


class DigitAnswers:
    """The stage of `DigitCodec` behind the model."""

    def __init__(self, tokens: StateTokens) -> None:
        self._tokens = tokens

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

    def encode_message(self, call: DigitCall, results: Sequence[DigitResult]) -> tuple[bytes, SequenceState]:
        """The prediction of a live stroke as JSON, and its state."""
        states = sequence_states(call, results)
        token = self._tokens.seal(states[0], call.manifest) if call.parameters.return_state else None
        (prediction,) = _predictions(call, results, states, [token], is_whole=False)
        return _encoder.encode(prediction), states[0]

    def last_token(self, state: SequenceState, manifest: Manifest) -> str | None:
        """The token of `state`, None where no other service could open it."""
        return self._tokens.seal(state, manifest) if self._tokens.outlive_service else None


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
        item, result = (
            (read.item, read.result) if read else blank_reading(call.manifest.state.width, call.manifest.classes)
        )
        items.append(item)
        answers.append(result)
        digits, has_signs = None, False
        if call.parameters.digits == "all" and (picture.is_blank or picture.hypotheses):
            n_pieces = sum(len(line.pieces) for line in picture.lines) if read else 0
            pieces = results[picture.lines_first : picture.lines_first + n_pieces]
            digits, has_signs = read_number(picture.lines if n_pieces else (), pieces)
        report, agreement = (read.report, read.agreement) if read else (None, 1.0)
        readings.append(replace(reading, preparation=report, digits=digits, has_signs=has_signs, agreement=agreement))
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
        if state.observations >= IMAGE_ROWS and not is_blank and _untempered(result, reading) < unlikely:
            warnings.append("unlikely_digit")
            if reading.preparation is None and len(item.rows) >= IMAGE_ROWS and _looks_inverted(item.rows):
                warnings.append("looks_inverted")
        if reading.preparation is not None and reading.preparation.digits > 1:
            warnings.append("several_digits")
        if reading.has_signs:
            warnings.append("other_signs")
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
                name=_name(call.manifest, None if is_blank and is_whole else label),
                **_number(reading.digits, call.manifest),
            )
        )
    return predictions


def _untempered(result: DigitResult, reading: Reading) -> float:
    """The score before hypotheses that disagree lowered it: how like a digit the chosen one is."""
    score, share = float(result.probabilities.max()), reading.agreement
    return (score - (1 - share) / len(result.probabilities)) / share if share < 1 else score


def _looks_inverted(rows: NDArray[np.float32]) -> bool:
    """Whether rows hold more ink than paper, along their sides too: they are bright paper with dark ink."""
    sides = np.concatenate((rows[:, 0], rows[:, -1], rows[0], rows[-1]))
    return bool(rows.mean() > 0.5 and np.median(sides) > 0.5)


def _name(manifest: Manifest, label: int | None) -> str | UnsetType | None:
    """The name of a label, where a model's labels have names; None for none."""
    if not manifest.output.labels:
        return UNSET
    return None if label is None else manifest.output.labels[label]


def _number(digits: list[NumberDigit] | None, manifest: Manifest) -> dict[str, Any]:
    """The fields that all digits of a picture fill; nothing where they were not asked for."""
    if digits is None:
        return {}
    by_line: dict[int, str] = {}
    for digit in digits:
        by_line[digit.line] = by_line.get(digit.line, "") + str(_name(manifest, digit.label) or digit.label)
    score = math.prod(digit.score for digit in digits) if digits else None
    return {"number": "\n".join(by_line.values()), "number_score": score, "digits": digits}


def _trace(trace: NDArray[np.float64], first_row: int) -> list[TracePoint]:
    labels, scores = trace.argmax(axis=1).tolist(), trace.max(axis=1).tolist()
    pairs = zip(labels, scores, strict=True)
    return [TracePoint(row, label, score) for row, (label, score) in enumerate(pairs, first_row)]
