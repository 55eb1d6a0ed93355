"""Commands that answer without a port, with a real model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.servers import POLL_SECONDS, ROOT, TIMEOUT
from tests.models import write_endless


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


def test_control_c_ends_a_command_whose_model_is_being_loaded(tmp_path: Path) -> None:
    """No traceback, and no abort of torch, a call of which goes on in a thread."""
    file = write_endless(tmp_path)
    command = [sys.executable, "-m", "service", "forecast", "-", "--models", str(tmp_path), "--model", "endless"]
    # Tests in the background of a shell ignore SIGINT, and so would all that they start.
    command = ["env", "--default-signal=INT", *command]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write("1, 2, 3")
            process.stdin.close()
            process.stdin = None
            deadline = time.monotonic() + TIMEOUT
            while str(file) not in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8"):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(POLL_SECONDS)
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert (process.returncode, output) == (-signal.SIGINT, ("", ""))
