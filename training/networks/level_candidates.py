"""Forecasts of the classical methods, computed for every read-out: a seasonal profile and what is left without it.

A profile is the mean distance of each phase of a season from a moving average of one season, over the whole memory
(classical decomposition, Macaulay 1931). What is left is continued by exponentially weighted levels (simple exponential
smoothing, Brown 1959), by straight lines (Theta: Assimakopoulos and Nikolopoulos 2000; damped: Gardner and McKenzie
1985) and by a first-order autoregression with a mean, which is also every line, decay and saturation that is exact.

Shapes: N read-outs, W remembered values (NaN for missing), H steps ahead, D weightings of the past by age. Values are
less the last one; times are in steps, and 0 is the newest.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LEVEL_CANDIDATES = 10
FEATURES = 6
DECAYS = (3.0, 10.0, 40.0, 1e6)  # of the weightings, in values
CHANNELS = 12  # of the weighted sums: a multiple of 4, see `training.networks.steady`


def without_glitches(relative: Tensor, scale: Tensor) -> Tensor:
    """`relative` (N, W) with NaN in place of single values far from two neighbours that are near to one another.

    Far is 30 of the scale (N,) or more. Where more than 1 % of the values are so, they are events.
    """
    change = relative[:, 1:] - relative[:, :-1]
    into, out = change[:, :-1], change[:, 1:]
    distance = torch.minimum(into.abs(), out.abs())
    glitch = (distance > 30 * scale[:, None]) & ((into + out).abs() < 0.2 * distance)
    if not bool(glitch.any()):
        return relative
    count = glitch.to(torch.float64).sum(1, keepdim=True)
    rare = count <= (0.01 * torch.isfinite(relative).to(torch.float64).sum(1, keepdim=True)).clamp(min=1)
    return relative.masked_fill(functional.pad(glitch & rare, (1, 1)), float("nan"))


def season_profile(relative: Tensor, season: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The mean distance of each phase from the moving average of one season, by age, and the ages of the values.

    relative (N, W), season (N,) int64, slope (N,) of the trend where a whole season does not fit around a value.
    Returns the profile (N, P) with the newest value's phase at 0 and the phase one step older at 1, and the phase of
    every remembered value (N, W) int64. Both are 0 for a season of 1.
    """
    width = relative.shape[1]
    column = torch.arange(width, device=relative.device)[None, :]
    phase = (width - 1 - column).remainder(season[:, None])
    size = int(season.clamp(max=width).max())
    phases = torch.zeros(relative.shape[0], size, dtype=torch.float64, device=relative.device)
    if size == 1:
        return phases, phase
    present = torch.isfinite(relative)
    mask = present.to(torch.float64)
    filled = torch.where(present, relative, 0.0)
    total = functional.pad(filled.cumsum(1), (1, 0))
    count = functional.pad(mask.cumsum(1), (1, 0))
    length = season[:, None].clamp(max=width)
    first = mask.argmax(1, keepdim=True)
    begin = torch.minimum(torch.maximum(column - length.div(2, rounding_mode="floor"), first), width - length)
    end = begin + length
    seen = count.gather(1, end) - count.gather(1, begin)
    average = (total.gather(1, end) - total.gather(1, begin)) / seen.clamp(min=1)
    centre = begin.to(torch.float64) + 0.5 * (length - 1).to(torch.float64)
    average = average + slope[:, None] * (column.to(torch.float64) - centre)
    sums = phases.scatter_add(1, phase, (filled - average) * mask)
    profile = sums / phases.scatter_add(1, phase, mask).clamp(min=1)
    return torch.where(season[:, None] > 1, profile, 0.0), phase


def weights_by_age(width: int) -> Tensor:
    """The weightings of `width` values, oldest first: (width, D) float64."""
    age = torch.arange(width - 1, -1, -1, dtype=torch.float64)[:, None]
    return torch.exp(-age / torch.tensor(DECAYS, dtype=torch.float64)[None, :])


def weighted_sums(x: Tensor, weights: Tensor) -> Tensor:
    """The sums that levels, lines and autoregressions need, (N, CHANNELS, D), of x (N, W) with `weights` (W, D).

    In order: 1, x, t, t^2, t x, and over neighbours a before b: 1, a, b, a^2, a b, b^2, and 0.
    """
    width = x.shape[1]
    present = torch.isfinite(x)
    mask = present.to(torch.float64)
    filled = torch.where(present, x, 0.0)
    t = torch.arange(1 - width, 1, dtype=torch.float64, device=x.device)[None, :]
    pair = mask * functional.pad(mask, (1, -1))
    a, b, t_mask = functional.pad(filled, (1, -1)) * pair, filled * pair, t * mask
    zero = torch.zeros_like(a)
    rows = [mask, filled, t_mask, t_mask * t, t * filled, pair, a, b, a * a, a * b, b * b, zero]
    return torch.stack(rows, 1) @ weights


