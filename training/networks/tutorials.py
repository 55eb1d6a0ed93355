"""The forecasting tutorial's own models behind the contract of docs/models.md: last value, linear map, simple RNNs.

They work in raw units, without any normalisation: that is the tutorial's point. Several steps ahead are made by
feeding a model its own predictions. `Linear` and `Recurrent` answer quantiles from a table of their residuals on the
validation series, per step ahead; `Naive` from the textbook interval of a random walk.

`forward` is trained, in any precision; the methods of the contract need the parameters in float64. Column 0 of every
state is 1 once a value was observed; all columns are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.quantiles import finite, interpolate

WINDOW = 50  # values that the tutorial's models read
HORIZON = 64  # steps ahead that the residual table covers
RESIDUAL_LEVELS = 99  # 0.01, 0.02 … 0.99


class Naive(nn.Module):
    """The last observed value; intervals of a random walk with the mean squared step so far as its step variance.

    After a gap of g missing values the next step counts as d² / (g + 1), and a forecast from inside a gap is as wide as
    the time since the last observation implies. One value alone has no step: its intervals have no width.
    State: [observed, last value, missing values after it, standard deviation of a step, number of steps].
    """

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        """(B,) int64 -> (B, 5); seasons are not used."""
        return torch.zeros(season.size(0), 5, dtype=torch.float64, device=season.device)

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """(B, T) with NaN = missing, (B,), (B, 5) -> (B, 5)."""
        track = self._track(values, state)
        return track[torch.arange(values.size(0), device=state.device), lengths]

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        """(B, 5), (B, Q) -> (B, horizon, 1 + Q)."""
        ahead = torch.arange(1, horizon + 1, dtype=torch.float64, device=state.device)
        return self._read(state.unsqueeze(1), ahead, levels)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """-> state (B, 5), one-step-ahead predictions (B, T, 1 + Q)."""
        track = self._track(values, state)
        previous = track[:, : values.size(1)]
        predictions = self._read(previous, torch.ones(1, dtype=torch.float64, device=state.device), levels)
        predictions = torch.where(previous[:, :, :1] > 0, predictions, torch.nan)
        return track[torch.arange(values.size(0), device=state.device), lengths], predictions

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        """(B,) int64, always 1."""
        return torch.ones(state.size(0), dtype=torch.int64, device=state.device)

    def _track(self, values: Tensor, state: Tensor) -> Tensor:
        """The states after 0, 1 … T observations: (B, T + 1, 5)."""
        time = torch.arange(values.size(1) + 1, device=values.device)
        series = torch.cat([state[:, 1:2], values], dim=1)  # (B, T + 1): the last value so far, then the new ones
        observed = (time > 0) & ~torch.isnan(series)  # padding counts too: it follows every value that is used
        latest = torch.cummax(torch.where(observed, time, 0), dim=1).values  # index of the last observed value
        last = torch.gather(series, 1, latest)
        any_observed = (state[:, :1] > 0) | (latest > 0)
        gap = (time - latest) + torch.where(latest > 0, 0.0, state[:, 2:3])
        # Squared steps are summed as logarithms: no overflow at 1e300, no underflow at 1e-300, and a later value cannot
        # change an earlier sum.
        step = finite(series[:, 1:] - last[:, :-1]).abs().log()
        counted = observed[:, 1:] & any_observed[:, :-1]
        logs = torch.where(counted, 2 * step - torch.log1p(gap[:, :-1]), -torch.inf)
        start = 2 * state[:, 3:4].log() + state[:, 4:5].log()
        sums = torch.logcumsumexp(torch.cat([torch.where(state[:, 4:5] > 0, start, -torch.inf), logs], dim=1), dim=1)
        count = state[:, 4:5] + torch.cat([torch.zeros_like(state[:, :1]), counted.cumsum(1).to(state.dtype)], dim=1)
        deviation = torch.where(count > 0, finite((0.5 * (sums - count.log())).exp()), 0.0)
        track = torch.stack([any_observed.to(state.dtype), last, gap, deviation, count], dim=2)
        return torch.cat([state.unsqueeze(1), track[:, 1:]], dim=1)  # without values: the state itself, bit for bit

    def _read(self, state: Tensor, ahead: Tensor, levels: Tensor) -> Tensor:
        """(B, P, 5), steps ahead (P,) or (1,), (B, Q) -> (B, P, 1 + Q)."""
        spread = finite(state[:, :, 3] * torch.sqrt(state[:, :, 2] + ahead))  # (B, P)
        last = state[:, :, 1].expand_as(spread).unsqueeze(2)
        deviations = torch.special.ndtri(levels).unsqueeze(1) * spread.unsqueeze(2)
        return torch.cat([last, finite(last + deviations)], dim=2)


class _Residuals(nn.Module):
    """Quantiles around point predictions, from a table of residuals on validation series."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor
        self.table: Tensor
        levels = torch.arange(1, RESIDUAL_LEVELS + 1, dtype=torch.float64) / (RESIDUAL_LEVELS + 1)
        self.register_buffer("grid", levels)  # (K,)
        self.register_buffer("table", torch.zeros(HORIZON, RESIDUAL_LEVELS, dtype=torch.float64))

    def measure(self, residuals: Tensor) -> None:
        """Fill the table from residuals (N, HORIZON) of series that the model was not trained on."""
        self.table.copy_(torch.quantile(residuals.double(), self.grid, dim=0).T)

    def forward(self, points: Tensor, ahead: Tensor, levels: Tensor) -> Tensor:
        """Points (B, P), rows of the table (P,) or (1,), levels (B, Q) -> (B, P, 1 + Q), the points first."""
        rows = self.table[ahead].unsqueeze(0).expand(levels.size(0), -1, -1)
        offsets = interpolate(self.grid, rows, levels)  # (B, P or 1, Q)
        return torch.cat([points.unsqueeze(2), points.unsqueeze(2) + offsets], dim=2)


