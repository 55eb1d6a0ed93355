"""Digits read in one pass: where a reading stops, and whose state is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.backend.buckets import CHUNK, ShapeBuckets
from service.backend.chunks import PaddingStats
from service.backend.reading import read_batch
from service.contract.errors import BrokenModel
from service.contract.types import DigitItem, DigitResult
from tests.networks import Summing, nobody


def readings(
    network: Summing, items: Sequence[DigitItem], is_cancelled: Callable[[int], bool] = nobody
) -> dict[int, Any]:
    return {
        i: a for answers in read_batch(network, ShapeBuckets(), items, is_cancelled, PaddingStats()) for i, a in answers
    }


def ink(*sums: float) -> NDArray[np.float32]:
    rows = np.zeros((len(sums), 28), np.float32)
    rows[:, 0] = sums
    return rows


def test_reading_stops_and_the_state_is_that_of_the_row() -> None:
    network = Summing()
    items = [
        DigitItem(ink(1, 1, 1, 1, 1)),
        DigitItem(ink(1, 1, 3, 1, 1), stop=0.9),
        DigitItem(ink(1, 1, 1), stop=0.9, trace=True),
        DigitItem(ink(0, 9, 0), stop=0.5, trace=True),
        DigitItem(ink(), stop=0.5, trace=True, state=np.array([4.0, 2.0])),
    ]
    answers = readings(network, items)
    results = [answers[i] for i in range(5)]
    assert all(isinstance(result, DigitResult) for result in results)
    assert [result.rows_used for result in results] == [5, 3, 3, 2, 0]
    assert [result.state.tolist() for result in results] == [[5, 5], [5, 3], [3, 3], [9, 2], [4, 2]]
    assert [None if r.trace is None else len(r.trace) for r in results] == [None, None, 3, 2, 0]
    assert results[1].probabilities[7] >= 0.9 > results[2].probabilities[7]
    for result in results:
        assert result.probabilities.sum() == pytest.approx(1.0)
        if result.trace is not None and len(result.trace):
            np.testing.assert_array_equal(result.trace[-1], result.probabilities)


def test_a_long_reading_stops_in_a_later_chunk() -> None:
    rows = np.zeros(2 * CHUNK)
    rows[CHUNK + 3] = 9
    (result,) = readings(Summing(), [DigitItem(ink(*rows), stop=0.9, trace=True)]).values()
    assert result.rows_used == CHUNK + 4
    assert len(result.trace) == CHUNK + 4
    assert result.state.tolist() == [9, CHUNK + 4]


def test_a_reading_that_is_not_finite_fails_alone() -> None:
    answers = readings(Summing(), [DigitItem(ink(1)), DigitItem(ink(np.inf)), DigitItem(ink(np.inf), trace=True)])
    assert isinstance(answers[0], DigitResult)
    assert isinstance(answers[1], BrokenModel)
    assert isinstance(answers[2], BrokenModel)
