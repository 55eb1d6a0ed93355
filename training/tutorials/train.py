"""How the tutorials train their models: 50 values in and the 51st out; MNIST row by row, the answer after the last row.

Adam with rate 1e-3 for ten epochs, batches of 64 series or 32 digits, Keras' initialisation for the digit readers: the
tutorials' own recipes. What is added happens after the training: a table of validation residuals, which gives the
forecasters their quantiles, and one temperature, which makes the readers' probabilities honest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional

from training.data import mnist
from training.data.sine_mixture import Floats
from training.data.tutorial_series import WINDOW, TutorialSeries
from training.fit.loop import Curves, Plan, fit
from training.fit.record import parameters
from training.networks.tutorial_digits import TutorialReader
from training.networks.tutorials import HORIZON, Linear, Naive, Recurrent


@dataclass(frozen=True)
class Recipe:
    """The knobs of a tutorial's training."""

    batch: int
    epochs: int = 10
    rate: float = 1e-3


FORECASTER = Recipe(batch=64)
READER = Recipe(batch=32)
VALIDATION_SHARE = 0.1  # of MNIST's 60,000 training images, the last ones, as Keras takes them

FORECASTERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "naive": (Naive, "The last value, with a random walk's intervals: the baseline that every forecaster must beat."),
    "linear": (Linear, "The tutorial's linear map from exactly 50 raw values to the next: 51 parameters."),
    "rnn-1": (
        functools.partial(Recurrent, 1, dense=False),
        "The tutorial's simple RNN of one unit over raw values: 4 parameters.",
    ),
    "rnn-20": (
        functools.partial(Recurrent, 20, dense=True),
        "The tutorial's simple RNN of 20 units and a dense layer over raw values: 481 parameters.",
    ),
}
READERS: dict[str, tuple[tuple[int, ...], str]] = {
    "digits-rnn-10": ((10,), "The tutorial's simple RNN of 10 units that reads a digit row by row: 500 parameters."),
    "digits-rnn-16-8-4": ((16, 8, 4), "The tutorial's stack of three simple RNNs, 16, 8 and 4 units: 1022 parameters."),
}


class Batches:
    """Step number -> indices of its batch: every epoch is one shuffled pass, a function of the seed alone."""

    def __init__(self, count: int, recipe: Recipe, seed: int) -> None:
        self.per_epoch = -(-count // recipe.batch)  # the last batch of an epoch is smaller
        self.steps = self.per_epoch * recipe.epochs
        self._count, self._batch, self._seed = count, recipe.batch, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int) -> Tensor:
        """Indices (<= batch,) of the step."""
        epoch, part = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            shuffle = torch.Generator().manual_seed(1000 * self._seed + epoch)
            self._epoch, self._order = epoch, torch.randperm(self._count, generator=shuffle)
        return self._order[part * self._batch : (part + 1) * self._batch]


def train_forecaster(
    name: str, data: TutorialSeries, seed: int, recipe: Recipe = FORECASTER
) -> tuple[nn.Module, Curves]:
    """The named network, trained on one next value per series, in float64 and with its table of residuals."""
    torch.manual_seed(seed)
    module: Any = FORECASTERS[name][0]()
    if not parameters(module):
        return module, Curves()
    windows, targets = _next_values(data.train)
    validation = _next_values(data.validation)
    batches = Batches(len(windows), recipe, seed)

    def loss_at(step: int) -> Tensor:
        rows = batches(step)
        return functional.mse_loss(module(windows[rows]), targets[rows])

    def evaluate(trained: nn.Module) -> dict[str, float]:
        return {"validation": float(functional.mse_loss(trained(validation[0]), validation[1]))}

    optimizer = torch.optim.Adam(module.parameters(), recipe.rate)
    plan = Plan(batches.steps, clip=None, evaluate_every=batches.per_epoch)
    curves = fit(module, loss_at, optimizer, plan, evaluate=evaluate, label=name)
    module.double()
    module.residuals.measure(residuals(module, data.validation))
    return module, curves


