"""Digit readers: recurrent networks that read an image row by row and hold an answer after every row.

`RowReader` is what is trained (whole batches of one height, no padding); `DigitReader` is what is served: the same
weights behind the contract of docs/models.md, with ragged batches, resumable state and calibrated answers.
Shapes: B digits, T rows, 28 columns, H hidden units, 10 classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.ragged import RaggedLSTM

COLUMNS = 28
CLASSES = 10
MAX_ROWS = 64


class RowReader(nn.Module):
    """Stacked unidirectional LSTMs and a read-out that may be asked after every row; causal by construction."""

    def __init__(self, hidden: int = 256, layers: int = 1, readout: int = 0, dropout: float = 0.0) -> None:
        """`readout` > 0 puts one hidden layer of that width before the ten logits."""
        super().__init__()
        self.hidden, self.layers, self.readout = hidden, layers, readout
        widths = [COLUMNS] + [hidden] * (layers - 1)
        self.lstms = nn.ModuleList(_initialised(nn.LSTM(width, hidden, batch_first=True)) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = _head(hidden, readout, dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, T, 28), ink 0..1 -> logits after each row (B, T, 10)."""
        x = rows
        for lstm in self.lstms:
            x = self.dropout(lstm(x)[0])
        return self.head(x)


def _head(hidden: int, readout: int, dropout: float) -> nn.Module:
    if not readout:
        return nn.Linear(hidden, CLASSES)
    return nn.Sequential(nn.Linear(hidden, readout), nn.SiLU(), nn.Dropout(dropout), nn.Linear(readout, CLASSES))


def _initialised(lstm: nn.LSTM) -> nn.LSTM:
    """Orthogonal recurrence and a forget gate that starts open (Jozefowicz et al., 2015), so that answers last."""
    hidden = lstm.hidden_size
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.split(hidden):
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            else:
                parameter.zero_()
                if name.startswith("bias_ih"):
                    parameter[hidden : 2 * hidden] = 1.0
    return lstm


class DigitReader(nn.Module):
    """A trained `RowReader` behind the digit contract of docs/models.md.

    State, float64 `(B, 2 * layers * H + 1)`: h and c of every layer (float32 values), then the number of rows read.
    """

    def __init__(self, core: RowReader, temperatures: Tensor | None = None) -> None:
        """`temperatures` (64,): the logits after row t are divided by entry t - 1 (the last one for later rows)."""
        super().__init__()
        self.hidden, self.layers = core.hidden, core.layers
        self.lstms = nn.ModuleList(_ragged(lstm) for lstm in core.lstms)
        self.head = core.head
        values = torch.ones(MAX_ROWS) if temperatures is None else temperatures.detach().float().clone()
        if values.shape != (MAX_ROWS,) or not bool((values > 0).all()):
            raise ValueError(f"temperatures must be {MAX_ROWS} positive numbers")
        self.temperatures: Tensor
        self.register_buffer("temperatures", values)

    @torch.jit.export
    def initial(self, batch: int) -> Tensor:
        """State of `batch` digits of which nothing has been read."""
        return torch.zeros(
            [batch, 2 * self.layers * self.hidden + 1], dtype=torch.float64, device=self.temperatures.device
        )

    @torch.jit.export
    def step(self, rows: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """Read `lengths[b]` further rows of each digit."""
        return self._run(rows, lengths, state)[0]

    @torch.jit.export
    def read(self, state: Tensor) -> Tensor:
        """(B, 10) calibrated log-probabilities; uniform where nothing has been read."""
        top = 2 * (self.layers - 1) * self.hidden
        return self._answer(state[:, top : top + self.hidden].float(), state[:, -1])

    @torch.jit.export
    def trace(self, rows: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """State after the rows, and the log-probabilities after each of them (B, T, 10)."""
        after, outputs = self._run(rows, lengths, state)
        counts = state[:, -1:] + torch.arange(1, rows.size(1) + 1, device=rows.device).unsqueeze(0)
        return after, self._answer(outputs, counts)

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities of fresh digits after their last row."""
        return self.read(self.step(rows, lengths, self.initial(rows.size(0))))

    def _answer(self, hidden: Tensor, counts: Tensor) -> Tensor:
        """(..., H) and rows read (...) -> (..., 10)."""
        temperature = self.temperatures[counts.long().clamp(1, 64) - 1].unsqueeze(-1)
        known = torch.log_softmax(self.head(hidden) / temperature, dim=-1)
        return torch.where(counts.unsqueeze(-1) > 0, known, torch.full_like(known, -2.302585092994046))

    def _run(self, rows: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """-> state after the rows, and the last layer's h after each of them (B, T, H)."""
        padding = torch.arange(rows.size(1), device=rows.device)[None, :] >= lengths[:, None]
        x = rows.float().masked_fill(padding.unsqueeze(2), 0.0)  # what stands there may be anything, NaN included
        parts: list[Tensor] = []
        for i, lstm in enumerate(self.lstms):
            at = 2 * i * self.hidden
            h = state[:, at : at + self.hidden].float()
            c = state[:, at + self.hidden : at + 2 * self.hidden].float()
            x, h, c = lstm(x, lengths, h, c)
            parts += [h.double(), c.double()]
        parts.append(state[:, -1:] + lengths.unsqueeze(1).double())
        return torch.cat(parts, dim=1), x


def _ragged(trained: nn.Module) -> RaggedLSTM:
    """A trained LSTM's weights in a layer that takes ragged rows."""
    weights = {name: value.detach().cpu().float() for name, value in trained.state_dict().items()}
    hidden, width = weights["weight_hh_l0"].shape[1], weights["weight_ih_l0"].shape[1]
    layer = RaggedLSTM(width, hidden)
    with torch.no_grad():
        for name, parameter in layer.lstm.named_parameters():
            if name == "weight_ih_l0":
                parameter[:, :width] = weights[name]
            else:
                parameter.copy_(weights[name])
    return layer
