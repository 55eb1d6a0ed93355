"""The matrix of faults: every fault of the list has rows and a test that exists; the page is written from the rows."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import table
from benchmarks.faults import __main__ as command
from benchmarks.faults import stops
from benchmarks.faults.bench import FAULTS, quantile
from benchmarks.faults.bystanders import Latencies

ROOT = Path(__file__).resolve().parents[2]


def test_every_fault_is_tried_once() -> None:
    assert len({(fault.id, fault.load) for fault in FAULTS}) == len(FAULTS)
    numbers = {int(re.findall(r"\d+", fault.id)[0]) for fault in FAULTS}
    assert numbers >= set(range(1, 30))


def test_the_tests_that_are_named_exist() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    for fault in FAULTS:
        for file in re.findall(r"tests/[\w/]+(?:\.py)?", fault.tests):
            assert (ROOT / file).exists(), fault
        for name in re.findall(r"\btest_\w+(?!\.py)\b", re.sub(r"tests/[\w/]+\.py", "", fault.tests)):
            assert any(f"def {name}(" in source for source in sources.values()), fault


def test_the_committed_rows_are_those_of_the_page(tmp_path: Path) -> None:
    rows = command._ordered({(row.id, row.load): row for row in table.read(command.RESULT, command.Row)})
    page = tmp_path / "page.md"
    page.write_text(command.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    command.write_page(page, rows)
    assert page.read_text(encoding="utf-8") == command.PAGE.read_text(encoding="utf-8")


def test_bystanders_say_what_they_saw() -> None:
    calls = {"small caller": [0.001] * 99 + [0.1], "picture": [0.002]}
    latencies = Latencies(probes=[0.01, 0.2], calls_by_caller=calls, refused=1)
    assert latencies.text().startswith("/livez waits 200 ms at most; 101 of 102 answered; small caller: p50 1, p99 ")
    assert latencies.text().endswith("; picture: p50 2, p99 2 ms")
    assert latencies.calls == calls["small caller"]
    assert quantile([], 0.5) == 0.0
    assert quantile([3.0], 0.99) == 3.0


def test_runs_of_a_stop_add_up() -> None:
    key = ("SIGTERM", 2, 64, 8)
    row = stops._with_run(None, key, 100, 0, 1.0)
    row = stops._with_run(row, key, 50, 1, 2.0)
    assert (row.runs, row.answered, row.lost, row.gone_mean, row.gone_most) == (2, 150, 1, 1.5, 2.0)
    assert stops._key(row) == key
