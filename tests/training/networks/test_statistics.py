"""Running statistics: they forget as they say, resume where they were, and keep score of the bands."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.networks.statistics import ABOVE, BELOW, COLUMNS, LOWEST, SCALE, SCORE_W, WIDTH, Statistics, running


def test_running_sums_forget_exponentially_over_observed_values_only() -> None:
    rng = np.random.default_rng(0)
    observed = rng.random(700) < 0.7
    values = np.where(observed, rng.normal(size=(2, 700)), 0)
    expected, total = [], np.array([2.5, 0.0])
    for value, is_observed in zip(values.T, observed, strict=True):
        total = math.exp(-1 / 16) * total + value if is_observed else total
        expected.append(total)
    counts = torch.from_numpy(observed.astype(float).cumsum())[None]
    carry = torch.tensor([[2.5, 0.0]], dtype=torch.float64)
    sums = running(torch.from_numpy(values)[None], counts, carry, 16.0)
    np.testing.assert_allclose(sums[0].T.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_the_score_of_the_bands_is_the_share_that_missed() -> None:
    surprise = torch.tensor([[-2.0, 0.0, 0.5, 3.0, 9.0]])
    scored = torch.tensor([[True, True, True, True, False]])
    bands = torch.tensor([-1.0, 0.0, 1.0]).expand(1, 5, 3)
    start = torch.zeros(1, COLUMNS, dtype=torch.float64)
    scores = Statistics().score(surprise, scored, bands, torch.ones_like(scored), start)[0, 3]
    below, above, weight = (scores[column - BELOW] for column in (BELOW, ABOVE, SCORE_W))
    forget = math.exp(-1 / 64)
    assert math.isclose(weight, 1 + forget + forget**2 + forget**3)
    assert math.isclose(below, forget**3)
    assert math.isclose(above, 1.0)
    assert math.isclose(scores[WIDTH - BELOW] / weight, 2.0)


def followed(values: np.ndarray) -> torch.Tensor:
    """The statistics after every value of one series, (1, T, BELOW)."""
    x = torch.from_numpy(values)[None]
    observed = torch.isfinite(x)
    start = torch.zeros(1, COLUMNS, dtype=torch.float64)
    start[:, SCALE] = 1.0
    return Statistics().follow(x.nan_to_num(), observed, torch.ones_like(observed), start)


def scales(values: np.ndarray) -> np.ndarray:
    """The scale after every value of one series."""
    return followed(values)[0, :, SCALE].numpy()


def test_scale_is_never_zero() -> None:
    np.testing.assert_array_equal(scales(np.array([-7.0, -7.0])), [7.0, 7e-13])
    np.testing.assert_array_equal(scales(np.zeros(3)), [1.0, 1e-300, 1e-300])


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_one_glitch_hardly_moves_the_scale(size: float) -> None:
    values = np.random.default_rng(0).normal(size=400)
    plain = scales(values)
    values[200] += size
    assert (np.abs(np.log(scales(values)[200:] / plain[200:])) < 0.35).all()


@pytest.mark.parametrize("size", [1e2, 1e4, -1e6])
def test_one_glitch_does_not_move_the_mean_and_a_step_does(size: float) -> None:
    values = 50 + np.random.default_rng(0).normal(size=400)
    statistics, plain = Statistics(), followed(values)
    glitch, step = values.copy(), values.copy()
    glitch[200] += size
    step[200:] += size
    off = statistics.mean(followed(glitch)) - statistics.mean(plain)
    assert off[0, 200:].abs().max() < 0.05
    moved = (statistics.mean(followed(step)) - statistics.mean(plain))[0] / size
    assert moved[200] == pytest.approx(0, abs=0.05)
    assert (moved[201:].diff() > 0).all()
    assert moved[-1] > 0.5


@pytest.mark.parametrize("factor", [100.0, 10.0, 0.1, 0.01])
def test_the_scale_follows_a_lasting_change_of_noise(factor: float) -> None:
    values = np.random.default_rng(0).normal(size=1200)
    right = factor * scales(values)
    values[600:] *= factor
    off = np.abs(np.log(scales(values) / right))
    assert off[720:].max() < 0.9
    assert off[900:].max() < 0.35


def test_the_scale_of_parts_is_that_of_the_whole() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=300), np.random.default_rng(1).normal(size=900) * 50])
    x = torch.from_numpy(values)[None]
    state = torch.zeros(1, COLUMNS, dtype=torch.float64)
    state[:, SCALE] = 1.0
    for part in x.split([290, 1, 9, 100, 800], 1):
        stats = Statistics().follow(part, torch.isfinite(part), torch.isfinite(part), state)
        state = torch.cat([stats[:, -1], torch.zeros(1, COLUMNS - BELOW)], 1)
    assert math.isclose(float(state[0, SCALE]), scales(values)[-1], rel_tol=1e-9)


@pytest.mark.parametrize("offset", [1e4, -1e7])
def test_a_level_far_from_zero_is_no_input_of_a_network(offset: float) -> None:
    values = np.random.default_rng(2).normal(size=300)
    values -= values.mean()
    observed = torch.ones(2, 300, dtype=torch.bool)
    x = torch.from_numpy(np.stack([values, values + offset]))
    start = torch.zeros(2, COLUMNS, dtype=torch.float64)
    start[:, SCALE] = 1.0
    statistics = Statistics()
    stats = statistics.follow(x, observed, observed, start)
    change = statistics.change(x, observed, stats, start)
    around, far = statistics.inputs(change, observed, stats, statistics.scale(stats))[:, 50:]
    lowest = around[:, 7]  # 0 is not below what is far above it
    np.testing.assert_allclose(np.delete(far.numpy(), 7, 1), np.delete(around.numpy(), 7, 1), atol=0.3)
    assert lowest.min() >= 0


def test_zero_says_nothing_of_a_series_that_was_below_it() -> None:
    values = np.random.default_rng(3).normal(size=100) + 20
    stayed, fell = followed(values), followed(np.concatenate([[-0.1], values[1:]]))
    statistics = Statistics()
    for stats, is_left_out in ((stayed, False), (fell, True)):
        mean = statistics.mean(stats)
        offset = statistics.offset(mean, statistics.scale(stats), stats[:, :, LOWEST])
        assert torch.equal(offset, mean if is_left_out else torch.zeros_like(mean))
