"""Unmodified clients from the package index: each is the judge of its protocol. `make clients` installs them.

They run in an environment of their own, since their pins and ours differ, and print what they were answered.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.servers import ROOT, TIMEOUT, Server, running

PYTHON = ROOT / "build/clients/bin/python"
CALLS = Path(__file__).parent / "clients"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="the clients are not installed: make clients"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(ROOT / "models") as server:
        yield server.settled()


def answers(client: str, server: Server, *arguments: str) -> dict[str, Any]:
    """What the client was answered."""
    command = [str(PYTHON), str(CALLS / f"{client}_calls.py"), server.url, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT * 4, check=False)
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return document


def test_tritonclient(server: Server) -> None:
    seen = answers("tritonclient", server)
    assert seen["live"]
    assert seen["ready"] == [True, True, False]
    assert {"forecaster", "digits"} <= set(seen["models"])
    assert all(means == seen["means"][0] for means in seen["means"])
    assert np.shape(seen["means"][0]) == np.shape(seen["continued"]) == (2, 3)
    assert seen["continued"][0] != seen["means"][0][0]
    assert seen["label"] == [1]
    assert seen["classes"] == 2
    assert "nobody" in seen["errors"][0]
    assert "rows" in seen["errors"][1]
    assert seen["counted"] >= 12


def test_kserve(server: Server) -> None:
    seen = answers("kserve", server)
    assert seen["live"]
    assert seen["ready"] == [True, True]
    assert seen["means"][0] == seen["means"][1]
    assert "price" in seen["error"]


def test_nixtla(server: Server) -> None:
    pytest.importorskip("zstandard", reason="the extra nixtla is not installed: 2,500 series come as zstd")
    seen = answers("nixtla", server)
    assert seen["key"] is True
    ends = ("lo-80", "hi-80", "lo-97.5", "hi-97.5")
    assert {"TimeGPT", *(f"TimeGPT-{end}" for end in ends)} <= set(seen["columns"])
    assert {f"TimeGPT-q-{level}" for level in (5, 10, 50, 90, 95)} <= set(seen["quantiles"])
    np.testing.assert_allclose(seen["mean"], np.arange(90, 97) % 7 + 10.0, atol=0.5)
    np.testing.assert_allclose(seen["polars"], seen["mean"], rtol=1e-6)
    assert seen["history"] == 2 * (89 + 3)
    assert seen["cross_validation"] == 2 * 2 * 7
    *of_the_first_weeks, last = seen["anomalies"]  # when a week has been seen once, its next start is a surprise
    assert last == "2024-03-01"
    assert all(day < "2024-01-15" for day in of_the_first_weeks)
    assert seen["many"] == 2500 * 7
    assert "fine-tuning" in seen["errors"][0]
    assert "nobody" in seen["errors"][1]


def test_mcp(server: Server) -> None:
    seen = answers("mcp", server, str(ROOT / "docs/seven.png"))
    assert seen["auto"] == seen["legacy"]
    assert seen["auto"]["tools"] == ["backtest", "classify_digit", "forecast"]
    assert len(seen["auto"]["mean"]) == 2
    is_error, text = seen["auto"]["fault"]
    assert is_error
    assert "target" in text
    assert seen["auto"]["label"] == 7
