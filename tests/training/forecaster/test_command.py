"""training.forecaster.command: from the command line to a folder that the service loads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from service.backend.model import load
from training.fit.errors import OtherRun
from training.forecaster import command


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default folder of checkpoints lies in a folder of the test."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


TINY = "--steps 2 --values 800 --lengths 40 --cuts 2 --real 0 --fast 8 --slow 4 --width 8 --evaluations 1 --device cpu"

pytestmark = pytest.mark.usefixtures("few_series")


def _run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.main(parser.parse_args([*TINY.split(), *arguments]))


def test_the_command_trains_exports_and_the_service_loads(tmp_path: Path) -> None:
    _run("--models", str(tmp_path))
    model = load(tmp_path / "forecaster" / "1", warm=False)
    assert model.manifest.name == "forecaster"
    assert model.manifest.metrics["tutorial_mse"] > 0
    assert model.manifest.training.data == {"synthetic": "generated"}


def test_a_dry_run_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run("--dry-run", "--models", str(tmp_path / "models"), "--folder", str(tmp_path / "runs"))
    assert list(tmp_path.iterdir()) == []
    assert "nothing was written" in capsys.readouterr().out


def test_weights_are_written_and_exported_by_another_call(tmp_path: Path) -> None:
    _run("--weights", str(tmp_path / "w.npz"), "--models", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]
    _run("--from-weights", str(tmp_path / "w.npz"), "--models", str(tmp_path), "--version", "7")
    assert (tmp_path / "forecaster" / "7" / "model.pt").is_file()


@pytest.mark.slow
def test_a_new_version_of_earlier_weights(tmp_path: Path) -> None:
    _run("--models", str(tmp_path), "--version", "2")
    _run("--from-version", "2", "--models", str(tmp_path))
    earlier, later = (load(tmp_path / "forecaster" / version, warm=False).manifest for version in ("2", "3"))
    assert "the weights of version 2" in later.description
    assert later.training.parameters == earlier.training.parameters
    assert later.metrics["tutorial_mse"] == pytest.approx(earlier.metrics["tutorial_mse"])
    record = json.loads((tmp_path / "forecaster" / "3" / "training.json").read_text())
    assert record["knobs"]["weights_of_version"] == 2
    assert record["interval_factors_fitted_on"] == []  # no real series, no factors


def test_a_checkpoint_of_another_configuration_is_refused_unless_told(tmp_path: Path) -> None:
    _run("--weights", str(tmp_path / "a.npz"))
    assert Path("runs/forecaster/checkpoint.pt").exists()
    with pytest.raises(OtherRun, match="configuration rate, configuration seed"):
        _run("--weights", str(tmp_path / "b.npz"), "--seed", "1", "--rate", "0.01")
    _run("--weights", str(tmp_path / "b.npz"), "--seed", "1", "--rate", "0.01", "--accept-other")


def test_a_deadline_leaves_a_checkpoint_also_in_the_default_folder(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        _run("--weights", str(tmp_path / "a.npz"), "--deadline", "0")
    _run("--weights", str(tmp_path / "a.npz"))
    assert (tmp_path / "a.npz").exists()
