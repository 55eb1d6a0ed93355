"""The windows that the sine specialist is trained on: a batch is a function of the seed and the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import priors
from training.data.missing import mask_values
from training.networks.sines import MAX_HORIZON
from training.sines.config import Config

AHEAD = 9  # steps ahead that a batch learns: the next one, and others


@dataclass(frozen=True)
class Windows:
    """Windows of one step: inputs (B, T); the series with and without noise (B, T + 64); their components (B, 4).

    `components` are phase at the first value and radians a step of the slow sine, then of the fast one; `ahead`
    (AHEAD,) are the steps ahead that this batch learns.
    """

    inputs: Tensor
    noisy: Tensor
    clean: Tensor
    components: Tensor
    ahead: Tensor


def draw(config: Config, step: int) -> Windows:
    """The windows of one step, some with missing values."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    length = config.lengths[step % len(config.lengths)]
    rows = config.values // length
    noisy, clean, components = priors.sines_and_truth(rows, length + MAX_HORIZON, generator, torch.device("cpu"))
    inputs = noisy[:, :length]
    if torch.rand((), generator=generator) < config.missing:
        inputs = mask_values(inputs, generator)
    ahead = (MAX_HORIZON + 1) ** torch.rand(AHEAD, generator=generator)  # as many up to 8 as beyond
    ahead[0] = 1
    return Windows(inputs, noisy, clean, components, ahead.long())
