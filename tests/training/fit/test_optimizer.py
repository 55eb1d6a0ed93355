"""training.fit.optimizer: weight decay acts on matrices alone."""

from __future__ import annotations

import torch
from torch import nn

from training.fit.optimizer import adamw


def test_only_matrices_decay() -> None:
    layer = nn.Linear(3, 2)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    optimizer = adamw(layer, 0.1, 0.5, (0.9, 0.99))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), torch.full((2, 3), 0.95))
    torch.testing.assert_close(layer.bias.detach(), torch.ones(2))
