"""The season of a series by its autocorrelation: computed, not learned.

Shapes: N rows, W remembered values (NaN for missing), W // 2 the longest season.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Autocorrelation(NamedTuple):
    """What N rows of W remembered values are like some lags before. TorchScript knows no other kind of record."""

    alike: Tensor  # (N, lags) float32: autocorrelation, a mean of the detrended values' and of their differences'
    means: Tensor  # (N, lags) float32: mean products of detrended values
    products: Tensor  # (N, lags) float32: sums of products of differences
    change: Tensor  # (N, W) float32: differences, 0 where there is none
    neighbour: Tensor  # (N, 1): `alike` one value before, without the noise between values
    count: Tensor  # type: ignore[assignment]  # (N, 1) float32: present values; hides the method of tuples
    oldest: Tensor  # (N, 1) int64: place of the first of them
    is_curved: Tensor  # (N,) bool: whether more than rounding is left beside a straight line


def find_season(memory: Tensor) -> tuple[Tensor, Tensor]:
    """The season length of each row of remembered values, and the autocorrelations.

    memory (N, W) float64. Returns season (N,) int64, 1 where there is no significant one, and the autocorrelation
    (N, W // 2 + 1) float32, a mean of the detrended values' and of their differences'.
    """
    correlations = autocorrelation(memory)
    return season_in(correlations), within_half(correlations)


def autocorrelation(memory: Tensor) -> Autocorrelation:
    """How alike the values of memory (N, W) float64 are to those before them, at lags 0..3 W // 4."""
    present = torch.isfinite(memory)
    mask = present.to(torch.float32)
    count = mask.sum(1, keepdim=True).clamp(min=1)
    z = robust_heights(memory, present, count)
    # Whole numbers that end at 0: the same, and exact, in a window of any width.
    t = torch.arange(1 - memory.shape[1], 1, dtype=torch.float32, device=memory.device).unsqueeze(0)
    centred_t = (t - (t * mask).sum(1, keepdim=True) / count) * mask
    slope = (centred_t * z).sum(1, keepdim=True) / (centred_t * centred_t).sum(1, keepdim=True).clamp(min=1e-6)
    detrended = (z - z.sum(1, keepdim=True) / count) * mask - slope * centred_t
    pair_mask = mask * torch.constant_pad_nd(mask, [1, -1])
    pairs = pair_mask.sum(1, keepdim=True)
    change = (z - torch.constant_pad_nd(z, [1, -1])) * pair_mask
    change = (change - change.sum(1, keepdim=True) / pairs.clamp(min=1)) * pair_mask

    oldest = mask.argmax(1, keepdim=True)
    products = lagged_products(torch.stack([detrended, change], 1))
    means = products / lagged_pairs(mask, pair_mask, count, oldest)
    likeness = means / means[:, :, :1].clamp(min=1e-12)
    # Where many values are missing there are few differences, and their autocorrelation is noise.
    trust = (1.25 * pairs / count).clamp(max=1.0)
    alike = (likeness.select(1, 0) + trust * likeness.select(1, 1)) / (1 + trust)
    # Where neighbours are alike and their differences are not, there is noise between the values, and no more.
    level = likeness[:, 0, 1:2]
    neighbour = torch.where(level > 0.5, level / (1 + trust), alike[:, 1:2])
    # What remains of a straight line is rounding, which repeats itself.
    is_curved = detrended.abs().amax(1) > 1e-5 * z.abs().amax(1)
    return Autocorrelation(
        alike, means.select(1, 0), products.select(1, 1), change, neighbour, count, oldest, is_curved
    )


def within_half(correlations: Autocorrelation) -> Tensor:
    """The autocorrelation at the lags that may be seasons, (N, W // 2 + 1): those that fit twice into the memory."""
    return correlations.alike[:, : correlations.change.shape[1] // 2 + 1]


def of_rows(correlations: Autocorrelation, rows: Tensor) -> Autocorrelation:
    """Those `rows` (int64 indices) of the record."""
    return Autocorrelation(
        correlations.alike[rows],
        correlations.means[rows],
        correlations.products[rows],
        correlations.change[rows],
        correlations.neighbour[rows],
        correlations.count[rows],
        correlations.oldest[rows],
        correlations.is_curved[rows],
    )


def season_in(correlations: Autocorrelation) -> Tensor:
    """The season of each row, (N,) int64, 1 where there is no significant one."""
    acf, count = within_half(correlations), correlations.count
    # A smooth series is like itself at short lags too; a season shows by coming back after having been unlike.
    above = torch.cat([acf[:, :1], torch.maximum(acf[:, 1:2], correlations.neighbour), acf[:, 2:]], 1)
    rise = (above - above.cummin(1)[0])[:, 2:-1]
    lag = torch.arange(2, acf.shape[1] - 1, dtype=torch.float32, device=acf.device).unsqueeze(0)
    candidate = peaks(acf) & (2 * lag <= count) & (rise > 0.2)
    candidate = candidate & (acf[:, 2:-1] > 0.12 + 1.8 / (count - lag).clamp(min=1).sqrt())
    exact = exact_repeats(correlations.change, correlations.products, count, correlations.oldest)
    value = torch.where(exact, 3.0, torch.where(candidate, rise, 0.0))
    best = value.max(1, keepdim=True)[0]
    # Multiples of a season are as good as it is: the first counts.
    first = (value >= 0.85 * best.clamp(min=1e-3)).to(torch.float32).argmax(1, keepdim=True) + 2
    is_exact = best > 2
    season = torch.ones_like(first)
    if bool((best > 0).any()):
        refined, repeats = best_by_multiples(correlations.alike, first, count)
        season = torch.where(is_exact, first, refined)
        # Anything that swings slowly resembles a season of which two turns were observed, and does not come back later.
        clear = is_exact | (repeats > torch.where(3 * season > count, 0.5, 0.0))
        season = torch.where((best > 0) & clear, season, 1).to(torch.int64)
    of_calendar = calendar_season(correlations.means, acf, season, count)
    season = torch.where((of_calendar > 1) & ~is_exact, of_calendar, season)
    short = short_season(correlations.means, count)
    is_short = (short > 1) & ~is_exact & ((season == 1) | (5 * short < 6 * season))
    is_short = is_short & ((of_calendar == 1) | (season > 8 * short))
    if bool((is_short & (season > 8 * short)).any()):
        season, is_short = with_whole_turns(correlations.means, season, of_calendar, short, is_short, acf, count)
    season = torch.where(is_short, short, season)
    return torch.where(correlations.is_curved, season.select(1, 0), 1)


def short_season(means: Tensor, count: Tensor, longest: int = 100, turns: int = 3) -> Tensor:
    """A season of up to `longest` values on any slow movement; 1 where there is none: (N, 1) int64.

    means (N, lags) float32, the mean products of detrended values; count (N, 1). What counts is the autocorrelation of
    the changes over half and over a third of a season, a mean over its first `turns` multiples: 1 for an exact season,
    0 for noise and for a random walk, and hardly less for a season on a slow movement. It follows from the mean
    products of the values themselves.
    """
    last = means.shape[1] - 1
    lag = torch.arange(2, min(longest, last * 2 // 3) + 1, device=means.device)
    half, third = lag.div(2, rounding_mode="floor"), lag.div(3, rounding_mode="floor").clamp(min=1)
    step = torch.stack([half, third])
    at = lag * torch.arange(1, turns + 1, device=means.device).unsqueeze(1).unsqueeze(2)  # (turns, 1, lags)
    fits = (at + step <= (0.75 * count).unsqueeze(2).unsqueeze(3)).to(torch.float32)
    fits[:, 0] = 1.0
    around = torch.stack([at - step, at + step]).clamp(max=last)
    # One selection of columns takes half the time of several by tensors of indices.
    neighbours = means.index_select(1, around.flatten()).unflatten(1, (2, turns, 2, lag.shape[0])).sum(1)
    centre = means.index_select(1, at.clamp(max=last).flatten()).unflatten(1, (turns, 1, lag.shape[0]))
    alike = ((2 * centre - neighbours) * fits).sum(1) / fits.sum(1)
    energy = 2 * (means[:, :1].unsqueeze(2) - means[:, step])
    contrast = alike.sum(1) / energy.sum(1).clamp(min=1e-6)
    # What turns smoothly is like itself at once; a season has been unlike itself half a turn before.
    remainder = lag - half
    between = 2 * means[:, remainder] - means[:, remainder - half] - means[:, lag]
    threshold = 0.05 + 2.0 * ((1 + 0.5 * lag) / count).sqrt()
    wider = torch.constant_pad_nd(contrast, [1, 1], -9.0)
    shows = (contrast >= wider[:, :-2]) & (contrast >= wider[:, 2:]) & (between < 0.5 * contrast * energy[:, 0])
    shows = shows & (contrast > threshold) & (contrast < 1.5) & (2 * lag <= count)
    value = torch.where(shows, contrast, 0.0)
    best, of_best = value.max(1, keepdim=True)
    if not bool((best > 0).any()):
        return torch.ones_like(of_best)
    # Multiples of a season are as good as it is; one that is eight times as long may hold a weaker one.
    good = (value >= 0.8 * best) | ((value > 0.35) & (8 * lag <= of_best + 2))
    turn = (shows & good).to(torch.float32).argmax(1, keepdim=True) + 2
    return torch.where(best > 0, turn * whole_turns(means, turn, count), 1)


def whole_turns(means: Tensor, turn: Tensor, count: Tensor) -> Tensor:
    """Of how many turns a season really is, up to four, (N, 1) int64: a day with two peaks is two turns.

    means (N, lags) float32, the mean products; turn (N, 1) int64; count (N, 1).
    """
    last = means.shape[1] - 1
    times = torch.arange(1, 10, device=means.device)
    lag = turn * times
    step = turn.div(torch.tensor([2, 3], device=means.device), rounding_mode="floor").clamp(min=1)
    reach = torch.cat([-step, step], 1)
    around = (lag.unsqueeze(2) + reach.unsqueeze(1)).flatten(1)
    products = means.gather(1, torch.cat([lag, around, step], 1).clamp(max=last))
    alike = 4 * products[:, :9] - products[:, 9:45].unflatten(1, (9, 4)).sum(2)
    energy = 4 * means[:, :1] - 2 * products[:, 45:].sum(1, keepdim=True)
    contrast = alike / energy.clamp(min=1e-6)
    fits = (lag + turn <= 0.75 * count) & (lag + turn <= last)
    threshold = 0.06 + 0.5 * ((1 + 0.5 * turn) / count).sqrt()
    n_turns = torch.arange(2, 5, device=means.device).unsqueeze(1)
    off = times.remainder(n_turns)  # (3, 9)
    multiples = (fits.unsqueeze(1) & (off == 0)).to(torch.float32)
    neighbours = (fits.unsqueeze(1) & ((off == 1) | (off == n_turns - 1))).to(torch.float32)
    contrast = contrast.unsqueeze(1)
    gain = (contrast * multiples).sum(2) / multiples.sum(2).clamp(min=1)
    gain = gain - (contrast * neighbours).sum(2) / neighbours.sum(2).clamp(min=1)
    best, index = torch.where(multiples.sum(2) > 0, gain, -9.0).max(1, keepdim=True)
    return torch.where(best > threshold, index + 2, 1)


def with_whole_turns(
    means: Tensor, season: Tensor, of_calendar: Tensor, short: Tensor, is_short: Tensor, acf: Tensor, count: Tensor
) -> tuple[Tensor, Tensor]:
    """Seasons (N, 1) int64, and where the short one is to be used all the same, (N, 1) bool.

    A long season that clearly comes back (a year of days) holds the short one (their weeks): it is used, in whole turns
    of the short one. So is one of the calendar, which are looked at more strictly, a year from two of them on. Any
    other may be a slow movement that happened to come back.
    """
    row = (is_short & (season > 8 * short)).select(1, 0).nonzero().select(1, 0)
    long, turn = season[row], short[row]
    of_none = torch.ones_like(long)
    _, is_clear = comes_back(means[row], long.select(1, 0), acf[row], of_none, count[row])
    is_of_calendar = (of_calendar[row] > 1) & ((long < 300) | (count[row] >= 2 * long))
    is_clear = is_clear.unsqueeze(1) & (of_calendar[row] == 1) | is_of_calendar
    length = (long + turn.div(2, rounding_mode="floor")).div(turn, rounding_mode="floor") * turn
    season = season.index_put((row,), torch.where(is_clear, length, long))
    return season, is_short.index_put((row,), ~is_clear)


def calendar_season(means: Tensor, acf: Tensor, found: Tensor, count: Tensor) -> Tensor:
    """A season of the calendar of which one and a half to three turns were seen, 1 where none shows: (N, 1) int64.

    means (N, lags) float32, the mean products of detrended values; acf (N, lags) float32; found (N, 1) int64, what the
    autocorrelation says; count (N, 1). So few turns prove little by themselves, and the noise between values of five
    minutes hides a day. So both are looked at in the grain of a twelfth of a season: the autocorrelation of moving
    averages, and that of the changes between them. A season is what comes back in it best within 4 % of the hours of a
    day, the days of a year, …, after having been unlike, and better than what was found.
    """
    season = torch.tensor([12, 24, 48, 52, 96, 144, 168, 288, 365], device=means.device)
    none = torch.ones_like(count, dtype=torch.int64)
    # A season of which many turns were seen is not one of its multiples; and hardly ever is more to be looked at.
    fits = (3 * season <= 2 * count) & (3 * season > count) & ((found == 1) | (20 * found > 9 * season))
    fits = fits & (acf[:, season.clamp(max=acf.shape[1] - 1)] > 0.1)
    if not bool(fits.any()):
        return none
    # Few rows fit more than a season or two: each pair of a row and a season that fits is looked at for itself.
    row, which = fits.nonzero().unbind(1)
    at, is_clear = comes_back(means[row], season[which], acf[row], found[row], count[row])
    value = torch.zeros(fits.shape, dtype=torch.float64, device=means.device)
    value = value.index_put((row, which), torch.where(is_clear, at, 0.0))
    best, index = value.max(1, keepdim=True)
    return torch.where(best > 0, season[index], none)


def comes_back(means: Tensor, season: Tensor, acf: Tensor, found: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """How well a season of the calendar comes back, (P,) float64, and whether that is clear, (P,) bool.

    The P pairs of a row and a season (P,) are those for which `calendar_season` says what the others are.
    """
    lag = season.unsqueeze(1)
    off = torch.arange(-16, 17, device=means.device).unsqueeze(0)
    parts = torch.tensor([0, 2, 3, 4, 5, 6, 7, 8, 9], device=means.device).unsqueeze(0)  # twelfths; 0 normalises
    lags = torch.cat([(lag * parts).div(12, rounding_mode="floor"), lag + off], 1)
    alike = coarse_autocorrelation(means, lags, lag.div(12, rounding_mode="floor"))
    around, at = alike[:, 9:], alike[:, 25:26]
    highest = around.masked_fill(20 * off.abs() > lag + 20, -9.0).amax(1, keepdim=True)
    near = around.masked_fill((25 * off.abs() > lag) & (off.abs() > 1), -9.0).amax(1, keepdim=True)
    rise = at - alike[:, 1:9].amin(1, keepdim=True)
    # The fewer turns were seen, the more a walk looks like a season, most of all one of some dozen values.
    missing = (2 - count / lag).clamp(min=0.0)
    least = torch.where(lag > 24, 0.55, 0.5) + missing * torch.where((lag > 24) & (lag < 144), 0.5, 0.25)
    before = acf.gather(1, found.clamp(max=acf.shape[1] - 1)) * (found > 1)
    of_half = torch.maximum(alike[:, 5:6], before) + 0.2
    is_new = (found == 1) | (20 * found > 11 * lag) | (at > of_half)
    clear = is_new & (near >= highest) & (rise > 0.7) & (at > least) & (at > before + 0.05)
    return at.select(1, 0), clear.select(1, 0)


def coarse_autocorrelation(means: Tensor, lags: Tensor, grain: Tensor) -> Tensor:
    """The autocorrelation of moving averages of `grain` values, and of changes over as many, their mean: (P, L).

    means (P, M) float32, mean products of values so far apart; lags (P, L) int64, the first of them 0; grain (P, 1).
    Both follow from the mean products of the values themselves: their second and fourth differences, summed twice.
    """
    most = 64  # of the lags before 0 that a grain of 288 / 12 reaches
    symmetric = torch.cat([means[:, 1 : most + 1].flip(1), means], 1).to(torch.float64)
    sums = torch.constant_pad_nd(symmetric.cumsum(1).cumsum(1), [1, 0])
    reach = torch.arange(-2, 3, device=means.device) * grain
    at = (lags.unsqueeze(2) + reach.unsqueeze(1) + most).clamp(0, sums.shape[1] - 1)
    a, b, c, d, e = sums.gather(1, at.flatten(1)).unflatten(1, (lags.shape[1], 5)).unbind(2)
    level, change = b + d - 2 * c, 4 * (b + d) - a - e - 6 * c
    smallest = 1e-12
    return 0.5 * (level / level[:, :1].clamp(min=smallest) + change / change[:, :1].clamp(min=smallest))


def robust_heights(memory: Tensor, present: Tensor, count: Tensor) -> Tensor:
    """Heights above the median in median absolute deviations, within +-8, 0 where missing: (N, W) float32.

    One glitch would be all of the variance otherwise, and hide the season. A height beyond 8 between two within 4 is a
    glitch, and set to 0, where such heights are 3 % of the values or fewer (or one), and most of all that are so high;
    else they are events. Both medians are of the newest values and of every third and seventh of the older ones: near
    enough, and three times as fast.
    """
    sample = torch.cat([memory[:, -128:], memory[:, -512:-128:3], memory[:, :-512:7]], 1)
    median = sample.nanmedian(1, keepdim=True)[0]
    unit = (sample - median).abs().nanmedian(1, keepdim=True)[0]
    above = memory - median
    if bool((unit == 0).any()):
        # Where half of the values are the same, the mean absolute deviation, so that events keep their height.
        mean = torch.where(present, above.abs(), 0.0).sum(1, keepdim=True) / count
        unit = torch.where(unit == 0, mean, unit)
    heights = torch.where(present, (above / unit.clamp(min=1e-300)).clamp(-9.0, 9.0), 0.0).to(torch.float32)
    size = torch.constant_pad_nd(heights.abs(), [1, 1])
    glitch = (size[:, 1:-1] > 8.0) & (torch.maximum(size[:, :-2], size[:, 2:]) <= 4.0)
    n_glitches = glitch.sum(1, keepdim=True)
    is_rare = (n_glitches <= (0.03 * count).clamp(min=1)) & (2 * n_glitches > (size > 8.0).sum(1, keepdim=True))
    return torch.where(glitch & is_rare, 0.0, heights.clamp(-8.0, 8.0))


def lagged_products(x: Tensor) -> Tensor:
    """Sums of products of values that lie 0..3 W // 4 apart: x (N, C, W) float32 -> (N, C, 3 W // 4 + 1).

    The power is squared by hand: the product of complex numbers has other bits in other places of an array.
    """
    spectrum = torch.view_as_real(torch.fft.rfft(x, 2 * x.shape[2]))
    power = spectrum[..., 0].square() + spectrum[..., 1].square()
    return torch.fft.irfft(power.to(torch.complex64), 2 * x.shape[2])[:, :, : 3 * x.shape[2] // 4 + 1]


def lagged_pairs(mask: Tensor, pair_mask: Tensor, count: Tensor, oldest: Tensor) -> Tensor:
    """How many pairs of values, and of differences, the sums of `lagged_products` are over: (N, 2, lags), 1 or more.

    Counts are whole numbers: they have the same bits with the transform, which only gaps need, and without it.
    """
    if bool((count + oldest < mask.shape[1]).any()):
        return lagged_products(torch.stack([mask, pair_mask], 1)).round().clamp(min=1)
    lags = torch.arange(3 * mask.shape[1] // 4 + 1, device=mask.device) + torch.arange(2, device=mask.device).unsqueeze(
        1
    )
    return (count.unsqueeze(2) - lags).clamp(min=1)


def peaks(x: Tensor) -> Tensor:
    """Where x (N, L) is higher than before and not lower than behind: (N, L - 3), from the third on."""
    inner = x[:, 2:-1]
    return (inner > x[:, 1:-2]) & (inner >= x[:, 3:])


def exact_repeats(change: Tensor, products: Tensor, count: Tensor, oldest: Tensor) -> Tensor:
    """Lags 2..W // 2 - 1 after which the differences `change` (N, W) repeat themselves to 1 %: (N, W // 2 - 2) bool.

    Twice the sum of their products over the energy of both factors is 1 for an exact repeat and less for anything else
    (McLeod and Wyvill 2005), however few values there are. Three differences must come back, two within a season of
    three: two equal sales among zeros are no season.
    """
    width = change.shape[1]
    lag = torch.arange(width // 2 + 1, device=change.device).unsqueeze(0)
    energy = change.square().cumsum(1)
    factors = (
        energy[:, -1:] - energy.gather(1, (oldest + lag).clamp(max=width - 1)) + energy.flip(1)[:, : width // 2 + 1]
    )
    alike = 2 * products[:, : width // 2 + 1] / factors.clamp(min=1e-9)
    exact = peaks(alike) & (alike[:, 2:-1] > 1 - 1e-4) & (2 * lag[:, 2:-1] <= count)
    if not bool(exact.any()):
        return exact
    first = exact.to(torch.float32).argmax(1, keepdim=True) + 2
    is_later = torch.arange(width, device=change.device).unsqueeze(0) > oldest + first
    moves = (is_later & (change.abs() > 1e-3 * change.abs().amax(1, keepdim=True))).sum(1, keepdim=True)
    return exact & (moves > torch.where(first > 3, 2, 1))


def best_by_multiples(acf: Tensor, first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The lag in 0.8..1.25 times `first` (N, 1) that comes back best, and how well: both (N, 1) float32.

    That is the mean of acf (N, L) over its first eight multiples within 3/4 of the past. A peak is flat, and noise
    moves it by a lag or two; its multiples move by as many times more. Where the multiples are not as good as the peak
    (two waves that meet again once), they say nothing, and the highest lag it is.
    """
    low = (0.8 * first).ceil()
    high = torch.minimum(1.25 * first, 0.5 * count)
    lag = low + torch.arange(int((high - low).max().clamp(min=0)) + 1, device=acf.device).unsqueeze(0)
    times = lag.unsqueeze(1) * torch.arange(1, 9, device=acf.device)[None, :, None]
    fits = (times <= (0.75 * count).unsqueeze(2)).to(torch.float32)
    at = times.clamp(max=acf.shape[1] - 1).flatten(1).to(torch.int64)
    looked = acf.gather(1, at).unflatten(1, (8, lag.shape[1]))
    mean = (looked * fits).sum(1) / fits.sum(1)
    at_lag = torch.where(lag <= high, looked.select(1, 0), -99.0)
    highest, top = at_lag.max(1, keepdim=True)
    noise = (1 - highest) / (count - first).clamp(min=1).sqrt()
    best, choice = torch.where(at_lag >= highest - 0.1 - 2 * noise, mean, -99.0).max(1, keepdim=True)
    is_steady = best >= highest - 0.07 - noise
    return lag.gather(1, torch.where(is_steady, choice, top)), torch.where(is_steady, best, highest)
