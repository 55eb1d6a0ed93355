"""The forecaster: two recurrent clocks over a causally scaled series, and one head for every step ahead.

A fast LSTM reads every value; a slow one reads the fast one's state every `STRIDE` values, so it sees eight times as
far for an eighth of the cost. Everything a forecast needs is in the state: running statistics (level, scale), the last
`MEMORY` values as they came, the season found in them, and the hidden units. Nothing looks ahead, so a batch, a resumed
series and a history of one-step-ahead forecasts are the same computation.

The season is computed, not learned: the autocorrelation of the remembered values gives it where the caller did not,
and the head's inputs are the values one to four seasons back at the phase of the step that it forecasts. The median is
a learned mixture of those and other simple forecasts plus a learned correction in units of the series' own scale; the
other quantiles are stacked on it with positive gaps, so they cannot cross.

After every value the fast clock predicts a band for the next one. It is trained at every step, and how well those bands
have held on this very series so far is a running statistic among the head's inputs: it widens its intervals where the
bands were too narrow, in a new request and in a resumed one alike.

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

from training.networks.level_candidates import (
    DAMPING,
    FEATURES,
    LEVEL_CANDIDATES,
    fixed_phases,
    level_candidates,
    may_have_glitches,
    unexplained_features,
    weights_by_age,
    without_glitches,
)
from training.networks.past import Past, selected, summed
from training.networks.quantiles import interpolate
from training.networks.ragged import RaggedLSTM
from training.networks.recurrence import second_order
from training.networks.season import autocorrelation, of_rows, season_in, within_half
from training.networks.seasonal_candidates import (
    SEASONAL_CANDIDATES,
    SECOND,
    choose_seasons,
    season_levels,
    seasonal_candidates,
    stated_seasons,
    usable_seasons,
)
from training.networks.statistics import (
    ABS_SLOW,
    ABS_SLOW_W,
    BELOW,
    COLUMNS,
    COUNT,
    GAP,
    HIGHEST,
    INPUTS,
    LARGEST,
    LAST,
    LOWEST,
    SCALE,
    SEASON,
    STEPS,
    Statistics,
)
from training.networks.steady import SteadyLinear, fill_up, softplus

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
MAX_HORIZON = 1024
LEARNED_HORIZON = 256  # steps ahead that the head is trained on; beyond, intervals go on growing as they did
MEMORY = 1024
# Windows that a history reads, and up to how many steps of a series each of them serves: `robust_heights` takes the
# same sample of values in all of them (the same remainder by 3), and no longer season counts before the next width.
WIDTHS = (128, 224, 512, MEMORY)
REACHES = (77, 215, 431, 1 << 60)
BLOCK = 128 * MEMORY  # remembered values of the read-outs that a history makes at a time
STRIDE = 8
SEASONS = 2  # columns of the seasons in the memory: season and longer season, and as many of their strengths
LAGS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64, 128, 256, 512)
CANDIDATES = SEASONAL_CANDIDATES + 2 * LEVEL_CANDIDATES  # for the season and for the longer season
PER_STEP = 23 + 2 * LEVEL_CANDIDATES  # features of one step ahead
PER_ROW = 18  # features of a row besides its hidden units, lagged values and what the methods leave unexplained
CENTRE = LEVELS.index(0.5)
BAND = (0.1, 0.5, 0.9)  # levels of the bands of the next value


class Forecaster(nn.Module):
    """See the module's docstring; the methods are those of docs/models.md."""

    # TorchScript sees constants only as attributes of the class that `__constants__` lists.
    __constants__ = (
        "ABS_SLOW",
        "ABS_SLOW_W",
        "BELOW",
        "BLOCK",
        "CANDIDATES",
        "CENTRE",
        "GAP",
        "HIGHEST",
        "LARGEST",
        "LAST",
        "LEARNED_HORIZON",
        "LOWEST",
        "MEMORY",
        "SCALE",
        "SEASON",
        "SEASONAL_CANDIDATES",
        "SECOND",
        "REACHES",
        "SEASONS",
        "COUNT",
        "STEPS",
        "STRIDE",
        "WIDTHS",
    )
    BLOCK, REACHES, WIDTHS = BLOCK, REACHES, WIDTHS
    BELOW, CANDIDATES, CENTRE, GAP, SEASONS = BELOW, CANDIDATES, CENTRE, GAP, SEASONS
    ABS_SLOW, ABS_SLOW_W, LARGEST, LAST = ABS_SLOW, ABS_SLOW_W, LARGEST, LAST
    HIGHEST, LEARNED_HORIZON, LOWEST = HIGHEST, LEARNED_HORIZON, LOWEST
    MEMORY, SCALE, SEASON, SEASONAL_CANDIDATES = MEMORY, SCALE, SEASON, SEASONAL_CANDIDATES
    COUNT, SECOND, STEPS, STRIDE = COUNT, SECOND, STEPS, STRIDE

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
            SteadyLinear(fast + slow + PER_ROW + 2 * len(LAGS) + 2 * FEATURES, width),
            nn.GELU(),
            SteadyLinear(width, width),
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
        self.damping: Tensor
        self.register_buffer("damping", torch.tensor([DAMPING], dtype=torch.float64), persistent=False)
        self.weightings: Tensor
        self.register_buffer("weightings", weights_by_age(MEMORY), persistent=False)
        # Split-conformal widening per step ahead and level, 1 = none; filled after training from validation series.
        self.widen: Tensor
        self.register_buffer("widen", torch.ones(LEARNED_HORIZON, len(LEVELS), dtype=torch.float64))

    @torch.jit.unused
    def restore_fixed_weights(self) -> None:
        """Restore the weights that training must not change."""
        self.fast.restore_fixed_weights()
        self.slow.restore_fixed_weights()

    @torch.jit.unused
    def predict_at(
        self, values: Tensor, season: Tensor, cuts: Tensor, ahead: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Forecasts made after the first `cuts` values of each row, which training compares with the truth.

        values (B, T) float64, season (B,) int64, cuts (B, R) int64 in 1..T, ahead (B, R, H) int64. Returns predicted
        quantiles (B, R, H, K) less the last value, that value (B, R), the mean absolute seasonal change (B, R),
        and the pinball loss of the bands predicted at every step: its sum, and over how many steps.
        """
        lengths = torch.full_like(season, values.shape[1])
        start = self.initial(season)
        stats, memory, fast_units, slow_units, _, error = self.read_in(values, lengths, start)
        scored = torch.isfinite(values) & (stats[:, :, COUNT] > 2.5)
        levels = torch.tensor(BAND, device=values.device)
        pinball = torch.maximum(levels * error, (levels - 1) * error).sum(2) * scored
        rows = torch.arange(len(values), device=values.device).unsqueeze(1)
        units = self.units_before(start, fast_units, slow_units)[rows, cuts].flatten(0, 1)
        cut_stats = stats[rows, cuts - 1]
        width = min(MEMORY, 1 << (values.shape[1] - 1).bit_length())  # what lies before the window is missing anyway
        windows = self.windows(memory, cuts, MEMORY)[:, :, -width:].flatten(0, 1)
        flat_stats = cut_stats.flatten(0, 1)
        predicted, swing = self.read_out(
            units,
            flat_stats,
            self.look(windows, flat_stats, flat_stats.select(1, self.STEPS)),
            windows,
            ahead.flatten(0, 1),
        )
        predicted, swing = predicted.unflatten(0, cuts.shape), swing.unflatten(0, cuts.shape)
        return predicted, cut_stats[:, :, LAST], swing, pinball.sum(), scored.sum()

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        state = torch.zeros(season.shape[0], self.state_width, dtype=torch.float64, device=season.device)
        state[:, self.SEASON] = season.to(torch.float64)
        state.select(1, self.LOWEST).fill_(self.LARGEST)
        state[:, self.SCALE] = 1.0
        state[:, self.BELOW : self.remembered].fill_(1.0)
        state[:, self.remembered : self.exact].fill_(float("nan"))
        return state

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if values.shape[1] == 0:
            return state
        values, lengths, _ = self.without_gap_in_front(values, lengths, state)
        stats, memory, _, _, hidden, _ = self.read_in(values, lengths, state)
        return self.state_after(lengths, state, stats, memory, hidden)

    def state_after(self, lengths: Tensor, state: Tensor, stats: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        """The state after `state` and the `lengths` values (B,) of which `read_in` made the others."""
        last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, stats.shape[2])
        stats = stats.gather(1, last).select(1, 0)
        newest = torch.arange(self.MEMORY, device=memory.device).unsqueeze(0) + lengths.unsqueeze(1)
        remembered = memory.gather(1, newest)
        late, is_due = self.since_look(stats.select(1, self.STEPS), state.select(1, self.STEPS))
        seasons = self.seasons_in(state)
        if bool(is_due.any()):
            seen = (
                memory.gather(1, newest - torch.minimum(late, lengths).unsqueeze(1))
                if bool((late > 0).any())
                else remembered
            )
            found = self.look(seen, stats, stats.select(1, self.STEPS) - late)
            seasons = torch.where(is_due.unsqueeze(1), found, seasons)
        exact = torch.cat([stats[:, : self.BELOW], seasons[:, : self.SEASONS], remembered], 1)
        tail = torch.cat([seasons[:, self.SEASONS :], stats[:, self.BELOW :], hidden.to(torch.float64)], 1)
        next_state = torch.cat([exact, tail.to(torch.float32).to(torch.float64)], 1)
        return torch.where((lengths > 0).unsqueeze(1), next_state, state)

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        stats, memory = self.statistics_in(state), state[:, self.remembered : self.exact]
        seasons = self.seasons_in(state)
        fast_units, slow_units = self.hidden(state)
        units = torch.cat([fast_units, slow_units], 1)
        ahead = torch.arange(1, horizon + 1, device=state.device).unsqueeze(0).expand(state.shape[0], -1)
        predicted, _ = self.read_out(units, stats, seasons, memory, ahead)
        if horizon > self.LEARNED_HORIZON:
            predicted = self.widened_beyond(predicted)
        return self.answer(predicted, stats, memory, levels)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        rows, steps = values.shape
        if steps == 0:
            return state, values.new_zeros(rows, 0, 1 + levels.shape[1])
        values, lengths, skipped = self.without_gap_in_front(values, lengths, state)
        stats, memory, fast_units, slow_units, hidden, _ = self.read_in(values, lengths, state)
        end = self.state_after(lengths, state, stats, memory, hidden)
        previous = torch.cat([self.statistics_in(state).unsqueeze(1), stats[:, :-1]], 1)
        units = self.units_before(state, fast_units, slow_units)[:, :-1]
        answers = self.answers_before(units, previous, self.seasons_in(state), memory, levels)
        predictions = torch.where((previous.select(2, self.COUNT) > 0).unsqueeze(2), answers, float("nan"))
        origin = torch.arange(steps, device=values.device).unsqueeze(0) - skipped.unsqueeze(1)
        moved = predictions.gather(1, origin.clamp(min=0).unsqueeze(2).expand(-1, -1, predictions.shape[2]))
        return end, torch.where((origin >= 0).unsqueeze(2), moved, float("nan"))

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        stated, _, _ = stated_seasons(state.select(1, self.SEASON))
        usable = (stated > 0) & (stated <= self.MEMORY // 2) & (stated <= state.select(1, self.STEPS))
        return torch.where(usable, stated, state.select(1, self.BELOW).to(torch.int64))

    def without_gap_in_front(self, values: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values and lengths without what is missing before the first value ever observed, and how many that are (B,).

        A series begins with its first value: a gap in front of it says nothing.
        """
        fresh = state.select(1, self.COUNT) == 0
        if not bool((fresh & ~torch.isfinite(values.select(1, 0))).any()):
            return values, lengths, torch.zeros_like(lengths)
        column = torch.arange(values.shape[1], device=values.device).unsqueeze(0)
        observed = torch.isfinite(values) & (column < lengths.unsqueeze(1))
        first = torch.where(observed.any(1), observed.to(torch.int64).argmax(1), lengths)
        skipped = torch.where(fresh, first, 0)
        moved = values.gather(1, (column + skipped.unsqueeze(1)).clamp(max=values.shape[1] - 1))
        return moved, lengths - skipped, skipped

    def statistics_in(self, state: Tensor) -> Tensor:
        """The statistics in the state, (B, COLUMNS)."""
        return torch.cat([state[:, : self.BELOW], state[:, self.scores : self.units]], 1)

    def hidden(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden units of both clocks that are inputs of the head, float32."""
        slow_start = self.units + 2 * self.fast_size
        fast_units = state[:, self.units : self.units + self.fast_size].to(torch.float32)
        return fast_units, state[:, slow_start : slow_start + self.slow_size].to(torch.float32)

    def read_in(
        self, values: Tensor, lengths: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Run both clocks over `values`.

        Returns the statistics after every step (B, T, COLUMNS), memory with the new values behind it (B, MEMORY + T),
        the hidden units of the fast clock after every step and of the slow one after every tick, all hidden units at
        each row's end, and the distances of the values from the bands predicted for them (B, T, len(BAND)).
        """
        steps = values.shape[1]
        column = torch.arange(steps, device=values.device)
        inside = column.unsqueeze(0) < lengths.unsqueeze(1)
        observed = torch.isfinite(values) & inside
        x = torch.where(observed, values.clamp(-self.LARGEST, self.LARGEST), 0.0)
        memory = torch.cat([state[:, self.remembered : self.exact], torch.where(observed, x, float("nan"))], 1)
        start = self.statistics_in(state)
        stats = self.statistics.follow(x, observed, inside, start)
        change = self.statistics.change(x, observed, stats, start)
        scale = self.statistics.scale(stats)
        inputs = self.statistics.inputs(change, observed, stats, scale)

        f, s = self.fast_size, self.slow_size
        hidden = state[:, self.units :].to(torch.float32)
        fast_units, h1, c1 = self.fast(inputs, lengths, hidden[:, :f], hidden[:, f : 2 * f])
        scale_before = torch.cat([self.statistics.scale(start).unsqueeze(1), scale[:, :-1]], 1)
        bands = torch.cat([self.bands(hidden[:, None, :f]), self.bands(fast_units)[:, :-1]], 1)
        scores, error = self.score(bands, change / scale_before, observed, stats, start)
        # The slow clock ticks when the number of steps, those of earlier requests included, is a multiple of STRIDE.
        phase = state.select(1, self.STEPS).to(torch.int64) % self.STRIDE
        ticks = (phase + lengths).div(self.STRIDE, rounding_mode="floor")
        n_ticks = (steps + self.STRIDE - 1) // self.STRIDE if bool((ticks > 0).any()) else 0
        times = self.STRIDE * torch.arange(n_ticks, device=values.device).unsqueeze(0) + (
            self.STRIDE - 1 - phase
        ).unsqueeze(1)
        at = times.clamp(max=steps - 1).unsqueeze(2)
        clock_inputs = [
            fast_units.gather(1, at.expand(-1, -1, f)),
            inputs.gather(1, at.expand(-1, -1, inputs.shape[2])),
        ]
        slow_units, h2, c2 = self.slow(
            torch.cat(clock_inputs, 2), ticks, hidden[:, 2 * f : 2 * f + s], hidden[:, 2 * f + s :]
        )
        return torch.cat([stats, scores], 2), memory, fast_units, slow_units, torch.cat([h1, c1, h2, c2], 1), error

    def units_before(self, state: Tensor, fast_units: Tensor, slow_units: Tensor) -> Tensor:
        """The hidden units of both clocks before each of T new values and behind the last: (B, T + 1, fast + slow).

        Those of the fast clock, (B, T, fast), are of every step after `state`, those of the slow one of its ticks.
        """
        first_fast, first_slow = self.hidden(state)
        fast_units = torch.cat([first_fast.unsqueeze(1), fast_units], 1)
        slow_units = torch.cat([first_slow.unsqueeze(1), slow_units], 1)
        phase = state.select(1, self.STEPS).to(torch.int64) % self.STRIDE
        step = torch.arange(fast_units.shape[1], device=state.device)
        ticked = (phase.unsqueeze(1) + step).div(self.STRIDE, rounding_mode="floor").clamp(max=slow_units.shape[1] - 1)
        ticked = ticked.unsqueeze(2).expand(-1, -1, self.slow_size)
        return torch.cat([fast_units, slow_units.gather(1, ticked)], 2)

    def bands(self, units: Tensor) -> Tensor:
        """The bands that `units` (B, T, fast) predict for the next value: lower end, middle, upper end, (B, T, 3)."""
        raw = self.next(units)
        middle, gaps = raw[:, :, 1:2], softplus(raw)
        return torch.cat([middle - gaps[:, :, :1], middle, middle + gaps[:, :, 2:]], 2)

    def score(
        self, bands: Tensor, ratio: Tensor, observed: Tensor, stats: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How well the `bands` (B, T, len(BAND)) that were predicted for the new values held.

        ratio (B, T) float64: the new values' changes in units of the scale before them. Bands are compressed as these
        are; that is monotone, so quantiles stay quantiles. Returns the statistics of how they held (B, T, columns),
        which nothing is trained through, and the distances of the values from them (B, T, len(BAND)).
        """
        surprise = torch.asinh(ratio.clamp(-1e30, 1e30).to(torch.float32)).clamp(-14.0, 14.0)
        scored = observed & (stats.select(2, self.COUNT) > 2.5)
        return self.statistics.score(surprise, scored, bands.detach(), observed, start), surprise.unsqueeze(2) - bands

    def since_look(self, steps: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """How many of the `steps` (N,) so far came after the last look for a season, and whether it was after `before`.

        A season changes slowly and takes longer to find than all else: from the 64th step on every eighth step looks.
        """
        steps, before = steps.to(torch.int64), before.to(torch.int64)
        late = torch.where(steps < 64, 0, steps % 8)
        return late, steps - late > before

    def answers_before(
        self, units: Tensor, previous: Tensor, seasons: Tensor, memory: Tensor, levels: Tensor
    ) -> Tensor:
        """What is forecast before each of T new values: (B, T, 1 + Q).

        units (B, T, fast + slow) and `previous` statistics (B, T, COLUMNS) before each value; `seasons` (B, 2 SEASONS)
        before all of them; memory (B, MEMORY + T); levels (B, Q). A row that has seen few values is read out from as
        narrow a window as holds them: what lies before it is missing, and would cost as much as values do.
        """
        rows, steps = previous.shape[0], previous.shape[1]
        reach = previous[:, 0, self.STEPS] + steps
        answers = torch.zeros(rows, steps, 1 + levels.shape[1], dtype=torch.float64, device=memory.device)
        shorter = 0
        for width, longest in zip(self.WIDTHS, self.REACHES):  # noqa: B905 (TorchScript knows no `strict`)
            members = ((reach > shorter) & (reach <= longest)).nonzero().select(1, 0)
            shorter = longest
            newest = memory[:, self.MEMORY - width :]
            if members.shape[0] == rows:
                return self.answers_in(units, previous, seasons, newest, levels)
            if members.shape[0] > 0:
                answers[members] = self.answers_in(
                    units[members], previous[members], seasons[members], newest[members], levels[members]
                )
        return answers

    def answers_in(self, units: Tensor, previous: Tensor, seasons: Tensor, memory: Tensor, levels: Tensor) -> Tensor:
        """`answers_before` from a memory of W values and the new ones, (B, W + T)."""
        rows, steps = previous.shape[0], previous.shape[1]
        width = memory.shape[1] - steps
        known = self.seasons_before(previous, seasons, memory, max(1, self.BLOCK // width))
        key = self.shared_seasons(previous, known, memory).flatten()
        place = torch.arange(rows * steps, device=memory.device)
        row, position = place.div(steps, rounding_mode="floor"), place.remainder(steps)
        views = memory.unfold(1, width, 1)
        units, previous, known = units.flatten(0, 1), previous.flatten(0, 1), known.flatten(0, 1)
        answers = torch.zeros(rows * steps, 1 + levels.shape[1], dtype=torch.float64, device=memory.device)
        block = max(1, self.BLOCK // width)  # bounds the memory of a long history
        distinct = torch.unique(key)
        for number in range(distinct.shape[0]):
            shared = int(distinct[number])
            members = (key == shared).nonzero().select(1, 0)
            for start in range(0, members.shape[0], block):
                at = members[start : start + block]
                windows, stats = views[row[at], position[at]], previous[at]
                ahead = torch.ones(at.shape[0], 1, dtype=torch.int64, device=memory.device)
                predicted, _ = self.read_out(units[at], stats, known[at], windows, ahead, shared)
                answers[at] = self.answer(predicted, stats, windows, levels[row[at]]).select(1, 0)
        return answers.unflatten(0, (rows, steps))

    def shared_seasons(self, previous: Tensor, known: Tensor, memory: Tensor) -> Tensor:
        """Season + SECOND * longer season where several values of a row share them, 0 elsewhere: (B, T) int64.

        `previous` statistics (B, T, COLUMNS) and the seasons `known` (B, T, 2 SEASONS) before each value; memory
        (B, W + T). Read-outs of the same seasons need no index for every value of their past, if that has no gap, holds
        both seasons twice, and no value of it may be a glitch. Each row decides that for itself: what its neighbours
        are must not change its bits.
        """
        steps = previous.shape[1]
        present = torch.isfinite(memory)
        count = torch.constant_pad_nd(present.to(torch.int64).cumsum(1), [1, 0])
        begin = torch.arange(steps, device=memory.device).unsqueeze(0)
        end = begin + (memory.shape[1] - steps)
        first = torch.maximum(present.to(torch.int64).argmax(1, keepdim=True), begin)
        observed = count[:, memory.shape[1] - steps : -1] - count[:, :steps]
        season, longer = known.select(2, 0).to(torch.int64), known.select(2, 1).to(torch.int64)
        key = season + self.SECOND * longer
        is_usable = (observed == end - first) & (2 * torch.maximum(season, longer) <= observed)
        scale = self.statistics.scale(previous).amin(1, keepdim=True)
        is_usable = is_usable & ~may_have_glitches(memory / scale).unsqueeze(1)
        key = torch.where(is_usable, key, 0)
        shared_by = (key.unsqueeze(2) == key.unsqueeze(1)).sum(2)
        return torch.where(shared_by >= 8, key, 0)

    def seasons_before(self, previous: Tensor, seasons: Tensor, memory: Tensor, block: int) -> Tensor:
        """The seasons known before each of T new values, as `step` would know them: (B, T, 2 SEASONS).

        `previous` statistics (B, T, COLUMNS); `seasons` (B, 2 SEASONS) before all of them; memory (B, W + T). Values
        between two looks share the older one; `block` looks are taken at a time.
        """
        steps = previous.shape[1]
        count = previous.select(2, self.STEPS)
        late, is_due = self.since_look(count, count[:, :1])
        known = seasons.unsqueeze(1).repeat(1, steps, 1)
        if not bool(is_due.any()):
            return known
        # No look is taken behind the end of a row, where there are no more steps.
        is_step = torch.constant_pad_nd(count[:, 1:] > count[:, :-1], [1, 0], True)
        row, place = (is_due & is_step & (late == 0)).nonzero().unbind(1)
        views = memory.unfold(1, memory.shape[1] - steps, 1)
        taken = known.clone()
        for start in range(0, row.shape[0], block):
            at_row, at = row[start : start + block], place[start : start + block]
            taken[at_row, at] = self.look(views[at_row, at], previous[at_row, 0], count[at_row, at])
        column = torch.arange(steps, device=memory.device).unsqueeze(0)
        index = (column - late).clamp(min=0).unsqueeze(2).expand(-1, -1, known.shape[2])
        return torch.where(is_due.unsqueeze(2), taken.gather(1, index), known)

    def seasons_in(self, state: Tensor) -> Tensor:
        """The seasons in the state, as `look` found them: (N, 2 SEASONS)."""
        return torch.cat([state[:, self.BELOW : self.remembered], state[:, self.exact : self.scores]], 1)

    def look(self, memory: Tensor, stats: Tensor, steps: Tensor) -> Tensor:
        """The seasons in the memory (N, W): season, longer season, and the strength of each; (N, 2 SEASONS) float64.

        steps (N,): how many there were up to the end of that memory.
        """
        found = autocorrelation(memory)
        acf = within_half(found)
        usable, second, is_searched = usable_seasons(stats.select(1, self.SEASON), steps, self.MEMORY // 2)
        searched = is_searched.nonzero().select(1, 0)
        if searched.shape[0] == memory.shape[0]:
            detected = season_in(found)
        else:
            detected = torch.ones_like(usable)
            if searched.shape[0] > 0:
                detected = detected.index_copy(0, searched, season_in(of_rows(found, searched)))
        season, longer, longer_strength = choose_seasons(usable, second, detected, acf, steps)
        strength = acf.gather(1, season.clamp(max=acf.shape[1] - 1).unsqueeze(1))
        seasons = torch.stack([season, longer], 1).to(torch.float64)
        return torch.cat([seasons, strength.to(torch.float64), longer_strength.to(torch.float64)], 1)

    def windows(self, memory: Tensor, position: Tensor, width: int) -> Tensor:
        """The `width` values that end before new value `position` (B, R) of memory (B, width + T): (B, R, width)."""
        views = memory.unfold(1, width, 1)  # (B, T + 1, width), a view
        rows = torch.arange(memory.shape[0], device=memory.device).unsqueeze(1)
        return views[rows, position]

    def read_out(
        self, units: Tensor, stats: Tensor, seasons: Tensor, memory: Tensor, ahead: Tensor, shared: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Forecast quantiles at LEVELS for the steps `ahead`, relative to the last value.

        units (N, fast + slow), stats (N, COLUMNS), seasons (N, 2 SEASONS), memory (N, W), ahead (N, H) int64 >= 1.
        `shared` is not 0 where all have the same seasons, see `shared_seasons`.
        Returns (N, H, K) float64, in the series' units less its last value, and the mean absolute seasonal change (N,).
        """
        last, scale = stats.select(1, self.LAST), self.statistics.scale(stats)
        season, longer = seasons.select(1, 0).to(torch.int64), seasons.select(1, 1).to(torch.int64)
        # From here on in scales, whose squares are finite; NaN stays NaN.
        relative = ((memory - last.unsqueeze(1)) / scale.unsqueeze(1)).clamp(-1e30, 1e30)
        past = summed(relative if shared > 0 else without_glitches(relative))
        level, older_level, swing, repeats = season_levels(past, season, shared % self.SECOND)
        # A change of nothing says that the season explains everything; where nothing was compared, nothing is known.
        swing = torch.where(torch.isnan(swing), 1.0, swing)
        size = swing.clamp(min=1e-3)
        heights = torch.stack(
            [self.statistics.mean(stats), torch.where(stats.select(1, self.LOWEST) >= 0, 0.0, last)], 1
        )
        heights = ((heights - last.unsqueeze(1)) / scale.unsqueeze(1)).clamp(-1e30, 1e30)

        candidates, present, turn = seasonal_candidates(
            past.values, season, longer, level, older_level, heights.select(1, 0), ahead
        )
        slope = (level - older_level) / season.to(torch.float64)
        of_row = torch.stack([slope, -heights.select(1, 1), stats.select(1, self.GAP)], 1)
        weights = self.weightings[self.weightings.shape[0] - relative.shape[1] :]
        more, with_longer, unexplained, exact, agreement = self.of_both_seasons(
            past, season, longer, of_row, ahead, weights, shared
        )
        exact, doubt, pairs = self.exact_sequence(past, ahead, exact, agreement)
        candidates = torch.cat([candidates, more, with_longer], 2)
        present = torch.constant_pad_nd(present, [0, 2 * more.shape[2]], True)
        row_inputs = [units, self.row_features(stats, scale, seasons, level, older_level, size)]
        row_inputs += [self.lagged(past.values), unexplained_features(unexplained)]
        out = self.head(torch.cat(row_inputs, 1), self.step_features(candidates, present, turn, ahead, season))

        weights = torch.softmax(out[:, :, : self.CANDIDATES].masked_fill(~present, -30.0), 2)
        centre = (weights * candidates).sum(2)
        unit = torch.exp(out.select(2, self.CANDIDATES).clamp(-6, 6))
        raw = out[:, :, self.CANDIDATES + 1 :]
        median = centre + unit * raw.select(2, self.CENTRE)
        # What has repeated itself exactly, twice or more, goes on so, whatever the weights make of it.
        unlike = torch.where(2 * season <= stats.select(1, self.COUNT), swing / size, 1.0).unsqueeze(1)
        last_season = candidates.select(2, 1)
        median = torch.where(present.select(2, 1), last_season + unlike * (median - last_season), median)
        # So does what has followed a rule exactly; the longer it did, the less is left of the intervals.
        median = exact + doubt * (median - exact)
        width = unit * (doubt + (1 - doubt) / (1 + 0.5 * (pairs - 1).clamp(min=0)))
        repeating = repeats.nonzero().select(1, 0)
        if repeating.shape[0] > 0:
            is_fixed, value, times = fixed_phases(selected(past, repeating), season[repeating], ahead[repeating])
            median = median.index_copy(0, repeating, torch.where(is_fixed, value, median[repeating]))
            narrow = width[repeating] / times.clamp(min=1)
            width = width.index_copy(0, repeating, torch.where(is_fixed, narrow, width[repeating]))
        width = width * self.statistics.unrest(stats).unsqueeze(1)
        gaps = softplus(raw - 1.0) * width.unsqueeze(2)
        upper = median.unsqueeze(2) + gaps[:, :, self.CENTRE + 1 :].cumsum(2)
        lower = median.unsqueeze(2) - gaps[:, :, : self.CENTRE].flip(2).cumsum(2).flip(2)
        predicted = scale[:, None, None] * torch.cat([lower, median.unsqueeze(2), upper], 2)
        return predicted.clamp(-self.LARGEST, self.LARGEST), torch.where(swing > 0, swing * scale, scale)

    def of_both_seasons(
        self, past: Past, season: Tensor, longer: Tensor, of_row: Tensor, ahead: Tensor, weights: Tensor, shared: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`level_candidates` for the season and for the longer one, (N, H, …) each, and what both leave unexplained.

        The third is (N, 2 FEATURES); the exact continuation and its agreement are those of the season.
        """
        others = (longer != season).nonzero().select(1, 0)
        if shared == 0 and others.shape[0] > 0:
            # Rows with two seasons are there twice, so that one call serves both.
            rows = torch.cat([torch.arange(season.shape[0], device=others.device), others])
            both = selected(past, rows)
            candidates, features, exact, agreement = level_candidates(
                both, torch.cat([season, longer[others]]), of_row[rows], ahead[rows], weights, self.damping
            )
            end = season.shape[0]
            more, unexplained, exact, agreement = candidates[:end], features[:end], exact[:end], agreement[:end]
            with_longer = more.index_copy(0, others, candidates[end:])
            unexplained_longer = unexplained.index_copy(0, others, features[end:])
            return more, with_longer, torch.cat([unexplained, unexplained_longer], 1), exact, agreement
        more, unexplained, exact, agreement = level_candidates(
            past, season, of_row, ahead, weights, self.damping, shared % self.SECOND
        )
        with_longer, unexplained_longer = more, unexplained
        if others.shape[0] > 0:
            with_longer, unexplained_longer, _, _ = level_candidates(
                past, longer, of_row, ahead, weights, self.damping, shared // self.SECOND
            )
        return more, with_longer, torch.cat([unexplained, unexplained_longer], 1), exact, agreement

    def exact_sequence(
        self, past: Past, ahead: Tensor, exact: Tensor, agreement: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What goes on exactly at each step `ahead` (N, H), the doubt about it (N, H), and how many values agree.

        `exact` (N, H) and its `agreement` (N, 2) are those of a line or decay. A rule of two values is tried where none
        of these fits and the changes are smooth.
        """
        doubt, pairs = agreement[:, :1].expand_as(exact), agreement[:, 1:]
        newest, known = past.filled[:, -9:], past.mask[:, -9:]
        change = (newest[:, 1:] - newest[:, :-1]) * known[:, 1:] * known[:, :-1]
        bend = (change[:, 1:] - change[:, :-1]) * known[:, :-2]
        is_smooth = bend.abs().sum(1) < 0.8 * change[:, 1:].abs().sum(1)
        rows = (is_smooth & (agreement.select(1, 0) > 0.01) & (agreement.select(1, 1) >= 3.9)).nonzero().select(1, 0)
        if rows.shape[0] == 0:
            return exact, doubt, pairs
        path, path_doubt, agreed = second_order(selected(past, rows), ahead[rows])
        better = path_doubt < doubt[rows]
        exact = exact.index_copy(0, rows, torch.where(better, path, exact[rows]))
        pairs = pairs.index_copy(0, rows, torch.where(better.any(1, keepdim=True), agreed, pairs[rows]))
        return exact, doubt.index_copy(0, rows, torch.minimum(path_doubt, doubt[rows])), pairs

    def head(self, of_row: Tensor, of_step: Tensor) -> Tensor:
        """The outputs of the network for every step ahead, from inputs of the rows (N, F) and of the steps (N, H, G).

        Rows are filled up once for all products, as `SteadyLinear` would do for each.
        """
        rows, horizon = of_step.shape[0], of_step.shape[1]
        row = self.context(fill_up(of_row))[:rows]
        row = row.unsqueeze(1).expand(-1, horizon, -1).reshape(rows * horizon, row.shape[1])
        x = functional.gelu(fill_up(row) + self.ahead(fill_up(of_step.reshape(rows * horizon, of_step.shape[2]))))
        x = x + self.mix2(functional.gelu(self.mix(x)))
        return self.out(x)[: rows * horizon].unflatten(0, (rows, horizon)).to(torch.float64)

    def lagged(self, past: Tensor) -> Tensor:
        """The values of past (N, W) at LAGS, compressed, and which of them there are: (N, 2 len(LAGS)) float32."""
        at = past.shape[1] - 1 - self.lags
        lagged = past[:, at.clamp(min=0)]
        present = torch.isfinite(lagged) & (at >= 0)
        heights = torch.asinh(torch.where(present, lagged, 0.0)).to(torch.float32)
        return torch.cat([heights, present.to(torch.float32)], 1)

    def step_features(self, candidates: Tensor, present: Tensor, turn: Tensor, ahead: Tensor, season: Tensor) -> Tensor:
        """Inputs of the head for each step ahead: (N, H, PER_STEP) float32."""
        h = ahead.clamp(max=self.LEARNED_HORIZON).to(torch.float32)
        position = torch.stack(
            [
                torch.log(h),
                h / 64,
                1 / h,
                torch.log(turn.to(torch.float32)),
                (h / season.unsqueeze(1).to(torch.float32)).clamp(max=8) / 4,
                h.clamp(max=4) / 4,
            ],
            2,
        )
        ratios = candidates[:, :, 1:].to(torch.float32)
        flags = present[:, :, 1:6].to(torch.float32)
        old, new = ratios[:, :, : self.SEASONAL_CANDIDATES - 1], ratios[:, :, self.SEASONAL_CANDIDATES - 1 :]
        return torch.cat([position, torch.asinh(old), flags, old[:, :, :4].clamp(-8, 8) / 4, torch.asinh(new)], 2)

    def row_features(
        self, stats: Tensor, scale: Tensor, seasons: Tensor, level: Tensor, older_level: Tensor, swing: Tensor
    ) -> Tensor:
        """Inputs of the head for a row besides its hidden units and lagged values: (N, PER_ROW) float32."""
        last, count = stats.select(1, self.LAST), stats.select(1, self.COUNT)
        lowest = torch.minimum(stats.select(1, self.LOWEST), last)
        season, longer = seasons.select(1, 0), seasons.select(1, 1)
        mean = self.statistics.mean(stats)
        offset = self.statistics.offset(mean, scale, lowest)
        above = torch.stack([last - mean, last - lowest, last - offset], 1) / scale.unsqueeze(1)
        heights = torch.cat([torch.stack([level, level - older_level], 1), above], 1)
        heights = torch.asinh(heights.clamp(-1e30, 1e30).to(torch.float32))
        heights = heights.clamp(-self.HIGHEST, self.HIGHEST)
        columns = torch.stack(
            [
                torch.log(season) / 4,
                (season > 1).to(torch.float64),
                torch.log(count.clamp(min=1) / season).clamp(-3, 6) / 4,
                (longer > season).to(torch.float64),
                torch.log(swing.clamp(max=1e3)),
                torch.log1p(stats.select(1, self.GAP)) / 4,
                torch.log1p(count) / 4,
                seasons.select(1, 2),
                seasons.select(1, 3),
            ],
            1,
        )
        return torch.cat([columns.to(torch.float32), heights / 2, self.statistics.record_of_bands(stats)], 1)

    def widened_beyond(self, predicted: Tensor) -> Tensor:
        """Quantiles (N, H, K) with intervals that go on growing with the same power of time."""
        learned = self.LEARNED_HORIZON
        median = predicted[:, :, self.CENTRE : self.CENTRE + 1]
        width = (predicted.select(2, -1) - predicted.select(2, 0)).unsqueeze(2)
        late, early = width[:, 3 * learned // 4 : learned].mean(1), width[:, 3 * learned // 8 : learned // 2].mean(1)
        power = torch.log2(late.clamp(min=1e-300) / early.clamp(min=1e-300)).clamp(0.0, 1.0).unsqueeze(2)
        step = torch.arange(1, predicted.shape[1] + 1, dtype=torch.float64, device=predicted.device)
        beyond = torch.log((step / learned).clamp(min=1.0))[None, :, None]
        return median + (predicted - median) * torch.exp(power * beyond)

    def limits(self, stats: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What forecasts may not go below or above, and whether they only rise (1) or fall (-1): (N, 1, 1) each.

        A history that never went below zero (counts, sales, prices) does not in the forecast either, unless the caller
        said that it may; one that has only ever risen (a counter) does not fall, and one that has only fallen not rise.
        """
        last, lowest = stats[:, self.LAST, None, None], stats[:, self.LOWEST, None, None]
        _, _, has_floor = stated_seasons(stats.select(1, self.SEASON))
        largest = torch.full_like(lowest, self.LARGEST)
        floor = torch.where((lowest >= 0) & has_floor[:, None, None], 0.0, -largest)
        newest = memory[:, -9:]
        newest = newest[:, 1:] - newest[:, :-1]
        if not bool(((newest >= 0).all(1) | (newest <= 0).all(1) | newest.isnan().any(1)).any()):
            return floor, largest, torch.zeros_like(floor)  # hardly ever is more to be looked at
        signs = torch.sign(memory[:, 1:] - memory[:, :-1]).nan_to_num()
        rises, quarter = signs.sum(1), (stats.select(1, self.COUNT) / 4).clamp(8.0, 256.0)
        is_rising = ((signs.amin(1) >= 0) & (rises >= quarter))[:, None, None]
        is_falling = ((signs.amax(1) <= 0) & (-rises >= quarter))[:, None, None]
        direction = is_rising.to(torch.float64) - is_falling.to(torch.float64)
        return torch.where(is_rising, last, floor), torch.where(is_falling, last, largest), direction

    def answer(self, predicted: Tensor, stats: Tensor, memory: Tensor, levels: Tensor) -> Tensor:
        """Predicted quantiles (N, H, K), relative to the last value -> mean and requested quantiles (N, H, 1 + Q)."""
        horizon = predicted.shape[1]
        # A series that has never changed goes on as it is, to the last bit.
        constant = (stats.select(1, self.ABS_SLOW) == 0) & (stats.select(1, self.ABS_SLOW_W) > 0)
        if bool(constant.any()):
            predicted = torch.where(constant[:, None, None], 0.0, predicted)
        last = stats[:, self.LAST, None, None]
        lowest, highest, direction = self.limits(stats, memory)
        uncorrected = torch.clamp(last + predicted, lowest, highest)
        mean = torch.where(constant[:, None, None], last, (uncorrected * self.shares).sum(2, keepdim=True))

        median = predicted[:, :, self.CENTRE : self.CENTRE + 1]
        step = torch.arange(horizon, device=predicted.device).clamp(max=self.LEARNED_HORIZON - 1)
        distance = (predicted - median) * self.widen[step].unsqueeze(0)
        # Factors that differ from level to level may not make quantiles cross.
        lower = distance[:, :, : self.CENTRE].flip(2).cummin(2)[0].flip(2)
        upper = distance[:, :, self.CENTRE + 1 :].cummax(2)[0]
        predicted = median + torch.cat([lower, torch.zeros_like(median), upper], 2)
        absolute = torch.clamp(last + predicted, lowest, highest)
        quantiles = interpolate(self.levels, absolute, levels)
        answer = torch.cat([mean, torch.clamp(quantiles, lowest, highest)], 2)
        if horizon > 1 and bool((direction != 0).any()):
            answer = torch.where(direction > 0, answer.cummax(1)[0], answer)
            answer = torch.where(direction < 0, answer.cummin(1)[0], answer)
        return answer
