"""The teachers: convolutional readers of complete images. The served reader learns to give their answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.networks.digits import CLASSES, COLUMNS, digit_log_probabilities


class ImageReader(nn.Module):
    """Convolutions over the complete image, normalised over the batch, in three stages of half the size each.

    It has the interface of `RowReader` and is not causal: its one answer, which needs all rows, stands at every row.
    """

    def __init__(self, width: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        stages = [_convolution(1, width, 5), nn.MaxPool2d(2)]
        stages += [_convolution(width, 2 * width), _convolution(2 * width, 2 * width), nn.MaxPool2d(2)]
        stages += [_convolution(2 * width, 4 * width), _convolution(4 * width, 4 * width), nn.MaxPool2d(2)]
        self.features: nn.Module = nn.Sequential(*stages)
        self.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast in bfloat16
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * width * (COLUMNS // 8) ** 2, CLASSES)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """(B, 28, 28), ink 0..1 -> logits (B, 28, 10)."""
        features = self.features(rows.unsqueeze(1).contiguous(memory_format=torch.channels_last))
        answer: Tensor = self.head(features)
        return answer.unsqueeze(1).expand(-1, rows.shape[1], -1)


class StridedReader(nn.Module):
    """Another teacher with the same interface: six convolutions, of which every third halves the image; no pooling.

    It has wider fields than `ImageReader`, and a hidden layer, so its errors are others.
    """

    def __init__(self, width: int = 40, dropout: float = 0.4) -> None:
        super().__init__()
        first, second = width, 2 * width
        stages = [_convolution(1, 32, pad=0), _convolution(32, first, pad=0), _convolution(first, first, 5, stride=2)]
        stages += [_convolution(first, second, pad=0), _convolution(second, second, pad=0)]
        stages += [_convolution(second, second, 5, stride=2)]
        self.features: nn.Module = nn.Sequential(*stages)
        self.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # see ImageReader
        hidden = [nn.Flatten(), nn.Linear(second * 4**2, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*hidden, nn.Dropout(dropout), nn.Linear(128, CLASSES))

    def forward(self, rows: Tensor) -> Tensor:
        """(B, 28, 28), ink 0..1 -> logits (B, 28, 10)."""
        features = self.features(rows.unsqueeze(1).contiguous(memory_format=torch.channels_last))
        answer: Tensor = self.head(features)
        return answer.unsqueeze(1).expand(-1, rows.shape[1], -1)


def _convolution(inputs: int, outputs: int, size: int = 3, *, stride: int = 1, pad: int | None = None) -> nn.Sequential:
    padding = size // 2 if pad is None else pad
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Committee(nn.Module):
    """Frozen readers that answer together: the mean of their probabilities."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Any:  # noqa: ARG002 - a teacher stays as it is while the reader trains
        """Do nothing: the members keep their statistics and drop nothing."""
        return self

    @torch.no_grad()
    def probabilities(self, rows: Tensor) -> Tensor:
        """(B, T, 28) -> (B, T, 10) float32; a member may have an eleventh class, for no digit."""
        logits = [member(rows).float() for member in self.members]
        answers = [digit_log_probabilities(x).exp() if x.shape[-1] > CLASSES else x.softmax(-1) for x in logits]
        return torch.stack(answers).mean(dim=0)