class Linear(nn.Module):
    """The next value as a linear function of the last 50: the 51 parameters that the tutorial calls an MLP.

    State: [observed, the last 50 values]; as long as there are fewer, the first one is repeated in front of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window = WINDOW
        self.dense = nn.Linear(WINDOW, 1)
        self.residuals = _Residuals()

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (…, 50) -> next values (…)."""
        return self.dense(windows).squeeze(-1)

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        """(B,) int64 -> (B, 51); seasons are not used."""
        return torch.zeros(season.size(0), 1 + self.window, dtype=torch.float64, device=season.device)

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """(B, T), (B,), (B, 51) -> (B, 51)."""
        return self._cut(self._join(values, state), lengths, state)

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        """(B, 51), (B, Q) -> (B, horizon, 1 + Q)."""
        series = state[:, 1:]
        for ahead in range(horizon):
            series = torch.cat([series, self._next(series[:, ahead:]).unsqueeze(1)], dim=1)
        return self.residuals(series[:, self.window :], torch.arange(horizon, device=state.device), levels)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """-> state (B, 51), one-step-ahead predictions (B, T, 1 + Q)."""
        series = self._join(values, state)
        points = self._next(series[:, :-1].unfold(1, self.window, 1)) if values.size(1) > 0 else values
        predictions = self.residuals(
            points.to(state.dtype), torch.zeros(1, dtype=torch.int64, device=state.device), levels
        )
        return self._cut(series, lengths, state), _without_past(predictions, state)

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        """(B,) int64, always 1."""
        return torch.ones(state.size(0), dtype=torch.int64, device=state.device)

    def _next(self, windows: Tensor) -> Tensor:
        return self.forward(windows.clamp(-1e300, 1e300))  # no sum overflows

    def _join(self, values: Tensor, state: Tensor) -> Tensor:
        """The 50 values before the new ones, and the new ones: (B, 50 + T)."""
        if values.size(1) == 0:
            return state[:, 1:]
        return torch.cat([torch.where(state[:, :1] > 0, state[:, 1:], values[:, :1]), values], dim=1)

    def _cut(self, series: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """The state after `lengths` of the new values."""
        window = lengths.unsqueeze(1) + torch.arange(self.window, device=state.device)
        next_state = torch.cat([torch.ones_like(state[:, :1]), torch.gather(series, 1, window)], dim=1)
        return torch.where(lengths.unsqueeze(1) > 0, next_state, state)


class Recurrent(nn.Module):
    """A simple (Elman, tanh) RNN over the raw values; `dense` False reads the prediction straight from its one unit.

    State: [observed, hidden units].
    """

    def __init__(self, hidden: int, *, dense: bool) -> None:
        super().__init__()
        if hidden != 1 and not dense:
            raise ValueError(f"{hidden} hidden units are no prediction without a dense layer")
        self.hidden = hidden
        self.rnn = nn.RNN(1, hidden, batch_first=True)
        self.dense = nn.Linear(hidden, 1) if dense else nn.Identity()
        self.residuals = _Residuals()

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (B, T >= 1) -> next values (B,)."""
        start = torch.zeros(windows.size(0), self.hidden, dtype=windows.dtype, device=windows.device)
        return self._predict(self._scan(windows, start)[:, -1])

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        """(B,) int64 -> (B, 1 + hidden); seasons are not used."""
        return torch.zeros(season.size(0), 1 + self.hidden, dtype=torch.float64, device=season.device)

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """(B, T), (B,), (B, 1 + hidden) -> (B, 1 + hidden)."""
        return self._state(self._scan(values, state[:, 1:]), lengths, state)

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        """(B, 1 + hidden), (B, Q) -> (B, horizon, 1 + Q)."""
        units = state[:, 1:]
        points = [self._predict(units)]
        for _ in range(horizon - 1):
            units = self._scan(points[-1].unsqueeze(1), units)[:, -1]
            points.append(self._predict(units))
        return self.residuals(torch.stack(points, dim=1), torch.arange(horizon, device=state.device), levels)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """-> state (B, 1 + hidden), one-step-ahead predictions (B, T, 1 + Q)."""
        scan = self._scan(values, state[:, 1:])
        points = self._predict(scan[:, : values.size(1)])
        predictions = self.residuals(points, torch.zeros(1, dtype=torch.int64, device=state.device), levels)
        return self._state(scan, lengths, state), _without_past(predictions, state)

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        """(B,) int64, always 1."""
        return torch.ones(state.size(0), dtype=torch.int64, device=state.device)

    def _scan(self, values: Tensor, units: Tensor) -> Tensor:
        """Hidden units after 0, 1 … T values: (B, T + 1, hidden)."""
        start = units.unsqueeze(1)
        if values.size(1) == 0:
            return start
        outputs, _ = self.rnn(values.unsqueeze(2), start.transpose(0, 1).contiguous())
        return torch.cat([start, outputs], dim=1)

    def _predict(self, units: Tensor) -> Tensor:
        return self.dense(units).squeeze(-1)

    def _state(self, scan: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        units = scan[torch.arange(scan.size(0), device=scan.device), lengths]
        observed = ((state[:, 0] > 0) | (lengths > 0)).to(state.dtype)
        return torch.cat([observed.unsqueeze(1), units], dim=1)


def _without_past(predictions: Tensor, state: Tensor) -> Tensor:
    """NaN at the first value of a fresh series, which has no past."""
    first = torch.arange(predictions.size(1), device=state.device) == 0
    fresh = first.unsqueeze(0) & (state[:, :1] == 0)
    return torch.where(fresh.unsqueeze(2), torch.nan, predictions)
