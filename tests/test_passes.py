"""What a pass asks of a network, seen from a network of numpy that writes down its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import BrokenModel
from service.items import DigitItem, DigitResult, Floats, ForecastItem, ForecastResult, Result
from service.packing import CHUNK, Ints, Shapes
from service.passes import READOUT, Tally, digit_pass, forecast_pass

Array = NDArray[Any]
LEVELS = np.array([0.1, 0.5, 0.9])


@dataclass
class Summing:
    """State (sum, count). Forecasts the sum; reads the class of the sum of ink; writes down (method, rows, columns)."""

    max_horizon: int | None = None
    calls: list[tuple[str, int, int]] = field(default_factory=list)

    def initial(self, season: int) -> Floats:
        return np.zeros(2)

    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats:
        self.calls.append(("step", *values.shape[:2]))
        return self._add(values, lengths, state)[:, -1] if values.shape[1] else state

    def forecast(self, state: Floats, horizon: int, levels: Floats) -> tuple[Floats, Ints]:
        self.calls.append(("forecast", len(state), horizon))
        said = np.concatenate((state[:, :1], state[:, :1] + levels), axis=1)
        return np.repeat(said[:, None], horizon, axis=1), np.ones(len(state), np.int64)

    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
        self.calls.append(("history", *values.shape[:2]))
        sums = np.concatenate((state[:, None], self._add(values, lengths, state)), axis=1)
        said = np.concatenate((sums[:, :-1, :1], sums[:, :-1, :1] + levels[:, None]), axis=2)
        said[sums[:, :-1, 1] == 0] = np.nan
        return sums[:, -1], said

    def read(self, state: Floats) -> Array:
        self.calls.append(("read", len(state), 1))
        return self._classes(state)

    def trace(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        self.calls.append(("trace", *rows.shape[:2]))
        states = self._add(rows.sum(axis=2), lengths, state)
        return states[:, -1], self._classes(states)

    @staticmethod
    def _add(values: Array, lengths: Ints, state: Floats) -> Floats:
        if values.ndim == 3:
            values = values.sum(axis=2)
        real = np.arange(values.shape[1]) < lengths[:, None]
        added = np.where(real, np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf), 0.0).cumsum(axis=1)
        return state[:, None] + np.stack((added, real.cumsum(axis=1)), axis=2)

    @staticmethod
    def _classes(state: Floats) -> Array:
        """Surer of class 7 the more ink there is."""
        odds = np.zeros((*state.shape[:-1], 10))
        odds[..., 7] = state[..., 0]
        with np.errstate(invalid="ignore"):
            return odds - np.log(np.exp(odds).sum(axis=-1, keepdims=True))


def nobody(_: int) -> bool:
    return False


def forecasts(
    network: Summing, items: Sequence[ForecastItem], gone: Callable[[int], bool] = nobody, shapes: Shapes | None = None
) -> dict[int, Result | Exception]:
    answers = forecast_pass(network, shapes or Shapes(), items, gone, Tally())
    return {i: answer for some in answers for i, answer in some}


def readings(network: Summing, items: Sequence[DigitItem], gone: Callable[[int], bool] = nobody) -> dict[int, Any]:
    return {i: a for answers in digit_pass(network, Shapes(), items, gone, Tally()) for i, a in answers}


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
            assert rows * columns <= max(READOUT, columns)


def test_few_rows_are_padded_to_the_least_count_in_every_call() -> None:
    network = Summing()
    forecasts(network, [item(5), item(300, history=True), item(7, 40)], shapes=Shapes(8))
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
    (alone,) = forecasts(single, [asked], shapes=Shapes(4)).values()
    company = forecasts(several, [asked, asked], shapes=Shapes(4))[1]
    assert single.calls == several.calls
    assert isinstance(alone, ForecastResult)
    assert isinstance(company, ForecastResult)
    assert (alone.season, alone.history) == (company.season, company.history)
    for one, other in ((alone.mean, company.mean), (alone.quantiles, company.quantiles), (alone.state, company.state)):
        np.testing.assert_array_equal(one, other)


def test_nothing_more_is_computed_for_one_who_left() -> None:
    network = Summing()
    assert forecasts(network, [item(1000)], lambda _: len(network.calls) >= 2) == {}
    assert network.calls == [("step", 1, CHUNK)] * 2
    assert forecasts(network, [item(5)], lambda _: len(network.calls) >= 3) == {}
    assert network.calls[2:] == [("step", 1, 8)]


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
    assert isinstance(answers[1], BrokenModel)
    assert isinstance(answers[2], BrokenModel)
