"""A short fit of each family that several processes can share; run by test_distributed.py, alone and under torchrun."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from training.data import drawn_digits
from training.data.mnist import Digits, Mnist
from training.digits.config import Config as DigitConfig
from training.digits.train import train as train_digits
from training.fit import distributed
from training.forecaster.config import Config
from training.forecaster.train import train

SIZES: dict[str, Any] = {"fast": 8, "slow": 4, "width": 8}


def main(folder: Path) -> None:
    """Write the weights of both into `folder`."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with distributed.processes():
        config = Config(steps=6, values=1600, lengths=(100, 200), real=0.0, evaluations=1, **SIZES)
        network, _ = train(config, cpu, folder / "run", None)
        digits = Digits(*drawn_digits.digit_images(64, 1))
        digit_config = DigitConfig(
            sizes=("16x1",), epochs=3, batch=16, drawn=0, ones=0, others=0, dropout=0.0, bfloat16=False
        )
        group, _ = train_digits(Mnist(digits, digits, digits), digit_config, cpu)
        if distributed.is_first():
            torch.save({"forecaster": network.state_dict(), "digits": group.state_dict()}, folder / "weights.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
