"""Values that training makes missing, so that networks learn to forecast through gaps."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_values(values: Tensor, generator: torch.Generator) -> Tensor:
    """`values` (B, T) with NaN in some places of some rows: scattered in one row of 12, a run in another.

    The first value of a row is never missing.
    """
    rows, length = values.shape
    device = values.device
    uniform = torch.rand(rows, 4, generator=generator, device=device)
    chance = torch.rand(rows, length, generator=generator, device=device)
    scattered = chance < 0.4 * uniform[:, 1:2] ** 2
    start = (uniform[:, 2] * length).long()
    width = 1 + (uniform[:, 3] ** 3 * length / 3).long()
    column = torch.arange(length, device=device)[None]
    run = (column >= start[:, None]) & (column < (start + width)[:, None])
    missing = (scattered & (uniform[:, :1] < 0.08)) | (run & (uniform[:, :1] > 0.92))
    missing[:, 0] = False
    return values.masked_fill(missing, float("nan"))
