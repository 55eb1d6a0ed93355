"""training.forecaster.export: intervals are calibrated, and the exported folder has the version asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.data.real_series import HELD_OUT, is_for_validation
from training.forecaster import export
from training.forecaster.config import Config
from training.forecaster.export import Sample, export_forecaster, interval_factors
from training.forecaster.train import train
from training.networks.forecaster import LEARNED_HORIZON, LEVELS

CPU = torch.device("cpu")
TINY = Config(steps=1, values=400, lengths=(40,), cuts=2, real=0.0, fast=8, slow=4, width=8, evaluations=1)


def normal_sample(width: float, level: float = 0.0, steps: int = 16) -> Sample:
    """Standard normal errors, and quantiles that are `width` times as wide as they should be."""
    rng = np.random.default_rng(int(width * 1000))
    normal = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64)).numpy()
    actual = level + rng.normal(size=(3000, steps))
    return Sample("normal", np.broadcast_to(level + width * normal, (3000, steps, len(LEVELS))), actual)


def test_interval_factors_repair_intervals_that_are_too_narrow() -> None:
    factors = interval_factors([normal_sample(1 / 1.4), normal_sample(1 / 1.41, 50.0)]).numpy()
    assert factors.shape == (LEARNED_HORIZON, len(LEVELS))
    np.testing.assert_allclose(np.delete(factors[:16], 7, 1), 1.4, rtol=0.05)
    assert (factors[:, 7] == 1).all()


def test_interval_factors_shift_nothing_and_have_no_stairs() -> None:
    lopsided = normal_sample(1 / 1.3, steps=200)
    early = np.arange(200)[None, :, None] < 20
    narrow = np.where(early, lopsided.quantiles, 0.7 * lopsided.quantiles)
    factors = interval_factors([Sample("narrow far ahead", narrow, lopsided.actual + 0.2)]).numpy()
    np.testing.assert_array_equal(factors, factors[:, ::-1])
    assert factors[100, 3] > factors[0, 3]
    assert np.abs(np.diff(np.log(factors[8:]), axis=0)).max() < 0.02


def test_interval_factors_are_fitted_on_nothing_that_scores() -> None:
    assert not any(map(is_for_validation, (*HELD_OUT, "m4_hourly", "m4_weekly", "m4_timetk_sample")))
    assert is_for_validation("etth1")


@pytest.mark.usefixtures("few_series")
def test_the_version_asked_for_is_written(tmp_path: Path) -> None:
    network, record = train(TINY, CPU, None, None)
    folder = export_forecaster(network, record, version=4, models=tmp_path)
    assert folder == tmp_path / "forecaster" / "4"


@pytest.mark.parametrize(("keeps", "sources"), [(True, ["a", "b"]), (False, None)])
def test_an_earlier_versions_factors_are_kept_if_asked(
    monkeypatch: pytest.MonkeyPatch, keeps: bool, sources: list[str] | None
) -> None:
    asked: list[Any] = []
    record = {"command": "x", "knobs": {}, "interval_factors_fitted_on": ["a", "b"]}
    monkeypatch.setattr(export, "read_version", lambda *_: (None, record))
    monkeypatch.setattr(export, "export_forecaster", lambda *_, **options: asked.append(options["fitted_on"]))
    export.export_again(5, version=6, models=Path(), keeps_factors=keeps)
    assert asked == [sources]
