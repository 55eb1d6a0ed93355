"""One LSTM layer over ragged, right-padded rows, exact for every row: the building block of all LSTM networks here.

A fused LSTM returns its cell state only after the last column, padding included. Here a row's padding is marked in one
extra input channel with fixed weights: -`CLOSED` into the input gate and +`CLOSED` into the forget gate, so the gates
saturate to exactly 0 and 1 and the cell keeps its value to the end of the batch, bit for bit. The hidden state is taken
at each row's own last step. No packing, no sorting, and the fused kernel does all the work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLOSED = 1e4


class RaggedLSTM(nn.Module):
    """`forward(x, lengths, h, c) -> (y, h, c)`; x (B, T, F) and h, c (B, hidden) float32, y (B, T, hidden)."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.features, self.hidden = features, hidden
        self.lstm = nn.LSTM(features + 1, hidden, batch_first=True)
        weights = dict(self.lstm.named_parameters())
        with torch.no_grad():
            weights["bias_hh_l0"].zero_()
            weights["bias_ih_l0"][hidden : 2 * hidden] = 1.0  # remember at first (Jozefowicz et al. 2015)
        self.restore_fixed_weights()

    @torch.no_grad()
    @torch.jit.unused
    def restore_fixed_weights(self) -> None:
        """Restore the fixed weights of the padding channel; call it after every optimiser step."""
        column = dict(self.lstm.named_parameters())["weight_ih_l0"][:, self.features]
        column.zero_()
        column[: self.hidden] = -CLOSED
        column[self.hidden : 2 * self.hidden] = CLOSED

    def forward(
        self,
        x: Tensor,
        lengths: Tensor,
        h: Tensor,
        c: Tensor,
        is_full: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`is_full`: no row is padded, so nothing has to be looked for; the numbers are the same."""
        steps = x.shape[1]
        if steps == 0:
            return x.new_zeros(x.shape[0], 0, self.hidden), h, c
        if is_full:
            marked = torch.cat([x, x.new_zeros(x.shape[0], steps, 1)], 2)
            # What `nn.LSTM` does, less its checks of the shapes.
            before, weights = [h[None].contiguous(), c[None].contiguous()], self.lstm._flat_weights
            y, last_h, last_c = torch.lstm(marked, before, weights, True, 1, 0.0, False, False, True)  # type: ignore[arg-type]
            return y, last_h[0], last_c[0]
        padding = torch.arange(steps, device=x.device)[None, :] >= lengths[:, None]
        marked = torch.cat([x, padding.to(x.dtype)[:, :, None]], 2)
        y, (_, last_c) = self.lstm(marked, (h[None].contiguous(), c[None].contiguous()))
        last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.hidden)
        nonempty = (lengths > 0)[:, None]
        return y, torch.where(nonempty, y.gather(1, last)[:, 0], h), torch.where(nonempty, last_c[0], c)
