"""What the tests of stages, export and command share: small data, a checkpoint, and small sets of unseen images."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from training.data import drawn_digits
from training.data.mnist import Digits, Mnist
from training.digits import export
from training.digits.config import Config
from training.digits.stages import Checkpoint
from training.digits.train import build

CONFIG = Config(sizes=("10x1", "6x2"))


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(9)
    return Checkpoint(
        weights={size: build(size, 0.0).state_dict() for size in CONFIG.sizes},
        knobs=asdict(CONFIG),
        curves=[{"step": 1.0, "seconds": 2.0, "loss": 3.0}],
        data={"mnist/train-images-idx3-ubyte": "0" * 64},
        command="python -m training digits --epochs 1",
        commit="unknown",
        device="cpu, 1 thread",
        torch=str(torch.__version__),
        seconds=2.0,
    )


@pytest.fixture(scope="session")
def data() -> Mnist:
    """Drawn digits in place of MNIST's."""
    digits = Digits(*drawn_digits.digit_images(60, 31))
    return Mnist(digits, digits, digits)


@pytest.fixture
def few_unseen_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 images of each kind that training did not have, not 500."""
    monkeypatch.setattr(export, "UNSEEN_IMAGES", 20)
