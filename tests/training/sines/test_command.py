"""training.sines.command: from the command line to a folder that the service loads."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from service.backend.model import load
from training.sines import command


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default folder of checkpoints lies in a folder of the test."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


TINY = "--steps 2 --values 960 --lengths 20 40 --hidden 8 --head-steps 2 --evaluations 1"


@pytest.mark.usefixtures("few_series")
def test_the_command_trains_exports_and_the_service_loads(tmp_path: Path) -> None:
    def run(*arguments: str) -> None:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        folders = ["--models", str(tmp_path), "--figures", str(tmp_path / "figures")]
        command.main(parser.parse_args([*TINY.split(), *folders, *arguments]))

    run("--folder", str(tmp_path / "run"), "--dry-run")
    assert list(tmp_path.iterdir()) == []
    run("--folder", str(tmp_path / "run"))
    model = load(tmp_path / "sines" / "1", warm=False)
    assert model.manifest.metrics["tutorial_mse"] > 0
    assert "--models" not in model.manifest.training.command
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"sines-curves.png", "sines-lstm-curves.png"}

    # The second stage alone, from the file of the first one, comes to the same network.
    run("--from-weights", str(tmp_path / "run" / "lstm.npz"))
    model_again = load(tmp_path / "sines" / "2", warm=False)
    assert model_again.manifest.metrics == pytest.approx(model.manifest.metrics, rel=1e-2)
