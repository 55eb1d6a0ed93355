"""training.digits.temperature: the temperature that made the data is found."""

from __future__ import annotations

import pytest
import torch

from training.digits.temperature import BOUNDS, fit_temperatures, smooth


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    torch.manual_seed(3)
    logits = 3 * torch.randn(6000, 2, 10)
    labels = torch.distributions.Categorical(logits=logits[:, 0] / true).sample()
    temperatures = fit_temperatures(logits, labels)
    assert float(temperatures[0]) == pytest.approx(true, rel=0.06)
    assert float(temperatures[1]) == pytest.approx(BOUNDS[1]), "labels that have nothing to do with the logits"


def test_smoothing_averages_neighbours_and_keeps_constants() -> None:
    assert torch.allclose(smooth(torch.full((5,), 1.3)), torch.full((5,), 1.3))
    smoothed = smooth(torch.tensor([1.0, 1.0, 8.0, 1.0, 1.0]))
    torch.testing.assert_close(smoothed, torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0]))
