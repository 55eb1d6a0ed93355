"""The forecaster: two recurrent clocks over a causally scaled series, and one head for every step ahead.

A fast LSTM reads every value; a slow one reads the fast one's state every `STRIDE` values, so it sees eight times as
far for an eighth of the cost. Everything a forecast needs is in the state: running statistics (level, scale), the last
`MEMORY` values as they came, the season found in them, and the hidden units. Nothing looks ahead, so a batch, a resumed
series and a history of one-step-ahead forecasts are the same computation.

The season is computed, not learned: the autocorrelation of the remembered values gives it where the caller did not,
and the head is shown the values one to four seasons back at the phase of the step that it forecasts. The median is a
learned mixture of those and other simple forecasts plus a learned correction in units of the series' own scale; the
other quantiles are stacked on it with positive gaps, so they cannot cross.

After every value the fast clock foretells a band for the next one. It is trained at every step, and how well those
bands have held on this very series so far is a running statistic that the head sees: it widens its intervals where they
were too sure of themselves, in a new request and in a resumed one alike.

Sources of the ideas: the scale of MASE (Hyndman and Koehler 2006), the mixing of exponential smoothing and a recurrent
network (Smyl 2020), clocks of different speed (El Hihi and Bengio 1995), non-crossing increments (Park et al. 2022),
intervals corrected by how earlier ones held (Gibbs and Candes 2021).
Shapes: B rows, T new values, N read-outs, H steps ahead, K predicted levels, W remembered values.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.look_back import CANDIDATES, longer_season, look_back, season_levels
from training.networks.quantiles import interpolate
from training.networks.ragged import RaggedLSTM
from training.networks.season import find_season
from training.networks.statistics import (
    ABS_SLOW,
    ABS_SLOW_W,
    BELOW,
    COLUMNS,
    GAP,
    INPUTS,
    LARGEST,
    LAST,
    LOWEST,
    SEASON,
    SEEN,
    STEPS,
    Statistics,
)
from training.networks.steady import SteadyLinear, softplus

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
MAX_HORIZON = 256
MEMORY = 1024
STRIDE = 8
SEASONS = 2  # columns of what was found in the memory: season and longer season, and as many of how strong they are
LAGS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64, 128, 256, 512)
PER_STEP = 23  # features of one step ahead
PER_ROW = 18  # features of a row besides its hidden units and lagged values
CENTRE = LEVELS.index(0.5)
BAND = (0.1, 0.5, 0.9)  # levels of the bands of the next value


class Forecaster(nn.Module):
    """See the module's docstring; the methods are those of docs/models.md."""

    # TorchScript sees constants only as attributes of the class that it is told of.
    __constants__ = (
        "ABS_SLOW",
        "ABS_SLOW_W",
        "BELOW",
        "CANDIDATES",
        "CENTRE",
        "GAP",
        "LARGEST",
        "LAST",
        "LOWEST",
        "MAX_HORIZON",
        "MEMORY",
        "SEASON",
        "SEASONS",
        "SEEN",
        "STEPS",
        "STRIDE",
    )
    BELOW, CANDIDATES, CENTRE, GAP, SEASONS = BELOW, CANDIDATES, CENTRE, GAP, SEASONS
    ABS_SLOW, ABS_SLOW_W, LARGEST, LAST = ABS_SLOW, ABS_SLOW_W, LARGEST, LAST
    LOWEST, MAX_HORIZON, MEMORY, SEASON = LOWEST, MAX_HORIZON, MEMORY, SEASON
    SEEN, STEPS, STRIDE = SEEN, STEPS, STRIDE

    def __init__(self, fast: int = 64, slow: int = 128, width: int = 160) -> None:
        super().__init__()
        self.fast_size, self.slow_size = fast, slow
        # The state: statistics, seasons, memory | strength of the seasons, score of the bands, hidden units (float32).
        self.remembered = BELOW + SEASONS
        self.exact = self.remembered + MEMORY
        self.scores = self.exact + SEASONS
        self.units = self.scores + COLUMNS - BELOW
        self.state_width = self.units + 2 * (fast + slow)
        self.statistics = Statistics()
        self.fast = RaggedLSTM(INPUTS, fast)
        self.slow = RaggedLSTM(fast + INPUTS, slow)
        self.next = SteadyLinear(fast, len(BAND))
        self.context = nn.Sequential(
            SteadyLinear(fast + slow + PER_ROW + 2 * len(LAGS), width), nn.GELU(), SteadyLinear(width, width)
        )
        self.ahead = SteadyLinear(PER_STEP, width)
        self.mix = SteadyLinear(width, width)
        self.mix2 = SteadyLinear(width, width)
        self.out = SteadyLinear(width, CANDIDATES + 1 + len(LEVELS))
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
    def predict_at(
        self, values: Tensor, season: Tensor, cuts: Tensor, ahead: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What training compares with the truth: forecasts made after the first `cuts` values of each row.

        values (B, T) float64, season (B,) int64, cuts (B, R) int64 in 1..T, ahead (B, R, H) int64. Returns predicted
        quantiles (B, R, H, K) less the last value seen, that value (B, R), the mean absolute seasonal change (B, R),
        and the mean pinball loss of the bands foretold at every step.
        """
        lengths = torch.full_like(season, values.shape[1])
        known, memory, fast, slow, _, error = self.read_in(values, lengths, self.initial(season))
        scored = torch.isfinite(values) & (known[:, :, SEEN] > 2.5)
        levels = torch.tensor(BAND, device=values.device)
        pinball = torch.maximum(levels * error, (levels - 1) * error).sum(2) * scored
        band_loss = pinball.sum() / scored.sum().clamp(min=1)
        rows = torch.arange(len(values), device=values.device)[:, None]
        units = torch.cat([fast, slow], 2)[rows, cuts - 1].flatten(0, 1)
        there = known[rows, cuts - 1]
        width = min(MEMORY, 1 << (values.shape[1] - 1).bit_length())  # what lies before the window is missing anyway
        windows = self.windows(memory, cuts)[:, :, -width:].flatten(0, 1)
        at = there.flatten(0, 1)
        predicted, swing = self.read_out(units, at, self.look(windows, at), windows, ahead.flatten(0, 1))
        return predicted.unflatten(0, cuts.shape), there[:, :, LAST], swing.unflatten(0, cuts.shape), band_loss

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        state = torch.zeros(season.shape[0], self.state_width, dtype=torch.float64, device=season.device)
        state[:, self.SEASON] = season.to(torch.float64)
        state[:, self.LOWEST].fill_(self.LARGEST)
        state[:, self.BELOW : self.remembered].fill_(1.0)
        state[:, self.remembered : self.exact].fill_(float("nan"))
        return state

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if values.shape[1] == 0:
            return state
        values, lengths, _ = self.without_gap_in_front(values, lengths, state)
        known, memory, _, _, hidden, _ = self.read_in(values, lengths, state)
        last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, known.shape[2])
        known = known.gather(1, last)[:, 0]
        newest = torch.arange(self.MEMORY, device=values.device)[None, :]
        remembered = memory.gather(1, lengths[:, None] + newest)
        found = self.look(remembered, known)
        exact = torch.cat([known[:, : self.BELOW], found[:, : self.SEASONS], remembered], 1)
        rest = torch.cat([found[:, self.SEASONS :], known[:, self.BELOW :], hidden.to(torch.float64)], 1)
        after = torch.cat([exact, rest.to(torch.float32).to(torch.float64)], 1)
        return torch.where((lengths > 0)[:, None], after, state)

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        known, memory = self.known(state), state[:, self.remembered : self.exact]
        found = torch.cat([state[:, self.BELOW : self.remembered], state[:, self.exact : self.scores]], 1)
        fast, slow = self.hidden(state)
        units = torch.cat([fast, slow], 1)
        ahead = torch.arange(1, horizon + 1, device=state.device)[None, :].expand(state.shape[0], -1)
        predicted, _ = self.read_out(units, known, found, memory, ahead)
        return self.answer(predicted, known, levels)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        rows, steps = values.shape
        if steps == 0:
            return state, values.new_zeros(rows, 0, 1 + levels.shape[1])
        values, lengths, skipped = self.without_gap_in_front(values, lengths, state)
        known, memory, fast, slow, _, _ = self.read_in(values, lengths, state)
        before = torch.cat([self.known(state)[:, None], known[:, :-1]], 1)
        first_fast, first_slow = self.hidden(state)
        fast = torch.cat([first_fast[:, None], fast[:, :-1]], 1)
        slow = torch.cat([first_slow[:, None], slow[:, :-1]], 1)
        block = max(1, 256 // rows)  # bounds the memory that a long history takes
        answers: list[Tensor] = []
        for start in range(0, steps, block):
            stop = min(start + block, steps)
            position = torch.arange(start, stop, device=values.device)[None, :].expand(rows, -1)
            windows = self.windows(memory, position).flatten(0, 1)
            units = torch.cat([fast[:, start:stop], slow[:, start:stop]], 2).flatten(0, 1)
            then = before[:, start:stop].flatten(0, 1)
            ahead = torch.ones(then.shape[0], 1, dtype=torch.int64, device=values.device)
            predicted, _ = self.read_out(units, then, self.look(windows, then), windows, ahead)
            wanted = levels[:, None, :].expand(-1, stop - start, -1).flatten(0, 1)
            answers.append(self.answer(predicted, then, wanted)[:, 0].unflatten(0, (rows, stop - start)))
        said = torch.where((before[:, :, self.SEEN] > 0)[:, :, None], torch.cat(answers, 1), float("nan"))
        origin = torch.arange(steps, device=values.device)[None, :] - skipped[:, None]
        moved = said.gather(1, origin.clamp(min=0)[:, :, None].expand(-1, -1, said.shape[2]))
        return self.step(values, lengths, state), torch.where((origin >= 0)[:, :, None], moved, float("nan"))

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        return state[:, self.BELOW].to(torch.int64)

    def without_gap_in_front(self, values: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values and lengths without what is missing before the first value ever observed, and how many that are (B,).

        A series begins with its first value: a gap in front of it says nothing.
        """
        fresh = state[:, self.SEEN] == 0
        if not bool((fresh & ~torch.isfinite(values[:, 0])).any()):
            return values, lengths, torch.zeros_like(lengths)
        column = torch.arange(values.shape[1], device=values.device)[None, :]
        observed = torch.isfinite(values) & (column < lengths[:, None])
        first = torch.where(observed.any(1), observed.to(torch.int64).argmax(1), lengths)
        skipped = torch.where(fresh, first, 0)
        moved = values.gather(1, (column + skipped[:, None]).clamp(max=values.shape[1] - 1))
        return moved, lengths - skipped, skipped

    def known(self, state: Tensor) -> Tensor:
        """The statistics in the state, (B, COLUMNS)."""
        return torch.cat([state[:, : self.BELOW], state[:, self.scores : self.units]], 1)

    def hidden(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden units of both clocks that the head sees, float32."""
        slow = self.units + 2 * self.fast_size
        fast = state[:, self.units : self.units + self.fast_size].to(torch.float32)
        return fast, state[:, slow : slow + self.slow_size].to(torch.float32)

    def read_in(
        self, values: Tensor, lengths: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Run both clocks over `values`.

        Returns the statistics after every step (B, T, COLUMNS), memory with the new values behind it (B, MEMORY + T),
        the hidden units of both clocks after every step, all hidden units at each row's end, and the distances of the
        values from the bands foretold for them (B, T, len(BAND)).
        """
        steps = values.shape[1]
        column = torch.arange(steps, device=values.device)
        inside = column[None, :] < lengths[:, None]
        observed = torch.isfinite(values) & inside
        x = torch.where(observed, values.clamp(-self.LARGEST, self.LARGEST), 0.0)
        memory = torch.cat([state[:, self.remembered : self.exact], torch.where(observed, x, float("nan"))], 1)
        before = self.known(state)
        known = self.statistics.follow(x, observed, inside, before)
        change = self.statistics.change(x, observed, known, before)
        scale = self.statistics.scale(known)
        inputs = self.statistics.inputs(change, observed, known, scale)

        f, s = self.fast_size, self.slow_size
        hidden = state[:, self.units :].to(torch.float32)
        fast, h1, c1 = self.fast(inputs, lengths, hidden[:, :f], hidden[:, f : 2 * f])
        earlier = torch.cat([self.statistics.scale(before)[:, None], scale[:, :-1]], 1)
        scores, error = self.score(
            torch.cat([hidden[:, None, :f], fast[:, :-1]], 1), change / earlier, observed, known, before
        )
        # The slow clock ticks when the number of steps so far is a multiple of STRIDE, whatever request they came in.
        phase = state[:, self.STEPS].to(torch.int64) % self.STRIDE
        ticks = (phase + lengths).div(self.STRIDE, rounding_mode="floor")
        most = (steps + self.STRIDE - 1) // self.STRIDE if bool((ticks > 0).any()) else 0
        when = self.STRIDE * torch.arange(most, device=values.device)[None, :] + (self.STRIDE - 1 - phase)[:, None]
        seen = torch.cat([fast, inputs], 2)
        at = when.clamp(max=steps - 1)[:, :, None].expand(-1, -1, seen.shape[2])
        slow, h2, c2 = self.slow(seen.gather(1, at), ticks, hidden[:, 2 * f : 2 * f + s], hidden[:, 2 * f + s :])
        ticked = (phase[:, None] + column[None, :] + 1).div(self.STRIDE, rounding_mode="floor").clamp(max=most)
        earlier = torch.cat([hidden[:, None, 2 * f : 2 * f + s], slow], 1)
        slow = earlier.gather(1, ticked[:, :, None].expand(-1, -1, s))
        return torch.cat([known, scores], 2), memory, fast, slow, torch.cat([h1, c1, h2, c2], 1), error

    def score(
        self, units: Tensor, ratio: Tensor, observed: Tensor, known: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The bands that `units` (B, T, fast), those of the step before, foretold for the new values.

        ratio (B, T) float64: the new values' changes in units of the scale before them. Bands are compressed as these
        are; that is monotone, so quantiles stay quantiles. Returns the statistics of how they held (B, T, columns),
        which nothing is trained through, and the distances of the values from them (B, T, len(BAND)).
        """
        raw = self.next(units)
        middle, gaps = raw[:, :, 1:2], softplus(raw)
        bands = torch.cat([middle - gaps[:, :, :1], middle, middle + gaps[:, :, 2:]], 2)
        surprise = torch.asinh(ratio.clamp(-1e30, 1e30).to(torch.float32)).clamp(-14.0, 14.0)
        scored = observed & (known[:, :, self.SEEN] > 2.5)
        return self.statistics.score(surprise, scored, bands.detach(), observed, before), surprise[:, :, None] - bands

    def look(self, memory: Tensor, known: Tensor) -> Tensor:
        """What is found in the memory (N, W): season, longer season, how strong they are; (N, 2 SEASONS) float64."""
        found, acf = find_season(memory)
        given, steps = known[:, self.SEASON].to(torch.int64), known[:, self.STEPS]
        # The caller's season where there is one that the memory can hold and of which a whole one was observed.
        usable = (given > 0) & (given <= self.MEMORY // 2) & (given <= steps)
        held = torch.where(usable, given, found)
        strength = acf.gather(1, held.clamp(max=acf.shape[1] - 1)[:, None])
        longer, longer_strength = longer_season(held, acf, steps)
        seasons = torch.stack([held, longer], 1).to(torch.float64)
        return torch.cat([seasons, strength.to(torch.float64), longer_strength.to(torch.float64)], 1)

    def windows(self, memory: Tensor, position: Tensor) -> Tensor:
        """The MEMORY values that end before new value `position` (B, R) of memory (B, MEMORY + T): (B, R, MEMORY)."""
        every = memory.unfold(1, self.MEMORY, 1)  # (B, T + 1, MEMORY), a view
        rows = torch.arange(memory.shape[0], device=memory.device)[:, None]
        return every[rows, position]

    def read_out(
        self, units: Tensor, known: Tensor, found: Tensor, memory: Tensor, ahead: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Forecast quantiles at LEVELS for the steps `ahead`, relative to the last value.

        units (N, fast + slow), known (N, COLUMNS), found (N, 2 SEASONS), memory (N, W), ahead (N, H) int64 >= 1.
        Returns (N, H, K) float64, in the series' units less its last value, and the mean absolute seasonal change (N,).
        """
        last, scale = known[:, self.LAST], self.statistics.scale(known)
        season, longer = found[:, 0].to(torch.int64), found[:, 1].to(torch.int64)
        relative = memory - last[:, None]  # NaN stays NaN
        level, older_level, swing = season_levels(relative, season)
        # A change of nothing says that the season explains everything; where nothing was compared, nothing is known.
        swing = torch.where(torch.isnan(swing), scale, swing)
        size = torch.maximum(swing, 1e-3 * scale)
        mean = self.statistics.mean(known) - last

        candidates, there, turn = look_back(relative, season, longer, level, older_level, mean, ahead)
        per_step = self.step_features(candidates, there, turn, ahead, season, scale)
        per_row = self.row_features(known, scale, found, level, older_level, size)
        at = relative.shape[1] - 1 - self.lags[None, :].expand(relative.shape[0], -1)
        lagged = relative.gather(1, at.clamp(min=0))
        there_too = torch.isfinite(lagged) & (at >= 0)
        lagged = torch.asinh(torch.where(there_too, lagged, 0.0) / scale[:, None]).to(torch.float32)
        row = self.context(torch.cat([units, per_row, lagged, there_too.to(torch.float32)], 1))
        x = functional.gelu(row[:, None, :] + self.ahead(per_step))
        x = x + self.mix2(functional.gelu(self.mix(x)))
        out = self.out(x).to(torch.float64)

        weights = torch.softmax(out[:, :, : self.CANDIDATES].masked_fill(~there, -30.0), 2)
        centre = (weights * candidates).sum(2)
        unit = scale[:, None] * torch.exp(out[:, :, self.CANDIDATES].clamp(-6, 6))
        raw = out[:, :, self.CANDIDATES + 1 :]
        median = centre + unit * raw[:, :, self.CENTRE]
        # What has repeated itself exactly, twice or more, goes on so, whatever the weights make of it.
        doubt = torch.where(2 * season <= known[:, self.SEEN], swing / size, 1.0)[:, None]
        last_season = candidates[:, :, 1]
        median = torch.where(there[:, :, 1], last_season + doubt * (median - last_season), median)
        gaps = softplus(raw - 1.0) * unit[:, :, None]
        upper = median[:, :, None] + gaps[:, :, self.CENTRE + 1 :].cumsum(2)
        lower = median[:, :, None] - gaps[:, :, : self.CENTRE].flip(2).cumsum(2).flip(2)
        return torch.cat([lower, median[:, :, None], upper], 2), torch.where(swing > 0, swing, scale)

    def step_features(
        self, candidates: Tensor, there: Tensor, turn: Tensor, ahead: Tensor, season: Tensor, scale: Tensor
    ) -> Tensor:
        """What the head sees of one step ahead: (N, H, PER_STEP) float32."""
        h = ahead.to(torch.float32)
        position = torch.stack(
            [
                torch.log(h),
                h / 64,
                1 / h,
                torch.log(turn.to(torch.float32)),
                (h / season[:, None].to(torch.float32)).clamp(max=8) / 4,
                h.clamp(max=4) / 4,
            ],
            2,
        )
        ratios = (candidates[:, :, 1:] / scale[:, None, None]).clamp(-1e30, 1e30).to(torch.float32)
        flags = there[:, :, 1:6].to(torch.float32)
        return torch.cat([position, torch.asinh(ratios), flags, ratios[:, :, :4].clamp(-8, 8) / 4], 2)

    def row_features(
        self, known: Tensor, scale: Tensor, found: Tensor, level: Tensor, older_level: Tensor, swing: Tensor
    ) -> Tensor:
        """What the head sees of a row besides its hidden units and lagged values: (N, PER_ROW) float32."""
        last, seen = known[:, self.LAST], known[:, self.SEEN]
        lowest = torch.minimum(known[:, self.LOWEST], last)
        season, longer = found[:, 0], found[:, 1]
        heights = torch.stack([level, level - older_level, last - self.statistics.mean(known), last - lowest, last], 1)
        heights = torch.asinh((heights / scale[:, None]).clamp(-1e30, 1e30).to(torch.float32)).clamp(-14.0, 14.0)
        columns = torch.stack(
            [
                torch.log(season) / 4,
                (season > 1).to(torch.float64),
                torch.log(seen.clamp(min=1) / season).clamp(-3, 6) / 4,
                (longer > season).to(torch.float64),
                torch.log((swing / scale).clamp(1e-3, 1e3)),
                torch.log1p(known[:, self.GAP]) / 4,
                torch.log1p(seen) / 4,
                found[:, 2],
                found[:, 3],
            ],
            1,
        )
        return torch.cat([columns.to(torch.float32), heights / 2, self.statistics.record_of_bands(known)], 1)

    def answer(self, predicted: Tensor, known: Tensor, levels: Tensor) -> Tensor:
        """Predicted quantiles (N, H, K), relative to the last value -> mean and wanted quantiles (N, H, 1 + Q)."""
        horizon = predicted.shape[1]
        # A series that has never changed goes on as it is, to the last bit.
        constant = (known[:, self.ABS_SLOW] == 0) & (known[:, self.ABS_SLOW_W] > 0)
        predicted = torch.where(constant[:, None, None], 0.0, predicted)
        # A history that never went below zero (counts, sales, prices) does not in the forecast either.
        last, lowest = known[:, self.LAST, None, None], known[:, self.LOWEST, None, None]
        least = torch.full_like(lowest, -self.LARGEST).masked_fill(lowest >= 0, 0.0)
        own = torch.maximum((last + predicted).clamp(-self.LARGEST, self.LARGEST), least)
        mean = torch.where(constant[:, None, None], last, (own * self.shares).sum(2, keepdim=True))

        median = predicted[:, :, self.CENTRE : self.CENTRE + 1]
        step = torch.arange(horizon, device=predicted.device).clamp(max=self.MAX_HORIZON - 1)
        distance = (predicted - median) * self.widen[step][None]
        # Factors that differ from level to level may not make quantiles cross.
        lower = distance[:, :, : self.CENTRE].flip(2).cummin(2)[0].flip(2)
        upper = distance[:, :, self.CENTRE + 1 :].cummax(2)[0]
        predicted = median + torch.cat([lower, torch.zeros_like(median), upper], 2)
        absolute = torch.maximum((last + predicted).clamp(-self.LARGEST, self.LARGEST), least)
        wanted = torch.maximum(interpolate(self.levels, absolute, levels), least)
        return torch.cat([mean, wanted], 2)