def autoregression(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """b = constant + factor a by least squares, drawn to a factor of 1: factor and constant (N, D).

    sums (N, CHANNELS, D), of values in scales. The third, (N, 2, D), is the spread that is left, and that which a
    straight line leaves.
    """
    means = sums[:, 6:11] / sums[:, 5:6].clamp(min=1e-9)
    mean_a, mean_b = means[:, 0], means[:, 1]
    aa = (means[:, 2] - mean_a * mean_a).clamp(min=0)
    ab = means[:, 3] - mean_a * mean_b
    bb = (means[:, 4] - mean_b * mean_b).clamp(min=0)
    ridge = 0.01 / sums[:, 5].clamp(min=1.0)
    factor = ((ab + ridge) / (aa + ridge)).clamp(1e-3, 3.0)
    factors = torch.stack([factor, torch.ones_like(factor)], 1)
    spread = (bb[:, None] - 2 * factors * ab[:, None] + factors * factors * aa[:, None]).clamp(min=0).sqrt()
    return factor, mean_b - factor * mean_a, spread


def continued(start: Tensor, factor: Tensor, constant: Tensor, steps: Tensor) -> Tensor:
    """`start` carried on for `steps` by x -> constant + factor x; all are broadcast against one another."""
    is_line = (factor - 1).abs() < 1e-9
    log = torch.where(is_line, 1.0, torch.log(factor))
    grown = torch.expm1((log * steps).clamp(max=40.0)) / torch.where(is_line, 1.0, factor - 1)
    grown = torch.where(is_line, steps, grown)  # 1 + factor + ... + factor^(steps - 1)
    return start + (start * (factor - 1) + constant) * grown


def level_candidates(
    relative: Tensor, season: Tensor, of_row: Tensor, ahead: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The forecasts of this module for every step ahead (N, H, LEVEL_CANDIDATES), less the last value.

    relative (N, W) without glitches, season (N,) int64, ahead (N, H), weights (W, D); of_row (N, 4): slope of the
    trend, height of the last value above zero where the series was never below it, else 0, scale, steps since then.
    In order: the profile on three smoothed levels and on the mean; on an autoregression of the last 40 values and of
    all; on damped lines of the last 10 and 40; in proportion to the level; with Theta's half of the trend.
    Also returns what the methods leave unexplained, spreads in scales and factors (N, FEATURES); and the continuation
    of an exact line or decay (N, H), with the doubt about it, 0..1, and how many pairs of values agree (N, 2).
    """
    scale = of_row[:, 2:3]
    relative = (relative / scale).clamp(-1e30, 1e30)  # from here on in scales, whose squares are finite
    height = (of_row[:, 1:2] / scale).clamp(max=1e30)
    profile, phase = season_profile(relative, season, (of_row[:, 0] / of_row[:, 2]).clamp(-1e30, 1e30))
    at_phase = profile.gather(1, phase)
    left = relative - at_phase
    sums = weighted_sums(left, weights)
    weight = sums[:, 0].clamp(min=1e-9)
    levels = sums[:, 1] / weight
    mean_t = sums[:, 2] / weight
    centred = (sums[:, 3] - mean_t * sums[:, 2]).clamp(min=1e-9)
    slopes = (sums[:, 4] - sums[:, 2] * levels) / (centred + 2.0 * weight)
    heads = levels - slopes * mean_t  # the lines at time 0
    factor, constant, spread = autoregression(sums)

    pairs = sums[:, 5, 3:]
    rise = (sums[:, 7, 3:] - sums[:, 6, 3:]) / pairs.clamp(min=1e-9)
    errors = spread[:, :, 3]
    is_line = errors[:, 1:] <= errors[:, :1].clamp(min=1e-6)
    damping = torch.tensor([0.93, 0.99], dtype=torch.float64, device=ahead.device).expand(ahead.shape[0], -1)
    last = -profile[:, :1]
    h = ahead.to(torch.float64)[:, :, None]
    # The autoregressions, the sums of the damped lines, and what is exact if it is: all by the same formula.
    factors = torch.cat([factor[:, 2:].clamp(max=1.0), damping, torch.where(is_line, 1.0, factor[:, 3:])], 1)
    constants = torch.cat([constant[:, 2:], damping, torch.where(is_line, rise, constant[:, 3:])], 1)
    since = torch.cat([of_row[:, 3:4], of_row[:, 3:4], torch.zeros_like(damping), of_row[:, 3:4]], 1)
    starts = torch.cat([last, last, torch.zeros_like(damping), last], 1)
    path = continued(starts[:, None], factors[:, None], constants[:, None], h + since[:, None])

    seasonal = profile.gather(1, (-ahead).remainder(season[:, None]))[:, :, None]
    base, mean = height + levels[:, 1:2], height + levels[:, 3:]
    share = torch.where((height > 0) & (mean > 1), (base / mean.clamp(min=1.0)).clamp(0.0, 5.0), 1.0)
    candidates = torch.cat(
        [
            levels[:, None].expand(-1, ahead.shape[1], -1),
            path[:, :, :2],
            heads[:, None, 1:3] + slopes[:, None, 1:3] * path[:, :, 2:4],
            (levels[:, None, 1:2] - seasonal) + seasonal * share[:, None],
            levels[:, None, 1:2] + 0.5 * slopes[:, None, 3:] * h,
        ],
        2,
    )
    noise = (sums[:, 10, 3:] / pairs.clamp(min=1e-9)).sqrt()
    sizes = torch.cat([spread[:, 0, 2:], at_phase.abs().mean(1, keepdim=True), noise], 1)
    features = torch.cat([factor[:, 2:].clamp(max=1.0), sizes], 1)
    error = torch.where(is_line, errors[:, 1:], errors[:, :1])
    enough = pairs >= torch.where(is_line, 1.9, 3.9)
    doubt = torch.where(enough, (100 * error).clamp(0.0, 1.0), 1.0)
    candidates = (scale[:, :, None] * (seasonal + candidates)).clamp(-1e300, 1e300)
    exact = (scale * (seasonal[:, :, 0] + path[:, :, 4])).clamp(-1e300, 1e300)
    return candidates, features, exact, torch.cat([doubt, pairs], 1)
