"""The forecaster: two recurrent clocks over a causally scaled series, and one head for every step ahead.

A fast LSTM reads every value; a slow one reads the fast one's state every `STRIDE` values, so it sees eight times as
far for an eighth of the cost. Everything a forecast needs is in the state: running statistics (level, scale), the last
`MEMORY` values as they came, and the hidden units. Nothing looks ahead, so a batch, a resumed series and a history of
one-step-ahead forecasts are the same computation.

The season is computed, not learned: the autocorrelation of the remembered values gives it where the caller did not,
and the head is shown the values one to four seasons back at the phase of the step that it forecasts. The median is a
learned mixture of those and other simple forecasts plus a learned correction in units of the series' own scale; the
other quantiles are stacked on it with positive gaps, so they cannot cross.

Sources of the ideas: the scale of MASE (Hyndman and Koehler 2006), the mixing of exponential smoothing and a recurrent
network (Smyl 2020), clocks of different speed (El Hihi and Bengio 1995), non-crossing increments (Park et al. 2022).
Shapes: B rows, T new values, N read-outs, H steps ahead, K predicted levels.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.quantiles import interpolate
from training.networks.ragged import RaggedLSTM
from training.networks.season import find_season

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
MAX_HORIZON = 256
MEMORY = 1024
STRIDE = 8
LARGEST = 1e300  # inputs are clamped to +-LARGEST, so that sums and differences stay finite
SLOW_DECAY, FAST_DECAY = 256.0, 16.0  # time constants of the running statistics, in observed values

# Columns of the statistics at the front of the state.
SEEN, STEPS, LAST, GAP, SEASON, LOWEST, ABS_SLOW, ABS_SLOW_W, ABS_FAST, ABS_FAST_W, MEAN, MEAN_W = range(12)
STATISTICS = 12
INPUTS = 11  # channels of the fast clock
LAGS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64, 128, 256, 512)
CANDIDATES = 9
PER_STEP = 23  # features of one step ahead
PER_ROW = 14  # statistics shown to the head
CENTRE = LEVELS.index(0.5)


def running(values: Tensor, counts: Tensor, carry: Tensor, decay: float) -> Tensor:
    """Exponentially forgetting sums at every step: y_t = exp(-1/decay) y_(t-1) + values_t for each observed value.

    values, counts (B, T) float64, `counts` the observed values up to and including each column; carry (B,). The
    recurrence is evaluated with cumulative sums, in blocks short enough that exp(block / decay) loses no digits.
    """
    block = int(8 * decay)
    done: list[Tensor] = []
    origin = torch.zeros_like(carry)
    for start in range(0, values.shape[1], block):
        k = counts[:, start : start + block] - origin[:, None]
        growth = torch.exp(k / decay)
        total = (carry[:, None] + (values[:, start : start + block] * growth).cumsum(1)) / growth
        done.append(total)
        carry, origin = total[:, -1], counts[:, min(start + block, values.shape[1]) - 1]
    return torch.cat(done, 1)


class Forecaster(nn.Module):
    """See the module's docstring; the methods are those of docs/models.md."""

    # TorchScript sees constants only as attributes of the class that it is told of.
    __constants__ = (
        "MAX_HORIZON",
        "MEMORY",
        "STRIDE",
        "LARGEST",
        "SLOW_DECAY",
        "FAST_DECAY",
        "SEEN",
        "STEPS",
        "LAST",
        "GAP",
        "SEASON",
        "LOWEST",
        "ABS_SLOW",
        "ABS_SLOW_W",
        "ABS_FAST",
        "ABS_FAST_W",
        "MEAN",
        "MEAN_W",
        "STATISTICS",
        "CANDIDATES",
        "CENTRE",
    )
    MAX_HORIZON = MAX_HORIZON
    MEMORY = MEMORY
    STRIDE = STRIDE
    LARGEST = LARGEST
    SLOW_DECAY = SLOW_DECAY
    FAST_DECAY = FAST_DECAY
    SEEN = SEEN
    STEPS = STEPS
    LAST = LAST
    GAP = GAP
    SEASON = SEASON
    LOWEST = LOWEST
    ABS_SLOW = ABS_SLOW
    ABS_SLOW_W = ABS_SLOW_W
    ABS_FAST = ABS_FAST
    ABS_FAST_W = ABS_FAST_W
    MEAN = MEAN
    MEAN_W = MEAN_W
    STATISTICS = STATISTICS
    CANDIDATES = CANDIDATES
    CENTRE = CENTRE

    def __init__(self, fast: int = 96, slow: int = 192, width: int = 256) -> None:
        super().__init__()
        self.fast_size, self.slow_size = fast, slow
        self.exact = STATISTICS + MEMORY
        self.state_width = self.exact + 2 * (fast + slow)
        self.fast = RaggedLSTM(INPUTS, fast)
        self.slow = RaggedLSTM(fast + INPUTS, slow)
        self.context = nn.Sequential(
            nn.Linear(fast + slow + PER_ROW + 2 * len(LAGS), width), nn.GELU(), nn.Linear(width, width)
        )
        self.ahead = nn.Linear(PER_STEP, width)
        self.mix = nn.Linear(width, width)
        self.mix2 = nn.Linear(width, width)
        self.out = nn.Linear(width, CANDIDATES + 1 + len(LEVELS))
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.zero_()
            self.out.bias[1] = 2.0  # start near the seasonal naive forecast
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(LEVELS, dtype=torch.float64))
        edges = torch.tensor((0.0, *((a + b) / 2 for a, b in pairwise(LEVELS)), 1.0))
        self.shares: Tensor
        self.register_buffer("shares", edges.double().diff())
        self.lags: Tensor
        self.register_buffer("lags", torch.tensor(LAGS))
        # Split-conformal widening per step ahead and level, 1 = none; filled after training from validation series.
        self.widen: Tensor
        self.register_buffer("widen", torch.ones(MAX_HORIZON, len(LEVELS), dtype=torch.float64))

    @torch.jit.unused
    def fix(self) -> None:
        """Restore the weights that training must not move."""
        self.fast.fix()
        self.slow.fix()

    @torch.jit.unused
    def predict_at(self, values: Tensor, season: Tensor, cuts: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What training compares with the truth: forecasts made after the first `cuts` values of each row.

        values (B, T) float64, season (B,) int64, cuts (B, R) int64 in 1..T, ahead (B, R, H) int64. Returns predicted
        quantiles (B, R, H, K) less the last value seen, that value (B, R) and the mean absolute seasonal change (B, R).
        """
        lengths = torch.full_like(season, values.shape[1])
        statistics, memory, fast, slow, _ = self.read_in(values, lengths, self.initial(season))
        rows = torch.arange(len(values), device=values.device)[:, None]
        units = torch.cat([fast, slow], 2)[rows, cuts - 1].flatten(0, 1)
        known = statistics[rows, cuts - 1]
        width = min(MEMORY, 1 << (values.shape[1] - 1).bit_length())  # what lies before the window is missing anyway
        windows = self.windows(memory, cuts)[:, :, -width:].flatten(0, 1)
        predicted, swing = self.read_out(units, known.flatten(0, 1), windows, ahead.flatten(0, 1))
        return predicted.unflatten(0, cuts.shape), known[:, :, LAST], swing.unflatten(0, cuts.shape)

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        state = torch.zeros(season.shape[0], self.state_width, dtype=torch.float64, device=season.device)
        state[:, self.SEASON] = season.to(torch.float64)
        state[:, self.LOWEST].fill_(self.LARGEST)
        state[:, self.STATISTICS : self.exact].fill_(float("nan"))
        return state

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if values.shape[1] == 0:
            return state
        statistics, memory, _, _, hidden = self.read_in(values, lengths, state)
        last = (lengths - 1).clamp(min=0)
        rows = torch.arange(values.shape[0], device=values.device)
        remembered = self.windows(memory, lengths[:, None])[:, 0]
        after = torch.cat([statistics[rows, last], remembered, hidden.to(torch.float64)], 1)
        return torch.where((lengths > 0)[:, None], after, state)

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        statistics, memory = state[:, : self.STATISTICS], state[:, self.STATISTICS : self.exact]
        hidden = state[:, self.exact :].to(torch.float32)
        slow = self.exact + 2 * self.fast_size
        units = torch.cat([hidden[:, : self.fast_size], state[:, slow : slow + self.slow_size].to(torch.float32)], 1)
        ahead = torch.arange(1, horizon + 1, device=state.device)[None, :].expand(state.shape[0], -1)
        predicted, _ = self.read_out(units, statistics, memory, ahead)
        return self.answer(predicted, statistics, levels)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        rows, steps = values.shape
        if steps == 0:
            return state, values.new_zeros(rows, 0, 1 + levels.shape[1])
        statistics, memory, fast, slow, _ = self.read_in(values, lengths, state)
        before = torch.cat([state[:, None, : self.STATISTICS], statistics[:, :-1]], 1)
        h = self.exact
        fast = torch.cat([state[:, None, h : h + self.fast_size].to(torch.float32), fast[:, :-1]], 1)
        h = h + 2 * self.fast_size
        slow = torch.cat([state[:, None, h : h + self.slow_size].to(torch.float32), slow[:, :-1]], 1)
        block = max(1, 256 // rows)  # bounds the memory that a long history takes
        answers: list[Tensor] = []
        for start in range(0, steps, block):
            stop = min(start + block, steps)
            position = torch.arange(start, stop, device=values.device)[None, :].expand(rows, -1)
            windows = self.windows(memory, position).flatten(0, 1)
            units = torch.cat([fast[:, start:stop], slow[:, start:stop]], 2).flatten(0, 1)
            known = before[:, start:stop].flatten(0, 1)
            ahead = torch.ones(known.shape[0], 1, dtype=torch.int64, device=values.device)
            predicted, _ = self.read_out(units, known, windows, ahead)
            wanted = levels[:, None, :].expand(-1, stop - start, -1).flatten(0, 1)
            answers.append(self.answer(predicted, known, wanted)[:, 0].unflatten(0, (rows, stop - start)))
        said = torch.where((before[:, :, self.SEEN] > 0)[:, :, None], torch.cat(answers, 1), float("nan"))
        return self.step(values, lengths, state), said

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        statistics = state[:, : self.STATISTICS]
        found, _ = find_season(state[:, self.STATISTICS : self.exact], self.scale(statistics), statistics[:, self.LAST])
        return self.chosen(statistics, found)

    def chosen(self, statistics: Tensor, found: Tensor) -> Tensor:
        """The caller's season where there is one that the memory can hold, else the one that was found."""
        given = statistics[:, self.SEASON].to(torch.int64)
        return torch.where((given > 0) & (given <= self.MEMORY // 2), given, torch.where(given > 0, 1, found))

    def scale(self, statistics: Tensor) -> Tensor:
        """Mean absolute one-step change; before there is one, the size of the value itself; never zero."""
        weight = statistics[..., self.ABS_SLOW_W]
        size = statistics[..., self.LAST].abs()
        unknown = torch.where(size > 0, size, 1.0)
        mean = statistics[..., self.ABS_SLOW] / weight.clamp(min=1e-300)
        floor = (1e-13 * size).clamp(min=1e-300)  # what is left of a change after rounding
        return torch.where(weight > 0, torch.maximum(mean, floor), unknown)

    def read_in(self, values: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Run both clocks over `values`.

        Returns the statistics after every step (B, T, STATISTICS), memory with the new values behind it
        (B, MEMORY + T), the hidden units of both clocks after every step, and all hidden units at each row's end.
        """
        steps = values.shape[1]
        column = torch.arange(steps, device=values.device)
        inside = column[None, :] < lengths[:, None]
        observed = torch.isfinite(values) & inside
        x = torch.where(observed, values.clamp(-self.LARGEST, self.LARGEST), 0.0)
        memory = torch.cat([state[:, self.STATISTICS : self.exact], torch.where(observed, x, float("nan"))], 1)
        statistics = self.follow(x, observed, inside, state)
        inputs = self.inputs(x, observed, statistics, state)

        h = self.exact
        f, s = self.fast_size, self.slow_size
        hidden = state[:, h:].to(torch.float32)
        fast, h1, c1 = self.fast(inputs, lengths, hidden[:, :f], hidden[:, f : 2 * f])
        # The slow clock ticks when the number of steps so far is a multiple of STRIDE, whatever request they came in.
        phase = state[:, self.STEPS].to(torch.int64) % self.STRIDE
        ticks = (phase + lengths).div(self.STRIDE, rounding_mode="floor")
        most = (steps + self.STRIDE - 1) // self.STRIDE
        when = self.STRIDE * torch.arange(most, device=values.device)[None, :] + (self.STRIDE - 1 - phase)[:, None]
        seen = torch.cat([fast, inputs], 2)
        at = when.clamp(max=steps - 1)[:, :, None].expand(-1, -1, seen.shape[2])
        slow, h2, c2 = self.slow(seen.gather(1, at), ticks, hidden[:, 2 * f : 2 * f + s], hidden[:, 2 * f + s :])
        ticked = (phase[:, None] + column[None, :] + 1).div(self.STRIDE, rounding_mode="floor").clamp(max=most)
        earlier = torch.cat([hidden[:, None, 2 * f : 2 * f + s], slow], 1)
        slow = earlier.gather(1, ticked[:, :, None].expand(-1, -1, s))
        return statistics, memory, fast, slow, torch.cat([h1, c1, h2, c2], 1)

    def follow(self, x: Tensor, observed: Tensor, inside: Tensor, state: Tensor) -> Tensor:
        """The running statistics after every step, (B, T, STATISTICS) float64."""
        steps = x.shape[1]
        column = torch.arange(steps, device=x.device)[None, :]
        counts = observed.to(torch.float64).cumsum(1)
        seen = state[:, self.SEEN, None] + counts
        newest = torch.where(observed, column, -1).cummax(1)[0]
        last = torch.where(newest >= 0, x.gather(1, newest.clamp(min=0)), state[:, self.LAST, None])
        before = torch.cat([state[:, self.LAST, None], last[:, :-1]], 1)
        moved = observed & (seen > 1.5)
        change = torch.where(moved, (x - before).abs(), 0.0)
        weight, one = moved.to(torch.float64), observed.to(torch.float64)
        position = column + 1
        gap = torch.where(newest >= 0, column - newest, position + state[:, self.GAP, None].to(torch.int64))
        lowest = x.masked_fill(~observed, self.LARGEST).cummin(1)[0]
        return torch.stack(
            [
                seen,
                state[:, self.STEPS, None] + inside.to(torch.float64).cumsum(1),
                last,
                gap.to(torch.float64),
                state[:, self.SEASON, None].expand(-1, steps),
                torch.minimum(lowest, state[:, self.LOWEST, None]),
                running(change, counts, state[:, self.ABS_SLOW], self.SLOW_DECAY),
                running(weight, counts, state[:, self.ABS_SLOW_W], self.SLOW_DECAY),
                running(change, counts, state[:, self.ABS_FAST], self.FAST_DECAY),
                running(weight, counts, state[:, self.ABS_FAST_W], self.FAST_DECAY),
                running(x, counts, state[:, self.MEAN], self.SLOW_DECAY),
                running(one, counts, state[:, self.MEAN_W], self.SLOW_DECAY),
            ],
            2,
        )

    def inputs(self, x: Tensor, observed: Tensor, statistics: Tensor, state: Tensor) -> Tensor:
        """What the fast clock sees of every step: ratios to the series' own scale, compressed; (B, T, INPUTS)."""
        scale = self.scale(statistics)
        last = statistics[:, :, self.LAST]
        before = torch.cat([state[:, self.LAST, None], last[:, :-1]], 1)
        moved = observed & (statistics[:, :, self.SEEN] > 1.5)
        change = torch.where(moved, x - before, 0.0)
        mean = statistics[:, :, self.MEAN] / statistics[:, :, self.MEAN_W].clamp(min=1e-12)
        lowest = torch.minimum(statistics[:, :, self.LOWEST], last)
        return torch.stack(
            [
                torch.asinh(change / scale),
                (change / scale).clamp(-4, 4),
                self.height((last - mean) / scale),
                self.liveliness(statistics),
                observed.to(torch.float64),
                self.height(mean / scale) / 4,
                self.height(last / scale) / 4,
                torch.log1p(statistics[:, :, self.SEEN]) / 4,
                torch.log1p(statistics[:, :, self.GAP]) / 4,
                self.height((last - lowest) / scale) / 4,
                (change == 0).to(torch.float64),
            ],
            2,
        ).to(torch.float32)

    def height(self, ratio: Tensor) -> Tensor:
        """How many scales high something is, compressed, and bounded where no series of the training went."""
        return torch.asinh(ratio).clamp(-14.0, 14.0)

    def liveliness(self, statistics: Tensor) -> Tensor:
        """Log ratio of the recent to the long-run mean change, bounded."""
        recent = statistics[..., self.ABS_FAST] / statistics[..., self.ABS_FAST_W].clamp(min=1e-12)
        return torch.log((recent / self.scale(statistics)).clamp(0.01, 100.0))

    def windows(self, memory: Tensor, position: Tensor) -> Tensor:
        """The MEMORY values that end before new value `position` (B, R) of memory (B, MEMORY + T): (B, R, MEMORY)."""
        every = memory.unfold(1, self.MEMORY, 1)  # (B, T + 1, MEMORY), a view
        rows = torch.arange(memory.shape[0], device=memory.device)[:, None]
        return every[rows, position]

    def read_out(self, units: Tensor, statistics: Tensor, memory: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """Forecast quantiles at LEVELS for the steps `ahead`, relative to the last value.

        units (N, fast + slow), statistics (N, STATISTICS), memory (N, W), ahead (N, H) int64 >= 1. Returns
        (N, H, K) float64, in the series' units less its last value, and the mean absolute seasonal change (N,).
        """
        last, scale = statistics[:, self.LAST], self.scale(statistics)
        found, acf = find_season(memory, scale, last)
        season = self.chosen(statistics, found)
        strength = acf.gather(1, season.clamp(max=acf.shape[1] - 1)[:, None])
        longer, longer_strength = self.longer_season(season, acf, statistics[:, self.STEPS])
        relative = memory - last[:, None]  # NaN stays NaN
        level, older_level, swing = self.season_levels(relative, season)
        swing = torch.where(swing > 0, swing, scale)
        mean = statistics[:, self.MEAN] / statistics[:, self.MEAN_W].clamp(min=1e-12) - last

        candidates, there, turn = self.look_back(relative, season, longer, level, older_level, mean, ahead)
        per_step = self.step_features(candidates, there, turn, ahead, season, scale)
        per_row = self.row_features(
            statistics, scale, season, longer, strength, longer_strength, level, older_level, swing
        )
        at = relative.shape[1] - 1 - self.lags[None, :].expand(relative.shape[0], -1)
        lagged = relative.gather(1, at.clamp(min=0))
        known = torch.isfinite(lagged) & (at >= 0)
        lagged = torch.asinh(torch.where(known, lagged, 0.0) / scale[:, None]).to(torch.float32)
        row = self.context(torch.cat([units, per_row, lagged, known.to(torch.float32)], 1))
        x = functional.gelu(row[:, None, :] + self.ahead(per_step))
        x = x + self.mix2(functional.gelu(self.mix(x)))
        out = self.out(x).to(torch.float64)

        weights = torch.softmax(out[:, :, : self.CANDIDATES].masked_fill(~there, -30.0), 2)
        centre = (weights * candidates).sum(2)
        unit = scale[:, None] * torch.exp(out[:, :, self.CANDIDATES].clamp(-6, 6))
        raw = out[:, :, self.CANDIDATES + 1 :]
        median = centre + unit * raw[:, :, self.CENTRE]
        gaps = functional.softplus(raw - 1.0) * unit[:, :, None]
        upper = median[:, :, None] + gaps[:, :, self.CENTRE + 1 :].cumsum(2)
        lower = median[:, :, None] - gaps[:, :, : self.CENTRE].flip(2).cumsum(2).flip(2)
        return torch.cat([lower, median[:, :, None], upper], 2), swing

    def longer_season(self, season: Tensor, acf: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """A multiple of the season that repeats better than the season itself (a week of hours), else the season."""
        times = torch.arange(2, 15, device=season.device)[None, :]
        lag = season[:, None] * times
        fits = (lag < acf.shape[1]) & (2 * lag <= steps[:, None]) & (season[:, None] > 1)
        value = torch.where(fits, acf.gather(1, lag.clamp(max=acf.shape[1] - 1)), -1.0)
        best, which = value.max(1, keepdim=True)
        own = acf.gather(1, season.clamp(max=acf.shape[1] - 1)[:, None])
        better = best > own + 0.02
        return torch.where(better, lag.gather(1, which), season[:, None])[:, 0], torch.where(better, best - own, 0.0)

    def season_levels(self, relative: Tensor, season: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means of the last season and of the one before (N,), and the mean absolute change over a season (N,)."""
        present = torch.isfinite(relative)
        filled = torch.where(present, relative, 0.0)
        total = functional.pad(filled.cumsum(1), (1, 0))
        count = functional.pad(present.to(torch.float64).cumsum(1), (1, 0))
        edges = (relative.shape[1] - season[:, None] * torch.arange(3, device=season.device)[None, :]).clamp(min=0)
        t, c = total.gather(1, edges), count.gather(1, edges)
        means = (t[:, :-1] - t[:, 1:]) / (c[:, :-1] - c[:, 1:]).clamp(min=1)
        before = torch.arange(relative.shape[1], device=season.device)[None, :] - season[:, None]
        earlier = torch.where(before >= 0, relative.gather(1, before.clamp(min=0)), float("nan"))
        change = (relative - earlier).abs()
        both = torch.isfinite(change)
        swing = torch.where(both, change, 0.0).sum(1) / both.to(torch.float64).sum(1).clamp(min=1)
        older = torch.where(c[:, 1] > c[:, 2], means[:, 1], means[:, 0])
        return means[:, 0], older, swing

    def look_back(
        self,
        relative: Tensor,
        season: Tensor,
        longer: Tensor,
        level: Tensor,
        older_level: Tensor,
        mean: Tensor,
        ahead: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The simple forecasts for every step ahead (N, H, CANDIDATES), which of them exist, and the season's turn."""
        turn = (ahead + season[:, None] - 1).div(season[:, None], rounding_mode="floor")
        nearest = ahead - turn * season[:, None]  # <= 0, the newest value at the phase of that step
        far_turn = (ahead + longer[:, None] - 1).div(longer[:, None], rounding_mode="floor")
        far = ahead - far_turn * longer[:, None]
        offsets = torch.stack(
            [
                nearest,
                nearest - season[:, None],
                nearest - 2 * season[:, None],
                nearest - 3 * season[:, None],
                far,
            ],
            2,
        )
        index = relative.shape[1] - 1 + offsets
        looked = relative.gather(1, index.clamp(min=0).flatten(1)).unflatten(1, (ahead.shape[1], 5))
        there = torch.isfinite(looked) & (index >= 0)
        looked = torch.where(there, looked, 0.0)
        drift = ((level - older_level)[:, None] * turn).unsqueeze(2)
        same = torch.zeros_like(drift)
        always = torch.ones_like(drift, dtype=torch.bool)
        mean_, level_ = mean[:, None, None] + same, level[:, None, None] + same
        candidates = torch.cat([same, looked, looked[:, :, :1] + drift, level_, mean_], 2)
        return candidates, torch.cat([always, there, there[:, :, :1], always, always], 2), turn

    def step_features(
        self, candidates: Tensor, there: Tensor, turn: Tensor, ahead: Tensor, season: Tensor, scale: Tensor
    ) -> Tensor:
        """What the head sees of one step ahead: (N, H, PER_STEP) float32."""
        h = ahead.to(torch.float64)
        position = torch.stack(
            [torch.log(h), h / 64, 1 / h, torch.log(turn.to(torch.float64)), h / season[:, None], h.clamp(max=4) / 4],
            2,
        )
        position = torch.cat([position[:, :, :4], position[:, :, 4:5].clamp(max=8) / 4, position[:, :, 5:]], 2)
        relative = torch.asinh(candidates[:, :, 1:] / scale[:, None, None])
        flags = there[:, :, 1:6].to(torch.float64)
        linear = (candidates[:, :, 1:5] / scale[:, None, None]).clamp(-8, 8) / 4
        return torch.cat([position, relative, flags, linear], 2).to(torch.float32)

    def row_features(
        self,
        statistics: Tensor,
        scale: Tensor,
        season: Tensor,
        longer: Tensor,
        strength: Tensor,
        longer_strength: Tensor,
        level: Tensor,
        older_level: Tensor,
        swing: Tensor,
    ) -> Tensor:
        """What the head sees of a row besides its hidden units: (N, PER_ROW) float32."""
        last, seen = statistics[:, self.LAST], statistics[:, self.SEEN]
        mean = statistics[:, self.MEAN] / statistics[:, self.MEAN_W].clamp(min=1e-12)
        lowest = torch.minimum(statistics[:, self.LOWEST], last)
        period = season.to(torch.float64)
        columns = torch.stack(
            [
                torch.log(period) / 4,
                (season > 1).to(torch.float64),
                torch.log(seen.clamp(min=1) / period).clamp(-3, 6) / 4,
                (longer > season).to(torch.float64),
                torch.asinh(level / scale) / 2,
                torch.asinh((level - older_level) / scale),
                torch.log((swing / scale).clamp(1e-3, 1e3)),
                torch.asinh((last - mean) / scale) / 2,
                self.height((last - lowest) / scale) / 4,
                torch.log1p(statistics[:, self.GAP]) / 4,
                torch.log1p(seen) / 4,
                self.height(last / scale) / 4,
            ],
            1,
        )
        return torch.cat([columns.to(torch.float32), strength, longer_strength], 1)

    def answer(self, predicted: Tensor, statistics: Tensor, levels: Tensor) -> Tensor:
        """Predicted quantiles (N, H, K), relative to the last value -> mean and wanted quantiles (N, H, 1 + Q)."""
        horizon = predicted.shape[1]
        median = predicted[:, :, self.CENTRE : self.CENTRE + 1]
        step = torch.arange(horizon, device=predicted.device).clamp(max=self.MAX_HORIZON - 1)
        distance = (predicted - median) * self.widen[step][None]
        # Factors that differ from level to level may not make quantiles cross.
        lower = distance[:, :, : self.CENTRE].flip(2).cummin(2)[0].flip(2)
        upper = distance[:, :, self.CENTRE + 1 :].cummax(2)[0]
        predicted = median + torch.cat([lower, torch.zeros_like(median), upper], 2)
        absolute = (statistics[:, self.LAST, None, None] + predicted).clamp(-self.LARGEST, self.LARGEST)
        # A history that never went below zero (counts, sales, prices) does not in the forecast either.
        lowest = statistics[:, self.LOWEST, None, None]
        least = torch.full_like(lowest, -self.LARGEST).masked_fill(lowest >= 0, 0.0)
        absolute = torch.maximum(absolute, least)
        mean = (absolute * self.shares).sum(2, keepdim=True)
        wanted = torch.maximum(interpolate(self.levels, absolute, levels), least)
        return torch.cat([mean, wanted], 2)
