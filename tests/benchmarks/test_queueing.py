"""The queueing model: exact where it can be computed by hand, and within its tolerance of what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.serving.queueing import CHECKED, TOLERANCE, Model, errors, measured, replicas, report
from benchmarks.table import ROOT

MODEL = Model({1: 3.0, 2: 5.0, 8: 20.0})


def test_one_request_waits_for_nobody() -> None:
    np.testing.assert_allclose(MODEL.response_times([0.0, 10.0]), [3.0, 3.0])


def test_what_comes_meanwhile_is_the_next_batch() -> None:
    # The first is computed until 3; the two others wait for it, and are computed together until 3 + 5.
    np.testing.assert_allclose(MODEL.response_times([0.0, 1.0, 2.0]), [3.0, 7.0, 6.0])


def test_between_and_beyond_what_was_measured() -> None:
    assert MODEL.seconds(2) == pytest.approx(5.0)
    assert MODEL.seconds(4) == pytest.approx(10.0)  # the geometric mean of 5 and 20
    assert MODEL.seconds(16) == pytest.approx(40.0)
    assert MODEL.capacity == pytest.approx(8 / 20)


def test_more_load_waits_longer() -> None:
    means = [MODEL.at_share(share, 5_000).mean() for share in (0.3, 0.6, 0.9)]
    assert means == sorted(means)
    assert means[0] > 3.0


def test_replicas_are_enough_and_one_less_is_not() -> None:
    assert replicas(capacity=500, requests_per_second=10_000, share=0.6) == 34
    assert 34 * 500 * 0.6 >= 10_000 > 33 * 500 * 0.6


def test_the_model_is_near_what_was_measured_at_three_loads() -> None:
    off = errors(measured())
    assert list(off) == list(CHECKED)
    assert len(off) == 3
    assert max(map(abs, off.values())) <= TOLERANCE


def test_the_page_has_the_figures_of_the_model() -> None:
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    assert [text for text in report() if text and text not in page] == []
