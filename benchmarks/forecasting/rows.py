"""The rows of benchmarks/results/forecasting.csv (a part, file and method each) and forecasting-horizons.csv."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE, ALL = "sample", "all"
BASE = "seasonal naive (base)"  # every relative score divides by the score of this forecast
SEASON_UNKNOWN = "season not known"  # ends the name of a model that got no season in its requests
POINT_BASE = "naive, lag of MASE"  # in rows of before 2026-11-29: the same forecast without intervals


@dataclass(frozen=True)
class Row:
    """Scores and costs of one method on one file; a field that does not apply stays None, an empty cell."""

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
    replaced: int | None = None  # windows on which the method failed, so that the seasonal naive forecast was scored
    parameters: int | None = None  # of this project's models
    versions: str = ""
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""
    windows_key: str = ""  # `Part.key`
    interval_files: str = ""  # files on which this model's interval factors were fitted, separated by ", "


@dataclass(frozen=True)
class HorizonRow:
    """Coverage of one method on one file over the steps ahead from `first_step` to `last_step`, both included."""

    part: str
    file: str
    method: str
    first_step: int
    last_step: int
    values: int  # finite actual values in these steps
    coverage80: float
    coverage95: float
