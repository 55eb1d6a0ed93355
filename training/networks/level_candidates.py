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

from training.networks.past import Past

LEVEL_CANDIDATES = 10
FEATURES = 6
DECAYS = (3.0, 10.0, 40.0, 1e6)  # of the weightings, in values
DAMPING = (0.93, 0.99)  # of the lines of the last 10 and 40 values


def without_glitches(relative: Tensor) -> Tensor:
    """`relative` (N, W), in scales, with NaN in place of single values far from two neighbours that are near together.

    Far is 30 scales or more. Where more than 1 % of the values are so, they are events.
    """
    change = relative[:, 1:] - relative[:, :-1]
    into, out = change[:, :-1], change[:, 1:]
    distance = torch.minimum(into.abs(), out.abs())
    glitch = (distance > 30) & ((into + out).abs() < 0.2 * distance)
    if not bool(glitch.any()):
        return relative
    count = glitch.to(torch.float64).sum(1, keepdim=True)
    rare = count <= (0.01 * torch.isfinite(relative).to(torch.float64).sum(1, keepdim=True)).clamp(min=1)
    return relative.masked_fill(torch.constant_pad_nd(glitch & rare, [1, 1]), float("nan"))


def may_have_glitches(relative: Tensor) -> Tensor:
    """Whether some value of each row (N, W), in scales, may be what `without_glitches` takes out: (N,)."""
    change = relative[:, 1:] - relative[:, :-1]
    into, out = change[:, :-1], change[:, 1:]
    distance = torch.minimum(into.abs(), out.abs())
    return ((distance > 30) & ((into + out).abs() < 0.2 * distance)).any(1)


