"""The rows of benchmarks/results/serving.csv: one per measurement, nothing averaged."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """One measurement; what does not apply stays None, an empty cell."""

    contestant: str
    processes: int
    workload: str  # "start" has the memory and the time to the first answer
    connections: int | None
    round: int
    requests_per_second: float | None = None
    items_per_second: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    failed: int | None = None
    requests: int | None = None
    server_cores: float | None = None  # CPU time of the server and its processes by the clock
    wrk_cores: float | None = None
    cpu_us_per_request: float | None = None  # the server's
    cold_start_s: float | None = None  # from the start of the process to its first right answer
    idle_pss_mib: float | None = None
    idle_rss_mib: float | None = None
    loaded_pss_mib: float | None = None  # after the last workload
    versions: str = ""
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""


NAMES = [field.name for field in fields(Row)]
_TEXT = {"contestant", "workload", "versions", "date", "machine", "command", "commit"}
_WHOLE = {"processes", "connections", "round", "failed", "requests", "cores"}


def circumstances(command: str) -> dict[str, str | int]:
    """What all rows of a run share."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": cpu_model(),
        "cores": os.cpu_count() or 0,
        "command": command,
        "commit": _commit(),
    }


def cpu_model() -> str:
    """The processor's name, as the kernel knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(file: Path, rows: Iterable[Row]) -> None:
    """Replace `file` by `rows`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, NAMES, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({name: _cell(value) for name, value in asdict(row).items()})
    partial.replace(file)


def read(file: Path) -> list[Row]:
    """The rows of `file`."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [Row(**{name: _value(name, text) for name, text in line.items()}) for line in csv.DictReader(lines)]


def _cell(value: object) -> object:
    return f"{value:.5g}" if isinstance(value, float) else value


def _value(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    if not text:
        return None
    return int(text) if name in _WHOLE else float(text)


def _commit() -> str:
    """The checked-out commit, with `+` when the service's code differs from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", "service") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
