"""A TorchScript module as a network of numpy arrays: what is loaded, and what its answers must look like."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service.backend.sharding import ComputeThreads
from service.backend.torchscript import ScriptedNetwork, load_module
from service.contract.errors import ModelFault
from service.contract.manifest import read_manifest
from service.contract.types import Floats
from tests.models import LSTMDigits, LSTMForecaster, RunningMean, write_model

CPU = torch.device("cpu")
LEVELS = np.array([[0.1, 0.5, 0.9]])
VALUES, LENGTHS = np.ones((1, 4)), np.array([4])
ROWS = np.zeros((1, 4, 28), np.float32)


def network(models: Path, module: torch.nn.Module, threads: int = 1) -> ScriptedNetwork:
    folder = write_model(models, "model", module)
    manifest = read_manifest(folder)
    return ScriptedNetwork(load_module(folder, manifest, CPU), manifest, ComputeThreads(threads))


def fresh(network: ScriptedNetwork) -> Floats:
    """The state (1, S) of one row."""
    return network.initial(0)[None].repeat(1, axis=0)


class ShortForecast(RunningMean):
    """Forecasts one step, however many are wanted."""

    @torch.jit.export
    def forecast(self, state: torch.Tensor, horizon: int, levels: torch.Tensor) -> torch.Tensor:
        return torch.zeros((state.size(0), 1, 1 + levels.size(1)), dtype=torch.float64)


class WideState(RunningMean):
    """Its state grows with each step."""

    @torch.jit.export
    def step(self, values: torch.Tensor, lengths: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return torch.cat((state, state), 1)


class ShortHistory(RunningMean):
    """Its history lacks the first value."""

    @torch.jit.export
    def history(
        self, values: torch.Tensor, lengths: torch.Tensor, state: torch.Tensor, levels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        forecasts = torch.zeros((state.size(0), values.size(1), 1 + levels.size(1)), dtype=torch.float64)
        return state, forecasts[:, 1:]


class OneSeason(RunningMean):
    """Answers one season for all rows."""

    @torch.jit.export
    def season(self, state: torch.Tensor) -> torch.Tensor:
        return torch.ones((), dtype=torch.int64)


class Initial(RunningMean):
    """Its first state has other numbers of columns for other seasons."""

    @torch.jit.export
    def initial(self, season: torch.Tensor) -> torch.Tensor:
        return torch.zeros((season.size(0), 4 if int(season[0]) < 13 else 5), dtype=torch.float64)


class NineClasses(LSTMDigits):
    """Reads nine digits only."""

    @torch.jit.export
    def read(self, state: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.head(state[:, : self.hidden].to(torch.float32)), -1)[:, :9]


@pytest.mark.parametrize(
    ("module", "call", "message"),
    [
        (ShortForecast, lambda n: n.forecast(fresh(n), 3, LEVELS), r"forecast\(\) gave an array of shape"),
        (ShortForecast, lambda n: n.finish(VALUES, LENGTHS, fresh(n), 3, LEVELS), r"\(1, 1, 4\), not"),
        (WideState, lambda n: n.step(VALUES, LENGTHS, fresh(n)), r"step\(\) .* \(1, 8\), not \(1, 4\)"),
        (WideState, lambda n: n.finish(VALUES, LENGTHS, fresh(n), 1, LEVELS), r"step\(\)"),
        (ShortHistory, lambda n: n.history(VALUES, LENGTHS, fresh(n), LEVELS), r"history\(\)"),
        (OneSeason, lambda n: n.forecast(fresh(n), 1, LEVELS), r"season\(\)"),
        (Initial, lambda n: n.initial(13), r"initial\(\) is float64 \(5,\), not float64 \(4,\)"),
        (NineClasses, lambda n: n.read(fresh(n)), r"read\(\) .* \(1, 9\), not \(1, 10\)"),
        (NineClasses, lambda n: n.finish_reading(ROWS, LENGTHS, fresh(n)), r"read\(\)"),
    ],
)
def test_an_answer_of_another_shape_is_a_fault_of_the_model(
    tmp_path: Path, module: Callable[[], torch.nn.Module], call: Callable[[ScriptedNetwork], object], message: str
) -> None:
    with pytest.raises(ModelFault, match=f"model model@1 gave no sound answer: .*{message}") as error:
        call(network(tmp_path, module()))
    assert error.value.log_fields == {"model": "model", "version": 1}


def test_the_fused_methods_answer_like_their_parts(tmp_path: Path) -> None:
    forecaster = network(tmp_path / "forecast", LSTMForecaster())
    state = fresh(forecaster)
    after_step = forecaster.step(VALUES, LENGTHS, state)
    new_state, (forecasts, seasons) = forecaster.finish(VALUES, LENGTHS, state, 2, LEVELS)
    np.testing.assert_array_equal(new_state, after_step)
    np.testing.assert_array_equal(forecasts, forecaster.forecast(after_step, 2, LEVELS)[0])
    assert seasons.tolist() == [1]
    reader = network(tmp_path / "digits", LSTMDigits())
    state = fresh(reader)
    new_state, logarithms = reader.finish_reading(ROWS, LENGTHS, state)
    np.testing.assert_array_equal(new_state, reader.step(ROWS, LENGTHS, state))
    np.testing.assert_array_equal(logarithms, reader.read(new_state))


def test_the_first_state_is_computed_once_for_each_season_and_cannot_be_changed(tmp_path: Path) -> None:
    mean = network(tmp_path, RunningMean())
    assert mean.initial(7) is mean.initial(7)
    assert mean.initial(7)[3] == 7
    with pytest.raises(ValueError, match="read-only"):
        mean.initial(7)[0] = 1


def test_a_single_threaded_network_is_the_same_module(tmp_path: Path) -> None:
    shared = network(tmp_path, RunningMean(), threads=2)
    single = shared.single_threaded()
    assert single is not shared
    assert single.single_threaded() is single
    np.testing.assert_array_equal(single.initial(3), shared.initial(3))


def test_the_bytes_that_were_checked_are_the_bytes_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path, "mean", RunningMean())
    files: list[object] = []
    load = torch.jit.load

    def spy(file: object, **options: object) -> object:
        files.append(file)
        return load(file, **options)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(torch.jit, "load", spy)
    load_module(folder, read_manifest(folder), CPU)
    (file,) = files
    assert not isinstance(file, str | Path)


def test_loading_is_quiet(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "mean", RunningMean())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_module(folder, read_manifest(folder), CPU)
