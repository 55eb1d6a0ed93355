"""The peer: the convolutional network of PyTorch's MNIST example, trained on the same data as the project's reader.

`python -m benchmarks.digits.cnn` trains it and writes build/bench/digits/cnn.pt (about ten minutes on one core). Its
architecture and recipe are the well-known ones (two 3 x 3 convolutions of 32 and 64 channels, max pooling, dropout of
.25, 128 units, dropout of .5, ten classes; Adadelta at 1.0, times 0.7 after each epoch, batches of 64), written anew;
the published figure is about 99.2 % on the test images. Like the example it sees clean MNIST digits only.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data import mnist

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "build" / "bench" / "digits" / "cnn.pt"
EPOCHS, BATCH, RATE, DECAY = 8, 64, 1.0, 0.7
MEAN, DEVIATION = 0.1307, 0.3081  # of the training pixels


class Cnn(nn.Module):
    """(B, 28, 28), ink 0..1 -> log-probabilities (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU())
        self.hidden = nn.Linear(64 * 12 * 12, 128)
        self.classes = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """The two dropouts act in training only."""
        x = self.convolutions((images.unsqueeze(1) - MEAN) / DEVIATION)
        x = functional.dropout(functional.max_pool2d(x, 2).flatten(1), 0.25, self.training)
        x = functional.dropout(functional.relu(self.hidden(x)), 0.5, self.training)
        return functional.log_softmax(self.classes(x), dim=1)


def train(data: mnist.Mnist, *, epochs: int, seed: int = 1) -> Cnn:
    """The trained network; prints its accuracy on the validation digits after each epoch."""
    torch.manual_seed(seed)
    network = Cnn()
    images, labels = torch.from_numpy(data.train.rows()), torch.from_numpy(data.train.labels)
    optimizer = torch.optim.Adadelta(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=DECAY)
    for epoch in range(1, epochs + 1):
        start = time.process_time()
        network.train()
        for chosen in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss = functional.nll_loss(network(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
        schedule.step()
        right = accuracy(network, data.validation)
        seconds = time.process_time() - start
        print(json.dumps({"epoch": epoch, "validation_accuracy": right, "cpu_seconds": round(seconds, 1)}), flush=True)
    return network.eval()


@torch.inference_mode()
def accuracy(network: Cnn, digits: mnist.Digits) -> float:
    """The share of `digits` that are read right."""
    network.eval()
    answers = torch.cat([network(part).argmax(1) for part in torch.from_numpy(digits.rows()).split(250)])
    return float((answers == torch.from_numpy(digits.labels)).float().mean())


def load(file: Path = FILE) -> Cnn:
    """The trained network; raises `SystemExit` with the command that makes it where it is absent."""
    if not file.exists():
        raise SystemExit(f"{file} is absent: `python -m benchmarks.digits.cnn` trains the peer, about ten minutes")
    network = Cnn()
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits.cnn", description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--output", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = train(mnist.load(), epochs=options.epochs)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), options.output)


if __name__ == "__main__":
    main()
