"""A folder of models with a tiny forecaster of the shipped kind, for tests that start from one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from training.fit.record import Record
from training.forecaster.export import write_folder
from training.networks.forecaster import Forecaster


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`forecaster/1` with random weights."""
    models = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = Forecaster(8, 4, 8)
    record = Record(
        command="tests",
        seed=0,
        seconds=0.0,
        device="cpu",
        parameters=1,
        data={},
        knobs={"fast": 8, "slow": 4, "width": 8},
        curves=[],
    )
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        write_folder(
            network,
            name="forecaster",
            description="random weights",
            record=record,
            metrics_of=lambda _: {},
            version=None,
            models=models,
        )
    return models


@pytest.fixture
def models(tiny_models: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return Path(shutil.copytree(tiny_models, tmp_path / "models"))
