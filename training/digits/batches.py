"""The batches that a digit reader is trained on: MNIST, drawn, typed and displayed digits, and images of no digit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.data import display_digits, drawn_digits, pen_digits, sign_images, typeset_digits
from training.data.mnist import Digits
from training.digits.config import Config
from training.fit.batches import BatchOrder


class BatchSampler:
    """The training images on the device; the batch of a step depends on the seed and the step only."""

    def __init__(self, digits: Digits, config: Config, device: torch.device) -> None:
        generated = [drawn_digits.digit_images(config.drawn, 1), typeset_digits.typed_digits(config.drawn, 3)]
        generated += [typeset_digits.footless_ones(config.ones, 6)]
        generated += [drawn_digits.other_images(config.others, 2), typeset_digits.typed_others(config.others, 4)]
        generated += [display_digits.display_digits(config.displays, 7), pen_digits.pen_digits(config.pens, 8)]
        generated += [display_digits.display_others(config.displays // 4, 9)]
        generated += [sign_images.sign_images(config.signs, 10)]
        images = np.concatenate([digits.images, *(images for images, _ in generated)])
        labels = np.concatenate([digits.labels, *(labels for _, labels in generated)])
        self.images, self.labels = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
        self.mnist_count = len(digits.labels)  # these come first
        self._order = BatchOrder(len(labels), config.batch, first_seed=config.seed * 100_003, keep_last=False)
        self.per_epoch = self._order.per_epoch

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 28, 28), ink 0..1, labels (B,), -1 for no digit, and which of them are MNIST's (B,)."""
        chosen = self._order(step).to(self.labels.device)
        return self.images[chosen].float() / 255, self.labels[chosen], chosen < self.mnist_count
