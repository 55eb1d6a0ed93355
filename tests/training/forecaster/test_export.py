"""training.forecaster.export: intervals are calibrated, and the exported folder has the version asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.forecaster.config import Config
from training.forecaster.export import conformal_factors, export_forecaster
from training.forecaster.train import train
from training.networks.forecaster import LEVELS, MAX_HORIZON

CPU = torch.device("cpu")
TINY = Config(steps=1, values=400, lengths=(40,), cuts=2, real=0.0, fast=8, slow=4, width=8, evaluations=1)


def test_conformal_factors_repair_intervals_that_are_too_narrow() -> None:
    rng = np.random.default_rng(0)
    normal = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64)).numpy()

    def sample(n: int) -> tuple[np.ndarray, np.ndarray]:
        actual = rng.normal(size=(n, 16))
        return np.broadcast_to(normal / 1.4, (n, 16, len(LEVELS))), actual

    factors = conformal_factors(iter([sample(3000), sample(3000)])).numpy()
    assert factors.shape == (MAX_HORIZON, len(LEVELS))
    np.testing.assert_allclose(np.delete(factors[:16], 7, 1), 1.4, rtol=0.08)
    assert (factors[:, 7] == 1).all()


@pytest.mark.usefixtures("few_series")
def test_the_version_asked_for_is_written(tmp_path: Path) -> None:
    network, record = train(TINY, CPU, None, None)
    folder = export_forecaster(network, record, version=4, models=tmp_path)
    assert folder == tmp_path / "forecaster" / "4"
