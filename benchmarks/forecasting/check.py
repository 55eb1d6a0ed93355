"""The scores and the base once more by other implementations: utilsforecast and statsforecast in their environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks.forecasting import baseline, statistical
from benchmarks.forecasting.scoring import score
from benchmarks.forecasting.windows import LEVELS, Floats, Part
from benchmarks.serving import environments

SCRIPT = Path(__file__).with_name("peers") / "utilsforecast_scores.py"


def summary(parts: Sequence[Part], methods: Sequence[str]) -> str:
    """Sentences on how far the implementations agree over `parts`: on the base, and on the stored forecasts."""
    largest = score_differences(parts, [baseline.seasonal_naive(part.windows).quantiles for part in parts])
    stored = [(m, p) for m in methods for p in parts if statistical.is_stored(m, p)]
    for method, part in stored:
        differences = score_differences([part], [statistical.forecast(method, part).quantiles])
        largest = {name: max(difference, largest[name]) for name, difference in differences.items()}
    listed = ", ".join(f"{name} {difference:.0e}" for name, difference in largest.items())
    subjects = ", ".join(dict.fromkeys(["the base", *(method for method, _ in stored)]))
    return (
        f"Largest relative difference to utilsforecast's implementation of the scores, over all files ({subjects}): "
        f"{listed}. Largest difference of the base's quantiles to those of statsforecast's `SeasonalNaive`, relative "
        f"to the largest value forecast in each window without missing values: {base_difference(parts):.0e}."
    )


def score_differences(parts: Sequence[Part], quantiles: Sequence[Sequence[Floats]]) -> dict[str, float]:
    """Largest relative difference of each score between `scoring.score` and utilsforecast over these forecasts."""
    file = statistical.STORE / "check.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    largest: dict[str, float] = {}
    for part, forecasts in zip(parts, quantiles, strict=True):
        scores = asdict(score(part.windows, forecasts))
        _write(file, part, forecasts)
        command = [str(environments.python(statistical.ENVIRONMENT)), str(SCRIPT), str(file)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for name, reference in json.loads(output).items():
            difference = abs(scores[name] - reference) / max(abs(reference), 1e-12)
            largest[name] = max(largest.get(name, 0.0), difference)
    return largest


def base_difference(parts: Sequence[Part]) -> float:
    """Largest difference of `baseline.quantiles` to statsforecast's `SeasonalNaive` with the lag of MASE as its season.

    Relative to the largest absolute value of each forecast, over the windows that have no missing value.
    """
    largest = 0.0
    for part in parts:
        windows = [
            replace(w, season=w.lag) for w in part.windows if np.isfinite(w.context).all() and len(w.context) > w.lag
        ]
        if not windows:
            continue
        at_lag = replace(part, windows=windows, max_context=max(len(w.context) for w in windows), key=f"{part.key}-lag")
        references = statistical.forecast("SeasonalNaive", at_lag).quantiles
        for forecast, reference in zip(baseline.seasonal_naive(windows).quantiles, references, strict=True):
            size = max(float(np.abs(reference).max()), 1e-12)
            largest = max(largest, float(np.abs(forecast - reference).max()) / size)
    return largest


def _write(file: Path, part: Part, quantiles: Sequence[Floats]) -> None:
    """Write forecasts and actual values for the script; utilsforecast has no missing values, so their steps are cut."""
    finite = [np.isfinite(w.future) for w in part.windows]
    futures = [w.future[k] for w, k in zip(part.windows, finite, strict=True)]
    pasts = [w.context for w in part.windows]
    np.savez(
        file,
        levels=np.array(LEVELS),
        lag=np.array([w.lag for w in part.windows]),
        future=np.concatenate(futures),
        ahead=np.concatenate([np.flatnonzero(k) for k in finite]),
        future_start=np.cumsum([0, *map(len, futures)]),
        past=np.concatenate(pasts),
        past_start=np.cumsum([0, *map(len, pasts)]),
        quantiles=np.concatenate([q[k] for q, k in zip(quantiles, finite, strict=True)]),
    )
