"""The queueing model: exact where it can be computed by hand, and its fit finds what made the numbers."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from benchmarks.serving.queueing import LOADS, RESULT, TOLERANCE, Loop, Model, fit, replicas


def test_one_request_waits_for_nobody() -> None:
    model = Model(fixed=1.0, each=2.0, overhead=0.5)
    np.testing.assert_allclose(model.response_times([0.0, 10.0]), [3.5, 3.5])


def test_what_comes_meanwhile_is_the_next_batch() -> None:
    model = Model(fixed=1.0, each=2.0, overhead=0.0)
    # The first is computed until 3; the two others wait for it, and are computed together until 3 + 1 + 2 * 2.
    np.testing.assert_allclose(model.response_times([0.0, 1.0, 2.0]), [3.0, 7.0, 6.0])


def test_the_fit_finds_the_model() -> None:
    sizes = (1.0, 2.0, 4.0, 8.0)
    loops = [Loop(int(n), 1.0, 0.02 + 0.001, n, 0.01 + 0.01 * n) for n in sizes]
    model = fit(loops)
    assert model.fixed == pytest.approx(0.01)
    assert model.each == pytest.approx(0.01)
    assert model.overhead == pytest.approx(0.001)


def test_replicas_are_enough_and_one_less_is_not() -> None:
    assert replicas(capacity=500, requests_per_second=10_000, share=0.6) == 34
    assert 34 * 500 * 0.6 >= 10_000 > 33 * 500 * 0.6


def test_the_committed_rows_are_within_the_tolerance() -> None:
    if not RESULT.exists():
        pytest.skip("not measured yet: python -m benchmarks.serving.queueing --write")
    with RESULT.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [float(row["load"]) for row in rows] == list(LOADS)
    assert all(abs(float(row["error"])) <= TOLERANCE for row in rows)
