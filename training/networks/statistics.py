"""Running statistics of a series: its level, its scale, and how well it has kept within the bands foretold for it.

Everything is causal and exponentially forgetting, so that a batch, a resumed series and a history are one computation.
Statistics are float64 columns (`COLUMNS` of them, named below) of what is known after each step; what a network sees of
them are ratios to the series' own scale, compressed.

Shapes: B rows, T new values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LARGEST = 1e300  # inputs are clamped to +-LARGEST, so that sums and differences stay finite
SLOW_DECAY, FAST_DECAY, SCORE_DECAY = 256.0, 16.0, 64.0  # time constants, in observed values

# The columns. Sums are exponentially forgetting; each `…_W` is the weight that belongs to the sums before it.
SEEN, STEPS, LAST, GAP, SEASON, LOWEST, ABS_SLOW, ABS_SLOW_W, ABS_FAST, ABS_FAST_W, MEAN, MEAN_W = range(12)
BELOW, ABOVE, ERROR, WIDTH, SCORE_W = range(12, 17)  # of the bands: values below, values above, |error|, band width
COLUMNS = 17
INPUTS = 11  # channels that a network sees of every step


def running(values: Tensor, counts: Tensor, carry: Tensor, decay: float) -> Tensor:
    """Exponentially forgetting sums at every step: y_t = exp(-1/decay) y_(t-1) + values_t for each observed value.

    values (B, C, T) float64: C channels; counts (B, T): observed values up to and including each column; carry (B, C).
    The recurrence is evaluated with cumulative sums, in blocks short enough that exp(+-block / decay / 2) neither
    overflows nor loses digits.
    """
    half = int(8 * decay)
    begin = math.exp(-half / decay)
    if values.shape[2] <= 2 * half:
        growth = torch.exp((counts - half) / decay)[:, None]
        return ((begin * carry)[:, :, None] + (values * growth).cumsum(2)) / growth
    done: list[Tensor] = []
    origin = torch.zeros_like(counts[:, 0])
    for start in range(0, values.shape[2], 2 * half):
        k = counts[:, start : start + 2 * half] - (origin[:, None] + half)
        growth = torch.exp(k / decay)[:, None]
        total = ((begin * carry)[:, :, None] + (values[:, :, start : start + 2 * half] * growth).cumsum(2)) / growth
        done.append(total)
        carry, origin = total[:, :, -1], counts[:, min(start + 2 * half, values.shape[2]) - 1]
    return torch.cat(done, 2)


class Statistics(nn.Module):
    """The recurrences and what is seen of them; no weights."""

    # TorchScript sees constants only as attributes of the class that it is told of.
    __constants__ = (
        "ABOVE",
        "ABS_FAST",
        "ABS_FAST_W",
        "ABS_SLOW",
        "ABS_SLOW_W",
        "BELOW",
        "ERROR",
        "FAST_DECAY",
        "GAP",
        "LARGEST",
        "LAST",
        "LOWEST",
        "MEAN",
        "MEAN_W",
        "SCORE_DECAY",
        "SCORE_W",
        "SEASON",
        "SEEN",
        "SLOW_DECAY",
        "STEPS",
        "WIDTH",
    )
    ABOVE, ABS_FAST, ABS_FAST_W, ABS_SLOW, ABS_SLOW_W = ABOVE, ABS_FAST, ABS_FAST_W, ABS_SLOW, ABS_SLOW_W
    BELOW, ERROR, GAP, LAST, LOWEST, MEAN, MEAN_W = BELOW, ERROR, GAP, LAST, LOWEST, MEAN, MEAN_W
    SCORE_W, SEASON, SEEN, STEPS, WIDTH = SCORE_W, SEASON, SEEN, STEPS, WIDTH
    FAST_DECAY, LARGEST, SCORE_DECAY, SLOW_DECAY = FAST_DECAY, LARGEST, SCORE_DECAY, SLOW_DECAY

    def follow(self, x: Tensor, observed: Tensor, inside: Tensor, before: Tensor) -> Tensor:
        """The statistics after every step, (B, T, BELOW) float64: all columns before those of the bands.

        x (B, T) float64, zero where not `observed`; `inside` marks the steps that belong to the row, observed or
        missing; before (B, COLUMNS).
        """
        steps = x.shape[1]
        column = torch.arange(steps, device=x.device)[None, :]
        counts = observed.to(torch.float64).cumsum(1)
        seen = before[:, self.SEEN, None] + counts
        newest = torch.where(observed, column, -1).cummax(1)[0]
        last = torch.where(newest >= 0, x.gather(1, newest.clamp(min=0)), before[:, self.LAST, None])
        earlier = torch.cat([before[:, self.LAST, None], last[:, :-1]], 1)
        moved = observed & (seen > 1.5)
        change = torch.where(moved, (x - earlier).abs(), 0.0)
        weight = moved.to(torch.float64)
        changes = torch.stack([change, weight], 1)
        slow = torch.cat([changes, torch.stack([x, observed.to(torch.float64)], 1)], 1)
        carry = torch.cat([before[:, self.ABS_SLOW : self.ABS_SLOW_W + 1], before[:, self.MEAN : self.MEAN_W + 1]], 1)
        slow = running(slow, counts, carry, self.SLOW_DECAY)
        fast = running(changes, counts, before[:, self.ABS_FAST : self.ABS_FAST_W + 1], self.FAST_DECAY)
        gap = torch.where(newest >= 0, column - newest, column + 1 + before[:, self.GAP, None].to(torch.int64))
        lowest = x.masked_fill(~observed, self.LARGEST).cummin(1)[0]
        first = torch.stack(
            [
                seen,
                before[:, self.STEPS, None] + inside.to(torch.float64).cumsum(1),
                last,
                gap.to(torch.float64),
                before[:, self.SEASON, None].expand(-1, steps),
                torch.minimum(lowest, before[:, self.LOWEST, None]),
            ],
            1,
        )
        return torch.cat([first, slow[:, :2], fast, slow[:, 2:]], 1).transpose(1, 2)

    def score(self, surprise: Tensor, scored: Tensor, bands: Tensor, observed: Tensor, before: Tensor) -> Tensor:
        """How well the bands foretold held, after every step: (B, T, COLUMNS - BELOW) float64.

        surprise (B, T): each new value, compressed as the bands are; `scored` where a band was foretold for it; bands
        (B, T, 3): lower end, middle, upper end; before (B, COLUMNS).
        """
        weight = scored.to(torch.float64)
        counts = observed.to(torch.float64).cumsum(1)
        channels = torch.stack(
            [
                (surprise < bands[:, :, 0]).to(torch.float64) * weight,
                (surprise > bands[:, :, 2]).to(torch.float64) * weight,
                (surprise - bands[:, :, 1]).abs().to(torch.float64) * weight,
                (bands[:, :, 2] - bands[:, :, 0]).to(torch.float64) * weight,
                weight,
            ],
            1,
        )
        return running(channels, counts, before[:, self.BELOW :], self.SCORE_DECAY).transpose(1, 2)

    def scale(self, known: Tensor) -> Tensor:
        """Mean absolute one-step change; before there is one, the size of the value itself; never zero."""
        weight = known[..., self.ABS_SLOW_W]
        size = known[..., self.LAST].abs()
        unknown = torch.where(size > 0, size, 1.0)
        mean = known[..., self.ABS_SLOW] / weight.clamp(min=1e-300)
        floor = (1e-13 * size).clamp(min=1e-300)  # what is left of a change after rounding
        return torch.where(weight > 0, torch.maximum(mean, floor), unknown)

    def mean(self, known: Tensor) -> Tensor:
        """The exponentially forgetting mean of the values."""
        return known[..., self.MEAN] / known[..., self.MEAN_W].clamp(min=1e-12)

    def change(self, x: Tensor, observed: Tensor, known: Tensor, before: Tensor) -> Tensor:
        """Each new value less the last one before it, (B, T) float64; 0 where either is missing."""
        earlier = torch.cat([before[:, self.LAST, None], known[:, :-1, self.LAST]], 1)
        return torch.where(observed & (known[:, :, self.SEEN] > 1.5), x - earlier, 0.0)

    def inputs(self, change: Tensor, observed: Tensor, known: Tensor, scale: Tensor) -> Tensor:
        """What the fast clock sees of every step: ratios to the series' own scale, compressed; (B, T, INPUTS)."""
        last, mean = known[:, :, self.LAST], self.mean(known)
        lowest = torch.minimum(known[:, :, self.LOWEST], last)
        ratios = torch.stack([change, last - mean, mean, last, last - lowest], 2) / scale[:, :, None]
        ratios = ratios.clamp(-1e30, 1e30).to(torch.float32)
        heights = torch.asinh(ratios)
        # How many scales high something is, bounded where no series of the training went.
        high = heights[:, :, 1:].clamp(-14.0, 14.0)
        counters = torch.log1p(torch.stack([known[:, :, self.SEEN], known[:, :, self.GAP]], 2).to(torch.float32)) / 4
        return torch.cat(
            [
                heights[:, :, :1],
                ratios[:, :, :1].clamp(-4, 4),
                high[:, :, :1],
                self.liveliness(known, scale)[:, :, None],
                observed.to(torch.float32)[:, :, None],
                high[:, :, 1:] / 4,
                counters,
                (change == 0).to(torch.float32)[:, :, None],
            ],
            2,
        )

    def liveliness(self, known: Tensor, scale: Tensor) -> Tensor:
        """Log ratio of the recent to the long-run mean change, bounded, float32."""
        recent = known[..., self.ABS_FAST] / known[..., self.ABS_FAST_W].clamp(min=1e-12)
        return torch.log((recent / scale).clamp(0.01, 100.0).to(torch.float32))

    def record_of_bands(self, known: Tensor) -> Tensor:
        """What the head sees of how the bands held: shares below and above, size of errors to bands, experience."""
        weight = known[..., self.SCORE_W]
        some = weight.clamp(min=1e-6)
        error = torch.log((known[..., self.ERROR] / known[..., self.WIDTH].clamp(min=1e-9)).clamp(0.02, 50.0))
        unknown = (weight < 0.5).to(torch.float64)
        return torch.stack(
            [
                (known[..., self.BELOW] / some - 0.1) * (1 - unknown) * 4,
                (known[..., self.ABOVE] / some - 0.1) * (1 - unknown) * 4,
                (error + 1.2) * (1 - unknown),
                torch.log1p(weight) / 4,
            ],
            -1,
        ).to(torch.float32)
