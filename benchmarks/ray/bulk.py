"""A million series by `deploy/ray/batch.py`, interrupted and resumed: `python -m benchmarks.ray.bulk`.

The command of docs/ray.md is run on a cluster of Ray on this machine, killed with all its processes when a third of the
files have their answer, and run again. Then every answer is read. A row is added to benchmarks/results/ray.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.ray.__main__ import MODEL, RESULTS, write_series
from benchmarks.ray.cluster import enter_own_network, in_own_network
from benchmarks.table import ROOT, append, circumstances

SERIES, VALUES, HORIZON = 4_000, 100, 28  # of a file; of a series
GUARD = 3600.0  # seconds


def main() -> int:
    """Write the files, run, kill, resume, check, and add the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=250, help=f"of {SERIES:,} series each")
    parser.add_argument("--actors", type=int, default=2)
    options = parser.parse_args()
    if not in_own_network():
        return enter_own_network("benchmarks.ray.bulk")
    with tempfile.TemporaryDirectory(prefix="bulk-") as name:
        folder = Path(name)
        source, output = write_series(folder / "series", options.files, SERIES), folder / "answers"
        model = max(MODEL.iterdir(), key=lambda version: int(version.name) if version.name.isdigit() else 0)
        command = [sys.executable, "-m", "deploy.ray.batch", str(source), str(output), "--model", str(model)]
        command += ["--horizon", str(HORIZON), "--actors", str(options.actors)]
        killed_at = interrupted(command, output, options.files // 3)
        at_once = len(answered(output))
        start = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True, timeout=GUARD)
        resumed = time.monotonic() - start
        n_series = checked(source, output)
    note = (
        f"{n_series} series of {VALUES} values, {HORIZON} ahead: {n_series / (killed_at + resumed):.0f} a second; "
        f"killed after {at_once} of {options.files} files and {killed_at:.0f} s, the rest in {resumed:.0f} s"
    )
    facts = {"when": datetime.now(UTC).strftime("%H:%M"), **circumstances("python -m benchmarks.ray.bulk")}
    counts = {"phase": "bulk, interrupted and resumed", "replicas": options.actors, "requests": 0, "answered": 0}
    zeros = {"errors": 0, "vanished": 0, "rate": "", "p50_ms": "", "p99_ms": ""}
    append(RESULTS, [{**facts, **counts, **zeros, "recovery_s": f"{killed_at + resumed:.1f}", "note": note}])
    print(note)
    return 0


def interrupted(command: Sequence[str], output: Path, files: int) -> float:
    """Run `command` until `files` have their answer, and kill all its processes; the seconds that it ran."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        while len(answered(output)) < files:
            if process.poll() is not None or time.monotonic() - start > GUARD:
                raise RuntimeError("the command ended, or hung, before it could be interrupted")
            time.sleep(0.2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return time.monotonic() - start


def answered(output: Path) -> list[Path]:
    """The files that have their whole answer."""
    return sorted(output.glob("*.parquet"))


def checked(source: Path, output: Path) -> int:
    """How many series have a sound answer; raises `RuntimeError` where one has none, or two."""
    n_series = 0
    for file in sorted(source.glob("*.parquet")):
        asked, table = pq.read_table(file, columns=["item_id"]), pq.read_table(output / file.name)
        means = table["mean"].combine_chunks().flatten().to_numpy()
        if table["item_id"] != asked["item_id"] or len(means) != HORIZON * len(asked) or not np.isfinite(means).all():
            raise RuntimeError(f"{file.name} is not answered series by series")
        n_series += len(asked)
    if len(answered(output)) != len(list(source.glob("*.parquet"))):
        raise RuntimeError("there are answers to nothing")
    return n_series


if __name__ == "__main__":
    sys.exit(main())
