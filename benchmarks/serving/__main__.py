"""`python -m benchmarks.serving`: this service against others a user would pick, on this machine, side by side.

Writes benchmarks/results/serving.csv (every measurement), serving.md (medians, spreads, ratios) and docs/serving.png.
Servers are started one at a time, each anew in every round, in an order that turns with the round, so that none always
runs on a cool or a busy machine. The load generator runs on the same cores as the server; nothing is pinned.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import torch

from benchmarks import table
from benchmarks.serving import alone, environments, load, lstm64, report
from benchmarks.serving.contestants import MODELS, PLAIN, ROOT, SCRATCH, Contestant, contestants
from benchmarks.serving.measure import Wrong, measure
from benchmarks.serving.rows import Row

RESULTS = ROOT / "benchmarks" / "results"
PICTURE = ROOT / "docs" / "serving.png"
QUICK = SCRATCH / "quick"


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _end)  # as Ctrl-C does: the server that runs is stopped on the way out
    version = load.require_wrk()
    command = "python -m benchmarks.serving " + shlex.join(sys.argv[1:])
    SCRATCH.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    lstm64.write(MODELS, PLAIN)
    chosen = [one for one in contestants() if not options.only or one.name in options.only]
    for one in chosen:
        if one.environment:
            environments.python(one.environment)
    shared = {**table.circumstances(command.strip())}
    versions = {one.name: f"{environments.versions(one.interpreter, one.packages)}, {version}" for one in chosen}
    versions["model alone"] = environments.versions(sys.executable, ["torch"])
    results = options.output or (QUICK if options.quick else RESULTS)
    found: list[Row] = []
    faults: list[str] = []
    for row in _all(chosen, options, faults):
        found.append(replace(row, versions=versions[row.contestant], **shared))
        table.write(results / "serving.csv", Row, found)  # after each, so that an interrupted run is not lost
    if not found:
        return _failed(faults)
    report.write(found, results / "serving.md")
    report.draw(found, results / "serving.png" if results != RESULTS else PICTURE)
    print(f"\n{(results / 'serving.md').read_text()}")
    return _failed(faults)


def _failed(faults: Sequence[str]) -> int:
    for fault in faults:
        print(f"FAILED: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _all(chosen: Sequence[Contestant], options: argparse.Namespace, faults: list[str]) -> Iterator[Row]:
    runs = [(one, processes) for processes in options.processes for one in chosen if processes in one.processes]
    for number in range(1, options.rounds + 1):
        turn = (number - 1) * len(runs) // options.rounds
        for contestant, processes in runs[turn:] + runs[:turn]:
            begun = time.monotonic()
            try:
                for row in measure(
                    contestant, processes, number,
                    levels=options.levels, seconds=options.seconds, warm_seconds=1,
                ):  # fmt: skip
                    _show(row)
                    yield row
            except Wrong as fault:
                faults.append(f"{contestant.name}, {processes} processes: {fault}")
                print(faults[-1], file=sys.stderr)
            print(f"{contestant.name} ({processes}) took {time.monotonic() - begun:.0f} s", flush=True)
        if not options.only or "model alone" in options.only:
            yield from _alone(options.seconds, number)


def _alone(seconds: int, number: int) -> Iterable[Row]:
    """The model without a server; each of its workloads is one level."""
    command = [sys.executable, "-m", alone.__name__, str(PLAIN), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    for said in map(json.loads, done.stdout.splitlines()):
        row = Row(
            "model alone", 1, said["name"], None, number,
            requests_per_second=said["requests"] / said["seconds"],
            items_per_second=said["items"] / said["seconds"],
            p50_ms=said["p50_ms"], p90_ms=said["p90_ms"], p99_ms=said["p99_ms"], max_ms=said["max_ms"],
            requests=said["requests"],
        )  # fmt: skip
        _show(row)
        yield row


def _show(row: Row) -> None:
    head = f"{row.round}  {row.contestant:<18} x{row.processes}  {row.workload:<28}"
    if row.workload == "start":
        print(f"{head} first answer {row.cold_start_s:.2f} s, idle {row.idle_pss_mib:.0f} MiB", flush=True)
        return
    failed = f"  {row.failed} FAILED" if row.failed else ""
    print(
        f"{head} {row.connections or '':>4}  {row.items_per_second:>9,.0f}/s"
        f"  p50 {row.p50_ms:7.2f}  p99 {row.p99_ms:7.2f} ms{failed}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=int, help="of a measurement [3]")
    parser.add_argument("--rounds", type=int, help="how often everything is measured [3]")
    parser.add_argument("--levels", type=int, nargs="+", help="connections [1 8 64 256]")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="that hold the network [1 2]")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these servers only")
    parser.add_argument("--quick", action="store_true", help="a second each, one round: does everything work?")
    parser.add_argument("--output", type=Path, help="folder for the results [benchmarks/results]")
    options = parser.parse_args()
    options.seconds = options.seconds or (1 if options.quick else 3)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.levels = options.levels or ([1, 64] if options.quick else [1, 8, 64, 256])
    return options


if __name__ == "__main__":
    raise SystemExit(main())
