"""Quantiles of a normal variable plus uniform noise: those of the next noisy value if its mean is uncertain.

The distribution has no closed quantiles. They depend on one number besides the scale, the normal's share of the two
widths, so they are computed once on a grid of shares and joined by straight lines, which keeps their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SHARES = 65  # of the grid; the lines between are then off by at most 1e-3 of the widths


class NoisyNormal(nn.Module):
    """`forward(spread)`: quantiles at K levels of a normal with mean 0 and standard deviation `spread`, plus noise.

    The noise is uniform within +-`bound`; spread (N, H) float64 >= 0 -> (N, H, K) float64, ascending along K as the
    levels.
    """

    def __init__(self, levels: Sequence[float], bound: float) -> None:
        super().__init__()
        self.bound = bound
        self.grid: Tensor
        self.register_buffer("grid", quantiles_by_share(torch.tensor(levels, dtype=torch.float64), SHARES))

    def forward(self, spread: Tensor) -> Tensor:
        width = spread + self.bound
        position = spread / width * (self.grid.shape[0] - 1)
        below = position.floor().clamp(0, self.grid.shape[0] - 2)
        low = self.grid[below.to(torch.int64)]
        high = self.grid[below.to(torch.int64) + 1]
        return width[:, :, None] * (low + (position - below)[:, :, None] * (high - low))


def quantiles_by_share(levels: Tensor, shares: int) -> Tensor:
    """Quantiles (shares, K) of a normal with deviation s plus uniform noise in +-(1 - s), s = 0 … 1; levels (K,)."""
    deviation = torch.linspace(0, 1, shares, dtype=torch.float64)[1:-1, None]
    bound = 1 - deviation
    low = torch.full((shares - 2, len(levels)), -10.0, dtype=torch.float64)
    high = -low
    for _ in range(60):
        middle = (low + high) / 2
        upper, lower = (middle + bound) / deviation, (middle - bound) / deviation
        reached = deviation / (2 * bound) * (_integral(upper) - _integral(lower)) >= levels
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return torch.cat([(2 * levels - 1)[None], (low + high) / 2, torch.special.ndtri(levels)[None]])


def _integral(z: Tensor) -> Tensor:
    """Integral of the standard normal distribution function up to z."""
    return z * torch.special.ndtr(z) + torch.exp(-0.5 * z.square()) * 0.3989422804014327
