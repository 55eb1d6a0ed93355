"""training.networks.sine_fit: near the limit from a rough guess, finite for any window, the same bits anywhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.data import priors
from training.fit.export import reload, script
from training.networks.sine_fit import NOISE, SineFit

WINDOW = 128
CONTEXT = 50


def _windows(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Windows with their last 50 values observed, a rough guess, and the truth of 10 further values, (rows, 10)."""
    generator = torch.Generator().manual_seed(seed)
    noisy, clean, components = priors.sines_and_truth(rows, CONTEXT + 10, generator, torch.device("cpu"))
    window = torch.zeros(rows, WINDOW, dtype=torch.float64)
    window[:, -CONTEXT:] = noisy[:, :CONTEXT]
    observed = (torch.arange(WINDOW) >= WINDOW - CONTEXT).expand(rows, -1)
    guess = components.clone()
    guess[:, ::2] += CONTEXT * components[:, 1::2]
    guess += torch.tensor([0.1, 0.004, 0.15, 0.008]) * torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    return window, observed, guess, clean[:, CONTEXT:]


def test_from_a_rough_guess_it_comes_near_the_limit() -> None:
    window, observed, guess, truth = _windows(1000)
    mean, spread, misfit = SineFit(WINDOW)(window, observed, guess, 10)
    error = (mean - truth).square().mean(0)
    assert error[0] < 1.3 * 5.9e-5  # least squares: 1.5e-4
    assert error[9] < 1.3 * 1.06e-4
    assert misfit.quantile(0.99) < 0.9
    ratio = (error / spread.square().mean(0)).sqrt()
    assert ((ratio > 0.6) & (ratio < 1.1)).all()


def test_a_series_that_is_no_mixture_fits_badly() -> None:
    window, observed, guess, _ = _windows(100)
    walk = torch.randn(100, WINDOW, generator=torch.Generator().manual_seed(1), dtype=torch.float64).cumsum(1)
    assert SineFit(WINDOW)(walk.clamp(-1.5, 1.5), torch.ones_like(observed), guess, 1)[2].min() > 1.2
    spiked = window.clone()
    spiked[:, -20] += 0.5
    assert SineFit(WINDOW)(spiked, observed, guess, 1)[2].min() > 1.2


def test_values_that_were_not_observed_do_not_matter() -> None:
    window, observed, guess, _ = _windows(20)
    filled = window.where(observed, 9.0)
    for actual, expected in zip(
        SineFit(WINDOW)(filled, observed, guess, 3), SineFit(WINDOW)(window, observed, guess, 3), strict=True
    ):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("filling", [0.0, 1.5, -1.5])
@pytest.mark.parametrize("count", [0, 1, 2, WINDOW])
def test_any_window_gives_finite_numbers(filling: float, count: int) -> None:
    window = torch.full((3, WINDOW), filling, dtype=torch.float64)
    observed = (torch.arange(WINDOW) >= WINDOW - count).expand(3, -1)
    guess = torch.tensor([[0.0, 0.3, 0.0, 0.6], [math.pi, 0.2, -math.pi, 0.8], [0.0, 0.0, 50.0, 2.0]]).double()
    mean, spread, misfit = SineFit(WINDOW)(window, observed, guess, 64)
    assert mean.abs().max() <= 0.7
    assert (spread >= 0).all()
    assert misfit.isfinite().all()


def test_a_window_has_the_same_bits_in_a_batch_of_any_size() -> None:
    fit = reload(script(SineFit(WINDOW)))
    window, observed, guess, _ = _windows(70)
    guess[::3] = torch.randn(24, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)  # some go astray
    all_windows = fit(window, observed, guess, 5)
    for rows in (*range(1, 20), 33, 64):
        for part in (slice(0, rows), slice(70 - rows, 70)):
            for actual, expected in zip(fit(window[part], observed[part], guess[part], 5), all_windows, strict=True):
                assert torch.equal(actual, expected[part])


def test_draws_lie_within_what_frequencies_there_are_and_near_the_bounds() -> None:
    window, observed, guess, _ = _windows(50)
    fit = SineFit(WINDOW)
    centre, factor, _ = fit.centre(window, observed.double(), guess)
    draws, weight = fit.weigh(window.float(), observed.float(), centre, factor)
    torch.testing.assert_close(weight.sum(1), torch.ones(50, dtype=torch.float64))
    outside = (draws[:, :, 1] < 0.199) | (draws[:, :, 1] > 0.401) | (draws[:, :, 3] < 0.399) | (draws[:, :, 3] > 0.801)
    assert (weight * outside).sum(1).max() < 0.5
    off = (fit.wave(draws, fit.back.float()) - window[:, None]).abs() * observed[:, None]
    assert ((off.amax(2) - NOISE).clamp(min=0) * weight).sum(1).mean() < 0.005
