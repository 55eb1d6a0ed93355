"""Commands that answer without a port, with a real model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.servers import ROOT, TIMEOUT


def test_forecast_of_numbers_from_stdin(one_model: Path) -> None:
    command = [sys.executable, "-m", "service", "forecast", "-", "--models", str(one_model), "--device", "cpu"]
    result = subprocess.run(
        [*command, "--prediction-length", "2"],
        input="1, 2\n4",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["predictions"][0]["mean"] == [4.0, 4.0]
