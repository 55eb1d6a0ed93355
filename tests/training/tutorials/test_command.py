"""training.tutorials.command: from the command line to a folder that the service loads, and the table it prints."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from service.backend.model import load
from service.contract.manifest import read_manifest
from service.contract.types import ForecastItem, ForecastResult
from training.tutorials import command, results


def test_the_command_leaves_models_that_the_service_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    folders = ["--models", str(tmp_path), "--figures", str(tmp_path / "figures"), "--results", str(tmp_path / "t.csv")]
    command.main(parser.parse_args(["--only", "naive", "linear", "--dry-run", *folders]))
    assert list(tmp_path.iterdir()) == []
    command.main(parser.parse_args(["--only", "naive", "--seeds", "2", *folders]))
    manifest = read_manifest(tmp_path / "naive" / "1")
    assert manifest.metrics["tutorial_mse"] == pytest.approx(0.0206, rel=0.1)
    assert manifest.training.parameters == 0
    assert [path.name for path in (tmp_path / "naive").iterdir()] == ["1"]
    (answer,) = load(tmp_path / "naive" / "1").run([ForecastItem(np.array([1.0, 4.0]), 1, np.array([0.5]))])
    assert isinstance(answer, ForecastResult)
    assert answer.mean == [4.0]
    assert "| naive | tutorial_mse | 0.0206 |" in capsys.readouterr().out
    assert [run.seed for run in results.read(tmp_path / "t.csv")] == [0, 1]
