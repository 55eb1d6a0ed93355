"""What is particular to the tutorials' networks: size, start, intervals, and what happens at the ends of a series."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from training.fit.record import parameters
from training.networks.tutorial_digits import TutorialReader
from training.networks.tutorials import HORIZON, WINDOW, Linear, Naive, Recurrent

LEVELS = torch.tensor([[0.05, 0.5, 0.975]], dtype=torch.float64)


def _state_after(module: Any, values: list[float]) -> torch.Tensor:
    fresh = module.initial(torch.zeros(1, dtype=torch.int64))
    return module.step(torch.tensor([values], dtype=torch.float64), torch.tensor([len(values)]), fresh)


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (Naive(), 0),
        (Linear(), 51),
        (Recurrent(1, dense=False), 4),
        (Recurrent(20, dense=True), 481),
        (TutorialReader((10,)), 500),
        (TutorialReader((16, 8, 4)), 1022),
    ],
)
def test_parameters_are_as_many_as_in_the_tutorials(module: nn.Module, count: int) -> None:
    assert parameters(module) == count


def test_one_unit_needs_no_dense_layer_and_several_do() -> None:
    with pytest.raises(ValueError, match="dense"):
        Recurrent(20, dense=False)


def test_naive_is_a_random_walk_with_its_own_step_size() -> None:
    values = [3.0, 4.0, 2.0, 2.0, 7.0]
    forecast = Naive().forecast(_state_after(Naive(), values), 4, LEVELS)[0].numpy()
    sigma = math.sqrt((1 + 4 + 0 + 25) / 4)
    for ahead in range(1, 5):
        expected = 7.0 + sigma * math.sqrt(ahead) * norm.ppf([0.05, 0.5, 0.975])
        assert forecast[ahead - 1, 0] == 7.0
        np.testing.assert_allclose(forecast[ahead - 1, 1:], expected, rtol=1e-12)


def test_naive_counts_a_gap_as_several_steps_and_widens_inside_one() -> None:
    gapped = _state_after(Naive(), [1.0, math.nan, math.nan, 7.0, 8.0, math.nan])
    forecast = Naive().forecast(gapped, 1, LEVELS)[0, 0].numpy()
    sigma = math.sqrt((6.0**2 / 3 + 1.0) / 2)
    np.testing.assert_allclose(forecast[1:], 8.0 + sigma * math.sqrt(2) * norm.ppf([0.05, 0.5, 0.975]), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e300])
def test_naive_follows_the_scale_of_a_series_however_far_it_goes(scale: float) -> None:
    values = np.array([1.0, 2.0, 4.0, 3.0])
    forecast = Naive().forecast(_state_after(Naive(), (values * scale).tolist()), 2, LEVELS)[0].numpy()
    unit = Naive().forecast(_state_after(Naive(), values.tolist()), 2, LEVELS)[0].numpy()
    np.testing.assert_allclose(forecast, unit * scale, rtol=1e-9)


def test_naive_keeps_the_bits_of_any_state_when_nothing_is_read() -> None:
    values = torch.randn(500, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = Naive().step(values, torch.full((500,), 9), Naive().initial(torch.zeros(500, dtype=torch.int64)))
    assert torch.equal(Naive().step(values, torch.zeros(500, dtype=torch.int64), state), state)


@pytest.mark.parametrize("signs", [(1.0, 1.0), (1.0, -1.0)])
def test_linear_sums_the_largest_values_without_overflow(signs: tuple[float, float]) -> None:
    module: Any = Linear().double().requires_grad_(False)
    module.dense.weight.copy_(3 * torch.tensor(signs).repeat(25))
    state = _state_after(module, [1.7e308, -1.7e308] * 25)
    assert module.forecast(state, HORIZON, LEVELS).isfinite().all()
    assert module.forecast(_state_after(module, [1.7e308] * 50), HORIZON, LEVELS).isfinite().all()


def test_linear_is_its_weights_times_the_last_fifty_values() -> None:
    module = Linear().double()
    values = np.random.default_rng(0).normal(size=70)
    forecast = module.forecast(_state_after(module, values.tolist()), 3, LEVELS)[0, :, 0].detach().numpy()
    weight, bias = module.dense.weight.detach().numpy()[0], module.dense.bias.item()
    series = values.tolist()
    for _ in range(3):
        series.append(float(np.dot(weight, series[-WINDOW:]) + bias))
    np.testing.assert_allclose(forecast, series[-3:], rtol=1e-12)


def test_linear_takes_the_first_value_for_those_before_it() -> None:
    module = Linear().double()
    short = _state_after(module, [2.0, 5.0])
    long = _state_after(module, [2.0] * 60 + [5.0])
    assert torch.equal(short, long)


@pytest.mark.parametrize("hidden", [1, 20])
def test_recurrent_is_a_plain_elman_loop(hidden: int) -> None:
    torch.manual_seed(0)
    module = Recurrent(hidden, dense=hidden > 1).double().requires_grad_(False)
    w = {name: value.numpy() for name, value in module.rnn.named_parameters()}
    values = np.random.default_rng(1).normal(size=12)
    units = np.zeros(hidden)

    def step(x: float) -> np.ndarray:
        inside = w["weight_ih_l0"][:, 0] * x + w["bias_ih_l0"] + w["weight_hh_l0"] @ units + w["bias_hh_l0"]
        return np.tanh(inside)

    def read() -> float:
        return float(module.dense(torch.from_numpy(units)).squeeze())

    for value in values:
        units = step(value)
    expected = [read()]
    for _ in range(4):
        units = step(expected[-1])
        expected.append(read())
    forecast = module.forecast(_state_after(module, values.tolist()), 5, LEVELS)[0, :, 0].numpy()
    np.testing.assert_allclose(forecast, expected, rtol=1e-10)


@pytest.mark.parametrize("module", [Linear(), Recurrent(1, dense=False), Recurrent(20, dense=True)])
def test_what_is_trained_is_what_is_served(module: Any) -> None:
    values = torch.randn(6, WINDOW, dtype=torch.float64)
    trained = module.double()(values)
    state = module.step(values, torch.full((6,), WINDOW), module.initial(torch.zeros(6, dtype=torch.int64)))
    torch.testing.assert_close(module.forecast(state, 1, LEVELS.expand(6, 3))[:, 0, 0], trained)


def test_residuals_of_validation_become_quantiles() -> None:
    module: Any = Linear().double().requires_grad_(False)
    residuals = np.random.default_rng(2).normal(size=(40_000, HORIZON)) * np.arange(1, HORIZON + 1)
    module.residuals.measure(torch.from_numpy(residuals))
    forecast = module.forecast(_state_after(module, [0.5] * WINDOW), HORIZON, LEVELS)[0].numpy()
    offsets = forecast[:, 1:] - forecast[:, :1]
    expected = norm.ppf([0.05, 0.5, 0.975])[None, :] * np.arange(1, HORIZON + 1)[:, None]
    np.testing.assert_allclose(
        offsets / np.arange(1, HORIZON + 1)[:, None], expected / np.arange(1, 65)[:, None], atol=0.06
    )


def test_readers_start_as_keras_starts_them() -> None:
    torch.manual_seed(0)
    reader = TutorialReader((16, 8))
    for layer, (inputs, hidden) in zip(reader.layers, [(28, 16), (16, 8)], strict=True):
        weights = {name: value.detach() for name, value in layer.named_parameters()}
        recurrent = weights["weight_hh_l0"]
        torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(hidden), atol=1e-5, rtol=0)
        bound = math.sqrt(6 / (inputs + hidden))
        assert 0.8 * bound < weights["weight_ih_l0"].abs().max() <= bound
        assert not weights["bias_ih_l0"].any()
        assert not weights["bias_hh_l0"].any()
    assert 0.8 * math.sqrt(6 / 18) < reader.dense.weight.abs().max() <= math.sqrt(6 / 18)
    assert not reader.dense.bias.any()


def test_readers_are_served_as_they_are_trained_but_for_the_temperature() -> None:
    torch.manual_seed(1)
    reader = TutorialReader((10,)).double().requires_grad_(False)
    reader.temperature.fill_(1.7)
    rows = torch.rand(4, 28, 28, dtype=torch.float64)
    answers = reader.read(reader.step(rows, torch.full((4,), 28), reader.initial(4)))
    torch.testing.assert_close(answers, torch.log_softmax(reader(rows) / 1.7, 1).float())
