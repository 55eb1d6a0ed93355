"""The README's curl lines answer what it says they do, from a service with the committed models."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.servers import Server

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"  # as the README writes it


def commands() -> list[str]:
    """Every curl command of the README's shell blocks; one may span several lines."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [block.strip() for block in blocks if block.startswith("curl ")]


FORECAST, DIGIT = commands()


def program() -> str:
    """The program in Python of docs/state.md; it has one."""
    page = (ROOT / "docs" / "state.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(block)


def answer(command: str, address: str) -> Any:
    """Run one of the README's commands against `address` and parse what it prints."""
    words = shlex.split(command.replace(ADDRESS, address))
    result = subprocess.run([*words, "--silent", "--show-error"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the README's commands need curl")


@needs_curl
def test_the_forecast_of_the_readme(committed: Server) -> None:
    [prediction] = answer(FORECAST, committed.url)["predictions"]
    assert prediction["item_id"] == "sales"
    assert prediction["context"]["missing"] == 1
    assert len(prediction["mean"]) == 6
    # Sales rose by about five percent a year and peak in summer: the next half year lies near the last one's values.
    last_year = [140, 137, 158, 171, 187, 203]
    low, middle, high = (prediction["quantiles"][level] for level in ("0.1", "0.5", "0.9"))
    for name, answered in (("mean", prediction["mean"]), ("0.1", low)):  # what the README shows below the command
        [shown] = re.findall(rf'"{name}": \[([\d., ]+), …\]', README)
        numbers = [float(number) for number in shown.split(",")]
        assert numbers == pytest.approx(answered[: len(numbers)], abs=0.06)
    assert all(a <= b <= c for a, b, c in zip(low, middle, high, strict=True))
    assert all(0.75 * value < m < 1.35 * value for value, m in zip(last_year, middle, strict=True))


@needs_curl
def test_the_digit_of_the_readme(committed: Server) -> None:
    [prediction] = answer(DIGIT, committed.url)["predictions"]
    assert prediction["label"] == 7
    [shown] = re.findall(r'"label": 7, "score": ([\d.]+),', README)
    assert float(shown) == pytest.approx(prediction["score"], abs=1e-3)


def without_content_type(command: str) -> str:
    untyped = re.sub(r" -H 'Content-Type: [^']+'", "", command)
    assert untyped != command
    return untyped


@needs_curl
def test_a_forecast_without_its_content_type_gets_a_problem(committed: Server) -> None:
    problem = answer(without_content_type(FORECAST), committed.url)  # curl then says it is a form
    assert problem["code"] == "unsupported_media_type"
    assert problem["status"] == 415


@needs_curl
def test_a_digit_without_its_content_type_is_read_all_the_same(committed: Server) -> None:
    [prediction] = answer(without_content_type(DIGIT), committed.url)["predictions"]
    assert prediction["label"] == 7


def test_the_program_of_the_page_on_state(committed: Server) -> None:
    code = program().replace(ADDRESS, committed.url)
    assert committed.url in code
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "5", "6"]
    body = {"inputs": [{"target": [132, 128, 151, 160, 172, 190]}]}
    [expected] = httpx.post(f"{committed.url}/forecast", json=body).json()["predictions"]
    assert float(lines[-1].split()[-1]) == pytest.approx(expected["mean"][0], rel=1e-6)
