"""The forecasts of a method for the windows of a part, their scores, and their coverage by steps ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.forecasting.windows import LEVELS, Floats
from training.data.real_series import Window
from training.evaluation import backtest, scores

MEDIAN = LEVELS.index(0.5)
SCORED = [LEVELS.index(level) for level in backtest.LEVELS]  # WQL is over 0.1, 0.2, … 0.9
INTERVAL80 = (LEVELS.index(0.1), LEVELS.index(0.9))
INTERVAL95 = (LEVELS.index(0.025), LEVELS.index(0.975))
STEP_BUCKETS = ((1, 1), (2, 4), (5, 8), (9, 16), (17, 32), (33, 96))  # steps ahead, both ends included


@dataclass(frozen=True)
class Forecasts:
    """Quantiles (h, 11) of every window at `LEVELS`, and what they cost.

    `seconds` and `seconds_alone` are CPU time, `wall` and `wall_alone` the caller's clock, all for one series: in
    requests of 64 and in a request of its own. The peers fit one series after another and have `seconds` only.
    """

    quantiles: list[Floats]
    seconds: float | None = None
    seconds_alone: float | None = None
    wall: float | None = None
    wall_alone: float | None = None
    replaced: int = 0  # windows on which the method failed, so that the seasonal naive forecast was scored


@dataclass(frozen=True)
class Scores:
    """Scores of one method on the windows of one file; sMAPE 0..200, coverage 0..1."""

    mase: float
    smape: float
    mase_one_step: float
    wql: float
    coverage80: float
    coverage95: float


@dataclass(frozen=True)
class StepCoverage:
    """Coverage 0..1 of the two intervals over a range of steps ahead, and the number of values it is counted on."""

    first_step: int
    last_step: int
    values: int
    coverage80: float
    coverage95: float


def score(windows: Sequence[Window], quantiles: Sequence[Floats]) -> Scores:
    """Scores of `quantiles`, (h, 11) a window; steps without an actual value are left out.

    MASE (each series scaled by its own past), sMAPE and one-step MASE (MASE of the first step) are means over windows,
    without those with a constant past; WQL and coverage are over all steps together.
    """
    mase, smape, one_step = [], [], []
    for window, forecast in zip(windows, quantiles, strict=True):
        finite = np.isfinite(window.future)
        if not finite.any():
            continue
        point = forecast[:, MEDIAN]
        mase.append(scores.mase(window.future[finite], point[finite], window.context, window.lag))
        smape.append(scores.smape(window.future[finite], point[finite]))
        if finite[0]:
            one_step.append(scores.mase(window.future[:1], point[:1], window.context, window.lag))
    actual, pooled = np.concatenate([w.future for w in windows]), np.concatenate(list(quantiles))
    finite = np.isfinite(actual)
    actual, pooled = actual[finite], pooled[finite]
    return Scores(
        float(np.nanmean(mase)),
        float(np.mean(smape)),
        float(np.nanmean(one_step)),
        scores.wql(actual, pooled[:, SCORED], backtest.LEVELS),
        _coverage(actual, pooled, INTERVAL80),
        _coverage(actual, pooled, INTERVAL95),
    )


def coverage_by_steps(windows: Sequence[Window], quantiles: Sequence[Floats]) -> Iterator[StepCoverage]:
    """Coverage within each of `STEP_BUCKETS` that holds any finite actual value; `quantiles` as in `score`."""
    steps = np.concatenate([np.arange(1, len(w.future) + 1) for w in windows])
    actual, pooled = np.concatenate([w.future for w in windows]), np.concatenate(list(quantiles))
    for first, last in STEP_BUCKETS:
        bucket = np.isfinite(actual) & (steps >= first) & (steps <= last)
        if bucket.any():
            a, q = actual[bucket], pooled[bucket]
            yield StepCoverage(first, last, len(a), _coverage(a, q, INTERVAL80), _coverage(a, q, INTERVAL95))


def _coverage(actual: Floats, quantiles: Floats, interval: tuple[int, int]) -> float:
    low, high = interval
    return scores.coverage(actual, quantiles[:, low], quantiles[:, high])
