"""Operations with the same bits for a row in a batch of any other rows.

Elementwise kernels compute the last few elements of an array one by one, by other code than the rest, and where they
are transcendental the two may differ in the last bit: `softplus`, `sigmoid`, `logaddexp`, `pow` and `gelu` do
(measured, torch 2.13 on x86), `exp`, `log`, `log1p`, `asinh`, `erf`, `sin`, `sqrt` and softmax over rows do not. `gelu`
is safe where the last dimension is a multiple of 32.

Matrix kernels take the first rows in groups of four and the rest, or fewer than four, by another path that sums in
another order (measured; the service measures again at every start). `SteadyLinear` fills the rest up with zeros.
Without this the service would have to fill up whole series instead, and a recurrent network pays for those at every
step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUP = 4


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)); see the module's docstring."""
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


def logaddexp(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) + exp(b)) of finite numbers; see the module's docstring."""
    return torch.maximum(a, b) + torch.log1p(torch.exp(-(a - b).abs()))


def fill_up(x: Tensor) -> Tensor:
    """x (rows, features) with rows of zeros behind it, to a multiple of four rows (`GROUP`)."""
    missing = -x.shape[0] % 4
    return x if missing == 0 else functional.pad(x, (0, 0, 0, missing))


class SteadyLinear(nn.Linear):
    """`nn.Linear`, with a multiple of `GROUP` rows in every product: x (..., in_features) -> (..., out_features)."""

    __constants__ = [*nn.Linear.__constants__, "GROUP"]  # noqa: RUF012 - TorchScript reads it, no code changes it
    GROUP = GROUP

    def forward(self, x: Tensor) -> Tensor:
        rows = x.numel() // self.in_features
        missing = -rows % self.GROUP
        if missing == 0:
            return functional.linear(x, self.weight, self.bias)
        filled = torch.cat([x.reshape(rows, self.in_features), x.new_zeros(missing, self.in_features)])
        return functional.linear(filled, self.weight, self.bias)[:rows].unflatten(0, x.shape[:-1])
