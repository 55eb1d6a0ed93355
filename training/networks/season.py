"""The season of a series by its autocorrelation: computed, not learned."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def find_season(memory: Tensor, scale: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """The season length of each row of remembered values and the autocorrelations.

    memory (N, W) float64 with NaN for missing; scale, last (N,). Returns season (N,) int64, 1 where no peak of the
    autocorrelation is significant, and the autocorrelation (N, W // 2 + 1) float32, a mean of the detrended values' and
    of their differences'.
    """
    width = memory.shape[1]
    present = torch.isfinite(memory)
    z = torch.where(present, ((memory - last[:, None]) / scale[:, None]).clamp(-1e6, 1e6), 0.0).float()
    mask = present.float()
    t = torch.linspace(-1, 1, width, device=memory.device)[None, :]
    count = mask.sum(1, keepdim=True).clamp(min=1)
    mean_t, mean_z = (t * mask).sum(1, keepdim=True) / count, z.sum(1, keepdim=True) / count
    centred_t = (t - mean_t) * mask
    slope = (centred_t * z).sum(1, keepdim=True) / (centred_t * centred_t).sum(1, keepdim=True).clamp(min=1e-6)
    detrended = (z - mean_z) * mask - slope * centred_t
    previous = functional.pad(z, (1, -1))
    pair_mask = mask * functional.pad(mask, (1, -1))
    change = (z - previous) * pair_mask
    change = (change - change.sum(1, keepdim=True) / pair_mask.sum(1, keepdim=True).clamp(min=1)) * pair_mask
    acf = autocorrelation(torch.stack([detrended, change], 1), torch.stack([mask, pair_mask], 1)).mean(1)
    lag = torch.arange(acf.shape[1], device=memory.device)[None, :]
    pairs = (count - lag).clamp(min=1)
    peak = functional.pad((acf[:, 1:-1] > acf[:, :-2]) & (acf[:, 1:-1] >= acf[:, 2:]), (1, 1))
    long_enough = (lag >= 2) & (2 * lag + 1 <= count)
    # A smooth series is like itself at short lags too; a season shows by coming back after having been unlike.
    rise = acf - acf.cummin(1)[0]
    candidate = peak & long_enough & (acf > 0.12 + 1.8 / pairs.sqrt()) & (rise > 0.2)
    value = torch.where(candidate, rise, 0.0)
    best = value.max(1, keepdim=True)[0]
    # Multiples of a season are as good as it is: take the first, and of its neighbours, which noise may favour, the
    # best. (Averages over neighbouring lags were worse on real series, which have sharp peaks.)
    first = (candidate & (value >= 0.85 * best)).to(torch.int64).argmax(1, keepdim=True)
    near = (lag >= first) & (lag <= 1.25 * first)
    season = torch.where(near, value, 0.0).argmax(1)
    return torch.where(best[:, 0] > 0, season, 1).clamp(min=1), acf


def autocorrelation(x: Tensor, mask: Tensor) -> Tensor:
    """Autocorrelation of rows (..., W) at lags 0..W // 2, over the observed pairs; x is zero where mask is."""
    width = x.shape[-1]
    power = torch.fft.rfft(torch.stack([x, mask]), 2 * width).abs().square()
    products = torch.fft.irfft(power, 2 * width)[..., : width // 2 + 1]
    means = products[0] / products[1].clamp(min=1)
    return means / means[..., :1].clamp(min=1e-12)
