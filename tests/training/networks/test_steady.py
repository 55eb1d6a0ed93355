"""training.networks.steady: a row's bits do not depend on the number of rows in its batch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training.networks import steady
from training.networks.steady import SteadyLinear


@pytest.mark.parametrize("outputs", [1, 2, 25, 160])
def test_few_rows_have_the_bits_of_many(outputs: int) -> None:
    torch.manual_seed(0)
    layer = torch.jit.script(SteadyLinear(160, outputs).eval())
    x = torch.randn(64, 160)
    all_rows = layer(x)
    for rows in range(1, 23):
        assert torch.equal(layer(x[:rows]), all_rows[:rows])
        assert torch.equal(layer(x[:rows, None])[:, 0], all_rows[:rows])
    assert layer(x[:0]).shape == (0, outputs)


def test_it_is_the_linear_map_of_its_weights() -> None:
    layer = SteadyLinear(3, 2)
    x = torch.randn(1, 3)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_elements_have_the_same_bits_in_any_place(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    x, y = 3 * torch.randn(2, 4096, dtype=kind)
    softened, log_sum = steady.softplus(x), steady.logaddexp(x, y)
    torch.testing.assert_close(softened, functional.softplus(x))
    torch.testing.assert_close(log_sum, torch.logaddexp(x, y))
    for length in (1, 3, 11, 31, 45, 63):
        for start in range(0, 4000, 173):
            part = slice(start, start + length)
            assert torch.equal(steady.softplus(x[part].clone()), softened[part])
            assert torch.equal(steady.logaddexp(x[part].clone(), y[part].clone()), log_sum[part])
