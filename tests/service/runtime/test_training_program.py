"""service.runtime.training_program: training is found where it is, and one sentence says so where it is not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.runtime import training_program

ROOT = Path(__file__).resolve().parents[3]


def test_without_training_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert training_program.run("training.finetuning", ["forecaster"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_of_that_name_does_not_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "training" / "finetuning").mkdir(parents=True)
    (tmp_path / "training" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    code = "import sys; sys.path.remove(''); from service.__main__ import main; main(sys.argv[1:])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", code, "train", "--help"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "usage: ritmo train" in process.stdout
