"""From quantiles at fixed levels to quantiles at any level: the one rule that every forecaster of the project uses.

Levels are turned into standard normal scores and the quantiles are joined by straight lines over these scores. The
outermost lines go on beyond the grid, which gives Gaussian tails; a normal distribution is reproduced exactly from any
two of its quantiles.
"""

from __future__ import annotations

import torch
from torch import Tensor


def finite(values: Tensor) -> Tensor:
    """`values` (float64) with infinities replaced by the largest finite numbers of their sign."""
    return values.clamp(-1.7976931348623157e308, 1.7976931348623157e308)  # TorchScript has no torch.finfo


def interpolate(grid: Tensor, values: Tensor, levels: Tensor) -> Tensor:
    """Quantiles at `levels` from the quantiles `values` at the levels `grid`.

    grid (K,) float64, K >= 2, and levels (B, Q) float64 are ascending and strictly between 0 and 1; values (B, H, K)
    float64 are finite and non-decreasing along K. Returns (B, H, Q) float64: finite, non-decreasing along Q, equal to
    `values` at the levels of the grid, and within its neighbours on the grid between them.
    """
    batch, horizon, last = values.size(0), values.size(1), grid.size(0) - 1
    upper = torch.searchsorted(grid, levels.contiguous()).clamp(1, last)  # (B, Q): the line's right end
    scores = torch.special.ndtri(grid)
    start, end = scores[upper - 1], scores[upper]
    fraction = ((torch.special.ndtri(levels) - start) / (end - start)).unsqueeze(1)  # (B, 1, Q), outside 0..1 in tails
    right = upper.unsqueeze(1).expand(batch, horizon, levels.size(1))
    low, high = torch.gather(values, 2, right - 1), torch.gather(values, 2, right)
    # Halves keep the difference of two huge values finite. Rounding may carry the line's right end past `high` or leave
    # it short; the bounds keep neighbouring lines from crossing there.
    quantiles = low + 2 * (fraction * (0.5 * high - 0.5 * low))
    quantiles = torch.where(fraction > 1, torch.maximum(quantiles, high), torch.minimum(quantiles, high))
    return finite(quantiles)
