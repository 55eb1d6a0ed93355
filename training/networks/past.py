"""The remembered values of a read-out, with the sums over them that several simple forecasts need."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Past(NamedTuple):
    """N read-outs of W remembered values, in scales above the last one. TorchScript knows no other kind of record."""

    values: Tensor  # (N, W) float64, NaN is missing
    mask: Tensor  # (N, W) float64, 1 where there is a value
    filled: Tensor  # (N, W), 0 where there is none
    total: Tensor  # (N, W + 1): sums of all values before each place
    count: Tensor  # type: ignore[assignment]  # (N, W + 1): how many those are; hides the method of tuples


def summed(values: Tensor) -> Past:
    """`values` (N, W) with their sums."""
    present = torch.isfinite(values)
    mask, filled = present.to(torch.float64), torch.where(present, values, 0.0)
    return Past(
        values,
        mask,
        filled,
        torch.constant_pad_nd(filled.cumsum(1), [1, 0]),
        torch.constant_pad_nd(mask.cumsum(1), [1, 0]),
    )


def selected(past: Past, rows: Tensor) -> Past:
    """Those `rows` (int64 indices) of `past`."""
    return Past(past.values[rows], past.mask[rows], past.filled[rows], past.total[rows], past.count[rows])
