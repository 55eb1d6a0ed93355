"""Truths that come back with a state are counted by where they fell, one in so many, for forecasts only."""

from __future__ import annotations

import numpy as np

from service.contract.types import DigitItem, ForecastItem, ForecastResult
from service.registry.interval_coverage import IntervalMonitor

LEVELS = np.array([0.5])


def item(first: float, *, goes_on: bool = True) -> ForecastItem:
    return ForecastItem(np.array([first, 2.0]), 7, LEVELS, state=np.ones(3) if goes_on else None)


def interval(low: float, high: float) -> ForecastResult:
    return ForecastResult(np.zeros(1), np.array([[low], [high]]), None, 1, np.ones(3))


def test_the_old_state_is_asked_for_the_next_value_alone() -> None:
    coverage = IntervalMonitor(lambda _: None, every=1)
    ((question, value),) = coverage.questions([item(5.0)])
    assert value == 5.0
    assert question.length == 0
    assert question.horizon == 1
    assert question.levels.tolist() == [0.1, 0.9]
    assert question.state is not None


def test_values_are_counted_by_where_they_fell() -> None:
    counted: list[str] = []
    coverage = IntervalMonitor(counted.append, every=1)
    asked = coverage.questions([item(0.0), item(5.0), item(9.0)])
    coverage.compare(asked, [interval(1, 6)] * 3)
    assert counted == ["below", "inside", "above"]


def test_one_in_so_many_is_asked_and_nothing_that_brings_no_truth() -> None:
    coverage = IntervalMonitor(lambda _: None, every=3)
    assert len(coverage.questions([item(1.0)] * 10)) == 3
    coverage = IntervalMonitor(lambda _: None, every=1)
    empty = ForecastItem(np.empty(0), 1, LEVELS, state=np.ones(3))
    digit = DigitItem(np.zeros((1, 28), np.float32), state=np.ones(3))
    assert coverage.questions([item(1.0, goes_on=False), item(np.nan), empty, digit]) == []
