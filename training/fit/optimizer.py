"""AdamW with weight decay on matrices only: biases and gains are not drawn to zero."""

from __future__ import annotations

import torch
from torch import nn


def adamw(module: nn.Module, rate: float, weight_decay: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """An optimiser of all parameters of `module`, with torch's fused kernel where they are on a GPU."""
    parameters = list(module.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=parameters[0].is_cuda)
