"""Every score against a plain loop over the textbook's formula, and against values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluation import scores

RNG = np.random.default_rng(7)
ACTUAL = RNG.normal(size=(6, 4)) * 3
FORECAST = ACTUAL + RNG.normal(size=(6, 4))
LEVELS = [0.1, 0.5, 0.9]
QUANTILES = np.sort(FORECAST[..., None] + RNG.normal(size=(6, 4, 3)), axis=2)
PROBABILITIES = RNG.dirichlet(np.full(5, 0.4), size=200)
LABELS = RNG.integers(0, 5, size=200)


def test_mse_and_mae() -> None:
    pairs = list(zip(ACTUAL.ravel(), FORECAST.ravel(), strict=True))
    assert scores.mse(ACTUAL, FORECAST) == pytest.approx(sum((a - f) ** 2 for a, f in pairs) / len(pairs))
    assert scores.mae(ACTUAL, FORECAST) == pytest.approx(sum(abs(a - f) for a, f in pairs) / len(pairs))
    assert scores.mse([1, 2], [1, 4]) == 2
    assert scores.mae([1, 2], [1, 4]) == 1


def test_smape() -> None:
    total = 0.0
    for a, f in zip(ACTUAL.ravel(), FORECAST.ravel(), strict=True):
        total += 200 * abs(a - f) / (abs(a) + abs(f))
    assert scores.smape(ACTUAL, FORECAST) == pytest.approx(total / ACTUAL.size)
    assert scores.smape([0, 1], [0, 3]) == pytest.approx(50)
    assert scores.smape([1.0], [-1.0]) == 200


def test_mase() -> None:
    past = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    change = [abs(past[t] - past[t - 2]) for t in range(2, 6)]
    expected = ((abs(2 - 6) + abs(7 - 5)) / 2) / (sum(change) / 4)
    assert scores.mase([2, 7], [6, 5], past, season=2) == pytest.approx(expected)


def test_a_seasonal_naive_forecast_of_a_continued_pattern_has_the_mase_of_its_own_past() -> None:
    past = np.tile([1.0, 2.0, 4.0], 5)
    drift = past + np.arange(15)  # each season is 3 higher than the last
    assert scores.mase(drift[-3:] + 3, drift[-3:], drift, season=3) == pytest.approx(1.0)


def test_the_scale_of_mase_skips_missing_values_and_admits_when_there_is_none() -> None:
    assert scores.seasonal_error([1.0, math.nan, 2.0, 4.0], 1) == 2.0
    assert math.isnan(scores.seasonal_error([1.0], 1))
    assert math.isnan(scores.mase([1.0], [2.0], [5.0, 5.0, 5.0]))


def test_pinball_and_wql() -> None:
    loss = scores.pinball(ACTUAL, QUANTILES, LEVELS)
    total = np.zeros(3)
    for n, h, q in np.ndindex(6, 4, 3):
        below = ACTUAL[n, h] < QUANTILES[n, h, q]
        expected = ((1.0 if below else 0.0) - LEVELS[q]) * (QUANTILES[n, h, q] - ACTUAL[n, h])
        assert loss[n, h, q] == pytest.approx(expected)
        total[q] += expected
    expected = sum(2 * t / np.abs(ACTUAL).sum() for t in total) / 3
    assert scores.wql(ACTUAL, QUANTILES, LEVELS) == pytest.approx(expected)


def test_the_median_alone_makes_wql_the_relative_absolute_error() -> None:
    expected = np.abs(ACTUAL - FORECAST).sum() / np.abs(ACTUAL).sum()
    assert scores.wql(ACTUAL, FORECAST[..., None], [0.5]) == pytest.approx(expected)


def test_wql_leaves_out_missing_values() -> None:
    holed = ACTUAL.copy()
    holed[2, 1] = math.nan
    keep = np.isfinite(holed)
    assert scores.wql(holed, QUANTILES, LEVELS) == pytest.approx(scores.wql(ACTUAL[keep], QUANTILES[keep], LEVELS))


def test_coverage_counts_the_ends() -> None:
    assert scores.coverage([1, 2, 3, 4], [1, 0, 4, 0], [2, 2, 5, 3]) == 0.5


def test_accuracy_and_confusion() -> None:
    answers = [max(range(5), key=lambda c: row[c]) for row in PROBABILITIES]
    hits = sum(int(a == b) for a, b in zip(answers, LABELS, strict=True))
    assert scores.accuracy(LABELS, PROBABILITIES) == pytest.approx(hits / 200)
    table = scores.confusion(LABELS, PROBABILITIES)
    assert table.sum() == 200
    assert np.trace(table) == hits
    assert table[1, 3] == sum(int(a == 3 and b == 1) for a, b in zip(answers, LABELS, strict=True))


def test_calibration_error() -> None:
    total = 0.0
    for low in np.arange(10) / 10:
        rows = [i for i, p in enumerate(PROBABILITIES) if low < max(p) <= low + 0.1 + 1e-12]
        if rows:
            right = sum(int(np.argmax(PROBABILITIES[i]) == LABELS[i]) for i in rows) / len(rows)
            score = sum(max(PROBABILITIES[i]) for i in rows) / len(rows)
            total += len(rows) / 200 * abs(right - score)
    assert scores.calibration_error(LABELS, PROBABILITIES, bins=10) == pytest.approx(total)


def test_a_sure_and_right_reader_is_calibrated_and_a_sure_and_wrong_one_is_not() -> None:
    sure = np.eye(5)[LABELS]
    assert scores.calibration_error(LABELS, sure) == 0
    assert scores.calibration_error((LABELS + 1) % 5, sure) == 1
