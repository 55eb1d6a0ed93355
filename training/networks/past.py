"""The remembered values of a read-out, with the sums over them that several simple forecasts need."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


@torch.jit.script
class Past:
    """N read-outs of W remembered values, in scales above the last one; NaN is missing."""

    def __init__(self, values: Tensor) -> None:
        present = torch.isfinite(values)
        self.values = values  # (N, W) float64
        self.mask = present.to(torch.float64)  # 1 where there is a value
        self.filled = torch.where(present, values, 0.0)
        self.total = functional.pad(self.filled.cumsum(1), (1, 0))  # (N, W + 1): sums of all before each place
        self.count = functional.pad(self.mask.cumsum(1), (1, 0))
