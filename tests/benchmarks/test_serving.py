"""What the serving benchmark stands on: equal networks under both contracts, rows that survive a file, fair ratios."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import table
from benchmarks.serving import lstm64, report, workloads
from benchmarks.serving.load import Request, write_requests
from benchmarks.serving.processes import free_port, server
from benchmarks.serving.rows import Row
from benchmarks.serving.soak import slope
from service.backend.torchscript import load
from service.codec.common import Body
from service.codec.forecast import ForecastCodec
from service.codec.state_tokens import StateTokens
from service.contract.types import ForecastResult
from service.settings import Settings


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bench")
    lstm64.write(folder / "models", folder / "plain.pt")
    return folder


def test_the_service_answers_with_the_network_that_the_others_serve(written: Path) -> None:
    model = load(written / "models" / lstm64.NAME / "1")
    some = workloads.ragged(24)
    expected = workloads.Reference(written / "plain.pt")(some)
    body = workloads.ritmo(lstm64.NAME)
    assert body.many is not None
    codec = ForecastCodec(Settings(), StateTokens())
    packed = codec.to_items(codec.decode(Body(body.many(some).body)), model.manifest)
    answers = [result.mean.tolist() for result in model.run(packed.items) if isinstance(result, ForecastResult)]
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    assert model.batch_invariant


def test_every_dialect_asks_for_the_same_numbers() -> None:
    one = [1.5, -2.25]
    for dialect in (workloads.FASTAPI, workloads.BENTOML, workloads.CONSTANT, workloads.ritmo("x")):
        assert b"[1.5,-2.25]" in dialect.one(one).body
    inputs = json.loads(workloads.OPEN_INFERENCE.one(one).body)["inputs"]
    assert inputs[0]["data"][:3] == [1.5, -2.25, 0]
    assert inputs[1]["data"] == [2]


def test_requests_are_written_as_the_load_generator_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "requests.bin"
    write_requests(file, [Request("/a", b"\x00\n\n", "image/png"), Request("/b", b"{}")])
    assert file.read_bytes() == b"/a\timage/png\t3\n\x00\n\n\n/b\tapplication/json\t2\n{}\n"


def test_rows_survive_their_file(tmp_path: Path) -> None:
    found = [Row("ritmo", 1, "series", 64, 1, requests_per_second=12345.0, failed=0), Row("x, y", 2, "start", None, 3)]
    table.write(tmp_path / "rows.csv", Row, found)
    assert table.read(tmp_path / "rows.csv", Row) == found


def test_a_ratio_is_taken_within_its_round(tmp_path: Path) -> None:
    # Round 2 ran on a machine that was twice as slow: the ratio is 2 in both, whatever the medians.
    rates = {("ritmo", 1): 8000.0, ("ritmo", 2): 4000.0, ("mosec", 1): 4000.0, ("mosec", 2): 2000.0}
    found = [Row(name, 1, "series", 64, number, requests_per_second=rate) for (name, number), rate in rates.items()]
    report.write(found, tmp_path / "serving.md")
    line = next(line for line in (tmp_path / "serving.md").read_text().splitlines() if line.startswith("| mosec"))
    assert "2.00 (2.00–2.00)" in line
    report.draw(found, tmp_path / "serving.png")
    assert (tmp_path / "serving.png").stat().st_size > 10_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, as the benchmark does")
def test_a_server_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', '{child}']); time.sleep(60)"
    command, log = [sys.executable, "-c", parent], tmp_path / "log"
    with server(command, port=free_port(), environment={}, folder=tmp_path, log=log) as running:
        while len(running.pids()) < 2:
            assert running.alive
        memory, everyone = running.memory(), running.pids()
    assert memory.rss >= memory.pss > 0
    for pid in everyone:
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
