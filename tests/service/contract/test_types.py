"""Items say how much there is to read, and whether that is little work."""

from __future__ import annotations

import numpy as np
import pytest

from service.contract.types import SMALL_HORIZON, SMALL_VALUES, DigitItem, ForecastItem

LEVELS = np.array([0.5])


@pytest.mark.parametrize(
    ("length", "horizon", "history", "is_small"),
    [
        (SMALL_VALUES, SMALL_HORIZON, False, True),
        (0, 1, False, True),
        (SMALL_VALUES + 1, 1, False, False),
        (1, SMALL_HORIZON + 1, False, False),
        (1, 1, True, False),
    ],
)
def test_a_series_is_little_work_within_both_bounds(length: int, horizon: int, history: bool, is_small: bool) -> None:
    item = ForecastItem(np.ones(length), horizon, LEVELS, history=history)
    assert (item.length, item.is_small) == (length, is_small)


@pytest.mark.parametrize(("trace", "stop", "is_small"), [(False, None, True), (True, None, False), (False, 0.9, False)])
def test_a_digit_is_little_work_unless_each_row_is_answered(trace: bool, stop: float | None, is_small: bool) -> None:
    item = DigitItem(np.zeros((28, 28), np.float32), trace, stop)
    assert (item.length, item.is_small) == (28, is_small)
