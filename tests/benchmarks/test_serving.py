"""The serving benchmark: equal networks under both contracts, requests and rows through files, fair ratios."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import table
from benchmarks.serving import environments, fairness, lstm64, report, workloads
from benchmarks.serving.contestants import ROOT, Contestant, Launch
from benchmarks.serving.load import Request, write_requests
from benchmarks.serving.processes import free_port, server
from benchmarks.serving.rows import Row
from benchmarks.serving.soak import slope
from service.backend.model import load
from service.codec.common import Body
from service.codec.forecast import ForecastCodec
from service.codec.state_tokens import StateTokens
from service.contract.types import ForecastResult
from service.settings import Settings

NO_REQUESTS = workloads.Workload("none", [], lambda answer: [])


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bench")
    lstm64.write(folder / "models", folder / "plain.pt")
    return folder


def test_the_service_answers_with_the_network_that_the_others_serve(networks: Path) -> None:
    model = load(networks / "models" / lstm64.NAME / "1")
    batch = workloads.ragged(24)
    expected = workloads.Reference(networks / "plain.pt")(batch)
    dialect = workloads.ritmo(lstm64.NAME)
    assert dialect.encode_batch is not None
    codec = ForecastCodec(Settings(), StateTokens())
    call = codec.to_items(codec.decode(Body(dialect.encode_batch(batch).body)), model.manifest)
    answers = [result.mean.tolist() for result in model.run(call.items) if isinstance(result, ForecastResult)]
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    assert model.batch_invariant


def test_every_dialect_asks_for_the_same_numbers() -> None:
    values = [1.5, -2.25]
    for dialect in (workloads.FASTAPI, workloads.BENTOML, workloads.CONSTANT, workloads.ritmo("x")):
        assert b"[1.5,-2.25]" in dialect.encode(values).body
    inputs = json.loads(workloads.OPEN_INFERENCE.encode(values).body)["inputs"]
    assert inputs[0]["data"][:3] == [1.5, -2.25, 0]
    assert inputs[1]["data"] == [2]


def test_binary_tensors_follow_their_json() -> None:
    encode_batch = workloads.BINARY_INFERENCE.encode_batch
    assert encode_batch is not None
    request = encode_batch([[1.5, -2.25], [3.0]])
    size = int(request.headers["Inference-Header-Content-Length"])
    inputs = json.loads(request.body[:size])["inputs"]
    assert [tensor["parameters"]["binary_data_size"] for tensor in inputs] == [16, 16]
    assert np.frombuffer(request.body[size : size + 16], np.float32).tolist() == [1.5, -2.25, 3.0, 0.0]
    assert np.frombuffer(request.body[size + 16 :], np.int64).tolist() == [2, 1]


def test_requests_are_written_as_the_load_generator_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "requests.bin"
    write_requests(file, [Request("/a", b"\x00\n\n", "image/png", ("Name", "1")), Request("/b", b"{}")])
    assert file.read_bytes() == b"/a\timage/png\t3\tName\t1\n\x00\n\n\n/b\tapplication/json\t2\t\t\n{}\n"


def test_rows_survive_their_file(tmp_path: Path) -> None:
    original = [
        Row("ritmo", 1, "series", 64, 1, requests_per_second=12345.0, failed=0),
        Row("x, y", 2, "start", None, 3),
    ]
    table.write(tmp_path / "rows.csv", Row, original)
    assert table.read(tmp_path / "rows.csv", Row) == original


def test_a_ratio_is_taken_within_its_round(tmp_path: Path) -> None:
    # Round 2 ran on a machine that was twice as slow: the ratio is 2 in both.
    rates = {("ritmo", 1): 8000.0, ("ritmo", 2): 4000.0, ("mosec", 1): 4000.0, ("mosec", 2): 2000.0}
    measured = [Row(name, 1, "series", 64, number, requests_per_second=rate) for (name, number), rate in rates.items()]
    report.write(measured, tmp_path / "serving.md")
    line = next(line for line in (tmp_path / "serving.md").read_text().splitlines() if line.startswith("| mosec"))
    assert "2.00 (2.00–2.00)" in line
    report.draw(measured, tmp_path / "serving.png")
    assert (tmp_path / "serving.png").stat().st_size > 10_000


def test_a_peer_is_compared_in_its_best_configuration(tmp_path: Path) -> None:
    rates = {"ritmo": (900.0, 8000.0), "mosec": (300.0, 9000.0), "mosec (tuned)": (450.0, 4000.0)}
    measured = [
        Row(name, 1, "series", level, 1, requests_per_second=rate, date="2026-11-29", command="make bench")
        for name, by_level in rates.items()
        for level, rate in zip((1, 64), by_level, strict=True)
    ]
    report.write(measured, tmp_path / "serving.md", ["pytriton: its environment could not be made"])
    text = (tmp_path / "serving.md").read_text()
    assert "| mosec | 300 | 9,000 | – | 0.89 |" in text
    assert "| mosec (tuned) | 450 | 4,000 | 2.00 | – |" in text
    assert (
        "- One process, 64 connections: ritmo answers 8,000 requests a second; the best other server, mosec, 9,000; "
        "ratio within a round 0.89." in text
    )
    assert "2026-11-29" in text
    assert "`make bench`" in text
    assert "Not measured: pytriton: its environment could not be made." in text


def test_a_contestant_without_its_environment_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(name: str) -> Path:
        raise subprocess.CalledProcessError(1, ["pip", "install", name])

    monkeypatch.setattr(environments, "python", unavailable)
    contestant = Contestant(
        "pytriton (binary)", lambda port, processes: Launch([], {}), lambda: NO_REQUESTS, lambda port: [], "pytriton"
    )
    assert contestant.peer == "pytriton"
    assert "'pip', 'install', 'pytriton'" in contestant.absence()
    assert Contestant("ritmo", contestant.launch, contestant.first, contestant.other_workloads).absence() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, as the benchmark does")
def test_a_server_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', '{child}']); time.sleep(60)"
    command, log = [sys.executable, "-c", parent], tmp_path / "log"
    with server(command, port=free_port(), environment={}, folder=tmp_path, log=log) as process:
        while len(process.pids()) < 2:
            assert process.alive
        memory, pids = process.memory(), process.pids()
    assert memory.rss >= memory.pss > 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_flat_line_has_no_slope_and_a_leak_has_one() -> None:
    rng = np.random.default_rng(0)
    hours = np.linspace(0, 0.5, 1800)
    noise = rng.normal(0, 2, 1800)
    _, low, high = slope(hours, 300 + noise, 20)
    assert low < 0 < high
    steep, low, _ = slope(hours, 300 + 10 * hours + noise, 20)
    assert steep == pytest.approx(10, rel=0.2)
    assert low > 0


def test_the_fairness_scenario_sends_requests_that_the_service_reads() -> None:
    head, _, body = fairness.request("naive", 1024, 3, ["history"]).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    request = ForecastCodec(Settings(), StateTokens()).decode(Body(body))
    assert (len(request.inputs), len(request.inputs[0].target), request.parameters.include) == (1024, 3, ["history"])


@pytest.mark.slow
def test_a_small_caller_is_answered_beside_eight_that_send_in_bulk(networks: Path) -> None:
    """Every request is answered; how late is measured by `make bench-fairness`, where nothing else runs."""
    options = fairness.parsed(["--model", lstm64.NAME, "--seconds", "3"])
    with fairness.serving("test", ROOT, networks / "models", 2) as running:
        row = fairness.one_round("test", running.port, 0, options)
    assert row.answered >= 0.99
    assert row.bulk_beside > 0
