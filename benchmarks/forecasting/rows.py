"""The rows of benchmarks/results/forecasting.csv: one per part, file and method."""

from __future__ import annotations

from dataclasses import dataclass

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
