"""Temperature scaling (Guo et al., 2017), one temperature for every number of rows read.

Shapes: N digits, T rows, 10 classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

BOUNDS = (0.4, 2.5)  # beyond these the network would be wrong, not its temperature
GRID = 161


def fit_temperatures(logits: Tensor, labels: Tensor) -> Tensor:
    """The temperature (T,) after each row that minimises the cross-entropy of logits (N, T, 10) with labels (N,)."""
    low, high = BOUNDS
    grid = torch.logspace(torch.tensor(low).log10().item(), torch.tensor(high).log10().item(), GRID)
    temperatures = []
    for row in logits.unbind(1):
        label_logits = row.gather(1, labels[:, None])[:, 0]
        losses = torch.stack([(torch.logsumexp(row / t, 1) - label_logits / t).mean() for t in grid])
        temperatures.append(grid[losses.argmin()])
    return torch.stack(temperatures)


def smooth(temperatures: Tensor, reach: int = 1) -> Tensor:
    """Geometric mean over each row and up to `reach` neighbours on either side: neighbouring rows are nearly alike."""
    logs = temperatures.log()
    windows = [logs[max(t - reach, 0) : t + reach + 1].mean() for t in range(len(logs))]
    return torch.stack(windows).exp()
