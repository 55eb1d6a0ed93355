"""The network that every server answers with: one LSTM layer of 64 units over the values, and a linear read-out.

Its weights are random and seeded: a server's speed does not depend on them, and equal answers prove equal work. It is
written twice: under the contract of docs/models.md (state in, state out, ragged rows, quantiles) for this service, and
as the plain module that a user of any other server would save, `forward(values, lengths) -> next values`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from service.contract.manifest import InputContract, OutputContract, StateContract
from training.fit.export import export, forecast_golden, script
from training.fit.record import Record
from training.networks.ragged import RaggedLSTM
from training.networks.steady import SteadyLinear
from training.tutorials.export import forecast_sample

NAME = "lstm-64"
HIDDEN = 64
SEED = 64
SPREAD = 0.1  # standard deviation of the answered quantiles: this network was not trained, so it is a fixed one


class Plain(nn.Module):
    """`forward(values (B, T) float32, lengths (B,) int64) -> (B,) float32`, rows padded on the right."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.lstm = nn.LSTM(1, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        outputs, _ = self.lstm(values[:, :, None])
        last = outputs[torch.arange(values.shape[0]), lengths - 1]
        answers: Tensor = self.head(last)[:, 0]
        return answers


class Contract(nn.Module):
    """The weights of `plain` under docs/models.md. State: number of values so far (exact), h, c."""

    def __init__(self, plain: Plain) -> None:
        super().__init__()
        self.hidden = HIDDEN
        self.spread = SPREAD
        self.width = 1 + 2 * HIDDEN
        self.ragged = RaggedLSTM(1, HIDDEN)
        self.head = SteadyLinear(HIDDEN, 1)
        self.head.load_state_dict(plain.head.state_dict())
        ours, theirs = dict(self.ragged.lstm.named_parameters()), dict(plain.lstm.named_parameters())
        with torch.no_grad():
            for name, weights in theirs.items():
                ours[name][:, :1].copy_(weights) if name == "weight_ih_l0" else ours[name].copy_(weights)

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        return torch.zeros(season.shape[0], self.width, dtype=torch.float64, device=season.device)

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        return self.run(values, lengths, state)[0]

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        answers = [self.answer(state[:, 1 : 1 + self.hidden].to(torch.float32), state[:, :1], levels)]
        lengths = torch.ones(state.shape[0], dtype=torch.int64, device=state.device)
        for _ in range(horizon - 1):
            state = self.run(answers[-1][:, :1], lengths, state)[0]
            answers.append(self.answer(state[:, 1 : 1 + self.hidden].to(torch.float32), state[:, :1], levels))
        return torch.stack(answers, 1)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        next_state, outputs = self.run(values, lengths, state)
        units = torch.cat([state[:, None, 1 : 1 + self.hidden].to(torch.float32), outputs[:, :-1]], 1)
        counts = state[:, :1] + torch.arange(values.shape[1], device=state.device)[None, :]
        wide = levels[:, None, :].expand(-1, values.shape[1], -1).flatten(0, 1)
        answers = self.answer(units[:, : values.shape[1]].flatten(0, 1), counts.reshape(-1, 1), wide)
        return next_state, answers.view(values.shape[0], values.shape[1], 1 + levels.shape[1])

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        return torch.ones(state.shape[0], dtype=torch.int64, device=state.device)

    def run(self, values: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """State (B, S) after `values`, and the hidden units after each of them (B, T, 64)."""
        units = state[:, 1:].to(torch.float32)
        x = values.to(torch.float32)[:, :, None]
        outputs, h, c = self.ragged(x, lengths, units[:, : self.hidden], units[:, self.hidden :])
        counts = state[:, :1] + lengths[:, None]
        return torch.cat([counts, h.to(torch.float64), c.to(torch.float64)], 1), outputs

    def answer(self, h: Tensor, counts: Tensor, levels: Tensor) -> Tensor:
        """Mean and quantiles (N, 1 + Q) of hidden units h (N, 64); NaN where the count of values (N, 1) is 0."""
        mean = self.head(h).to(torch.float64)
        quantiles = mean + self.spread * (math.sqrt(2.0) * torch.erfinv(2.0 * levels - 1.0))
        return torch.where(counts > 0, torch.cat([mean, quantiles], 1), math.nan)

    def forward(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        return self.step(values, lengths, state)


def write(models: Path, plain_file: Path) -> None:
    """Write `models/lstm-64/1/` for this service and `plain_file` for the others."""
    plain = Plain().eval().requires_grad_(False)
    contract = Contract(plain)
    plain_file.parent.mkdir(parents=True, exist_ok=True)
    plain_file.write_bytes(script(plain))
    record = Record(
        command="python " + " ".join(sys.argv),
        seed=SEED,
        seconds=0.0,
        device="cpu",
        parameters=sum(p.numel() for p in plain.parameters()),
        data={},
        knobs={"hidden": HIDDEN, "spread": SPREAD},
        curves=[],
    )
    export(
        contract,
        name=NAME,
        task="forecast",
        description="untrained: an LSTM of 64 units for measuring servers",
        inputs=InputContract(features=1, min_length=1, max_length=None, missing=False, max_horizon=64),
        outputs=OutputContract(),
        state=StateContract(width=contract.width, exact=1),
        golden=_golden,
        record=record,
        metrics_of=lambda _: {},
        version=1,
        models=models,
    )


def _golden(module: Any) -> dict[str, Any]:
    return forecast_golden(module, forecast_sample(missing=False), 5)
