"""`ritmo model new`: what it writes trains, exports and keeps the contract as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.authoring.check import check
from service.authoring.starter import Kind, write_starter

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["forecast", "digits"])
def test_the_program_trains_exports_and_keeps_the_contract(tmp_path: Path, kind: Kind) -> None:
    program = write_starter("mine", kind, tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), "--steps", "1", "--models", str(tmp_path / "models")]
    trained = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    lines, sound = check(tmp_path / "models" / "mine" / "1")
    assert sound, "\n".join(lines)
    assert not [line for line in lines if not line.startswith(("ok ", "note "))]


@pytest.mark.parametrize("name", ["Mine", "", "-a", "a" * 65, "a/b", "..", "a_b"])
def test_a_name_that_no_model_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a model"):
        write_starter(name, "forecast", tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = write_starter("mine", "digits", tmp_path)
    path.write_text("my own work", encoding="utf-8")
    with pytest.raises(FileExistsError):
        write_starter("mine", "forecast", tmp_path)
    assert path.read_text(encoding="utf-8") == "my own work"
