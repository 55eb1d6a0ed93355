"""Digit readers: recurrent networks that read an image row by row and hold an answer after every row.

`RowReader` is what is trained (whole batches of one height, no padding); `DigitReader` is what is served: the same
weights behind the contract of docs/models.md, with ragged batches, resumable state and calibrated answers.
Shapes: B digits, T rows, 28 columns, H hidden units, 10 classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

COLUMNS = 28
CLASSES = 10
MAX_ROWS = 64

# Input weight of the pad channel: sigmoid(-1e4) is 0 and sigmoid(1e4) is 1 exactly, in any precision.
SATURATED = 1e4


class RowReader(nn.Module):
    """Stacked unidirectional LSTMs and a read-out that may be asked after every row; causal by construction."""

    def __init__(self, hidden: int = 256, layers: int = 1, readout: int = 0, dropout: float = 0.0) -> None:
        """`readout` > 0 puts one hidden layer of that width before the ten logits."""
        super().__init__()
        self.hidden, self.layers, self.readout = hidden, layers, readout
        widths = [COLUMNS] + [hidden] * (layers - 1)
        self.lstms = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = _head(hidden, readout, dropout)
        for lstm in self.lstms:
            _initialise(lstm)

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


def _initialise(lstm: nn.Module) -> None:
    """Orthogonal recurrence and a forget gate that starts open (Jozefowicz et al., 2015), so that answers last."""
    hidden = int(lstm.hidden_size)
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


class DigitReader(nn.Module):
    """A trained `RowReader` behind the digit contract of docs/models.md.

    State, float64 `(B, 2 * layers * H + 1)`: h and c of every layer (float32 values), then the number of rows read.
    Each LSTM has one more input channel than the trained one, 1 on padding and else 0, whose fixed weights shut the
    input gate and hold the forget gate open: a row that has ended keeps its c bit for bit while its neighbours go on.
    """

    def __init__(self, core: RowReader, temperatures: Tensor | None = None) -> None:
        """`temperatures` (64,): the logits after row t are divided by entry t - 1 (the last one for later rows)."""
        super().__init__()
        self.hidden, self.layers = core.hidden, core.layers
        self.lstms = nn.ModuleList(_with_pad_channel(lstm) for lstm in core.lstms)
        self.head = core.head
        values = torch.ones(MAX_ROWS) if temperatures is None else temperatures.detach().float().clone()
        if values.shape != (MAX_ROWS,) or not bool((values > 0).all()):
            raise ValueError(f"temperatures must be {MAX_ROWS} positive numbers")
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
        batch, steps = rows.size(0), rows.size(1)
        if batch == 0 or steps == 0:
            return state, torch.zeros([batch, steps, self.hidden], device=rows.device)
        padding = torch.arange(steps, device=rows.device).unsqueeze(0) >= lengths.unsqueeze(1)
        padding = padding.unsqueeze(2)
        pad = padding.to(torch.float32)
        last = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, self.hidden)
        empty = (lengths == 0).unsqueeze(1)
        x = rows.float()
        parts: list[Tensor] = []
        for i, lstm in enumerate(self.lstms):
            at = 2 * i * self.hidden
            h = state[:, at : at + self.hidden].float()
            c = state[:, at + self.hidden : at + 2 * self.hidden].float().contiguous()
            # What stands in the padding may be anything, NaN included.
            x = torch.cat([x.masked_fill(padding, 0.0), pad], dim=2)
            x, (_, c) = lstm(x, (h.unsqueeze(0).contiguous(), c.unsqueeze(0)))
            parts.append(torch.where(empty, h, x.gather(1, last).squeeze(1)).double())
            parts.append(c.squeeze(0).double())
        parts.append(state[:, -1:] + lengths.unsqueeze(1).double())
        return torch.cat(parts, dim=1), x


def _with_pad_channel(trained: nn.Module) -> nn.LSTM:
    """A copy of a trained LSTM with the pad channel of `DigitReader` as its last input."""
    hidden, width = int(trained.hidden_size), int(trained.input_size)
    column = torch.zeros(4 * hidden, 1)  # gates in torch's order: input, forget, cell, output
    column[:hidden] = -SATURATED
    column[hidden : 2 * hidden] = SATURATED
    lstm = nn.LSTM(width + 1, hidden, batch_first=True)
    weights = {name: value.detach().cpu().float() for name, value in trained.state_dict().items()}
    weights["weight_ih_l0"] = torch.cat([weights["weight_ih_l0"], column], dim=1)
    lstm.load_state_dict(weights)
    return lstm
