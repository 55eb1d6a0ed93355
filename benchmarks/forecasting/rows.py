"""The rows of benchmarks/results/forecasting.csv: one per part, file and method."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

SAMPLE, ALL = "sample", "all"
UNTOLD = "season not told"  # ends the name of a model that was asked without it
NAIVE, NAIVE_SEASON = "naive, lag of MASE", "naive, one season"


@dataclass(frozen=True)
class Row:
    """Scores and costs of one method on one file; what does not apply stays None, an empty cell."""

    part: str  # SAMPLE or ALL
    file: str
    method: str
    windows: int
    longest: int  # values of a context that the method saw at most
    mase: float
    smape: float
    mase_one_step: float
    wql: float
    coverage80: float | None = None
    coverage95: float | None = None
    seconds: float | None = None  # CPU time for one series; of this service in requests of 64
    seconds_alone: float | None = None
    wall: float | None = None
    wall_alone: float | None = None
    replaced: int | None = None  # windows for which the seasonal naive forecast had to stand in
    parameters: int | None = None  # of this project's models
    versions: str = ""
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""


NAMES = [field.name for field in fields(Row)]
_TEXT = {"part", "file", "method", "versions", "date", "machine", "command", "commit"}
_WHOLE = {"windows", "longest", "replaced", "parameters", "cores"}


def write(file: Path, rows: Iterable[Row]) -> None:
    """Replace `file` by `rows`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, NAMES, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({name: f"{v:.5g}" if isinstance(v, float) else v for name, v in asdict(row).items()})
    partial.replace(file)


def read(file: Path) -> list[Row]:
    """The rows of `file`."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [Row(**{name: _value(name, text) for name, text in line.items()}) for line in csv.DictReader(lines)]


def _value(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    if not text:
        return None
    return int(text) if name in _WHOLE else float(text)