def season_profile(past: Past, season: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The mean distance of each phase from the moving average of one season, by age, and that of every value's phase.

    season (N,) int64, slope (N,) of the trend where a whole season does not fit around a value. Returns the profile
    (N, P) with the newest value's phase at 0 and the phase one step older at 1, and the same for the remembered values,
    (N, W), or (N, 1) of zeros where all seasons are 1.
    """
    width = past.values.shape[1]
    length = season.unsqueeze(1).clamp(max=width)
    size = int(length.max())
    phases = torch.zeros(season.shape[0], size, dtype=torch.float64, device=season.device)
    if size == 1:
        return phases, phases
    column = torch.arange(width, device=season.device).unsqueeze(0)
    phase = (width - 1 - column).remainder(season.unsqueeze(1))
    total, count = past.total, past.count
    first = past.mask.argmax(1, keepdim=True)
    begin = torch.minimum(torch.maximum(column - length.div(2, rounding_mode="floor"), first), width - length)
    end = begin + length
    seen = count.gather(1, end) - count.gather(1, begin)
    average = (total.gather(1, end) - total.gather(1, begin)) / seen.clamp(min=1)
    centre = begin.to(torch.float64) + 0.5 * (length - 1).to(torch.float64)
    average = average + slope.unsqueeze(1) * (column.to(torch.float64) - centre)
    sums = phases.scatter_add(1, phase, (past.filled - average) * past.mask)
    profile = sums / phases.scatter_add(1, phase, past.mask).clamp(min=1)
    profile = torch.where(season.unsqueeze(1) > 1, profile, 0.0)
    return profile, profile.gather(1, phase)


def season_profile_of_one(past: Past, season: int, slope: Tensor) -> tuple[Tensor, Tensor]:
    """`season_profile` where all rows have the same season, twice or more, and no gaps behind their first value."""
    rows, width = past.values.shape[0], past.values.shape[1]
    if season == 1:
        zeros = torch.zeros(rows, 1, dtype=torch.float64, device=past.values.device)
        return zeros, zeros
    half, middle = season // 2, 0.5 * (season - 1)
    moving = (past.total[:, season:] - past.total[:, : width + 1 - season]) / season  # by the first of the season
    average = torch.cat([moving[:, :1].expand(-1, half), moving, moving[:, -1:].expand(-1, season - 1 - half)], 1)
    column = torch.arange(width, device=past.values.device).unsqueeze(0)
    first = width - past.count[:, -1:].to(torch.int64)
    if bool((first > 0).any()):
        begin = torch.minimum(torch.maximum(column - half, first), torch.full_like(first, width - season))
        average = torch.where(column < first + half, moving.gather(1, first), average)
    else:
        begin = (column - half).clamp(0, width - season)
    average = average + slope.unsqueeze(1) * ((column - begin).to(torch.float64) - middle)
    turns = (width + season - 1) // season
    missing = turns * season - width
    off = torch.constant_pad_nd((past.filled - average) * past.mask, [missing, 0]).unflatten(1, (turns, season))
    counts = torch.constant_pad_nd(past.mask, [missing, 0]).unflatten(1, (turns, season))
    oldest_first = off.sum(1) / counts.sum(1).clamp(min=1)
    return oldest_first.flip(1), oldest_first.repeat(1, turns)[:, missing:]


def fixed_phases(past: Past, season: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which steps ahead (N, H) fall on a phase that has always had the same value, that value, and how often.

    Sundays on which a shop was always closed, or the days between two weekly events. Three times are enough; but where
    the value turns up at phases that have others too, as zero does in rare demand, it is chance and none is fixed.
    """
    width = past.values.shape[1]
    size = int(season.clamp(max=width).max())
    phases = torch.zeros(season.shape[0], size, dtype=torch.float64, device=season.device)
    phase = torch.arange(width - 1, -1, -1, device=season.device).unsqueeze(0).remainder(season.unsqueeze(1))
    count = phases.scatter_add(1, phase, past.mask)
    known = count.clamp(min=1)
    mean = phases.scatter_add(1, phase, past.filled) / known
    off = (past.filled - mean.gather(1, phase)) * past.mask
    spread = phases.scatter_add(1, phase, off.abs()) / known
    is_fixed = (spread <= 1e-9 * (1 + mean.abs())) & (count >= 3) & (season > 1).unsqueeze(1)
    value = mean.masked_fill(~is_fixed, -1e60).amax(1, keepdim=True)
    elsewhere = ((past.filled - value).abs() <= 1e-9 * (1 + value.abs())) & ~is_fixed.gather(1, phase)
    is_fixed = is_fixed & ~(elsewhere & (past.mask > 0)).any(1, keepdim=True)
    at = (-ahead).remainder(season.unsqueeze(1))
    return is_fixed.gather(1, at), mean.gather(1, at), count.gather(1, at)


def weights_by_age(width: int) -> Tensor:
    """The weightings of `width` values, oldest first: (width, D) float64."""
    age = torch.arange(width - 1, -1, -1, dtype=torch.float64).unsqueeze(1)
    return torch.exp(-age / torch.tensor(DECAYS, dtype=torch.float64).unsqueeze(0))


def weighted_sums(x: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """The sums that levels, lines and autoregressions need, (N, 11, D), of x (N, W) with `weights` (W, D).

    `mask` (N, W) is 1 where there is a value, and x 0 where there is none.

    In order: 1, x, t, t^2, t x, and over neighbours a before b: 1, a, b, a^2, a b, b^2. Powers of t are in the weights,
    and the channels are a multiple of 4, see `training.networks.steady`.
    """
    width, n_weights = x.shape[1], weights.shape[1]
    t = torch.arange(1 - width, 1, dtype=torch.float64, device=x.device).unsqueeze(1)
    pair = mask * torch.constant_pad_nd(mask, [1, -1])
    a, b = torch.constant_pad_nd(x, [1, -1]) * pair, x * pair
    channels = torch.stack([mask, x, pair, a, b, a * a, a * b, b * b], 1)
    sums = channels @ torch.cat([weights, t * weights, t * t * weights], 1)
    plain, with_t = sums.narrow(2, 0, n_weights), sums.narrow(2, n_weights, n_weights)
    with_tt = sums.narrow(2, 2 * n_weights, n_weights)
    return torch.cat(
        [
            plain.narrow(1, 0, 2),
            with_t.narrow(1, 0, 1),
            with_tt.narrow(1, 0, 1),
            with_t.narrow(1, 1, 1),
            plain.narrow(1, 2, 6),
        ],
        1,
    )


def weighted_sums_without_gaps(x: Tensor, past: Past, weights: Tensor, first: Tensor) -> Tensor:
    """`weighted_sums` where nothing is missing behind the first value, at index `first` (N, 1).

    A sum over the older values of all pairs is that over all values but the newest, a step of age later.
    """
    n_weights = weights.shape[1]
    t = torch.arange(1 - x.shape[1], 1, dtype=torch.float64, device=x.device).unsqueeze(1)
    channels = torch.stack([past.mask, x, x * x, x * torch.constant_pad_nd(x, [1, -1])], 1)
    sums = channels @ torch.cat([weights, t * weights, t * t * weights], 1)
    plain, with_t = sums.narrow(2, 0, n_weights), sums.narrow(2, n_weights, n_weights)
    n, total, squares, ab = plain.unbind(1)
    with_tt = sums.narrow(2, 2 * n_weights, n_weights)
    newest, oldest = x[:, -1:], x.gather(1, first)
    oldest_weight, later = weights[first.squeeze(1)], weights[-1:] / weights[-2:-1]
    return torch.stack(
        [
            n,
            total,
            with_t.select(1, 0),
            with_tt.select(1, 0),
            with_t.select(1, 1),
            n - oldest_weight,
            later * (total - newest),
            total - oldest_weight * oldest,
            later * (squares - newest * newest).clamp(min=0),
            ab,
            (squares - oldest_weight * oldest * oldest).clamp(min=0),
        ],
        1,
    )


def autoregression(sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """b = constant + factor a by least squares, drawn to a factor of 1: factor, constant and what is left (N, D).

    sums (N, 6, D) over pairs of values in scales, in the order of `weighted_sums`. The fourth and fifth are what a
    straight line leaves, and its rise.
    """
    n = sums.select(1, 0).clamp(min=1e-9)
    a, b, aa, ab, bb = (sums.narrow(1, 1, 5) / n.unsqueeze(1)).unbind(1)
    aa, ab, bb = (aa - a * a).clamp(min=0), ab - a * b, (bb - b * b).clamp(min=0)
    ridge = 1e-5 / n.clamp(min=1.0)
    factor = ((ab + ridge) / (aa + ridge)).clamp(1e-3, 3.0)
    left = (bb - factor * (2 * ab - factor * aa)).clamp(min=0).sqrt()
    left_by_line = (bb - (2 * ab - aa)).clamp(min=0).sqrt()
    return factor, b - factor * a, left, left_by_line, b - a


def continued(start: Tensor, factor: Tensor, constant: Tensor, steps: Tensor) -> Tensor:
    """`start` carried on for `steps` by x -> constant + factor x; all are broadcast against one another."""
    is_line = (factor - 1).abs() < 1e-9
    log = torch.where(is_line, 1.0, torch.log(factor))
    grown = torch.expm1((log * steps).clamp(max=40.0)) / torch.where(is_line, 1.0, factor - 1)
    grown = torch.where(is_line, steps, grown)  # 1 + factor + ... + factor^(steps - 1)
    return start + (start * (factor - 1) + constant) * grown


def level_candidates(
    past: Past, season: Tensor, of_row: Tensor, ahead: Tensor, weights: Tensor, damping: Tensor, shared: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The forecasts of this module for every step ahead (N, H, LEVEL_CANDIDATES), less the last value.

    All values are in scales; season (N,) int64, ahead (N, H), weights (W, D), damping (1, 2); of_row (N, 3): slope of
    the trend, height of the last value above zero where the series was never below it, else 0, and steps since then.
    In order: the profile on three smoothed levels and on the mean; on an autoregression of the last 40 values and of
    all; on damped lines of the last 10 and 40; in proportion to the level; with Theta's half of the trend.
    `shared` is the season of all rows, where they have the same one and no gaps, else 0.
    Also returns what the methods leave unexplained, spreads in scales and factors (N, FEATURES); and the continuation
    of an exact line or decay (N, H), with the doubt about it, 0..1, and how many pairs of values agree (N, 2).
    """
    height, gap = of_row.narrow(1, 1, 1), of_row.narrow(1, 2, 1)
    if shared > 0:
        profile, at_phase = season_profile_of_one(past, shared, of_row.select(1, 0))
        first = past.values.shape[1] - past.count[:, -1:].to(torch.int64)
        sums = weighted_sums_without_gaps((past.filled - at_phase) * past.mask, past, weights, first)
    else:
        profile, at_phase = season_profile(past, season, of_row.select(1, 0))
        sums = weighted_sums((past.filled - at_phase) * past.mask, past.mask, weights)
    weight = sums.narrow(1, 0, 1).clamp(min=1e-9)
    levels, mean_t, mean_tt, mean_tx = (sums.narrow(1, 1, 4) / weight).unbind(1)
    slopes = (mean_tx - mean_t * levels) / ((mean_tt - mean_t * mean_t).clamp(min=1e-9) + 2.0)
    heads = levels - slopes * mean_t  # the lines at time 0
    pair_sums = sums.narrow(1, 5, 6).narrow(2, 2, 2)
    factor, constant, left, left_by_line, rise = autoregression(pair_sums)

    pairs, bb = pair_sums[:, 0, 1:], pair_sums[:, 5, 1:]
    left_of_all, left_by_line = left.narrow(1, 1, 1), left_by_line.narrow(1, 1, 1)
    is_line = left_by_line <= left_of_all.clamp(min=1e-6)
    damping = damping.expand(ahead.shape[0], -1)
    last = -profile.narrow(1, 0, 1)
    h = ahead.to(torch.float64).unsqueeze(2)
    # The autoregressions, the sums of the damped lines, and what is exact if it is: all by the same formula.
    bounded = factor.clamp(max=1.0)
    factors = torch.cat([bounded, damping, torch.where(is_line, 1.0, factor.narrow(1, 1, 1))], 1)
    constants = torch.cat([constant, damping, torch.where(is_line, rise.narrow(1, 1, 1), constant.narrow(1, 1, 1))], 1)
    from_last = (torch.arange(5, device=ahead.device) - 2.5).abs() > 1  # all but the damped lines, in the middle
    path = continued(
        (last * from_last).unsqueeze(1),
        factors.unsqueeze(1),
        constants.unsqueeze(1),
        h + (gap * from_last).unsqueeze(1),
    )

    seasonal = profile.gather(1, (-ahead).remainder(season.unsqueeze(1))).unsqueeze(2)
    level, mean = levels.narrow(1, 1, 1), levels.narrow(1, 3, 1)
    share = ((height + level) / (height + mean).clamp(min=1.0)).clamp(0.0, 5.0)
    share = torch.where((height > 0) & (height + mean > 1), share, 1.0)
    candidates = torch.cat(
        [
            levels.unsqueeze(1).expand(-1, ahead.shape[1], -1),
            path.narrow(2, 0, 2),
            heads.narrow(1, 1, 2).unsqueeze(1) + slopes.narrow(1, 1, 2).unsqueeze(1) * path.narrow(2, 2, 2),
            level.unsqueeze(1) + seasonal * (share - 1).unsqueeze(1),
            level.unsqueeze(1) + 0.5 * slopes.narrow(1, 3, 1).unsqueeze(1) * h,
        ],
        2,
    )
    noise = (bb / pairs.clamp(min=1e-9)).sqrt()
    swing = profile.abs().sum(1, keepdim=True) / season.unsqueeze(1)
    features = torch.cat([bounded, left, swing, noise], 1)
    error = torch.where(is_line, left_by_line, left_of_all)
    enough = pairs >= torch.where(is_line, 1.9, 3.9)
    doubt = torch.where(enough, (60 * error).clamp(max=1.0), 1.0)
    exact = (seasonal.squeeze(2) + path.select(2, 4)).clamp(-1e60, 1e60)
    return (seasonal + candidates).clamp(-1e30, 1e30), features, exact, torch.cat([doubt, pairs], 1)


def unexplained_features(unexplained: Tensor) -> Tensor:
    """Inputs of the head from what the methods leave unexplained, (N, F): (N, F) float32."""
    return torch.log(unexplained.clamp(1e-3, 1e3)).to(torch.float32) / 4
