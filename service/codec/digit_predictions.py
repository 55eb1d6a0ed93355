"""What is said of each digit that was read: label, score, trace, number, and warnings where the reading is doubtful."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from service.codec.common import SequenceState
from service.codec.digit_calls import FLAG_HAS_INK, DigitCall, Reading
from service.codec.digit_types import IMAGE_ROWS, DigitPrediction, NumberDigit, TracePoint
from service.contract.manifest import Manifest
from service.contract.types import DigitResult


def sequence_states(call: DigitCall, results: Sequence[DigitResult]) -> list[SequenceState]:
    """The state of each digit after `results`: at the last row that was used."""
    states = []
    for item, reading, result in zip(call.items, call.readings, results, strict=True):
        ink = FLAG_HAS_INK if item.rows[: result.rows_used].any() else 0
        observations = reading.earlier_rows + result.rows_used
        states.append(SequenceState(result.state, observations, flags=reading.flags | ink))
    return states


def predictions_of(
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
