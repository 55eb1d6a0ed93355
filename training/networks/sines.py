"""A recurrent network for the tutorial's sine mixture alone: one LSTM over raw values, read out as sums of sines.

The specialist knows what all its series share (amplitudes, noise, unit of time), so nothing is scaled.
After every value the read-out names coefficients of `ATOMS` fixed frequencies, and the mean `h` steps ahead is that sum
of sines at `h`: one set of coefficients serves every horizon. The quantiles lie around the mean at distances that a
small network says for each step ahead; the gaps are positive, so they cannot cross.

Shapes: B rows, T new values, N read-outs, H steps ahead, K predicted levels, Q wanted levels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.quantiles import interpolate
from training.networks.ragged import RaggedLSTM

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99)
MAX_HORIZON = 64
ATOMS = 64
SLOWEST, FASTEST = 0.17, 0.83  # radians a step; the mixture's own frequencies are 0.2..0.8
LARGEST = 1.5  # twice what the mixture reaches; a series of another size is cut off there
EXACT = 1  # the state's first column counts the observed values; the hidden units follow
CENTRE = LEVELS.index(0.5)
BLOCK = 8192  # read-outs at a time in a long history: bounds the memory that it takes


class SineForecaster(nn.Module):
    """See the module's docstring; the methods are those of docs/models.md."""

    __constants__ = ("BLOCK", "CENTRE", "EXACT", "LARGEST")
    BLOCK = BLOCK
    CENTRE = CENTRE
    EXACT = EXACT
    LARGEST = LARGEST

    def __init__(self, hidden: int = 96, width: int = 128) -> None:
        super().__init__()
        self.hidden = hidden
        self.exact = EXACT
        self.state_width = EXACT + 2 * hidden
        self.lstm = RaggedLSTM(2, hidden)
        self.coefficients = nn.Sequential(nn.Linear(hidden, width), nn.GELU(), nn.Linear(width, 2 * ATOMS))
        self.doubt = nn.Linear(hidden, 48)
        self.ahead = nn.Linear(3, 48)
        self.spread = nn.Sequential(nn.GELU(), nn.Linear(48, 48), nn.GELU(), nn.Linear(48, len(LEVELS)))
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(LEVELS, dtype=torch.float64))
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.linspace(SLOWEST, FASTEST, ATOMS))

    @torch.jit.unused
    def fix(self) -> None:
        """Restore the weights that training must not move."""
        self.lstm.fix()

    @torch.jit.unused
    def follow(self, values: Tensor) -> Tensor:
        """Hidden units after every value of windows of equal length: (B, T) -> (B, T, hidden), for training."""
        lengths = torch.full((values.shape[0],), values.shape[1], device=values.device)
        nothing = torch.zeros(values.shape[0], self.hidden, device=values.device)
        return self.lstm(self.inputs(values, torch.isfinite(values)), lengths, nothing, nothing)[0]

    def inputs(self, values: Tensor, observed: Tensor) -> Tensor:
        x = torch.where(observed, values, 0.0).clamp(-self.LARGEST, self.LARGEST).to(torch.float32)
        return torch.stack([2 * x, observed.to(torch.float32)], 2)

    def mean(self, units: Tensor, ahead: Tensor) -> Tensor:
        """The expected value `ahead` (H,) steps after each read-out: units (N, hidden) -> (N, H)."""
        angle = self.frequencies[:, None] * ahead.to(torch.float32)[None, :]
        return self.coefficients(units) @ (0.1 * torch.cat([angle.cos(), angle.sin()], 0))

    def distances(self, units: Tensor, ahead: Tensor) -> Tensor:
        """How far the quantiles lie from the mean: units (N, hidden), ahead (H,) -> (N, H, K), ascending along K."""
        h = ahead.to(torch.float32)
        steps = self.ahead(torch.stack([h.log(), h / 32, 1 / h], 1))
        raw = self.spread(self.doubt(units)[:, None] + steps[None])
        gaps = 0.05 * functional.softplus(raw)
        below = gaps[:, :, : self.CENTRE].flip(2).cumsum(2).flip(2)
        above = gaps[:, :, self.CENTRE + 1 :].cumsum(2)
        middle = 0.05 * raw[:, :, self.CENTRE : self.CENTRE + 1]
        return torch.cat([middle - below, middle, middle + above], 2)

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        return torch.zeros(season.shape[0], self.state_width, dtype=torch.float64, device=season.device)

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if values.shape[1] == 0:
            return state
        _, after = self.read_in(values, lengths, state)
        return torch.where((lengths > 0)[:, None], after, state)

    def read_in(self, values: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden units after every value (B, T, hidden), and the state at each row's end."""
        column = torch.arange(values.shape[1], device=values.device)[None, :]
        inside = column < lengths[:, None]
        observed = torch.isfinite(values) & inside
        hidden = state[:, self.EXACT :].to(torch.float32)
        y, h, c = self.lstm(self.inputs(values, observed), lengths, hidden[:, : self.hidden], hidden[:, self.hidden :])
        seen = state[:, :1] + observed.to(torch.float64).sum(1, keepdim=True)
        return y, torch.cat([seen, torch.cat([h, c], 1).to(torch.float64)], 1)

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        units = state[:, self.EXACT : self.EXACT + self.hidden].to(torch.float32)
        return self.answer(units, horizon, levels)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        rows, steps = values.shape
        if steps == 0:
            return state, values.new_zeros(rows, 0, 1 + levels.shape[1])
        y, after = self.read_in(values, lengths, state)
        first = state[:, None, self.EXACT : self.EXACT + self.hidden].to(torch.float32)
        units = torch.cat([first, y[:, :-1]], 1)
        block = max(1, self.BLOCK // rows)
        answers: list[Tensor] = []
        for start in range(0, steps, block):
            some = units[:, start : start + block]
            wanted = levels[:, None, :].expand(-1, some.shape[1], -1).flatten(0, 1)
            answers.append(self.answer(some.flatten(0, 1), 1, wanted)[:, 0].unflatten(0, (rows, some.shape[1])))
        observed = torch.isfinite(values).to(torch.float64)
        before = state[:, :1] + observed.cumsum(1) - observed
        said = torch.where((before > 0)[:, :, None], torch.cat(answers, 1), float("nan"))
        return torch.where((lengths > 0)[:, None], after, state), said

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        return torch.ones(state.shape[0], dtype=torch.int64, device=state.device)

    def answer(self, units: Tensor, horizon: int, levels: Tensor) -> Tensor:
        """Mean and wanted quantiles (N, H, 1 + Q) float64."""
        ahead = torch.arange(1, horizon + 1, device=units.device)
        mean = self.mean(units, ahead).to(torch.float64)[:, :, None]
        predicted = mean + self.distances(units, ahead).to(torch.float64)
        return torch.cat([mean, interpolate(self.levels, predicted, levels)], 2)
