"""From a trained tutorial model to its folder under models/: golden inputs, contract, description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from service.contract.manifest import InputContract, OutputContract, StateContract
from training.data.drawn_digits import digit_images
from training.data.sine_mixture import sine_mixture
from training.data.tutorial_series import WINDOW
from training.evaluation.evaluate import metrics_of
from training.fit.export import Arrays, digit_golden, export, forecast_golden
from training.fit.record import Record
from training.networks.tutorial_digits import TutorialReader
from training.networks.tutorials import HORIZON
from training.tutorials.config import FORECASTERS, READERS


def forecast_sample(*, missing: bool) -> Arrays:
    """Golden inputs: a sine mixture, a series far from zero, a constant, a series of two values, and one of one."""
    rng = np.random.default_rng(7)
    values = np.zeros((5, WINDOW))
    values[0] = sine_mixture(1, WINDOW, rng)[0]
    values[1] = 1e4 + rng.normal(size=WINDOW).cumsum()
    values[2] = 0.25
    values[3:] = rng.normal(size=(2, WINDOW))
    if missing:
        values[1, [0, 5, 6, -1]] = np.nan
    lengths = np.array([WINDOW, 40, 17, 2, 1])
    values[np.arange(WINDOW) >= lengths[:, None]] = 0
    levels = np.tile([0.001, 0.1, 0.5, 0.9, 0.999], (5, 1))
    return {"values": values, "lengths": lengths, "season": np.zeros(5, np.int64), "levels": levels}


def digit_sample() -> Arrays:
    """Golden inputs: drawn digits, read completely, in part, and by their first row alone."""
    images, _ = digit_images(6, seed=7)
    rows = images.astype(np.float32) / np.float32(255)
    lengths = np.array([28, 28, 21, 14, 7, 1])
    rows[np.arange(28) >= lengths[:, None]] = 0
    return {"rows": rows, "lengths": lengths}


def export_forecaster(module: nn.Module, name: str, record: Record, models: Path) -> Path:
    """Write the folder of a tutorial forecaster."""
    missing = name == "naive"
    sample = forecast_sample(missing=missing)
    state = module.initial(torch.zeros(1, dtype=torch.int64))  # type: ignore[operator]
    return export(
        module,
        name=name,
        task="forecast",
        description=FORECASTERS[name][1],
        inputs=InputContract(
            features=1,
            min_length=WINDOW if name == "linear" else 1,
            max_length=WINDOW if name == "linear" else None,
            missing=missing,
            max_horizon=1024 if missing else HORIZON,
        ),
        outputs=OutputContract(),
        state=StateContract(width=state.shape[1], exact=state.shape[1]),
        golden=lambda m: forecast_golden(m, sample, 5),
        record=record,
        metrics_of=metrics_of,
        models=models,
    )


def export_reader(module: TutorialReader, name: str, record: Record, models: Path) -> Path:
    """Write the folder of a tutorial digit reader."""
    sample = digit_sample()
    return export(
        module,
        name=name,
        task="classify-digit",
        description=READERS[name][1],
        inputs=InputContract(features=28, min_length=1, max_length=64, missing=False),
        outputs=OutputContract(classes=10),
        state=StateContract(width=sum(READERS[name][0]), exact=sum(READERS[name][0])),
        golden=lambda m: digit_golden(m, sample),
        record=record,
        metrics_of=metrics_of,
        models=models,
    )
