"""From the trained sine specialist to `models/sines/<version>/`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from service.contract.manifest import InputContract, OutputContract, StateContract
from training.data.sine_mixture import sine_mixture
from training.evaluation import evaluate
from training.fit.export import Arrays, export, forecast_golden
from training.fit.loop import Curves
from training.fit.record import Record, command_line, device_name, parameters
from training.networks.sines import LEVELS, MAX_HORIZON, SineForecaster
from training.sines.config import Config
from training.sines.train import DESTINATIONS

CONTEXT = 4096
GOLDEN_HORIZON = 12


def record_of(network: SineForecaster, config: Config, lstm: dict[str, Any], curves: Curves) -> Record:
    """The record of both stages; `lstm` is that of the first, which may have been a run of its own."""
    commands = lstm["command"], command_line(omit=DESTINATIONS)
    return Record(
        command=" && ".join(dict.fromkeys(commands)),
        seed=config.seed,
        seconds=lstm["curves"][-1]["seconds"] + curves.last["seconds"],
        device=device_name(torch.device("cpu")),
        parameters=parameters(network),
        data={"synthetic": "generated"},
        knobs=asdict(config) | {"earlier": {"lstm": lstm}},
        curves=curves.rows,
    )


def export_sines(network: SineForecaster, record: Record, *, version: int | None, models: Path) -> Path:
    """Write `models/sines/<version>/` and return it."""
    sample = golden_sample()
    return export(
        network,
        name="sines",
        task="forecast",
        description="For the tutorial's sine mixture alone: an LSTM guesses the two sines, a fit in the graph refines",
        inputs=InputContract(
            features=1,
            min_length=1,
            max_length=None,
            context=CONTEXT,
            missing=True,
            season=False,
            max_horizon=MAX_HORIZON,
        ),
        outputs=OutputContract(quantile_levels=LEVELS),
        state=StateContract(width=network.state_width, exact=network.exact),
        golden=lambda module: forecast_golden(module, sample, GOLDEN_HORIZON),
        record=record,
        metrics_of=evaluate.metrics_of,
        version=version,
        models=models,
    )


def golden_sample() -> Arrays:
    """Golden inputs: mixtures of different lengths, one with missing values."""
    lengths = np.array([160, 150, 97, 40, 9, 1])
    series = sine_mixture(len(lengths), 160, np.random.default_rng(7))
    values = np.where(np.arange(160) < lengths[:, None], series, 0.0)
    values[1, 20:25] = np.nan
    season = np.zeros(len(lengths), np.int64)
    levels = np.tile([0.05, 0.5, 0.83], (len(lengths), 1))
    return {"values": values, "lengths": lengths, "season": season, "levels": levels}
