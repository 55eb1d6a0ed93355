"""training.networks.forecaster: guarantees of its structure, with any weights."""

from __future__ import annotations

import torch

from training.networks.forecaster import Forecaster


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
