"""The digit tutorial's readers behind the contract of docs/models.md: simple RNNs over the 28 rows, Keras' way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ROW = 28  # pixels of a row
CLASSES = 10


class TutorialReader(nn.Module):
    """Simple (tanh) recurrent layers and a dense softmax: sizes (10,) have 500 parameters, (16, 8, 4) have 1022.

    Initialised as Keras does: input weights and dense layer Glorot-uniform, recurrent weights orthogonal, biases zero.
    Keras' layer has one bias where torch's has two, so the second is held at zero and is no parameter.
    State: the hidden units of all layers, one after the other, all exact. The methods of the contract need parameters
    in float64: in float32 the product with a 10 x 10 matrix depends on a row's position in the batch (torch 2.13, CPU).
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.temperature: Tensor
        widths = [ROW, *sizes]
        self.sizes = list(sizes)
        self.layers = nn.ModuleList(_keras_rnn(a, b) for a, b in pairwise(widths))
        self.dense = nn.Linear(sizes[-1], CLASSES)
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.register_buffer("temperature", torch.ones(()))  # fitted on validation digits after the training

    def forward(self, rows: Tensor) -> Tensor:
        """Complete digits (B, T >= 1, 28) float32 -> logits (B, 10) after the last row, before the temperature."""
        for layer in self.layers:
            rows, _ = layer(rows)
        return self.dense(rows[:, -1])

    @torch.jit.export
    def initial(self, batch: int) -> Tensor:
        """-> (batch, S)"""
        return torch.zeros(batch, sum(self.sizes), dtype=torch.float64, device=self.temperature.device)

    @torch.jit.export
    def step(self, rows: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        """(B, T, 28), (B,), (B, S) -> (B, S)"""
        return self._scan(rows, lengths, state)[0]

    @torch.jit.export
    def read(self, state: Tensor) -> Tensor:
        """(B, S) -> (B, 10) log-probabilities"""
        return self._log_probabilities(state[:, -self.dense.in_features :])

    @torch.jit.export
    def trace(self, rows: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """-> state (B, S), log-probabilities after each row (B, T, 10)"""
        state, units = self._scan(rows, lengths, state)
        return state, self._log_probabilities(units)

    def _log_probabilities(self, units: Tensor) -> Tensor:
        return torch.log_softmax(self.dense(units) / self.temperature, dim=-1).float()

    def _scan(self, rows: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """-> state after each digit's own last row (B, S), the last layer's units after each row (B, T, units)."""
        if rows.size(1) == 0:
            return state, state.new_zeros(rows.size(0), 0, self.dense.in_features)
        digits = torch.arange(rows.size(0), device=state.device)
        ends: list[Tensor] = []
        starts = torch.split(state, self.sizes, dim=1)
        rows = rows.to(state.dtype)
        for i, layer in enumerate(self.layers):
            rows, _ = layer(rows, starts[i].unsqueeze(0).contiguous())
            ends.append(rows[digits, (lengths - 1).clamp(min=0)])
        return torch.where(lengths.unsqueeze(1) > 0, torch.cat(ends, dim=1), state), rows


def _keras_rnn(inputs: int, hidden: int) -> nn.RNN:
    layer = nn.RNN(inputs, hidden, batch_first=True)
    nn.init.xavier_uniform_(layer.get_parameter("weight_ih_l0"))
    nn.init.orthogonal_(layer.get_parameter("weight_hh_l0"))
    nn.init.zeros_(layer.get_parameter("bias_ih_l0"))
    nn.init.zeros_(layer.get_parameter("bias_hh_l0")).requires_grad_(False)
    return layer
