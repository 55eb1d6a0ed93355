"""The command line of `ritmo model`."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.__main__ import main
from service.contract.manifest import InputContract
from tests.models import LastValue, write_model


def test_new_writes_a_program_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["model", "new", "mine", "--kind", "digits", "--folder", str(tmp_path)]
    assert main(command) == 0
    assert str(tmp_path / "mine" / "model.py") in capsys.readouterr().out
    assert main(command) == 2
    assert "exists; nothing was written" in capsys.readouterr().err
    assert main(["model", "new", "Not a name", "--folder", str(tmp_path)]) == 2


def test_check_says_how_the_model_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = InputContract(features=1, min_length=1, max_length=60, missing=True, max_horizon=24)
    folder = write_model(tmp_path, "last", LastValue(), inputs=inputs)
    assert main(["model", "check", str(folder)]) == 0
    assert capsys.readouterr().out.endswith(f"{folder}: keeps the contract\n")
    assert main(["model", "check", str(tmp_path)]) == 1
    assert capsys.readouterr().out.endswith(f"{tmp_path}: breaks the contract\n")


def test_model_alone_names_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model"]) == 2
    assert "check, new" in capsys.readouterr().err
