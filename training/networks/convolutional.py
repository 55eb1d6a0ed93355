"""The teacher: a convolutional recurrent reader, too slow to serve, whose answers the served reader learns to give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.networks.digits import CLASSES, COLUMNS


class CausalConvolution(nn.Module):
    """3 x 3 over (rows, columns) that sees two rows above and none below, normalised over the batch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, bias=False)
        weight = self.convolution.weight  # the layout that CUDA's half-precision kernels want
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, W) -> (B, C', T, W)."""
        return nn.functional.silu(self.norm(self.convolution(nn.functional.pad(x, (1, 1, 2, 0)))))


class ConvolutionalReader(nn.Module):
    """Causal convolutions that halve the columns, then LSTMs over the rows: an answer after every row.

    The interface of `RowReader`, about twenty times the work of an LSTM of 256.
    """

    def __init__(self, width: int = 48, hidden: int = 384, layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            CausalConvolution(1, width),
            CausalConvolution(width, width),
            nn.MaxPool2d((1, 2)),
            CausalConvolution(width, 2 * width),
            CausalConvolution(2 * width, 2 * width),
            nn.MaxPool2d((1, 2)),
            CausalConvolution(2 * width, 2 * width),
        )
        inputs = 2 * width * (COLUMNS // 4)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(inputs, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, T, 28), ink 0..1 -> logits after each row (B, T, 10)."""
        features = self.features(rows.unsqueeze(1).contiguous(memory_format=torch.channels_last))
        x = self.dropout(features.permute(0, 2, 1, 3).flatten(2))
        return self.head(self.dropout(self.lstm(x)[0]))


class Committee(nn.Module):
    """Frozen readers that answer together: the mean of their probabilities."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Any:  # noqa: ARG002 - a teacher stays as it is while its pupil trains
        """Do nothing: the members keep their statistics and drop nothing."""
        return self

    @torch.no_grad()
    def probabilities(self, rows: Tensor) -> Tensor:
        """(B, T, 28) -> (B, T, 10) float32."""
        answers = [torch.softmax(member(rows).float(), dim=-1) for member in self.members]
        return torch.stack(answers).mean(dim=0)
