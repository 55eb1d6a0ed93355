"""Digits read in one batch: where a reading stops, and that its state is the one of that row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.backend.buckets import CHUNK, ShapeBuckets
from service.backend.chunks import CancelledRows
from service.backend.reading import read_batch
from service.contract.errors import ModelFault
from service.contract.types import DigitItem, DigitResult, PaddingStats
from tests.networks import Summing


def readings(network: Summing, items: Sequence[DigitItem], cancelled: CancelledRows = tuple) -> dict[int, Any]:
    steps = read_batch(network, ShapeBuckets(), items, cancelled, PaddingStats())
    return {index: answer for answers in steps for index, answer in answers}


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
    assert isinstance(answers[1], ModelFault)
    assert isinstance(answers[2], ModelFault)


@pytest.mark.parametrize("state", [None, np.array([3.0, 2.0])])
@pytest.mark.parametrize("length", [1, 28, CHUNK, CHUNK + 1])
def test_a_single_digit_is_read_as_one_of_many_and_by_no_more_calls(
    length: int, state: NDArray[np.float64] | None
) -> None:
    item = DigitItem(ink(*np.linspace(0.0, 0.1, length)), state=state)
    single, several = Summing(), Summing()
    (result,) = readings(single, [item]).values()
    expected = readings(several, [item, item])[1]
    assert [(method, columns) for method, _, columns in single.calls] == [
        (method, columns) for method, _, columns in several.calls
    ]
    assert (result.rows_used, result.trace) == (expected.rows_used, None)
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)
    np.testing.assert_array_equal(result.state, expected.state)


def test_a_single_digit_that_is_not_finite_is_a_fault_of_the_model() -> None:
    (answer,) = readings(Summing(), [DigitItem(ink(np.inf))]).values()
    assert isinstance(answer, ModelFault)
    assert answer.detail == "model fake@1 gave no sound answer: its reading is not finite"
