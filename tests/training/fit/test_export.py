"""training.fit.export: a folder appears whole or not at all, numbered, scored on the file, loadable by the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.backend.model import load
from service.contract.manifest import InputContract, OutputContract, StateContract, read_manifest
from training.fit.export import ATOL, Arrays, absolute_tolerance, export, forecast_golden
from training.fit.record import Record


class Last(nn.Module):
    """Forecasts the last value: state (B, 2) = value, whether there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    @torch.jit.export
    def initial(self, season: Tensor) -> Tensor:
        return torch.zeros(season.shape[0], 2, dtype=torch.float64)

    @torch.jit.export
    def step(self, values: Tensor, lengths: Tensor, state: Tensor) -> Tensor:
        if values.shape[1] == 0:
            return state
        last = values.gather(1, (lengths - 1).clamp(min=0)[:, None])
        fresh = torch.cat([last, torch.ones_like(last)], 1)
        return torch.where((lengths > 0)[:, None], fresh, state)

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        point = (state[:, :1, None] + self.bias).expand(-1, horizon, 1)
        return torch.cat([point, point + levels[:, None, :] - 0.5], 2)

    @torch.jit.export
    def history(self, values: Tensor, lengths: Tensor, state: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        previous = torch.cat([state[:, :1], values[:, :-1]], 1)[:, :, None]
        first = torch.arange(values.shape[1])[None, :, None] == 0
        unknown = first & (state[:, 1] == 0)[:, None, None]
        forecast = torch.cat([previous, previous + levels[:, None, :] - 0.5], 2)
        return self.step(values, lengths, state), forecast.masked_fill(unknown, float("nan"))

    @torch.jit.export
    def season(self, state: Tensor) -> Tensor:
        return torch.ones(state.shape[0], dtype=torch.int64)


class Unfaithful(Last):
    """Answers differently once it is scripted."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def forecast(self, state: Tensor, horizon: int, levels: Tensor) -> Tensor:
        shift = 1.0 if torch.jit.is_scripting() else 0.0  # type: ignore[attr-defined]
        point = (state[:, :1, None] + shift).expand(-1, horizon, 1)
        return torch.cat([point, point + levels[:, None, :]], 2)


def _golden(module: Any) -> Arrays:
    sample = {
        "values": np.array([[1.0, 2, 3], [4, 0, 0], [5, 6, 0], [7, 8, 9]]),
        "lengths": np.array([3, 1, 2, 3]),
        "season": np.zeros(4, np.int64),
        "levels": np.tile([0.1, 0.5, 0.9], (4, 1)),
    }
    return forecast_golden(module, sample, 4)


def _export(models: Path, module: nn.Module | None = None, version: int | None = None, fail: bool = False) -> Path:
    def metrics_of(folder: Path) -> dict[str, float]:
        if fail:
            raise RuntimeError("no test set")
        return {"answers": float(len(load(folder, warm=False).manifest.name))}

    return export(
        Last() if module is None else module,
        name="last",
        task="forecast",
        description="the last value",
        inputs=InputContract(features=1, min_length=1, max_length=None, missing=False, max_horizon=8),
        outputs=OutputContract(quantile_levels=(0.1, 0.5, 0.9)),
        state=StateContract(width=2, exact=2),
        golden=_golden,
        record=Record("python -m training last", 0, 0.0, "cpu", 1, {"synthetic": "generated"}, {}, []),
        metrics_of=metrics_of,
        version=version,
        models=models,
    )


def test_the_service_loads_what_export_wrote(tmp_path: Path) -> None:
    folder = _export(tmp_path)
    assert folder == tmp_path / "last" / "1"
    assert sorted(p.name for p in folder.iterdir()) == ["golden.npz", "manifest.json", "model.pt", "training.json"]
    manifest = read_manifest(folder)
    assert manifest.metrics == {"answers": 4}  # measured on the loaded file
    assert load(folder, warm=False).manifest == manifest


def test_versions_count_up_and_a_named_one_is_replaced(tmp_path: Path) -> None:
    assert [_export(tmp_path).name for _ in range(2)] == ["1", "2"]
    inode = (tmp_path / "last" / "1" / "manifest.json").stat().st_ino
    assert _export(tmp_path, version=1).name == "1"
    assert (tmp_path / "last" / "1" / "manifest.json").stat().st_ino != inode
    assert sorted(p.name for p in (tmp_path / "last").iterdir()) == ["1", "2"]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no test set"):
        _export(tmp_path, fail=True)
    assert list((tmp_path / "last").iterdir()) == []


def test_a_file_that_differs_from_the_trained_module_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'forecast' differs"):
        _export(tmp_path, Unfaithful())


def test_near_zero_more_is_allowed_where_the_values_are_larger() -> None:
    small = {"forecast": np.array([[0.001, np.nan]]), "history": np.array([[0.5]]), "state": np.array([[300.0]])}
    assert absolute_tolerance(small) == ATOL
    assert absolute_tolerance(small | {"history": np.array([[-26.0, np.inf]])}) == pytest.approx(26 * ATOL)
    assert absolute_tolerance({"log_probabilities": np.array([[-50.0]])}) == ATOL
