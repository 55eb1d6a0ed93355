"""`python -m benchmarks.serving`: this service and other servers for the same network, measured in turn.

Writes benchmarks/results/serving.csv (every measurement), serving.md (medians, spreads, ratios) and docs/serving.png.
Servers are started one at a time, each anew in every round, in an order that turns with the round, so that no server
always runs on a cool or a busy machine. The load generator runs on the same cores as the server; nothing is pinned.
`--pages` writes the page and the picture again from the committed rows.
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
from benchmarks.serving import environments, load, lstm64, model_only, report
from benchmarks.serving.contestants import MODELS, PLAIN, ROOT, SCRATCH, Contestant, contestants
from benchmarks.serving.measure import InvalidServer, measure
from benchmarks.serving.processes import FREE, Cores
from benchmarks.serving.rows import MODEL_ONLY, Row

RESULTS = ROOT / "benchmarks" / "results"
PICTURE = ROOT / "docs" / "serving.png"
QUICK_RESULTS = SCRATCH / "quick"


def main() -> int:
    options = _options()
    results = options.output or (QUICK_RESULTS if options.quick else RESULTS)
    if options.pages:
        _write_pages(results, [], pinned=options.pinned)
        return 0
    signal.signal(signal.SIGTERM, _exit)
    wrk_version = load.require_wrk()
    command = "python -m benchmarks.serving " + shlex.join(sys.argv[1:])
    SCRATCH.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    lstm64.write(MODELS, PLAIN)
    chosen, absences = _present(options.only)
    shared = {**table.circumstances(command.strip()), "pinned": options.pinned}
    versions = {c.name: f"{environments.versions(c.interpreter, c.packages)}, {wrk_version}" for c in chosen}
    versions[MODEL_ONLY] = environments.versions(sys.executable, ["torch"])
    rows: list[Row] = []
    faults: list[str] = []
    for row in _measurements(chosen, options, faults):
        rows.append(replace(row, versions=versions[row.contestant], **shared))
        table.write(
            results / f"{_stem(options.pinned)}.csv", Row, rows
        )  # after each, so that an interrupted run is not lost
    if rows:
        _write_pages(results, absences, pinned=options.pinned)
    for fault in faults:
        print(f"FAILED: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _stem(pinned: bool) -> str:
    """The name of the files of results."""
    return "serving-pinned" if pinned else "serving"


def _write_pages(results: Path, absences: Sequence[str], *, pinned: bool) -> None:
    """Write the page and the picture of the rows in `results`."""
    stem = _stem(pinned)
    rows = table.read(results / f"{stem}.csv", Row)
    report.write(rows, results / f"{stem}.md", absences)
    report.draw(rows, (results if results != RESULTS else PICTURE.parent) / f"{stem}.png")
    print(f"\n{(results / f'{stem}.md').read_text()}")


def _exit(number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does: the server under measurement is stopped on the way out."""
    raise SystemExit(128 + number)


def _present(names: Sequence[str] | None) -> tuple[list[Contestant], list[str]]:
    """The contestants that run on this machine, by their names or those of their peers, and why others do not."""
    chosen, absences = [], []
    for contestant in contestants():
        if names and contestant.name not in names and contestant.peer not in names:
            continue
        if reason := contestant.absence():
            absences.append(f"{contestant.name}: {reason}")
            print(f"not measured: {absences[-1]}", file=sys.stderr)
        else:
            chosen.append(contestant)
    return chosen, absences


def _measurements(chosen: Sequence[Contestant], options: argparse.Namespace, faults: list[str]) -> Iterator[Row]:
    runs = [(c, processes) for processes in options.processes for c in chosen if processes in c.processes]
    for number in range(1, options.rounds + 1):
        turn = (number - 1) * len(runs) // options.rounds
        for contestant, processes in runs[turn:] + runs[:turn]:
            start = time.monotonic()
            try:
                for row in measure(
                    contestant, processes, number,
                    levels=options.levels, seconds=options.seconds, warm_seconds=1,
                    cores=Cores.apart() if options.pinned else FREE,
                ):  # fmt: skip
                    _show(row)
                    yield row
            except InvalidServer as fault:
                faults.append(f"{contestant.name}, {processes} processes: {fault}")
                print(faults[-1], file=sys.stderr)
            print(f"{contestant.name} ({processes}) took {time.monotonic() - start:.0f} s", flush=True)
        if not options.only or MODEL_ONLY in options.only:
            yield from _model_only(options.seconds, number)


def _model_only(seconds: int, number: int) -> Iterable[Row]:
    """The network without a server; each of its batch sizes is one workload."""
    command = [sys.executable, "-m", model_only.__name__, str(PLAIN), str(seconds)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for figures in map(json.loads, output.splitlines()):
        row = Row(
            MODEL_ONLY, 1, figures["name"], None, number,
            requests_per_second=figures["requests"] / figures["seconds"],
            items_per_second=figures["items"] / figures["seconds"],
            p50_ms=figures["p50_ms"], p90_ms=figures["p90_ms"], p99_ms=figures["p99_ms"], max_ms=figures["max_ms"],
            requests=figures["requests"],
        )  # fmt: skip
        _show(row)
        yield row


def _show(row: Row) -> None:
    head = f"{row.round}  {row.contestant:<20} x{row.processes}  {row.workload:<28}"
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
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these servers, by name or by peer (mosec: all of its)"
    )
    parser.add_argument("--pinned", action="store_true", help="the client on the last core, the server on all others")
    parser.add_argument("--quick", action="store_true", help="a second each, one round, to see that everything works")
    parser.add_argument("--pages", action="store_true", help="no measurement: the page and the picture from the rows")
    parser.add_argument("--output", type=Path, help="folder for the results [benchmarks/results]")
    options = parser.parse_args()
    options.seconds = options.seconds or (1 if options.quick else 3)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.levels = options.levels or ([1, 64] if options.quick else [1, 8, 64, 256])
    return options


if __name__ == "__main__":
    raise SystemExit(main())
