"""Running statistics of a series: its level, its scale, and how well it has kept within the bands predicted for it.

The scale is the mean absolute one-step change. One glitch must not move it for hundreds of values, and a lasting change
of the noise must: a change counts as at most `LIMIT` times the typical one (a geometric mean, which a glitch hardly
moves), and where the typical changes of now and of before disagree, the mean forgets faster or follows those of now.

Everything is causal and exponentially forgetting, so that a batch, a resumed series and a history are one computation.
Statistics are float64 columns after each step (`COLUMNS` of them, named below); a network has as inputs their ratios to
the series' own scale, compressed.

Shapes: B rows, T new values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LARGEST = 1e300  # inputs are clamped to +-LARGEST, so that sums and differences stay finite
SLOW_DECAY, FAST_DECAY, SCORE_DECAY = 256.0, 16.0, 64.0  # time constants, in observed values

# The columns. Sums are exponentially forgetting; each `…_W` is the weight that belongs to the sums before it.
COUNT, STEPS, LAST, GAP, SEASON, LOWEST, ABS_SLOW, ABS_SLOW_W, MEAN, MEAN_W = range(10)
ABS_FAST, ABS_FAST_W, LOG_FAST, LOG_FAST_W, LOG_SLOW, LOG_SLOW_W, SCALE = range(10, 17)  # logarithms of changes
BELOW, ABOVE, ERROR, WIDTH, SCORE_W = range(17, 22)  # of the bands: values below, values above, |error|, band width
COLUMNS = 22
LIMIT = math.log(30.0)  # a change counts as at most so many times the typical one
MEAN_TO_TYPICAL = 0.41  # log of the mean over the geometric mean of absolute normal changes
HIGHEST = 5.5  # bound of the inverse hyperbolic sine of a height in scales
FASTEST = 16.0  # the slow mean forgets at most so many times as fast
INPUTS = 11  # channels of a network's input at every step


def running(values: Tensor, counts: Tensor, carry: Tensor, decay: float, fastest: float = 1.0) -> Tensor:
    """Exponentially forgetting sums at every step: y_t = exp(-1/decay) y_(t-1) + values_t for each observed value.

    values (B, C, T) float64: C channels; counts (B, T): observed values up to and including each column, or a clock
    that moves at most `fastest` a column; carry (B, C). The recurrence is evaluated with cumulative sums, in blocks
    short enough that exp(+-block / decay / 2) neither overflows nor loses digits.
    """
    half = int(8 * decay)
    begin = math.exp(-half / decay)
    block = int(2 * half / fastest)
    if values.shape[2] <= block:
        growth = torch.exp((counts - half) / decay).unsqueeze(1)
        return ((begin * carry).unsqueeze(2) + (values * growth).cumsum(2)) / growth
    sums: list[Tensor] = []
    origin = torch.zeros_like(counts.select(1, 0))
    for start in range(0, values.shape[2], block):
        k = counts[:, start : start + block] - (origin.unsqueeze(1) + half)
        growth = torch.exp(k / decay).unsqueeze(1)
        total = ((begin * carry).unsqueeze(2) + (values[:, :, start : start + block] * growth).cumsum(2)) / growth
        sums.append(total)
        carry, origin = total.select(2, -1), counts[:, min(start + block, values.shape[2]) - 1]
    return torch.cat(sums, 2)


class Statistics(nn.Module):
    """The recurrences, and a network's inputs made of them; no weights."""

    # TorchScript sees constants only as attributes of the class that `__constants__` lists.
    __constants__ = (
        "ABOVE",
        "ABS_FAST",
        "ABS_FAST_W",
        "ABS_SLOW",
        "ABS_SLOW_W",
        "BELOW",
        "COUNT",
        "ERROR",
        "FASTEST",
        "FAST_DECAY",
        "GAP",
        "HIGHEST",
        "LARGEST",
        "LAST",
        "LIMIT",
        "LOG_FAST",
        "LOG_FAST_W",
        "LOG_SLOW",
        "LOG_SLOW_W",
        "LOWEST",
        "MEAN",
        "MEAN_TO_TYPICAL",
        "MEAN_W",
        "SCALE",
        "SCORE_DECAY",
        "SCORE_W",
        "SEASON",
        "SLOW_DECAY",
        "STEPS",
        "WIDTH",
    )
    ABOVE, ABS_FAST, ABS_FAST_W, ABS_SLOW, ABS_SLOW_W = ABOVE, ABS_FAST, ABS_FAST_W, ABS_SLOW, ABS_SLOW_W
    BELOW, COUNT, ERROR, GAP, LAST, LOWEST, MEAN, MEAN_W = BELOW, COUNT, ERROR, GAP, LAST, LOWEST, MEAN, MEAN_W
    LOG_FAST, LOG_FAST_W, LOG_SLOW, LOG_SLOW_W = LOG_FAST, LOG_FAST_W, LOG_SLOW, LOG_SLOW_W
    SCALE, SCORE_W, SEASON, STEPS, WIDTH = SCALE, SCORE_W, SEASON, STEPS, WIDTH
    FASTEST, FAST_DECAY, LARGEST, LIMIT, MEAN_TO_TYPICAL = FASTEST, FAST_DECAY, LARGEST, LIMIT, MEAN_TO_TYPICAL
    HIGHEST, SCORE_DECAY, SLOW_DECAY = HIGHEST, SCORE_DECAY, SLOW_DECAY

    def follow(self, x: Tensor, observed: Tensor, inside: Tensor, start: Tensor) -> Tensor:
        """The statistics after every step, (B, T, BELOW) float64: all columns before those of the bands.

        x (B, T) float64, zero where not `observed`; `inside` marks the steps that belong to the row, observed or
        missing; start (B, COLUMNS).
        """
        steps = x.shape[1]
        column = torch.arange(steps, device=x.device).unsqueeze(0)
        counts = observed.to(torch.float64).cumsum(1)
        count = start[:, self.COUNT, None] + counts
        newest = torch.where(observed, column, -1).cummax(1)[0]
        last = torch.where(newest >= 0, x.gather(1, newest.clamp(min=0)), start[:, self.LAST, None])
        previous = torch.cat([start[:, self.LAST, None], last[:, :-1]], 1)
        moved = observed & (count > 1.5)
        change = torch.where(moved, (x - previous).abs(), 0.0)
        typical, clipped, pace, share, recent = self.typical_changes(change, observed, counts, start)
        # The mean leaves out a glitch and the way back from it; a lasting step is in it from its second value on.
        usual = observed & (change <= clipped)
        slow_sums = torch.stack([clipped, moved.to(torch.float64), x * usual, usual.to(torch.float64)], 1)
        carry = start[:, self.ABS_SLOW : self.MEAN_W + 1]
        slow_sums = running(slow_sums, pace.cumsum(1), carry, self.SLOW_DECAY, self.FASTEST)
        gap = torch.where(newest >= 0, column - newest, column + 1 + start[:, self.GAP, None].to(torch.int64))
        lowest = x.masked_fill(~observed, self.LARGEST).cummin(1)[0]
        first = torch.stack(
            [
                count,
                start[:, self.STEPS, None] + inside.to(torch.float64).cumsum(1),
                last,
                gap.to(torch.float64),
                start[:, self.SEASON, None].expand(-1, steps),
                torch.minimum(lowest, start[:, self.LOWEST, None]),
            ],
            1,
        )
        scale = self.new_scale(slow_sums, share, recent, last)
        return torch.cat([first, slow_sums, typical, scale.unsqueeze(1)], 1).transpose(1, 2)

    def typical_changes(
        self, change: Tensor, observed: Tensor, counts: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The columns from ABS_FAST to LOG_SLOW_W (B, 6, T), changes within their limit, and the pace of forgetting.

        change (B, T): absolute changes; counts (B, T): values observed so far. What limits a change, and the pace at a
        step, come from the steps before it. The fourth is how far the scale is that of now, 0..1, since the typical
        changes of now and of before disagree; the fifth is the logarithm of that of now; both (B, T).
        """
        has_moved = (change > 0).to(torch.float64)
        log = torch.log(change.clamp(min=1e-300)) * has_moved
        carry = start[:, self.ABS_FAST : self.LOG_SLOW_W + 1]
        slow = running(torch.stack([log, has_moved], 1), counts, carry[:, 4:], self.SLOW_DECAY)
        log_before, weight_before = torch.cat([carry[:, 4:, None], slow[:, :, :-1]], 2).unbind(1)
        limit = torch.where(weight_before > 6, log_before / weight_before.clamp(min=1.0) + self.LIMIT, 690.0)
        weight = (observed & (counts + start[:, self.COUNT, None] > 1.5)).to(torch.float64)
        within = torch.minimum(change, torch.exp(limit))
        changes = torch.stack([within, weight, torch.minimum(log, limit) * has_moved, has_moved], 1)
        typical = torch.cat([running(changes, counts, carry[:, :4], self.FAST_DECAY), slow], 1)
        columns = torch.cat([carry.unsqueeze(2), typical], 2).unbind(1)
        recent = columns[2] / columns[3].clamp(min=1e-12)
        known = (columns[5] > 24) & (columns[3] > 2)  # enough changes to say so
        apart = torch.where(known, (recent - columns[4] / columns[5].clamp(min=1e-12)).abs(), 0.0)
        limit = torch.where(weight_before > 6, torch.maximum(limit, recent[:, :-1] + self.LIMIT), 690.0)
        pace = 1 + (self.FASTEST - 1) * (2 * (apart[:, :-1] - 0.7)).clamp(0.0, 1.0)
        clipped = torch.minimum(change, torch.exp(limit))
        share = (apart[:, 1:] - 1.2).clamp(0.0, 1.0)
        return typical, clipped, pace * observed.to(torch.float64), share, recent[:, 1:]

    def unrest(self, stats: Tensor) -> Tensor:
        """Factor of intervals (N,), 1..e: where noise has grown, what is remembered from before makes them too narrow.

        It is 1 where the typical changes of now are 1.35 times those of before or less, and becomes 1 as they agree.
        """
        fast, fast_weight, slow, slow_weight = stats[:, self.LOG_FAST : self.LOG_SLOW_W + 1].unbind(1)
        grown = fast / fast_weight.clamp(min=1e-12) - slow / slow_weight.clamp(min=1e-12)
        factor = torch.exp((1.2 * (grown - 0.3)).clamp(0.0, 1.0))
        return torch.where((slow_weight > 24) & (fast_weight > 2), factor, 1.0)

    def new_scale(self, slow_sums: Tensor, share: Tensor, recent: Tensor, last: Tensor) -> Tensor:
        """Mean absolute one-step change (B, T); before there is one, the size of the value itself; never zero.

        `share` of it, 0..1, is what the typical change of now says, whose logarithm is `recent`.
        """
        size = last.abs()
        total, weight = slow_sums.select(1, 0), slow_sums.select(1, 1)
        mean = total / weight.clamp(min=1e-300)
        if bool((share > 0).any()):
            log = (1 - share) * torch.log(mean.clamp(min=1e-300)) + share * (recent + self.MEAN_TO_TYPICAL)
            mean = torch.where(share > 0, torch.exp(log), mean)
        floor = (1e-13 * size).clamp(min=1e-300)  # what is left of a change after rounding
        return torch.where(weight > 0, torch.maximum(mean, floor), torch.where(size > 0, size, 1.0))

    def score(self, surprise: Tensor, scored: Tensor, bands: Tensor, observed: Tensor, start: Tensor) -> Tensor:
        """How well the predicted bands held, after every step: (B, T, COLUMNS - BELOW) float64.

        surprise (B, T): each new value, compressed as the bands are; `scored` where there is a band for it; bands
        (B, T, 3): lower end, middle, upper end; start (B, COLUMNS).
        """
        weight = scored.to(torch.float64)
        counts = observed.to(torch.float64).cumsum(1)
        channels = torch.stack(
            [
                (surprise < bands.select(2, 0)).to(torch.float64) * weight,
                (surprise > bands.select(2, 2)).to(torch.float64) * weight,
                (surprise - bands.select(2, 1)).abs().to(torch.float64) * weight,
                (bands.select(2, 2) - bands.select(2, 0)).to(torch.float64) * weight,
                weight,
            ],
            1,
        )
        return running(channels, counts, start[:, self.BELOW :], self.SCORE_DECAY).transpose(1, 2)

    def scale(self, stats: Tensor) -> Tensor:
        """The mean absolute one-step change; see `new_scale`."""
        return stats[..., self.SCALE]

    def mean(self, stats: Tensor) -> Tensor:
        """The exponentially forgetting mean of the values."""
        return stats[..., self.MEAN] / stats[..., self.MEAN_W].clamp(min=1e-12)

    def offset(self, mean: Tensor, scale: Tensor, lowest: Tensor) -> Tensor:
        """What a network's inputs leave out of the level of a series, where zero says nothing of it.

        That is its mean, where a value was below zero, or where the mean is 2,000 scales or more from zero: then a
        network sees the same whatever is added to the series. Nearer than 1,000 scales the offset of a series that
        stayed above zero is 0, between the two a share of the mean; all arguments have the same shape.
        """
        far = (torch.asinh((mean.abs() / scale).clamp(max=1e30)) - 7.6) / 0.7
        return torch.where(lowest < 0, mean, mean * far.clamp(0.0, 1.0))

    def change(self, x: Tensor, observed: Tensor, stats: Tensor, start: Tensor) -> Tensor:
        """Each new value less the last one before it, (B, T) float64; 0 where either is missing."""
        previous = torch.cat([start[:, self.LAST, None], stats[:, :-1, self.LAST]], 1)
        return torch.where(observed & (stats.select(2, self.COUNT) > 1.5), x - previous, 0.0)

    def inputs(self, change: Tensor, observed: Tensor, stats: Tensor, scale: Tensor) -> Tensor:
        """Inputs of the fast clock at every step: ratios to the series' own scale, compressed; (B, T, INPUTS)."""
        last, mean = stats.select(2, self.LAST), self.mean(stats)
        lowest = torch.minimum(stats.select(2, self.LOWEST), last)
        offset = self.offset(mean, scale, lowest)
        ratios = torch.stack([change, last - mean, mean - offset, last - offset, last - lowest], 2)
        ratios = (ratios / scale.unsqueeze(2)).clamp(-1e30, 1e30).to(torch.float32)
        heights = torch.asinh(ratios)
        # Heights in scales: beyond HIGHEST, a level is an offset that says nothing.
        high = heights[:, :, 1:].clamp(-self.HIGHEST, self.HIGHEST)
        counters = (
            torch.log1p(torch.stack([stats.select(2, self.COUNT), stats.select(2, self.GAP)], 2).to(torch.float32)) / 4
        )
        return torch.cat(
            [
                heights[:, :, :1],
                ratios[:, :, :1].clamp(-4, 4),
                high[:, :, :1],
                self.liveliness(stats, scale).unsqueeze(2),
                observed.to(torch.float32).unsqueeze(2),
                high[:, :, 1:] / 4,
                counters,
                (change == 0).to(torch.float32).unsqueeze(2),
            ],
            2,
        )

    def liveliness(self, stats: Tensor, scale: Tensor) -> Tensor:
        """Log ratio of the recent to the long-run mean change, bounded, float32."""
        recent = stats[..., self.ABS_FAST] / stats[..., self.ABS_FAST_W].clamp(min=1e-12)
        return torch.log((recent / scale).clamp(0.01, 100.0).to(torch.float32))

    def record_of_bands(self, stats: Tensor) -> Tensor:
        """Inputs of the head about the bands: shares of values below and above, size of errors to bands, weight."""
        weight = stats[..., self.SCORE_W]
        safe_weight = weight.clamp(min=1e-6)
        error = torch.log((stats[..., self.ERROR] / stats[..., self.WIDTH].clamp(min=1e-9)).clamp(0.02, 50.0))
        unknown = (weight < 0.5).to(torch.float64)
        return torch.stack(
            [
                (stats[..., self.BELOW] / safe_weight - 0.1) * (1 - unknown) * 4,
                (stats[..., self.ABOVE] / safe_weight - 0.1) * (1 - unknown) * 4,
                (error + 1.2) * (1 - unknown),
                torch.log1p(weight) / 4,
            ],
            -1,
        ).to(torch.float32)
