"""A recurrent network for the tutorial's sine mixture alone: an LSTM that guesses the sines, and a fit through them.

All series of the specialist share amplitudes, noise and unit of time, so nothing is scaled. One LSTM reads the raw
values. From its hidden units come a forecast of its own (coefficients of `ATOMS` fixed frequencies: the mean
`h` steps ahead is that sum of sines at `h`; the quantiles lie around it at learnt, positive gaps, so they cannot cross)
and a guess at phases and frequencies of the two sines. `SineFit` takes the guess through the last `WINDOW` values,
which the state remembers.

The answer is a mixture of both, means and quantiles alike: `trust` times the fit, 1 - `trust` times the LSTM's own.
Trust grows with the number of values in the window, to 1 at `FULL_TRUST`, and falls from 1 to 0 as the fit's misfit
goes from `FITS` to `MISFITS`: a series that is no such mixture gets the LSTM's answer. `history` runs the fit at every
step, as `forecast` would have; a value then takes some 70 us of one CPU core.

Shapes: B rows, T new values, N read-outs, H steps ahead, K predicted levels, Q requested levels, W remembered values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.networks.noisy_normal import NoisyNormal
from training.networks.quantiles import interpolate
from training.networks.ragged import RaggedLSTM
from training.networks.sine_fit import MIDDLE, NOISE, REACH, SineFit
from training.networks.steady import SteadyLinear

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
MAX_HORIZON = 64
ATOMS = 64
SLOWEST, FASTEST = 0.17, 0.83  # radians a step; the mixture's own frequencies are 0.2..0.8
LARGEST = 1.5  # twice the mixture's largest value; a series of another size is cut off there
ABSENT = 9.0  # stands in the window for a value that was not observed
WINDOW = 128  # the smallest possible error after 100 values is 1.3 % above that after 200
FULL_TRUST = 16.0  # values for full trust; after 8 half of each is better than either (validation)
FITS, MISFITS = 0.9, 1.5  # of the mixture's own windows of 50 values, 999 in 1,000 have a misfit below 0.9
EXACT = 1  # the state's first column counts the observed values; the hidden units and the window follow
CENTRE = LEVELS.index(0.5)
QUARTER = math.pi / 2
BLOCK = 256  # read-outs at a time in a long history: bounds its memory


class SineForecaster(nn.Module):
    """See the module's docstring; the methods are those of docs/models.md."""

    __constants__ = (
        "ABSENT",
        "BLOCK",
        "CENTRE",
        "FULL_TRUST",
        "EXACT",
        "FITS",
        "LARGEST",
        "MISFITS",
        "QUARTER",
        "WINDOW",
    )
    ABSENT = ABSENT
    BLOCK = BLOCK
    CENTRE = CENTRE
    FULL_TRUST = FULL_TRUST
    EXACT = EXACT
    FITS = FITS
    LARGEST = LARGEST
    MISFITS = MISFITS
    QUARTER = QUARTER
    WINDOW = WINDOW

    def __init__(self, hidden: int = 96, width: int = 128) -> None:
        super().__init__()
        self.hidden = hidden
        self.exact = EXACT
        self.state_width = EXACT + 2 * hidden + WINDOW
        self.lstm = RaggedLSTM(2, hidden)
        self.coefficients = nn.Sequential(SteadyLinear(hidden, width), nn.GELU(), SteadyLinear(width, 2 * ATOMS))
        self.doubt = SteadyLinear(hidden, width // 2)
        self.ahead = SteadyLinear(3, width // 2)
        self.spread = nn.Sequential(
            nn.GELU(), SteadyLinear(width // 2, width // 2), nn.GELU(), SteadyLinear(width // 2, len(LEVELS))
        )
        self.proposal = nn.Sequential(SteadyLinear(hidden, width), nn.GELU(), SteadyLinear(width, 6))
        self.fit = SineFit(WINDOW)
        self.noisy = NoisyNormal(LEVELS, NOISE)
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(LEVELS, dtype=torch.float64))
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.linspace(SLOWEST, FASTEST, ATOMS))
        self.middle: Tensor
        self.register_buffer("middle", torch.tensor(MIDDLE))
        self.reach: Tensor
        self.register_buffer("reach", torch.tensor(REACH))

    @torch.jit.unused
    def restore_fixed_weights(self) -> None:
        """Restore the weights that training must not move."""
        self.lstm.restore_fixed_weights()

    @torch.jit.unused
    def follow(self, values: Tensor) -> Tensor:
        """Hidden units after every value of windows of equal length: (B, T) -> (B, T, hidden), for training."""
        lengths = torch.full((values.shape[0],), values.shape[1], device=values.device)
        zeros = torch.zeros(values.shape[0], self.hidden, device=values.device)
        return self.lstm(self.inputs(self.remembered(values)), lengths, zeros, zeros)[0]

    def remembered(self, values: Tensor) -> Tensor:
        """Values as the window holds them, float32 within +-LARGEST, or ABSENT where they are not finite."""
        return torch.where(
            torch.isfinite(values), values.clamp(-self.LARGEST, self.LARGEST).to(torch.float32), self.ABSENT
        )

    def inputs(self, remembered: Tensor) -> Tensor:
        observed = remembered < self.ABSENT
        return torch.stack([2 * torch.where(observed, remembered, 0.0), observed.to(torch.float32)], 2)

    def mean(self, units: Tensor, ahead: Tensor) -> Tensor:
        """The LSTM's own mean `ahead` (H,) steps after each read-out: units (N, hidden) -> (N, H)."""
        angle = ahead.to(torch.float32)[:, None] * self.frequencies
        waves = 0.1 * torch.cat([angle.cos(), angle.sin()], 1)  # (H, 2 ATOMS)
        return (self.coefficients(units)[:, None] * waves).sum(2)

    def distances(self, units: Tensor, ahead: Tensor) -> Tensor:
        """The LSTM's quantiles less its mean: units (N, hidden), ahead (H,) -> (N, H, K), ascending along K."""
        h = ahead.to(torch.float32)
        steps = self.ahead(torch.stack([h.log(), h / 32, 1 / h], 1))
        raw = self.spread(self.doubt(units)[:, None] + steps[None])
        gaps = 0.05 * (raw + (raw.square() + 1).sqrt())  # positive; operations as in `guess`
        below = gaps[:, :, : self.CENTRE].flip(2).cumsum(2).flip(2)
        above = gaps[:, :, self.CENTRE + 1 :].cumsum(2)
        middle = 0.05 * raw[:, :, self.CENTRE : self.CENTRE + 1]
        return torch.cat([middle - below, middle, middle + above], 2)

    def guess(self, units: Tensor) -> Tensor:
        """Phase at the next value and frequency of the slow and of the fast sine: units (N, hidden) -> (N, 4)."""
        raw = self.proposal(units)
        # An angle with the continuity of atan2, of operations with the same bits anywhere in a batch (`steady`).
        part = raw[:, :2] / (raw[:, :2].abs() + raw[:, 2:4].abs()).clamp(min=1e-9)
        phase = self.QUARTER * torch.where(raw[:, 2:4] < 0, torch.where(raw[:, :2] < 0, -2 - part, 2 - part), part)
        frequency = self.middle + 1.1 * self.reach * (raw[:, 4:] / (1 + raw[:, 4:].abs()))
        return torch.stack([phase, frequency], 2).flatten(1)

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        state = torch.zeros(season.shape[0], self.state_width, dtype=torch.float64, device=season.device)
        state[:, -self.WINDOW :] = self.ABSENT
        return state

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if values.shape[1] == 0:
            return state
        return self.read_in(values, lengths, state)[0]

    def read_in(self, values: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The state at each row's end, hidden units after every value (B, T, hidden), old window and values."""
        column = torch.arange(values.shape[1], device=values.device)[None, :]
        inside = column < lengths[:, None]
        new = self.remembered(values).where(inside, self.ABSENT)
        units, window = self.parts(state)
        cells = state[:, self.EXACT + self.hidden : -self.WINDOW].to(torch.float32)
        y, h, c = self.lstm(self.inputs(new), lengths, units, cells)
        observed_count = state[:, :1] + (new < self.ABSENT).to(torch.float64).sum(1, keepdim=True)
        joined = torch.cat([window, new], 1)
        last = lengths[:, None] + torch.arange(self.WINDOW, device=values.device)
        tail = torch.cat([h, c, joined.gather(1, last)], 1).to(torch.float64)
        next_state = torch.cat([observed_count, tail], 1)
        return torch.where((lengths > 0)[:, None], next_state, state), y, joined

    def parts(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden units (B, hidden) and window (B, W), float32."""
        light = state[:, self.EXACT :].to(torch.float32)
        return light[:, : self.hidden], light[:, -self.WINDOW :]

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        units, window = self.parts(state)
        return self.answer(units, window, horizon, levels)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        rows, steps = values.shape
        if steps == 0:
            return state, values.new_zeros(rows, 0, 1 + levels.shape[1])
        next_state, y, joined = self.read_in(values, lengths, state)
        units = torch.cat([self.parts(state)[0][:, None], y[:, :-1]], 1)
        windows = joined[:, :-1].unfold(1, self.WINDOW, 1)  # (B, T, W), a view
        block = max(1, self.BLOCK // rows)
        answers: list[Tensor] = []
        for start in range(0, steps, block):
            block_units = units[:, start : start + block]
            block_windows = windows[:, start : start + block].flatten(0, 1)
            block_levels = levels[:, None, :].expand(-1, block_units.shape[1], -1).flatten(0, 1)
            answer = self.answer(block_units.flatten(0, 1), block_windows, 1, block_levels)
            answers.append(answer[:, 0].unflatten(0, (rows, block_units.shape[1])))
        observed = torch.isfinite(values).to(torch.float64)
        earlier_count = state[:, :1] + observed.cumsum(1) - observed
        return next_state, torch.where((earlier_count > 0)[:, :, None], torch.cat(answers, 1), float("nan"))

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        return torch.ones(state.shape[0], dtype=torch.int64, device=state.device)

    def answer(self, units: Tensor, window: Tensor, horizon: int, levels: Tensor) -> Tensor:
        """Mean and requested quantiles (N, H, 1 + Q) float64 from hidden units (N, hidden) and window (N, W)."""
        ahead = torch.arange(1, horizon + 1, device=units.device)
        lstm_mean = self.mean(units, ahead).to(torch.float64)[:, :, None]
        lstm_quantiles = lstm_mean + self.distances(units, ahead).to(torch.float64)
        observed = window < self.ABSENT
        fitted, spread, misfit = self.fit(
            window.to(torch.float64), observed, self.guess(units).to(torch.float64), horizon
        )
        length_trust = (observed.sum(1) / self.FULL_TRUST).clamp(max=1)
        fit_trust = ((self.MISFITS - misfit) / (self.MISFITS - self.FITS)).clamp(0, 1)
        trust = (length_trust * fit_trust)[:, None, None]
        fitted = fitted[:, :, None]
        mean = trust * fitted + (1 - trust) * lstm_mean
        predicted = trust * (fitted + self.noisy(spread)) + (1 - trust) * lstm_quantiles
        return torch.cat([mean, interpolate(self.levels, predicted, levels)], 2)
