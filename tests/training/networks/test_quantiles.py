"""The interpolation of quantiles: exact where it must be, ordered and finite everywhere, the same when scripted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm

from training.fit.export import reload, script
from training.networks.quantiles import interpolate

GRID = torch.tensor([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95], dtype=torch.float64)
EXTREMES = [5e-324, 1e-300, 1e-9, 0.01, 0.05, 0.3, 0.5, 0.77, 0.95, 0.999, 1 - 1e-16]


def _levels(*levels: float) -> torch.Tensor:
    return torch.tensor([levels], dtype=torch.float64)


def test_a_normal_distribution_is_reproduced_from_two_of_its_quantiles() -> None:
    grid = np.array([0.2, 0.6])
    values = torch.from_numpy(norm.ppf(grid, loc=3, scale=2)).reshape(1, 1, 2)
    levels = np.array([1e-12, 0.01, 0.2, 0.5, 0.6, 0.9, 0.9999])
    quantiles = interpolate(torch.from_numpy(grid), values, torch.from_numpy(levels)[None])
    np.testing.assert_allclose(quantiles[0, 0], norm.ppf(levels, loc=3, scale=2), rtol=1e-9)


def test_the_levels_of_the_grid_give_the_values_of_the_grid() -> None:
    values = torch.randn(4, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cumsum(2)
    values = values.sort(2).values
    quantiles = interpolate(GRID, values, GRID.expand(4, 7))
    torch.testing.assert_close(quantiles, values, rtol=1e-12, atol=1e-12)


def test_rows_keep_their_own_levels() -> None:
    values = torch.arange(14, dtype=torch.float64).reshape(2, 1, 7)
    quantiles = interpolate(GRID, values, torch.tensor([[0.1, 0.5], [0.5, 0.9]], dtype=torch.float64))
    torch.testing.assert_close(quantiles, torch.tensor([[[1.0, 3.0]], [[10.0, 12.0]]], dtype=torch.float64))


def test_the_middle_of_the_largest_values_is_in_the_middle() -> None:
    grid = torch.tensor([0.25, 0.75], dtype=torch.float64)
    values = torch.tensor([[[-1.7e308, 1.7e308]]], dtype=torch.float64)
    assert interpolate(grid, values, _levels(0.5)).abs() < 1e293


def test_next_to_the_grid_rounding_crosses_no_neighbour() -> None:
    rng = np.random.default_rng(0)
    values = np.sort(rng.normal(size=(300, 1, 7)) * 10.0 ** rng.integers(-20, 3, size=(300, 1, 7)), axis=2)
    near = [np.nextafter(level, side) for level in GRID.numpy() for side in (0, 1)]
    quantiles = interpolate(GRID, torch.from_numpy(values), torch.tensor([near] * 300, dtype=torch.float64)).numpy()
    below, above = quantiles[:, :, 0::2], quantiles[:, :, 1::2]
    assert (below <= values).all()
    assert (values <= above).all()
    assert (below[:, :, 1:] >= values[:, :, :-1]).all()
    assert (above[:, :, :-1] <= values[:, :, 1:]).all()


def test_it_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    values = np.sort(rng.normal(size=(3, 2, 7)), axis=2)
    levels = np.sort(rng.uniform(0.001, 0.999, size=(3, 9)), axis=1)
    quantiles = interpolate(GRID, torch.from_numpy(values), torch.from_numpy(levels)).numpy()
    z = norm.ppf(GRID.numpy())
    for b, h, q in np.ndindex(3, 2, 9):
        x, v = norm.ppf(levels[b, q]), values[b, h]
        if x < z[0]:
            expected = v[0] + (x - z[0]) * (v[1] - v[0]) / (z[1] - z[0])
        elif x > z[-1]:
            expected = v[-1] + (x - z[-1]) * (v[-1] - v[-2]) / (z[-1] - z[-2])
        else:
            expected = np.interp(x, z, v)
        assert quantiles[b, h, q] == pytest.approx(expected, rel=1e-9)


def test_a_level_is_answered_alike_among_any_other_levels() -> None:
    values = torch.tensor([[[-3.0, -1.0, 0.0, 0.5, 0.6, 2.0, 9.0]]], dtype=torch.float64)
    joint = interpolate(GRID, values, _levels(*EXTREMES))
    single = torch.cat([interpolate(GRID, values, _levels(level)) for level in EXTREMES], dim=2)
    assert torch.equal(joint, single)


@given(
    hnp.arrays(np.float64, (2, 2, 7), elements=st.floats(allow_nan=False, allow_infinity=False)),
    hnp.arrays(np.float64, (2, 8), elements=st.floats(5e-324, 1 - 1e-16)),
)
def test_any_finite_values_and_any_levels_give_ordered_finite_quantiles(values: np.ndarray, levels: np.ndarray) -> None:
    ordered = torch.from_numpy(np.sort(values, axis=2))
    quantiles = interpolate(GRID, ordered, torch.from_numpy(np.sort(levels, axis=1)))
    assert torch.isfinite(quantiles).all()
    assert (quantiles[..., 1:] >= quantiles[..., :-1]).all()


@given(hnp.arrays(np.float64, (20,), elements=st.floats(0.05, 0.95)))
def test_between_the_grid_a_constant_stays_the_constant(levels: np.ndarray) -> None:
    values = torch.full((1, 1, 7), 0.1, dtype=torch.float64)
    assert (interpolate(GRID, values, torch.from_numpy(np.sort(levels))[None]) == 0.1).all()


class _Interpolation(torch.nn.Module):
    def forward(self, grid: torch.Tensor, values: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return interpolate(grid, values, levels)


def test_it_scripts_and_stays_the_same() -> None:
    scripted = reload(script(_Interpolation()))
    values = torch.linspace(-2, 5, 7, dtype=torch.float64).reshape(1, 1, 7)
    for _ in range(3):  # the profiling executor specialises after the first calls
        assert torch.equal(scripted(GRID, values, _levels(*EXTREMES)), interpolate(GRID, values, _levels(*EXTREMES)))
