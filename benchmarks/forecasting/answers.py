"""What a method said about the windows of a part, and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.forecasting.windows import LEVELS, Floats
from training.data.real_series import Window
from training.evaluation import backtest, scores

MEDIAN = LEVELS.index(0.5)
SCORED = [LEVELS.index(level) for level in backtest.LEVELS]  # WQL is over 0.1, 0.2, … 0.9


@dataclass(frozen=True)
class Answers:
    """Quantiles (h, 11) of every window at `LEVELS`, and what they cost.

    `seconds` and `seconds_alone` are CPU time, `wall` and `wall_alone` the caller's clock, all for one series: in
    requests of 64 and in a request of its own. The peers fit one series after another and have `seconds` only.
    """

    quantiles: list[Floats]
    seconds: float | None = None
    seconds_alone: float | None = None
    wall: float | None = None
    wall_alone: float | None = None
    replaced: int = 0  # windows for which the seasonal naive forecast had to stand in


@dataclass(frozen=True)
class Scores:
    """Of one method on the windows of one file; sMAPE 0..200, coverage 0..1."""

    mase: float
    smape: float
    mase_one_step: float
    wql: float
    coverage80: float
    coverage95: float


def score(windows: Sequence[Window], quantiles: Sequence[Floats]) -> Scores:
    """Scores of `quantiles`, steps whose true value is missing left out.

    MASE, sMAPE and one-step MASE (that of the first step) are means over windows, without those whose past never
    changed; WQL and coverage are over all steps together.
    """
    mase, smape, one_step = [], [], []
    for window, answer in zip(windows, quantiles, strict=True):
        known = np.isfinite(window.future)
        if not known.any():
            continue
        point = answer[:, MEDIAN]
        mase.append(scores.mase(window.future[known], point[known], window.context, window.lag))
        smape.append(scores.smape(window.future[known], point[known]))
        if known[0]:
            one_step.append(scores.mase(window.future[:1], point[:1], window.context, window.lag))
    actual, together = np.concatenate([w.future for w in windows]), np.concatenate(list(quantiles))
    known = np.isfinite(actual)
    actual, together = actual[known], together[known]
    return Scores(
        float(np.nanmean(mase)),
        float(np.mean(smape)),
        float(np.nanmean(one_step)),
        scores.wql(actual, together[:, SCORED], backtest.LEVELS),
        scores.coverage(actual, together[:, LEVELS.index(0.1)], together[:, LEVELS.index(0.9)]),
        scores.coverage(actual, together[:, LEVELS.index(0.025)], together[:, LEVELS.index(0.975)]),
    )


def naive(windows: Sequence[Window], *, lag: bool) -> Answers:
    """The value one season before as every quantile; `lag`: one lag of the MASE denominator before."""
    points = [backtest.seasonal_naive(w.context, w.lag if lag else w.season, len(w.future)) for w in windows]
    return Answers([np.repeat(point[:, None], len(LEVELS), 1) for point in points])
