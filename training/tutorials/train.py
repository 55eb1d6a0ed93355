"""How the tutorials train their models: 50 values in and the 51st out; MNIST row by row, the answer after the last row.

The recipes are the tutorials' own, with Keras' initialisation for the digit readers. Two additions follow the training:
a table of validation residuals, which gives the forecasters their quantiles, and one temperature, which calibrates the
readers' probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional

from service.contract.types import Floats
from training.data import mnist
from training.data.tutorial_series import WINDOW, TutorialSeries
from training.fit.batches import BatchOrder
from training.fit.loop import Curves, Plan, fit
from training.fit.record import parameters
from training.networks.tutorial_digits import TutorialReader
from training.networks.tutorials import HORIZON
from training.tutorials.config import FORECASTER, FORECASTERS, READER, READERS, VALIDATION_SHARE, Config


def train_forecaster(
    name: str, data: TutorialSeries, seed: int, config: Config = FORECASTER
) -> tuple[nn.Module, Curves]:
    """The named network, trained on one next value per series, in float64 and with its table of residuals."""
    torch.manual_seed(seed)
    module: Any = FORECASTERS[name][0]()
    if not parameters(module):
        return module, Curves()
    windows, targets = next_values(data.train)
    validation = next_values(data.validation)
    batches = _batches(len(windows), config, seed)

    def loss_at(step: int) -> Tensor:
        rows = batches(step)
        return functional.mse_loss(module(windows[rows]), targets[rows])

    def evaluate(trained: nn.Module) -> dict[str, float]:
        return {"validation": float(functional.mse_loss(trained(validation[0]), validation[1]))}

    optimizer = torch.optim.Adam(module.parameters(), config.rate)
    plan = Plan(batches.per_epoch * config.epochs, clip=None, evaluate_every=batches.per_epoch)
    curves = fit(module, loss_at, optimizer, plan, evaluate=evaluate, label=name)
    module.double()
    module.residuals.measure(residuals(module, data.validation))
    return module, curves


def _batches(count: int, config: Config, seed: int) -> BatchOrder:
    return BatchOrder(count, config.batch, first_seed=1000 * seed, keep_last=True)


def residuals(module: Any, series: Floats) -> Tensor:
    """Actual value minus forecast for the `HORIZON` values after the first 50 of each series: (N, HORIZON)."""
    values = torch.from_numpy(series)
    count = len(values)
    with torch.no_grad():
        fresh = module.initial(torch.zeros(count, dtype=torch.int64))
        state = module.step(values[:, :WINDOW], torch.full((count,), WINDOW), fresh)
        forecast = module.forecast(state, HORIZON, torch.full((count, 1), 0.5, dtype=torch.float64))
    return values[:, WINDOW : WINDOW + HORIZON] - forecast[:, :, 0]


def least_squares(data: TutorialSeries) -> float:
    """Test error of the linear map that minimises the training error exactly: the best of the 51 parameters."""
    past, bias = data.train[:, :WINDOW], np.ones((len(data.train), 1))
    weights, *_ = np.linalg.lstsq(np.hstack([past, bias]), data.train[:, WINDOW])
    predicted = data.test[:, :WINDOW] @ weights[:-1] + weights[-1]
    return float(np.mean((data.test[:, WINDOW] - predicted) ** 2))


def next_values(series: Floats) -> tuple[Tensor, Tensor]:
    """The first 50 values of each series and the 51st, float32."""
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


def train_reader(name: str, data: DigitSplits, seed: int, config: Config = READER) -> tuple[TutorialReader, Curves]:
    """The named reader, trained on the answer after the last row, its temperature fitted on the validation digits.

    Trained in float32, returned in float64.
    """
    torch.manual_seed(seed)
    module = TutorialReader(READERS[name][0])
    batches = _batches(len(data.labels), config, seed)
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

    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], config.rate)
    plan = Plan(batches.per_epoch * config.epochs, clip=None, evaluate_every=batches.per_epoch)
    curves = fit(module, loss_at, optimizer, plan, evaluate=evaluate, label=name)
    with torch.no_grad():
        logits = module(data.validation_rows)
        module.temperature.fill_(best_temperature(logits, data.validation_labels))
    return module.double(), curves


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The divisor of the logits (N, C) with the least cross-entropy on `labels` (Guo et al., 2017)."""
    optimum = minimize_scalar(
        lambda log_t: float(functional.cross_entropy(logits / np.exp(log_t), labels)), bounds=(-3, 3), method="bounded"
    )
    return float(np.exp(optimum.x))
