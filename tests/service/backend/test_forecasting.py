"""What a pass asks of a network, seen from a network of numpy that writes down its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.backend.buckets import CHUNK, FULL, Ints, ShapeBuckets
from service.backend.chunks import PaddingStats
from service.backend.forecasting import READOUT, forecast_batch
from service.contract.errors import BrokenModel
from service.contract.types import Floats, ForecastItem, ForecastResult, Result
from tests.networks import Summing, nobody

Array = NDArray[Any]
LEVELS = np.array([0.1, 0.5, 0.9])


def forecasts(
    network: Summing,
    items: Sequence[ForecastItem],
    is_cancelled: Callable[[int], bool] = nobody,
    shapes: ShapeBuckets | None = None,
) -> dict[int, Result | Exception]:
    answers = forecast_batch(network, shapes or ShapeBuckets(), items, is_cancelled, PaddingStats())
    return {i: answer for some in answers for i, answer in some}


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
            assert rows * columns <= max(128 * READOUT, columns)


def test_few_rows_are_padded_to_the_least_count_in_every_call() -> None:
    network = Summing()
    forecasts(network, [item(5), item(300, history=True), item(7, 40)], shapes=ShapeBuckets(8))
    assert {rows for _, rows, _ in network.calls} == {8}


def test_a_horizon_is_never_rounded_beyond_what_the_network_can() -> None:
    network = Summing(max_horizon=50)
    forecasts(network, [item(5, 50), item(5, 49)])
    assert [call for call in network.calls if call[0] == "forecast"] == [("forecast", 2, 50)]


def test_horizons_and_levels_of_all_kinds_come_back_as_asked() -> None:
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


def test_a_group_that_nobody_waits_for_is_not_computed() -> None:
    network = Summing()
    assert set(forecasts(network, [item(8)] * 100 + [item(CHUNK)] * 100, lambda i: i >= 100)) == set(range(100))
    assert [call for call in network.calls if call[0] == "step"] == [("step", 104, 8)]
    network = Summing()
    assert forecasts(network, [item(1000)] * 3, lambda _: True) == {}
    assert network.calls == []


@pytest.mark.parametrize("length", [0, 5, CHUNK, 2 * CHUNK + 1])
def test_a_series_alone_is_answered_as_in_company_and_by_no_more_calls(length: int) -> None:
    asked = item(length, 5, state=np.array([3.0, 1.0]))
    single, several = Summing(), Summing()
    (alone,) = forecasts(single, [asked], shapes=ShapeBuckets(4)).values()
    company = forecasts(several, [asked, asked], shapes=ShapeBuckets(4))[1]
    assert single.calls == several.calls
    assert isinstance(alone, ForecastResult)
    assert isinstance(company, ForecastResult)
    assert (alone.season, alone.history) == (company.season, company.history)
    for one, other in ((alone.mean, company.mean), (alone.quantiles, company.quantiles), (alone.state, company.state)):
        np.testing.assert_array_equal(one, other)


def test_nothing_more_is_computed_for_one_who_left() -> None:
    network = Summing()
    assert forecasts(network, [item(3 * CHUNK)], lambda _: len(network.calls) >= 2) == {}
    assert network.calls == [("step", 1, CHUNK)] * 2
    # Of several: the one who left when its chunk was read is not read out, the other is.
    network = Summing()
    answers = forecasts(network, [item(5), item(5, 2)], lambda row: not row and len(network.calls) >= 1)
    assert list(answers) == [1]
    assert network.calls == [("step", 2, 8), ("forecast", 1, 2)]


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
@pytest.mark.parametrize("history", [False, True])
def test_only_the_item_with_a_number_that_is_not_finite_fails(bad: float, history: bool) -> None:
    spoilt = ForecastItem(np.array([1.0, bad, 1.0]), 2, LEVELS, history=history)
    answers = forecasts(Summing(), [item(2), spoilt, item(3)])
    assert isinstance(answers[1], BrokenModel)
    assert isinstance(answers[0], ForecastResult)
    assert isinstance(answers[2], ForecastResult)


def test_nan_in_history_is_allowed_before_the_first_value_only() -> None:
    class Silent(Summing):
        def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
            after, said = super().history(values, lengths, state, levels)
            said[:, :3] = np.nan
            return after, said

    missing = ForecastItem(np.array([np.nan, np.nan, 1.0, 1.0]), 1, LEVELS, history=True)
    answers = forecasts(Silent(), [missing, item(4, history=True)])
    assert isinstance(answers[0], ForecastResult)
    assert isinstance(answers[1], BrokenModel)


def passing(network: Summing, horizon: int) -> list[tuple[int, int]]:
    """(answers, calls so far) at every turn of a pass over 100 short and 100 long series."""
    items = [item(8, horizon)] * 100 + [item(FULL, horizon)] * 100
    turns = forecast_batch(network, ShapeBuckets(), items, nobody, PaddingStats())
    return [(len(answers), len(network.calls)) for answers in turns]


def test_short_series_are_answered_before_long_ones_are_computed() -> None:
    network = Summing()
    assert passing(network, 1) == [(100, 2), (100, 4)]
    assert [call[0] for call in network.calls] == ["step", "forecast"] * 2


def test_they_wait_where_reading_out_twice_would_cost_more_than_the_long_ones() -> None:
    network = Summing()
    assert passing(network, 32) == [(0, 1), (128, 3), (72, 4)]


def test_answers_are_the_same_read_out_at_once_or_with_others() -> None:
    alike = [item(length, 3) for length in (1, 8, 40, CHUNK, 300)]
    among = forecasts(Summing(), [*alike, item(8, 90), item(300, 2)])
    for index, answer in forecasts(Summing(), alike).items():
        other = among[index]
        assert isinstance(answer, ForecastResult)
        assert isinstance(other, ForecastResult)
        np.testing.assert_array_equal(answer.mean, other.mean)
        np.testing.assert_array_equal(answer.quantiles, other.quantiles)
        np.testing.assert_array_equal(answer.state, other.state)
