"""schemathesis with all its checks over the whole OpenAPI document, against a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.runtime.key_file import add_key
from tests.integration.servers import ROOT, running
from tests.models import LastValue, LSTMDigits, write_model

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = str(max(10, int(os.environ.get("FUZZ_EXAMPLES", "20000")) // 50))  # for each operation

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(("management", "has_keys"), [("off", False), ("on", False), ("on", True)])
def test_every_operation_keeps_its_contract(
    management: str, has_keys: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With management, the models are loaded and unloaded meanwhile: what is gone is a 404 or a 503."""
    command = Path(sys.executable).with_name("schemathesis")
    if not command.exists() and shutil.which("schemathesis") is None:
        pytest.skip("schemathesis is not installed: `make fuzz` installs it")
    write_model(tmp_path / "models", "forecaster", LastValue())
    write_model(tmp_path / "models", "digits", LSTMDigits())
    seed = str(request.config.getoption("hypothesis_seed") or 0)
    settings: dict[str, Any] = {}
    options = ["--max-examples", EXAMPLES, "--seed", seed, "--workers", "1"]
    if has_keys:
        key, _ = add_key(tmp_path / "keys.json", ["admin"])
        settings, options = {"api_keys": tmp_path / "keys.json"}, [*options, "--header", f"Authorization: Bearer {key}"]
    with running(tmp_path / "models", model_management=management, **settings) as server:
        url = f"{server.ready().url}/openapi.json"
        environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [str(command), "--config-file", str(CONFIGURATION), "run", url, *options],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
        assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2_000:]
        assert [entry for entry in server.log() if entry["level"] in {"error", "critical"}] == []
