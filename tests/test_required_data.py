"""A test of real data is skipped where there is none, and fails where continuous integration says there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

EXAMPLE = """
import pytest

@pytest.mark.data
def test_of_real_data(real_data):
    assert (real_data / "mnist").is_dir()

def test_of_something_else():
    pytest.skip("for a reason of its own")
"""


def run(folder: Path, **environment: str) -> str:
    """Run EXAMPLE with this project's conftest and settings, in a process of its own; its closing line."""
    (folder / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (folder / "test_example.py").write_text(EXAMPLE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    data\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(folder)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return result.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("required", "outcome"), [({}, "2 skipped"), ({"RITMO_REQUIRE_DATA": "1"}, "1 skipped, 1 error")]
)
def test_without_data(tmp_path: Path, required: dict[str, str], outcome: str) -> None:
    assert run(tmp_path, RITMO_DATA=str(tmp_path / "nowhere"), **required).startswith(outcome)


def test_with_data(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    assert run(tmp_path, RITMO_DATA=str(tmp_path), RITMO_REQUIRE_DATA="1").startswith("1 passed, 1 skipped")
