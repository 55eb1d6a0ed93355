"""The simple forecasts from a season and a memory, which the forecaster mixes and corrects.

Shapes: N read-outs, W remembered values (NaN for missing), H steps ahead. `relative` values are less the last one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.networks.past import Past

SEASONAL_CANDIDATES = 9
SECOND, NO_FLOOR = 4096, 4096 * 4096  # parts of what a caller states about a series, see `stated_seasons`


def stated_seasons(stated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the caller stated at the beginning of a series (N,): season, second season, whether zero may be a floor.

    One number holds it: season + SECOND * second season (0 where there is none), + NO_FLOOR for a series that may go
    below zero although it has not yet.
    """
    number = stated.to(torch.int64)
    season, second = number % 4096, number.div(4096, rounding_mode="floor") % 4096
    return season, second, number < 4096 * 4096


def usable_seasons(stated: Tensor, steps: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """The stated seasons that can be used: the first or only one, and a longer one where there are two; else 0.

    stated (N,) as in `stated_seasons`, steps (N,) observations so far, `longest` the longest season that the memory can
    hold twice. A season is used where a whole one was observed. The third says for which rows a season is to be looked
    for in the values: where none can be used, and where one alone may hide a shorter one. All are (N,).
    """
    first, second, _ = stated_seasons(stated)
    first = torch.where((first <= longest) & (first <= steps), first, 0)
    second = torch.where((second <= longest) & (second <= steps), second, 0)
    shorter, longer = torch.minimum(first, second), torch.maximum(first, second)
    usable, second = torch.where(shorter > 0, shorter, longer), torch.where(shorter > 0, longer, 0)
    return usable, second, (usable == 0) | may_hide_shorter(usable, second)


def may_hide_shorter(usable: Tensor, second: Tensor) -> Tensor:
    """Whether one stated season, no second, is so long that a shorter one may be in it: (N,) bool."""
    return (usable >= 28) & (second == 0)


def choose_seasons(
    usable: Tensor, second: Tensor, detected: Tensor, acf: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Season and longer season (N,) int64, and the strength of the longer one (N, 1).

    usable and second (N,) as from `usable_seasons`, detected (N,) int64, acf (N, lags) float32, steps (N,) observations
    so far. A stated season that is long (a year of days) does not hide a short one that shows by itself (a week): the
    two are used together, the longer one rounded to whole shorter ones.
    """
    season = torch.where(usable > 0, usable, detected)
    stated_longer = second
    may_hide = may_hide_shorter(usable, second)
    if bool(may_hide.any()):
        shorter, shorter_strength = shorter_season(usable, detected, acf)
        at_stated = acf.gather(1, usable.clamp(max=acf.shape[1] - 1).unsqueeze(1)).select(1, 0)
        # One that divides the stated season is in it already; a weaker one is a ripple.
        hidden = may_hide & (usable >= 4 * shorter) & (shorter > 1) & (usable % shorter.clamp(min=1) != 0)
        hidden = hidden & (shorter_strength > torch.maximum(at_stated, torch.full_like(shorter_strength, 0.4)))
        season, stated_longer = torch.where(hidden, shorter, season), torch.where(hidden, usable, second)
    longer, strength = longer_season(season, acf, steps)
    if not bool((stated_longer > 0).any()):
        return season, longer, strength
    turns = (stated_longer + season.div(2, rounding_mode="floor")).div(season, rounding_mode="floor")
    stated_longer = torch.where(stated_longer >= 4 * season, turns * season, stated_longer)
    at = acf.gather(1, torch.stack([stated_longer, season], 1).clamp(max=acf.shape[1] - 1))
    stated_strength = (at[:, :1] - at[:, 1:]).clamp(min=0)
    is_stated = stated_longer > 0
    longer = torch.where(is_stated, stated_longer, longer)
    return season, longer, torch.where(is_stated.unsqueeze(1), stated_strength, strength)


def shorter_season(stated: Tensor, detected: Tensor, acf: Tensor) -> tuple[Tensor, Tensor]:
    """The season (N,) that shows within a quarter of the stated one, `detected` where none does, and its strength (N,).

    stated (N,) int64, acf (N, lags) float32. As in `find_season`, a season comes back after having been unlike.
    """
    low = acf[:, : max(4, acf.shape[1] // 2)]
    inner = low[:, 2:-1]
    rise = inner - low.cummin(1)[0][:, 2:-1]
    is_peak = (inner > low[:, 1:-2]) & (inner >= low[:, 3:]) & (inner > 0.2) & (rise > 0.2)
    lag = torch.arange(2, low.shape[1] - 1, device=acf.device).unsqueeze(0)
    value = torch.where(is_peak & (4 * lag <= stated.unsqueeze(1)), rise, 0.0)
    best = value.max(1, keepdim=True)[0]
    first = (value >= 0.85 * best.clamp(min=1e-3)).to(torch.float32).argmax(1) + 2
    season = torch.where(best.select(1, 0) > 0, first, detected)
    return season, acf.gather(1, season.clamp(max=acf.shape[1] - 1).unsqueeze(1)).select(1, 0)


def longer_season(season: Tensor, acf: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """A multiple of the season that repeats better than the season itself (a week of hours), else the season.

    season (N,) int64, acf (N, lags) float32, steps (N,) observations so far. Returns the length (N,) int64 and by how
    much its autocorrelation is higher (N, 1).
    """
    if not bool((season > 1).any()):
        return season, torch.zeros_like(acf[:, :1])
    times = torch.arange(2, 15, device=season.device).unsqueeze(0)
    lag = season.unsqueeze(1) * times
    fits = (lag < acf.shape[1]) & (2 * lag <= steps.unsqueeze(1)) & (season.unsqueeze(1) > 1)
    value = torch.where(fits, acf.gather(1, lag.clamp(max=acf.shape[1] - 1)), -99.0)
    best, index = value.max(1, keepdim=True)
    single = acf.gather(1, season.clamp(max=acf.shape[1] - 1).unsqueeze(1))
    better = best > single + 0.02
    return torch.where(better, lag.gather(1, index), season.unsqueeze(1)).select(1, 0), torch.where(
        better, best - single, 0.0
    )


def season_levels(past: Past, season: Tensor, shared: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means of the last season and of the one before (N,), and the mean absolute change over a season (N,).

    The change is NaN where no two values lie a season apart. The fourth is whether some value is what it was a season
    ago, (N,): without that no phase can be fixed. `shared` is the season of all rows, where they have the same one and
    no gaps behind their first value, else 0.
    """
    if shared > 0:
        return season_levels_of_one(past, shared)
    width = past.values.shape[1]
    edges = (width - season.unsqueeze(1) * torch.arange(3, device=season.device).unsqueeze(0)).clamp(min=0)
    t, c = past.total.gather(1, edges), past.count.gather(1, edges)
    means = (t[:, :-1] - t[:, 1:]) / (c[:, :-1] - c[:, 1:]).clamp(min=1)
    index = torch.arange(width, device=season.device).unsqueeze(0) - season.unsqueeze(1)
    season_ago = index.clamp(min=0)
    pairs = past.mask * past.mask.gather(1, season_ago) * (index >= 0)
    change = (past.filled - past.filled.gather(1, season_ago)).abs() * pairs
    swing = change.sum(1) / pairs.sum(1)
    older = torch.where(c.select(1, 1) > c.select(1, 2), means.select(1, 1), means.select(1, 0))
    repeats = ((change <= 1e-9) & (pairs > 0)).any(1) & (season > 1)
    return means.select(1, 0), older, swing, repeats


def season_levels_of_one(past: Past, season: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`season_levels` where all rows have the same season, and no gaps behind their first value."""
    width = past.values.shape[1]
    edges = [max(width - turns * season, 0) for turns in range(3)]
    t, c = past.total[:, edges], past.count[:, edges]
    means = (t[:, :-1] - t[:, 1:]) / (c[:, :-1] - c[:, 1:]).clamp(min=1)
    older = torch.where(c.select(1, 1) > c.select(1, 2), means.select(1, 1), means.select(1, 0))
    start = min(season, width)
    older_mask = past.mask[:, : width - start]
    change = (past.filled[:, start:] - past.filled[:, : width - start]).abs() * older_mask
    swing = change.sum(1) / past.count.select(1, width - start)
    if season == 1:
        return means.select(1, 0), older, swing, torch.zeros_like(swing, dtype=torch.bool)
    return means.select(1, 0), older, swing, ((change <= 1e-9) & (older_mask > 0)).any(1)


def seasonal_candidates(
    relative: Tensor,
    season: Tensor,
    longer: Tensor,
    level: Tensor,
    older_level: Tensor,
    mean: Tensor,
    ahead: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The simple forecasts (N, H, SEASONAL_CANDIDATES), which of them exist, and the season's turn at each step (N, H).

    relative (N, W); season, longer (N,) int64; level, older_level, mean (N,); ahead (N, H) int64 >= 1. In order: the
    last value, the values one to four seasons back at the phase of that step, the one a longer season back, the one a
    season back with the level's drift, the level of the last season, the mean.
    """
    turn = (ahead + season.unsqueeze(1) - 1).div(season.unsqueeze(1), rounding_mode="floor")
    nearest = ahead - turn * season.unsqueeze(1)  # <= 0, the newest value at the phase of that step
    far_turn = (ahead + longer.unsqueeze(1) - 1).div(longer.unsqueeze(1), rounding_mode="floor")
    far = ahead - far_turn * longer.unsqueeze(1)
    season_offsets = torch.arange(4, device=ahead.device) * season.unsqueeze(1)
    offsets = torch.cat([nearest.unsqueeze(2) - season_offsets.unsqueeze(1), far.unsqueeze(2)], 2)
    index = relative.shape[1] - 1 + offsets
    looked = relative.gather(1, index.clamp(min=0).flatten(1)).unflatten(1, (ahead.shape[1], 5))
    present = torch.isfinite(looked) & (index >= 0)
    looked = torch.where(present, looked, 0.0)
    drift = ((level - older_level).unsqueeze(1) * turn).unsqueeze(2)
    zeros = torch.zeros_like(drift)
    exist = torch.ones_like(drift, dtype=torch.bool)
    mean_, level_ = mean[:, None, None] + zeros, level[:, None, None] + zeros
    candidates = torch.cat([zeros, looked, looked[:, :, :1] + drift, level_, mean_], 2)
    return candidates, torch.cat([exist, present, present[:, :, :1], exist, exist], 2), turn
