"""The peers: statsforecast's methods in their own environment, forecasts stored under build/ by method and file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.forecasting.scoring import Forecasts
from benchmarks.forecasting.windows import Part, filled
from benchmarks.serving import environments

METHODS = ("SeasonalNaive", "AutoETS", "AutoTheta", "DynamicOptimizedTheta", "AutoARIMA", "AutoCES", "MSTL")
LIMIT = 20  # seconds of CPU time for a series; beyond it the seasonal naive forecast is scored
ENVIRONMENT = "statsforecast"
RELEASE = environments.REQUIREMENTS[ENVIRONMENT][0]
PACKAGES = ("statsforecast", "utilsforecast", "numpy", "numba")
SCRIPT = Path(__file__).with_name("peers") / "statistical.py"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
STORE = environments.BUILD / "forecasting"


def forecast(method: str, part: Part, store: Path = STORE) -> Forecasts:
    """The forecasts of `method` for `part`: the stored ones, and the missing ones computed."""
    output = _file(method, part, store)
    if not is_stored(method, part, store):
        questions = store / RELEASE / "questions" / f"{part.file}-{part.key}.npz"
        for file in (questions, output):
            file.parent.mkdir(parents=True, exist_ok=True)
        _write(questions, part)
        command = [environments.python(ENVIRONMENT), SCRIPT, method, questions, output, LIMIT]
        subprocess.run(list(map(str, command)), env={**os.environ, **ONE_THREAD}, check=True)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    return Forecasts(
        [np.array(line["quantiles"]) for line in lines],
        seconds=float(np.mean([line["seconds"] for line in lines])),
        replaced=sum("failed" in line for line in lines),
    )


def is_stored(method: str, part: Part, store: Path = STORE) -> bool:
    """Whether the forecasts of `method` for all windows of `part` are in the store."""
    file = _file(method, part, store)
    return file.exists() and file.read_text().count("\n") >= len(part.windows)


def _file(method: str, part: Part, store: Path) -> Path:
    return store / RELEASE / f"{method}-{LIMIT}s" / f"{part.file}-{part.key}.jsonl"


def _write(file: Path, part: Part) -> None:
    """Write the capped contexts end to end, without missing values."""
    contexts = [filled(c, w.season) for c, w in zip(part.contexts, part.windows, strict=True)]
    np.savez(
        file,
        y=np.concatenate(contexts),
        start=np.cumsum([0, *map(len, contexts)]),
        season=np.array([w.season for w in part.windows]),
        horizon=np.array([len(w.future) for w in part.windows]),
    )
