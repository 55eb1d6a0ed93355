"""Prices of calls: what is fitted, how it is corrected, and what a request costs by it."""

from __future__ import annotations

import numpy as np
import pytest

from service.backend.buckets import LONGEST_CALL, STEPWISE_CHUNK, CallLimits, ShapeBuckets
from service.backend.prices import CallPrice, CallPrices, steps_with_levels

TRUE = CallPrice(call=1e-3, stride=2e-6, row=3e-5, step=4e-6)
SHAPES = [(rows, steps) for rows in (1, 8, 32, 128) for steps in (1, 8, 64, 512)]


def fitted(method: str = "step") -> CallPrices:
    prices = CallPrices()
    for rows, steps in SHAPES:
        prices.calls.append(
            (method, rows, steps, 0, 0, 5 * TRUE.seconds(rows, steps))
        )  # the first call of a shape is slower
        prices.calls.append((method, rows, steps, 0, 0, TRUE.seconds(rows, steps)))
    prices.fit()
    return prices


@pytest.mark.parametrize(
    ("method", "kind"),
    [("step", "step"), ("history", "stepwise"), ("trace", "stepwise"), ("service_forecast", "readout")],
)
def test_prices_are_fitted_by_kind_to_the_fastest_call_of_each_shape(method: str, kind: str) -> None:
    price: CallPrice = getattr(fitted(method), kind)
    for rows, steps in [*SHAPES, (64, 100)]:
        assert price.seconds(rows, steps) == pytest.approx(TRUE.seconds(rows, steps), rel=0.01)


def test_no_price_is_negative() -> None:
    prices = CallPrices()
    for rows in (1, 2, 4, 8):
        prices.calls.append(("step", rows, 1, 0, 0, 0.001 / rows))
    prices.fit()
    assert min(prices.step.call, prices.step.stride, prices.step.row, prices.step.step) >= 0


def test_calls_correct_no_guess_before_the_fit() -> None:
    prices = CallPrices()
    guess = prices.step.seconds(8, 8)
    prices.calls.append(("step", 8, 8, 0, 0, 1.0))
    prices.correct()
    assert prices.step.seconds(8, 8) == guess


def test_later_calls_correct_the_price_about_their_median() -> None:
    prices = fitted()
    for slow in range(300):
        prices.calls.append(("step", 32, 64, 0, 0, (10 if slow % 10 == 0 else 2) * TRUE.seconds(32, 64)))
    prices.correct()
    assert prices.step.factor == pytest.approx(2, rel=0.15)


def test_calls_that_read_and_answer_correct_both_prices() -> None:
    prices = fitted()
    prices.readout.row = 0.0
    for _ in range(50):
        prices.calls.append(("service_finish", 32, 64, 1, 0, 3 * TRUE.seconds(32, 64)))
    prices.correct()
    assert prices.step.factor == prices.readout.factor > 1.5


def test_levels_cost_a_part_of_a_step() -> None:
    assert steps_with_levels(10, 0) == 10
    assert 10 < steps_with_levels(10, 9) < steps_with_levels(10, 99) < 20


def test_no_call_lasts_longer_than_its_limit_where_fewer_rows_are_possible() -> None:
    dear = CallPrice(call=1e-3, step=1.6e-4)
    limits = CallLimits(step=TRUE, stepwise=dear, readout=TRUE)
    shapes = ShapeBuckets(limits=limits)
    for merge, price in ((True, TRUE), (False, dear)):
        counts = np.array([STEPWISE_CHUNK] * 200 + [8] * 200)
        for group in shapes.split(counts, merge=merge):
            rows = int(shapes.rows_for[len(group.rows)])
            of_rows = price.seconds(rows, group.steps) - price.seconds(0, group.steps)
            assert rows == 1 or price.seconds(rows, group.steps) <= LONGEST_CALL or of_rows <= LONGEST_CALL / 4
    assert shapes.split(np.array([8] * 100))[0].rows.size > shapes.split(np.array([8] * 100), merge=False)[0].rows.size
    for horizon, levels in ((1, 3), (24, 9), (256, 99)):
        rows = shapes.max_readout_rows(horizon, levels)
        assert rows == 1 or TRUE.seconds(rows, steps_with_levels(horizon, levels)) <= LONGEST_CALL
    assert shapes.max_readout_rows(256, 99) < shapes.max_readout_rows(1, 3)


def test_reading_and_reading_out_are_one_call_only_where_both_together_are_short() -> None:
    shapes = ShapeBuckets(limits=CallLimits(step=TRUE, readout=TRUE))
    for rows in (1, 8, 32, 64, 128):
        seconds = TRUE.seconds(rows, 48) + TRUE.seconds(rows, steps_with_levels(24, 9))
        assert shapes.fit_one_call(rows, 48, 24, 9) == (seconds <= LONGEST_CALL)
    assert shapes.fit_one_call(8, 48, 24, 9)
    assert not shapes.fit_one_call(128, 48, 24, 9)


def test_rows_are_not_fewer_where_that_would_not_make_a_call_shorter() -> None:
    long_strides = CallPrice(call=1e-3, stride=1e-3, row=1e-5)
    assert ShapeBuckets(limits=CallLimits(readout=long_strides)).max_readout_rows(32, 3) == 128


def test_threads_that_share_a_call_allow_it_more_rows() -> None:
    rows = (64, 128, 192, 256)
    alone, shared = (ShapeBuckets(rows=rows, limits=CallLimits(step=TRUE, threads=n)) for n in (1, 2))
    assert shared.max_rows_of(32, TRUE) > alone.max_rows_of(32, TRUE)


def test_threads_that_share_a_call_of_few_dear_steps_allow_it_more_rows() -> None:
    dear = CallPrice(call=1e-3, step=7e-5)
    alone, shared = (
        ShapeBuckets(limits=CallLimits(stepwise=dear, threads=threads, least_rows=1)) for threads in (1, 2)
    )
    assert shared.max_rows_of(STEPWISE_CHUNK, dear) == 2 * alone.max_rows_of(STEPWISE_CHUNK, dear)
