"""The windows that the forecaster is trained on: drawn, varied, and cut where forecasts are made.

Shapes: B windows, T values, R cuts of each window, H steps ahead of each cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import priors, real_series
from training.data.missing import mask_values
from training.forecaster.config import Config
from training.networks.forecaster import LEARNED_HORIZON


@dataclass(frozen=True)
class Cut:
    """Windows, and where forecasts of them are made: `inputs` have gaps and wrong values that `truth` does not have."""

    inputs: Tensor  # (B, T)
    truth: Tensor  # (B, T)
    season: Tensor  # (B,), 0 where it is withheld
    cuts: Tensor  # (B, R)
    ahead: Tensor  # (B, R, H)


class Stream:
    """The endless stream of training windows: a batch is a function of the seed and the step."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.corpus: real_series.Corpus | None = None
        self.digests: dict[str, str] = {"synthetic": "generated"}
        if config.real > 0:
            files = [f for f in real_series.read_all() if f.name not in real_series.HELD_OUT]
            self.corpus = real_series.Corpus(files, device)
            self.digests |= {f.name: f.digest for f in files}

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of one step: inputs with gaps (B, T), true values (B, T), season (B,), 0 where it is withheld."""
        config = self.config
        generator = torch.Generator(self.device).manual_seed(config.seed * 1_000_003 + step)
        length = config.lengths[step % len(config.lengths)]
        rows = config.values // length
        real = 0 if self.corpus is None else round(config.real * rows)
        truth, season = priors.mixture(rows - real, length, generator, self.device)
        if self.corpus is not None:
            windows, window_season = self.corpus.draw(real, length, generator)
            truth = torch.cat([augment(windows, config.variety, generator), truth])
            season = torch.cat([window_season, season])
        truth = offset(truth, config.offsets, generator)
        season_known = torch.rand(rows, device=self.device, generator=generator) < 0.5
        return mask_values(truth, generator), truth, torch.where(season_known, season, 0)


def augment(values: Tensor, variety: float, generator: torch.Generator) -> Tensor:
    """Variations of real windows (B, T): upside down, mixed with one another, modulated, lifted by a constant.

    Each variation applies to a tenth of the windows or so, times `variety`.
    """
    rows, length = values.shape
    device = values.device

    def uniform() -> Tensor:
        return torch.rand(rows, 1, generator=generator, device=device, dtype=torch.float64)

    observed = torch.isfinite(values)
    count = observed.sum(1, keepdim=True).clamp(min=1)
    mean = torch.where(observed, values, 0).sum(1, keepdim=True) / count
    spread = spread_of(values)
    values = torch.where(uniform() < 0.1 * variety, -values, values)
    neighbour = ((values - mean) / spread).roll(1, 0)
    mixed = values + spread * (0.2 + uniform()) * neighbour
    values = torch.where((uniform() < 0.12 * variety) & torch.isfinite(mixed), mixed, values)
    wave = torch.linspace(0, 1, length, device=device, dtype=torch.float64)[None] * (0.3 + 2 * uniform()) + uniform()
    wave = 1 + (0.5 * uniform()) * torch.sin(2 * torch.pi * wave)
    values = torch.where(uniform() < 0.12 * variety, values * wave, values)
    return torch.where(uniform() < 0.1 * variety, values + spread * 20 * (uniform() - 0.5), values)


def spread_of(values: Tensor) -> Tensor:
    """The standard deviation of the observed values of each row, 1 where there is none: (B, 1)."""
    observed = torch.isfinite(values)
    count = observed.sum(1, keepdim=True).clamp(min=1)
    filled = torch.where(observed, values, 0.0)
    mean = filled.sum(1, keepdim=True) / count
    spread = (torch.where(observed, values - mean, 0.0).square().sum(1, keepdim=True) / count).sqrt()
    return torch.where(spread > 0, spread, 1.0)


def offset(values: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`values` (B, T), a `share` of the rows lifted by three to a million of their standard deviations."""
    uniform = torch.rand(len(values), 2, generator=generator, device=values.device, dtype=torch.float64)
    size = spread_of(values) * 10 ** (0.5 + 5.5 * uniform[:, 1:])
    return torch.where(uniform[:, :1] < share, values + size, values)


def add_glitches(inputs: Tensor, cuts: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`inputs` (B, T) with wrong values in a `share` of the rows, of 5 to 100,000 standard deviations.

    They are in what a network sees, not in the truth: anywhere, and in one row of three at the end of the first context
    that `cuts` (B, R) make.
    """
    rows, length = inputs.shape
    uniform = torch.rand(rows, 3, generator=generator, device=inputs.device, dtype=torch.float64)
    chance = torch.rand(rows, length, generator=generator, device=inputs.device)
    column = torch.arange(length, device=inputs.device)[None, :]
    wrong = torch.where(uniform[:, 1:2] < 1 / 3, column == cuts[:, :1] - 1, chance < 2 / length)
    size = spread_of(inputs) * 10 ** (0.7 + 4.3 * uniform[:, 2:]) * torch.where(chance > 0.7 / length, 1.0, -1.0)
    return torch.where((uniform[:, :1] < share) & wrong, inputs + size, inputs)


def draw_cuts(truth: Tensor, config: Config, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where forecasts are made, (B, R) in 1..T-1, and how far ahead, (B, R, H): one step and any up to the end."""
    rows, length = truth.shape
    device = truth.device
    column = torch.arange(length, device=device)[None]
    end = torch.where(torch.isfinite(truth), column + 1, 1).max(1)[0]  # values up to the last observed one
    uniform = torch.rand(rows, config.cuts, 2, generator=generator, device=device)
    share = torch.where(uniform[..., 1] < 0.25, uniform[..., 0] ** 3, uniform[..., 0])
    cuts = 1 + (share * (end[:, None] - 1)).long().minimum((end[:, None] - 2).clamp(min=0))
    room = (end[:, None] - cuts).clamp(1, LEARNED_HORIZON)
    cap = torch.exp(torch.rand(rows, config.cuts, generator=generator, device=device) * 3.5 + 2.1).long()
    room = torch.minimum(room, cap)  # eight to 256 steps
    spread = torch.rand(rows, config.cuts, config.ahead, generator=generator, device=device)
    ahead = 1 + (spread * room[..., None]).long()
    ahead[..., 0] = 1
    return cuts.clamp(max=length - 1), ahead.clamp(max=LEARNED_HORIZON)
