"""The wheel is reproducible: the same bytes from another folder, at another time, under another umask."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "ritmo", "service", "training", "deploy")


def build(checkout: Path, target: Path, umask: int) -> Path:
    """The wheel of a copy of the project that was checked out at `checkout` with that umask."""
    checkout.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, checkout / name)
    for path in checkout.rglob("*"):
        path.chmod((0o777 if path.is_dir() or path.suffix == ".sh" else 0o666) & ~umask)
        os.utime(path, (umask * 1e6 + 1e9, umask * 1e6 + 1e9))
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [str(checkout / "deploy/wheel.sh"), sys.executable, str(target)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    [wheel] = target.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    first = build(tmp_path / "here", tmp_path / "first", umask=0o022)
    second = build(tmp_path / "some where" / "else", tmp_path / "second", umask=0o077)
    assert first.name == second.name
    digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in (first, second)]
    assert digests[0] == digests[1]
    names = zipfile.ZipFile(first).namelist()
    assert {"ritmo/client.py", "service/web/index.html", "service/py.typed"} <= set(names)
    assert not any("__pycache__" in name or name.startswith("tests/") for name in names)
