"""The scores once more by another implementation: utilsforecast, in the peers' environment, on the peers' answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.forecasting import statistical
from benchmarks.forecasting.answers import score
from benchmarks.forecasting.windows import LEVELS, Floats, Part
from benchmarks.serving import environments

SCRIPT = Path(__file__).with_name("peers") / "utilsforecast_scores.py"


def differences(parts: Sequence[Part], quantiles: Sequence[Sequence[Floats]]) -> dict[str, float]:
    """Largest relative difference of each score between `answers.score` and utilsforecast over these answers."""
    file = statistical.KEPT / "check.npz"
    worst: dict[str, float] = {}
    for part, said in zip(parts, quantiles, strict=True):
        ours = asdict(score(part.windows, said))
        _write(file, part, said)
        python = environments.python(statistical.ENVIRONMENT)
        done = subprocess.run([str(python), str(SCRIPT), str(file)], check=True, capture_output=True, text=True)
        for name, theirs in json.loads(done.stdout).items():
            difference = abs(ours[name] - theirs) / max(abs(theirs), 1e-12)
            worst[name] = max(worst.get(name, 0.0), difference)
    return worst


def summary(parts: Sequence[Part], methods: Sequence[str]) -> str:
    """A sentence on how far the two implementations agree over all `methods` and `parts`."""
    worst: dict[str, float] = {}
    for method in methods:
        answers = [statistical.answer(method, part).quantiles for part in parts]
        for name, difference in differences(parts, answers).items():
            worst[name] = max(worst.get(name, 0.0), difference)
    listed = ", ".join(f"{name} {difference:.0e}" for name, difference in worst.items())
    return f"Largest relative difference to utilsforecast's implementation, over all files and peers: {listed}."


def _write(file: Path, part: Part, quantiles: Sequence[Floats]) -> None:
    """Steps whose true value is missing are left out here, as utilsforecast does not know them."""
    known = [np.isfinite(w.future) for w in part.windows]
    futures = [w.future[k] for w, k in zip(part.windows, known, strict=True)]
    pasts = [w.context for w in part.windows]
    np.savez(
        file,
        levels=np.array(LEVELS),
        lag=np.array([w.lag for w in part.windows]),
        future=np.concatenate(futures),
        ahead=np.concatenate([np.flatnonzero(k) for k in known]),
        future_start=np.cumsum([0, *map(len, futures)]),
        past=np.concatenate(pasts),
        past_start=np.cumsum([0, *map(len, pasts)]),
        quantiles=np.concatenate([q[k] for q, k in zip(quantiles, known, strict=True)]),
    )
