"""The calls that a batch of forecasts takes, recorded by a network of numpy, and what its outputs become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.backend.buckets import CHUNK, FULL, READOUT_STEPS, Ints, ShapeBuckets
from service.backend.chunks import CancelledRows
from service.backend.forecasting import forecast_batch
from service.contract.errors import ModelFault
from service.contract.types import Floats, ForecastItem, ForecastResult, PaddingStats, Result
from tests.networks import Summing

Array = NDArray[Any]
LEVELS = np.array([0.1, 0.5, 0.9])


def forecasts(
    network: Summing,
    items: Sequence[ForecastItem],
    cancelled: CancelledRows = tuple,
    shapes: ShapeBuckets | None = None,
) -> dict[int, Result | Exception]:
    answers = forecast_batch(network, shapes or ShapeBuckets(), items, cancelled, PaddingStats())
    return {i: answer for step in answers for i, answer in step}


def item(length: int, horizon: int = 1, **options: Any) -> ForecastItem:
    return ForecastItem(np.ones(length), horizon, LEVELS, **options)


def test_calls_are_bounded_in_rows_steps_and_horizon() -> None:
    network = Summing()
    items = [item(length, horizon) for length in (1, 40, CHUNK, 1000) for horizon in (1, 500) for _ in range(100)]
    answers = forecasts(network, items)
    assert len(answers) == len(items)
    for index, answer in answers.items():
        assert isinstance(answer, ForecastResult)
        assert answer.mean.tolist() == [items[index].length] * items[index].horizon
    for method, rows, columns in network.calls:
        if method == "step":
            assert rows <= 128
            assert columns <= CHUNK
        else:
            assert rows * columns <= max(128 * READOUT_STEPS, columns)


def test_few_rows_are_padded_to_the_least_count_in_every_call() -> None:
    network = Summing()
    forecasts(network, [item(5), item(300, history=True), item(7, 40)], shapes=ShapeBuckets(8))
    assert {rows for _, rows, _ in network.calls} == {8}


def test_a_horizon_is_never_rounded_beyond_what_the_network_can() -> None:
    network = Summing(max_horizon=50)
    forecasts(network, [item(5, 50), item(5, 49)])
    assert [call for call in network.calls if call[0] == "forecast"] == [("forecast", 2, 50)]


def test_horizons_and_levels_of_all_kinds_come_back_as_requested() -> None:
    rng = np.random.default_rng(0)
    items = [
        ForecastItem(np.ones(3), int(rng.integers(1, 90)), np.linspace(0.1, 0.9, int(q)), history=bool(q % 2))
        for q in rng.integers(0, 12, 60)
    ]
    for index, answer in forecasts(Summing(), items).items():
        assert isinstance(answer, ForecastResult)
        assert answer.mean.shape == (items[index].horizon,)
        np.testing.assert_allclose(
            answer.quantiles, 3 + np.repeat(items[index].levels[:, None], items[index].horizon, 1)
        )
        assert (answer.history is not None) == items[index].history
        if answer.history is not None:
            np.testing.assert_allclose(answer.history[:, 0], [np.nan, 1, 2])
            np.testing.assert_allclose(answer.history[2, 1:], 2 + items[index].levels)


def test_history_of_a_long_series_is_one_piece() -> None:
    (answer,) = forecasts(Summing(), [item(3 * CHUNK + 5, history=True)]).values()
    assert isinstance(answer, ForecastResult)
    assert answer.history is not None
    np.testing.assert_allclose(answer.history[:, 0], [np.nan, *range(1, 3 * CHUNK + 5)])


def test_states_go_in_and_out() -> None:
    resumed = item(4, state=np.array([10.0, 3.0]))
    answers = forecasts(Summing(), [resumed, item(4), ForecastItem(np.ones(0), 1, LEVELS, state=np.array([5.0, 1.0]))])
    states = [answer.state.tolist() for _, answer in sorted(answers.items()) if isinstance(answer, ForecastResult)]
    assert states == [[14.0, 7.0], [4.0, 4.0], [5.0, 1.0]]


def test_a_group_whose_rows_are_all_cancelled_is_not_computed() -> None:
    network = Summing()
    assert set(forecasts(network, [item(8)] * 100 + [item(CHUNK)] * 100, lambda: range(100, 200))) == set(range(100))
    assert [call for call in network.calls if call[0] == "step"] == [("step", 104, 8)]
    network = Summing()
    assert forecasts(network, [item(1000)] * 3, lambda: range(3)) == {}
    assert network.calls == []


@pytest.mark.parametrize("length", [0, 5, CHUNK, 2 * CHUNK + 1])
def test_a_single_series_is_answered_as_one_of_many_and_by_no_more_calls(length: int) -> None:
    series = item(length, 5, state=np.array([3.0, 1.0]))
    single, several = Summing(), Summing()
    (alone_result,) = forecasts(single, [series], shapes=ShapeBuckets(4)).values()
    company = forecasts(several, [series, series], shapes=ShapeBuckets(4))[1]
    assert single.calls == several.calls
    assert isinstance(alone_result, ForecastResult)
    assert isinstance(company, ForecastResult)
    assert (alone_result.season, alone_result.history) == (company.season, company.history)
    for field in ("mean", "quantiles", "state"):
        np.testing.assert_array_equal(getattr(alone_result, field), getattr(company, field))


def test_nothing_more_is_computed_for_a_cancelled_series() -> None:
    network = Summing()
    assert forecasts(network, [item(3 * CHUNK)], lambda: range(len(network.calls) // 2)) == {}
    assert network.calls == [("step", 1, CHUNK)] * 2
    # Of several, the one that is cancelled when its chunk was read is not read out, the other is.
    network = Summing()
    answers = forecasts(network, [item(5), item(5, 2)], lambda: range(len(network.calls)))
    assert list(answers) == [1]
    assert network.calls == [("step", 2, 8), ("forecast", 1, 2)]


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("history", [False, True])
def test_only_the_item_with_a_number_that_is_not_finite_fails(bad: float, history: bool) -> None:
    spoilt = ForecastItem(np.array([1.0, bad, 1.0]), 2, LEVELS, history=history)
    answers = forecasts(Summing(), [item(2), spoilt, item(3)])
    assert isinstance(answers[1], ModelFault)
    assert isinstance(answers[0], ForecastResult)
    assert isinstance(answers[2], ForecastResult)


def test_nan_in_history_is_allowed_before_the_first_value_only() -> None:
    class Silent(Summing):
        def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
            new_state, forecasts = super().history(values, lengths, state, levels)
            forecasts[:, :3] = np.nan
            return new_state, forecasts

    missing = ForecastItem(np.array([np.nan, np.nan, 1.0, 1.0]), 1, LEVELS, history=True)
    answers = forecasts(Silent(), [missing, item(4, history=True)])
    assert isinstance(answers[0], ForecastResult)
    assert isinstance(answers[1], ModelFault)


class Crossing(Summing):
    """Its quantiles descend by `step` where they should ascend, once it has seen 13."""

    step_down = 1.0

    def forecast(self, state: Floats, horizon: int, levels: Floats) -> tuple[Floats, Ints]:
        forecasts, seasons = super().forecast(state, horizon, levels)
        forecasts[forecasts[:, 0, 0] == 13, :, 2] = forecasts[forecasts[:, 0, 0] == 13, :, 1] - self.step_down
        return forecasts, seasons


@pytest.mark.parametrize("neighbours", [0, 3])
def test_only_the_item_whose_quantiles_descend_fails(neighbours: int) -> None:
    items = [ForecastItem(np.full(1, 13.0), 2, LEVELS), *[ForecastItem(np.full(1, 2.0), 2, LEVELS)] * neighbours]
    answers = forecasts(Crossing(), items)
    fault = answers.pop(0)
    assert isinstance(fault, ModelFault)
    assert fault.detail == "model fake@1 gave no sound answer: its quantiles do not ascend with their levels"
    assert len(answers) == neighbours
    assert all(isinstance(answer, ForecastResult) for answer in answers.values())


@pytest.mark.parametrize("count", [1, 3])
def test_quantiles_may_cross_by_rounding(count: int) -> None:
    network = Crossing()
    network.step_down = 1e-12
    answers = forecasts(network, [ForecastItem(np.full(1, 13.0), 2, LEVELS)] * count)
    assert all(isinstance(answer, ForecastResult) for answer in answers.values())


def answers_and_calls(network: Summing, horizon: int) -> list[tuple[int, int]]:
    """(answers, calls so far) after every call of a batch of 100 short and 100 long series."""
    items = [item(8, horizon)] * 100 + [item(FULL, horizon)] * 100
    steps = forecast_batch(network, ShapeBuckets(), items, tuple, PaddingStats())
    return [(len(answers), len(network.calls)) for answers in steps]


def test_short_series_are_answered_before_long_ones_are_computed() -> None:
    network = Summing()
    assert answers_and_calls(network, 1) == [(100, 2), (100, 4)]
    assert [call[0] for call in network.calls] == ["step", "forecast"] * 2


def test_they_wait_where_reading_out_twice_would_cost_more_than_the_long_ones() -> None:
    network = Summing()
    assert answers_and_calls(network, 32) == [(0, 1), (128, 3), (72, 4)]


def test_answers_are_the_same_read_out_at_once_or_with_others() -> None:
    alike = [item(length, 3) for length in (1, 8, 40, CHUNK, 300)]
    mixed = forecasts(Summing(), [*alike, item(8, 90), item(300, 2)])
    for index, answer in forecasts(Summing(), alike).items():
        expected = mixed[index]
        assert isinstance(answer, ForecastResult)
        assert isinstance(expected, ForecastResult)
        np.testing.assert_array_equal(answer.mean, expected.mean)
        np.testing.assert_array_equal(answer.quantiles, expected.quantiles)
        np.testing.assert_array_equal(answer.state, expected.state)
