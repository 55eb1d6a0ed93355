"""Scores of windows in parts; how the answer is made of them is in `tests/service/api/test_evaluation.py`."""

from __future__ import annotations

import numpy as np
import pytest

from service.codec.backtest import (
    LEVELS,
    Backtest,
    BacktestParameters,
    Window,
    parts_of,
    score,
    seasons_of,
    window_errors,
)
from service.codec.forecast_types import SeriesInput
from service.contract.types import ForecastResult
from tests.fakes import manifest

LENGTHS = [10, 20_000, 30, 40, 5000]


@pytest.fixture
def backtest() -> Backtest:
    rng = np.random.default_rng(0)
    inputs = [SeriesInput(rng.normal(10, 1, length).tolist()) for length in LENGTHS]
    windows = [
        Window(index, np.array(series.target)[: -2 * back], np.array(series.target)[-2 * back :][:2], 0)
        for index, series in enumerate(inputs)
        for back in (3, 2, 1)
    ]
    parameters = BacktestParameters(2, 3)
    return Backtest(manifest("forecaster"), parameters, inputs, [None] * 5, [0, 7, 0, 0, 0], windows, [])


def test_parts_of_any_size_have_the_same_scores(backtest: Backtest) -> None:
    forecast = np.repeat(8 + 0.5 * np.arange(len(LEVELS))[:, None], 2, axis=1)
    results = [ForecastResult(forecast[4], forecast, None, 1 + n % 3, np.zeros(0)) for n in range(15)]
    seasons = seasons_of(backtest, results)
    assert seasons == [3, 7, 3, 3, 3]
    answers = []
    for most in (1, 25_000, 10**9):
        parts = parts_of(backtest, most)
        assert [index for part in parts for index in range(15)[part]] == list(range(15))
        errors = [entry for part in parts for entry in window_errors(backtest, results, seasons, part)]
        answers.append(score(backtest, results, seasons, errors))
    assert len(parts_of(backtest, 1)) == 15
    assert 1 < len(parts_of(backtest, 25_000)) < 15
    assert answers[0] == answers[1] == answers[2]
    assert [entry.windows for entry in answers[0].series] == [3] * 5
