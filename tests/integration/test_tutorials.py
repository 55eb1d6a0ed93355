"""The commands of the tutorials, in English and Spanish, answer what their pages say, with the committed models."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import ROOT, Server
from training.__main__ import main

PAGES = [ROOT / "docs/tutorials.md", ROOT / "docs/tutoriales.md"]
ADDRESS = "localhost:8000"  # as the pages write it

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages' commands need curl")


def lines(page: Path, start: str) -> list[str]:
    """The lines of the page's shell blocks that begin with `start`."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(start)]


def answer(command: str, server: Server) -> Any:
    words = shlex.split(command.replace(ADDRESS, server.url), comments=True)
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@needs_curl
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_requests(page: Path, committed: Server) -> None:
    linear, recurrent, digit = [answer(line, committed) for line in lines(page, "curl ")]
    assert (linear["status"], linear["errors"][0]["code"]) == (422, "length_not_supported")
    assert len(recurrent["predictions"][0]["mean"]) == 1
    assert digit["predictions"][0]["label"] == 7


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_layers(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [command] = lines(page, "ritmo model summary ")
    main(["summary", *command.split()[3:]])
    printed = capsys.readouterr().out.splitlines()
    table = page.read_text(encoding="utf-8").partition(command)[2].partition("```\n```\n")[2].partition("\n```")[0]
    assert len(table.splitlines()) > 2
    assert set(table.splitlines()) <= set(printed)
