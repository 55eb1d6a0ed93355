"""The peers: statsforecast's methods in their own environment, answers kept under build/ by method and file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.forecasting.answers import Answers
from benchmarks.forecasting.windows import Part, filled
from benchmarks.serving import environments

METHODS = ("SeasonalNaive", "AutoETS", "AutoTheta", "DynamicOptimizedTheta", "AutoARIMA")
LIMIT = 20  # seconds of CPU time for a series; what takes longer gets the seasonal naive forecast
ENVIRONMENT = "statsforecast"
PACKAGES = ("statsforecast", "utilsforecast", "numpy", "numba")
SCRIPT = Path(__file__).with_name("peers") / "statistical.py"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
KEPT = environments.BUILD / "forecasting"


def answer(method: str, part: Part, kept: Path = KEPT) -> Answers:
    """The forecasts of `method` for `part`: those that are `kept`, and what they lack computed now."""
    folder = kept / environments.REQUIREMENTS[ENVIRONMENT][0]
    questions = folder / "questions" / f"{part.file}-{part.key}.npz"
    answers = folder / f"{method}-{LIMIT}s" / f"{part.file}-{part.key}.jsonl"
    for file in (questions, answers):
        file.parent.mkdir(parents=True, exist_ok=True)
    _write(questions, part)
    if not answers.exists() or answers.read_text().count("\n") < len(part.windows):
        command = [environments.python(ENVIRONMENT), SCRIPT, method, questions, answers, LIMIT]
        subprocess.run(list(map(str, command)), env={**os.environ, **ONE_THREAD}, check=True)
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    return Answers(
        [np.array(line["quantiles"]) for line in lines],
        seconds=float(np.mean([line["seconds"] for line in lines])),
        replaced=sum("failed" in line for line in lines),
    )


def _write(file: Path, part: Part) -> None:
    """Contexts end to end, without missing values."""
    contexts = [filled(c, w.season) for c, w in zip(part.contexts, part.windows, strict=True)]
    np.savez(
        file,
        y=np.concatenate(contexts),
        start=np.cumsum([0, *map(len, contexts)]),
        season=np.array([w.season for w in part.windows]),
        horizon=np.array([len(w.future) for w in part.windows]),
    )