def residuals(module: Any, series: Floats) -> Tensor:
    """What came minus what was forecast for the `HORIZON` values after the first 50 of each series: (N, HORIZON)."""
    values = torch.from_numpy(series)
    count = len(values)
    with torch.no_grad():
        fresh = module.initial(torch.zeros(count, dtype=torch.int64))
        state = module.step(values[:, :WINDOW], torch.full((count,), WINDOW), fresh)
        said = module.forecast(state, HORIZON, torch.full((count, 1), 0.5, dtype=torch.float64))
    return values[:, WINDOW : WINDOW + HORIZON] - said[:, :, 0]


def least_squares(data: TutorialSeries) -> float:
    """Test error of the linear map that minimises the training error exactly: what the 51 parameters could reach."""
    past, bias = data.train[:, :WINDOW], np.ones((len(data.train), 1))
    weights, *_ = np.linalg.lstsq(np.hstack([past, bias]), data.train[:, WINDOW])
    said = data.test[:, :WINDOW] @ weights[:-1] + weights[-1]
    return float(np.mean((data.test[:, WINDOW] - said) ** 2))


def _next_values(series: Floats) -> tuple[Tensor, Tensor]:
    values = torch.from_numpy(series[:, : WINDOW + 1]).float()
    return values[:, :WINDOW], values[:, WINDOW]


@dataclass(frozen=True)
class DigitSplits:
    """Rows (N, 28, 28) and labels (N,) for training and for validation."""

    rows: Tensor
    labels: Tensor
    validation_rows: Tensor
    validation_labels: Tensor


def digit_splits(data: mnist.Mnist) -> DigitSplits:
    """MNIST's 60,000 training images as the tutorial splits them: the last tenth validates."""
    rows = torch.from_numpy(np.concatenate([data.train.rows(), data.validation.rows()]))
    labels = torch.from_numpy(np.concatenate([data.train.labels, data.validation.labels]))
    cut = round(len(rows) * (1 - VALIDATION_SHARE))
    return DigitSplits(rows[:cut], labels[:cut], rows[cut:], labels[cut:])


def train_reader(name: str, data: DigitSplits, seed: int, recipe: Recipe = READER) -> tuple[TutorialReader, Curves]:
    """The named reader, trained on the answer after the last row, its temperature fitted on the validation digits.

    Trained in float32, returned in float64.
    """
    torch.manual_seed(seed)
    module = TutorialReader(READERS[name][0])
    batches = Batches(len(data.labels), recipe, seed)
    hits: list[Tensor] = []

    def loss_at(step: int) -> Tensor:
        chosen = batches(step)
        logits, labels = module(data.rows[chosen]), data.labels[chosen]
        hits.append((logits.detach().argmax(1) == labels).float().mean())
        return functional.cross_entropy(logits, labels)

    def evaluate(trained: nn.Module) -> dict[str, float]:
        logits = trained(data.validation_rows)
        right = (logits.argmax(1) == data.validation_labels).float().mean()
        loss = functional.cross_entropy(logits, data.validation_labels)
        row = {
            "accuracy": float(torch.stack(hits).mean()),
            "validation": float(loss),
            "validation_accuracy": float(right),
        }
        hits.clear()
        return row

    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], recipe.rate)
    plan = Plan(batches.steps, clip=None, evaluate_every=batches.per_epoch)
    curves = fit(module, loss_at, optimizer, plan, evaluate=evaluate, label=name)
    with torch.no_grad():
        logits = module(data.validation_rows)
        module.temperature.fill_(best_temperature(logits, data.validation_labels))
    return module.double(), curves


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The divisor of the logits (N, C) with the least cross-entropy on `labels` (Guo et al., 2017)."""
    found = minimize_scalar(
        lambda log_t: float(functional.cross_entropy(logits / np.exp(log_t), labels)), bounds=(-3, 3), method="bounded"
    )
    return float(np.exp(found.x))
