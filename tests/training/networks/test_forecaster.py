"""training.networks.forecaster: what its graph guarantees, with any weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.subjects import build, subject
from training.networks.forecaster import Forecaster
from training.networks.past import summed
from training.networks.seasonal_candidates import season_levels

LEVELS = torch.tensor([[0.01, 0.1, 0.33, 0.5, 0.9, 0.99]], dtype=torch.float64)
NAME = "network:forecaster"


def stepped(module: Any, *parts: list[float], season: int = 0) -> Tensor:
    """The state after `parts` of one series."""
    state: Tensor = module.initial(torch.tensor([season]))
    for part in parts:
        state = module.step(torch.tensor([part], dtype=torch.float64), torch.tensor([len(part)]), state)
    return state


@pytest.mark.parametrize("value", [0.0, 7.0, 98.6, -3.3, 1e9 + 0.1, 1e-12, 1e300])
@pytest.mark.parametrize("length", [2, 3, 40, 300])
def test_a_constant_is_repeated_to_the_last_bit(value: float, length: int) -> None:
    module = subject(NAME).module
    said = module.forecast(stepped(module, [value] * length), 30, LEVELS)
    assert (said == value).all()


@pytest.mark.parametrize("parts", [(3,), (1, 1, 1), (2, 5), (40,)])
def test_a_gap_in_front_says_nothing(parts: tuple[int, ...]) -> None:
    module = subject(NAME).module
    series = [1.0, 2.0, math.nan, 4.0, 3.0]
    plain = stepped(module, series)
    untouched = stepped(module, *([math.nan] * n for n in parts))
    assert torch.equal(untouched.nan_to_num(), module.initial(torch.tensor([0])).nan_to_num())
    for others in ([[math.nan] * n for n in parts], []):
        state = stepped(module, *others, [math.nan] * parts[0] + series)
        torch.testing.assert_close(state, plain, rtol=1e-6, atol=1e-6, equal_nan=True)
        assert torch.equal(state[:, : subject(NAME).exact].nan_to_num(), plain[:, : subject(NAME).exact].nan_to_num())


def test_history_behind_a_gap_in_front_stays_in_its_place() -> None:
    module = subject(NAME).module
    values = torch.tensor([[math.nan, math.nan, 5.0, 6.0, math.nan, 7.0]], dtype=torch.float64)
    fresh = module.initial(torch.tensor([0]))
    state, said = module.history(values, torch.tensor([6]), fresh, LEVELS)
    plain_state, plain = module.history(values[:, 2:].contiguous(), torch.tensor([4]), fresh, LEVELS)
    assert said[0, :3].isnan().all()
    torch.testing.assert_close(said[:, 3:], plain[:, 1:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, plain_state, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_a_season_that_cannot_be_used_is_looked_for() -> None:
    module = subject(NAME).module
    week = [5.0, 1.0, 4.0, 2.0, 8.0, 0.0, 3.0] * 6
    for stated, used in ((0, 7), (7, 7), (14, 14), (400, 7), (600, 7), (1, 1)):
        assert int(module.season(stepped(module, week, season=stated))) == used


def test_an_exact_repeat_says_that_the_season_explains_everything() -> None:
    network: Any = build("forecaster")
    seen: list[float] = []
    network.context.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[0][0, 20 + 4])))
    for series in ([10.0, 20.0, 40.0, 30.0] * 8, [5.0, 3.0]):
        network.forecast(stepped(network, series), 1, LEVELS)
    # The logarithm of the mean seasonal change over the scale: nothing, and not known.
    assert seen == pytest.approx([math.log(1e-3), 0.0], abs=1e-5)
    relative = torch.tensor([[math.nan, 5.0, 3.0]], dtype=torch.float64)
    assert season_levels(summed(relative), torch.tensor([2]))[2].isnan().all()


def test_factors_change_neither_mean_nor_median() -> None:
    network: Any = build("forecaster")
    state = stepped(network, [3.0, 5.0, 4.0, 8.0, 1.0, 2.0, 9.0])
    before = network.forecast(state, 40, LEVELS)
    network.widen.copy_(torch.linspace(1.6, 1.0, 8, dtype=torch.float64)[[0, 1, 2, 3, 4, 5, 6, 7, 6, 5, 4, 3, 2, 1, 0]])
    after = network.forecast(state, 40, LEVELS)
    assert torch.equal(after[:, :, 0], before[:, :, 0])
    assert torch.equal(after[:, :, 4], before[:, :, 4])
    assert (after[:, :, -1] > before[:, :, -1]).all()


def test_scale_and_level_do_not_change_the_relative_forecast() -> None:
    torch.manual_seed(0)
    network = Forecaster(8, 8, 8).eval()
    torch.nn.init.normal_(network.out.weight, std=0.3)
    series = torch.sin(torch.arange(60, dtype=torch.float64))[None] + 2
    lengths, levels = torch.tensor([60]), torch.tensor([[0.1, 0.5, 0.9]], dtype=torch.float64)
    with torch.no_grad():
        fresh = network.initial(torch.zeros(1, dtype=torch.int64))
        plain = network.forecast(network.step(series, lengths, fresh), 10, levels)
        for factor in (1e-6, 1e12):
            scaled = network.forecast(network.step(series * factor, lengths, fresh), 10, levels)
            torch.testing.assert_close(scaled / factor, plain, rtol=1e-4, atol=1e-5)


def test_a_history_without_negative_values_has_a_forecast_without_them() -> None:
    torch.manual_seed(0)
    network = Forecaster(8, 8, 8).eval()
    counts = torch.poisson(torch.full((20, 40), 0.4, dtype=torch.float64))
    levels = torch.tensor([[0.01, 0.5, 0.99]], dtype=torch.float64).expand(20, -1)
    with torch.no_grad():
        state = network.step(counts, torch.full((20,), 40), network.initial(torch.zeros(20, dtype=torch.int64)))
        answer = network.forecast(state, 30, levels)
    assert (answer >= 0).all()


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_counter_does_not_turn_back(direction: float) -> None:
    torch.manual_seed(1)
    network = Forecaster(8, 8, 8).eval()
    counters = direction * torch.poisson(torch.full((20, 40), 3.0, dtype=torch.float64)).cumsum(1)
    levels = torch.tensor([[0.1, 0.5, 0.9]], dtype=torch.float64).expand(20, -1)
    with torch.no_grad():
        network.out.weight.normal_(0, 1)
        state = network.step(counters, torch.full((20,), 40), network.initial(torch.zeros(20, dtype=torch.int64)))
        answer = network.forecast(state, 30, levels)
    assert (direction * answer.diff(dim=1) >= 0).all()
    assert (answer.diff(dim=2)[:, :, 1:] >= 0).all()


@pytest.mark.parametrize(
    ("values", "following"),
    [
        ([1.0, 4, 9, 16, 25, 36], [49.0, 64, 81]),
        ([1.0, 1, 2, 3, 5, 8, 13], [21.0, 34, 55]),
        ([1.0, 2, 4, 8, 16, 32], [64.0, 128, 256]),
    ],
)
def test_a_sequence_that_people_know_goes_on(values: list[float], following: list[float]) -> None:
    said = subject(NAME).module.forecast(stepped(subject(NAME).module, values), 3, LEVELS)
    torch.testing.assert_close(said[0, :, 4], torch.tensor(following, dtype=torch.float64), rtol=0.01, atol=0.01)


def test_what_has_repeated_itself_exactly_goes_on_so() -> None:
    module = subject(NAME).module
    pattern = [3.0, 1.0, 4.0, 1.0, 5.0]
    forecast = module.forecast(stepped(module, pattern * 3), 10, LEVELS)
    expected = torch.tensor(pattern * 2, dtype=torch.float64)
    torch.testing.assert_close(forecast[0, :, 4], expected, rtol=1e-12, atol=1e-12)
    once = module.forecast(stepped(module, pattern + pattern[:1], season=5), 5, LEVELS)
    assert (once[0, :, 4] - torch.tensor(pattern[1:] + pattern[:1])).abs().max() > 1e-3


def test_a_history_is_what_was_forecast_however_much_was_remembered() -> None:
    """Rows are read out from windows of several widths, by the number of values that each has seen."""
    module = subject(NAME).module
    generator = torch.Generator().manual_seed(0)
    seen = (0, 30, 100, 300, 1100)
    series = torch.randn(len(seen), 1164, dtype=torch.float64, generator=generator).cumsum(1)
    series += 5 * torch.sin(torch.arange(1164) * 0.7)
    states = torch.cat(
        [stepped(module, series[row, 1100 - count : 1100].tolist()) for row, count in enumerate(seen) if count]
    )
    states = torch.cat([module.initial(torch.tensor([0])), states])
    levels = LEVELS.expand(len(seen), -1)
    end, history = module.history(series[:, 1100:], torch.full((len(seen),), 64), states, levels)
    ones = torch.ones(len(seen), dtype=torch.int64)
    for step in range(64):
        expected = module.forecast(states, 1, levels)[:, 0]
        known = slice(0 if step else 1, None)  # nothing is forecast before the first value
        torch.testing.assert_close(history[known, step], expected[known], rtol=1e-4, atol=1e-4)
        states = module.step(series[:, 1100 + step : 1101 + step], ones, states)
    torch.testing.assert_close(end, states, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_a_history_looks_for_seasons_as_seldom_as_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = build("forecaster")
    looked: list[int] = []
    look = network.look

    def counted(memory: Tensor, *rest: Tensor) -> Any:
        looked.append(len(memory))
        return look(memory, *rest)

    monkeypatch.setattr(network, "look", counted)
    series = torch.sin(torch.arange(200, dtype=torch.float64))[None]
    with torch.no_grad():
        state = network.step(series[:, :130], torch.tensor([130]), network.initial(torch.tensor([0])))
        looked.clear()
        network.history(series[:, 130:194], torch.tensor([64]), state, LEVELS)
    assert sum(looked) <= 10  # every eighth of 64 values, and once for the state


def test_read_outs_of_the_same_seasons_give_what_each_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds of series with and without a season, of an odd and an even one, of two, and of counts, short and long."""
    network: Any = build("forecaster")
    torch.nn.init.normal_(network.out.weight, std=0.1)
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(1164, dtype=torch.float64)
    noise = torch.randn(len(t), dtype=torch.float64, generator=generator)
    waves = [10 * torch.sin(2 * math.pi * t / season) for season in (24, 7, 365)]
    sales = torch.poisson(3 + 2 * (t % 7 < 5).double(), generator=generator)
    kinds = [noise, noise.cumsum(0), waves[0] + noise, waves[1] + noise, waves[1] + waves[2] + noise, sales]
    shares: list[Tensor] = []
    find = network.shared_seasons

    def noted(*arguments: Tensor) -> Any:
        shares.append(find(*arguments))
        return shares[-1]

    for seen in (40, 300, 1100):
        series = torch.stack([kind[1100 - seen :] for kind in kinds])
        fresh, counts = network.initial(torch.zeros(len(kinds), dtype=torch.int64)), torch.full((len(kinds),), seen)
        levels = LEVELS.expand(len(kinds), -1)
        with torch.no_grad():
            state = network.step(series[:, :seen], counts, fresh)
            arguments = series[:, seen:], torch.full((len(kinds),), 64), state, levels
            monkeypatch.setattr(network, "shared_seasons", noted)
            end, history = network.history(*arguments)
            monkeypatch.setattr(network, "shared_seasons", lambda *rest: torch.zeros_like(find(*rest)))
            _, alone = network.history(*arguments)
            assert torch.equal(end.nan_to_num(), network.step(*arguments[:3]).nan_to_num())
        torch.testing.assert_close(history, alone, rtol=1e-9, atol=1e-9)
    assert torch.cat([share.flatten() for share in shares]).gt(0).double().mean() > 0.5


def test_rows_that_read_less_than_since_the_last_look_go_with_others() -> None:
    """One value more of a resumed series, beside a series that looks for its season in the same call."""
    module = subject(NAME).module
    series = torch.sin(torch.arange(80, dtype=torch.float64))
    resumed = stepped(module, series[:69].tolist())
    values = torch.stack([series[69:79], series[:10]])
    state = module.step(values, torch.tensor([1, 10]), torch.cat([resumed, module.initial(torch.tensor([0]))]))
    alone = module.step(values[:1, :1], torch.tensor([1]), resumed)
    torch.testing.assert_close(state[:1], alone, rtol=1e-6, atol=1e-6, equal_nan=True)
