"""Which of the hypotheses about a picture is answered: those that were read of it, one by one, become one reading.

What the network believes of a hypothesis (its score) is weighed with what its preparation knows (its prior): the
greatest product wins. The choice sees nothing but the picture's own items, so it depends on no other input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from service.contract.errors import InvalidRequest
from service.contract.types import DigitItem, DigitResult
from service.imaging.mnist import Hypothesis

CLASSES = 10
WIDTH = 28
_BLANK = math.log(0.6)  # the weight of an image being blank, where the likeliest view of it says so
_NO_ROWS = np.zeros((0, WIDTH), np.float32)


class PictureItems(Struct, frozen=True, eq=False, gc=False):
    """Where the items of one input begin among those of a call, and its hypotheses: none for rows and blank images."""

    first: int
    hypotheses: tuple[Hypothesis, ...] = ()
    is_blank: bool = False
    refusal: InvalidRequest | None = None  # why it may be blank all the same
    stopped: int | None = None  # where the items begin that are the same, but may stop early


def hypothesis_items(
    hypotheses: Sequence[Hypothesis], *, trace: bool, stop: float | None
) -> tuple[list[DigitItem], int | None]:
    """The items for all hypotheses, and after how many come those that may stop early (None: there are none).

    Rows that were not read would not tell which hypothesis is right, so each is read to its end as well.
    """
    if stop is None or len(hypotheses) == 1:
        return [DigitItem(hypothesis.rows, trace, stop) for hypothesis in hypotheses], None
    whole = [DigitItem(hypothesis.rows, trace) for hypothesis in hypotheses]
    return [*whole, *(DigitItem(hypothesis.rows, trace, stop) for hypothesis in hypotheses)], len(whole)


def chosen(picture: PictureItems, results: Sequence[DigitResult]) -> int | None:
    """The index of the hypothesis whose score, weighed with its prior, is greatest; the first of equals.

    None: the image is blank in the likeliest view of it, and no other is believed enough.
    """
    weights = [
        math.log(max(float(result.probabilities.max()), 1e-9)) + hypothesis.prior
        for hypothesis, result in zip(picture.hypotheses, results, strict=True)
    ]
    best = max(range(len(weights)), key=weights.__getitem__)
    return None if picture.refusal is not None and weights[best] < _BLANK else best


def blank_reading(state_width: int) -> tuple[DigitItem, DigitResult]:
    """The item and result that stand for an image without ink: no rows, and nothing known."""
    uniform = np.full(CLASSES, 1 / CLASSES)
    return DigitItem(_NO_ROWS), DigitResult(uniform, None, 0, np.zeros(state_width))
