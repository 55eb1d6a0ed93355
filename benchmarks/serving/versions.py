"""`python -m benchmarks.serving.versions FOLDER`: answers a second of this source tree and of another one.

FOLDER is a checkout of an earlier commit, whose service runs in this environment with its own checkpoints. Both
services are up all the time and asked in turn, the order changing with the round, and compared within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import table
from benchmarks.serving.fairness import serving
from benchmarks.serving.load import Request, require_wrk, run, write_requests
from benchmarks.serving.processes import Server
from benchmarks.table import ROOT, head, line

RESULT = ROOT / "benchmarks/results/versions.csv"
BASELINE, CURRENT = "before", "now"
LEVELS = (1, 64, 256)
MODELS = ("naive", "rnn-20")
WORKLOADS = {
    "naive, one series": ("naive", 1),
    "rnn-20, one series": ("rnn-20", 1),
    "rnn-20, 20 series": ("rnn-20", 20),
}


@dataclass(frozen=True)
class Row:
    """One load on one of the two; `failed`: refused, or answered with an error. `version` is its commit."""

    service: str
    version: str
    workload: str
    connections: int
    round: int
    rate: float
    failed: int
    date: str
    machine: str
    cores: int
    command: str
    commit: str


def report(rows: Sequence[Row]) -> list[str]:
    """A table, as lines of Markdown: rates of what was answered well, and the ratio within a round with its spread."""
    lines = list(head(["", "connections", "before", "now", "ratio in the same round"]))
    rates: defaultdict[tuple[str, int], dict[str, dict[int, float]]] = defaultdict(lambda: {BASELINE: {}, CURRENT: {}})
    for row in rows:
        rates[row.workload, row.connections][row.service][row.round] = row.rate
    for (workload, connections), by_service in rates.items():
        ratios = [by_service[CURRENT][number] / rate for number, rate in by_service[BASELINE].items()]
        medians = [f"{np.median(list(by_service[name].values())):,.0f}" for name in (BASELINE, CURRENT)]
        spread = f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(line([workload, str(connections), *medians, spread]))
    return lines


def measure(baseline: Path, rounds: int, seconds: int) -> list[Row]:
    """Every workload at every level in every round, both trees in turn."""
    require_wrk()
    trees = {BASELINE: baseline.resolve(), CURRENT: ROOT}
    facts: dict[str, Any] = table.circumstances(f"python -m benchmarks.serving.versions {baseline.name}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        servers: dict[str, Server] = {}
        for service, tree in trees.items():
            for model in MODELS:
                shutil.copytree(tree / "models" / model, folder / service / model)
            servers[service] = stack.enter_context(serving(f"versions-{service}", tree, folder / service, 1))
        versions = {service: _commit_of(tree) for service, tree in trees.items()}
        for workload, (model, n_series) in WORKLOADS.items():
            write_requests(folder / workload, _requests(model, n_series))
            for connections in LEVELS:
                for number in range(rounds):
                    for service in (BASELINE, CURRENT) if number % 2 else (CURRENT, BASELINE):
                        load = run(servers[service].port, folder / workload, connections=connections, seconds=seconds)
                        rate = (load.requests - load.failed) / load.seconds
                        version = versions[service]
                        rows.append(Row(service, version, workload, connections, number, rate, load.failed, **facts))
    return rows


def _commit_of(tree: Path) -> str:
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _requests(model: str, n_series: int) -> list[Request]:
    generator = np.random.default_rng(0)
    bodies = []
    for _ in range(64):
        lengths = generator.integers(20, 80, n_series) if n_series > 1 else [50]
        series = [np.round(generator.normal(10, 1, length), 2).tolist() for length in lengths]
        bodies.append(json.dumps({"model": model, "inputs": [{"target": values} for values in series]}).encode())
    return [Request("/forecast", body) for body in bodies]


def main() -> int:
    """Measure, write the rows, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the other source tree")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    options = parser.parse_args()
    rows = measure(options.folder, options.rounds, options.seconds)
    table.write(RESULT, Row, rows)
    print("\n".join(report(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
