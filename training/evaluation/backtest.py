"""Scores of a forecaster over evaluation windows: MASE, WQL and coverage, relative to the seasonal naive forecast.

The forecaster is any function of a batch of contexts, so that a network in training, an exported file and the service
are scored by the same code on the same windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.contract.types import Floats
from training.data.real_series import SeriesFile, Window
from training.evaluation import scores

# (contexts, seasons (B,), horizon) -> quantiles (B, horizon, len(LEVELS))
Predict = Callable[[Sequence[Floats], Sequence[int], int], Floats]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BATCH = 128


@dataclass(frozen=True)
class FileScore:
    """Scores of one file: means over its windows; `*_naive` are the seasonal naive forecast's."""

    name: str
    windows: int
    mase: float
    wql: float
    coverage80: float
    mase_naive: float
    wql_naive: float

    @property
    def relative_mase(self) -> float:
        return self.mase / self.mase_naive

    @property
    def relative_wql(self) -> float:
        return self.wql / self.wql_naive


def seasonal_naive(context: Floats, season: int, horizon: int) -> Floats:
    """The last season repeated (horizon,); a missing value is taken from one season further back."""
    filled = context.copy()
    for t in range(len(filled)):
        if not np.isfinite(filled[t]):
            filled[t] = filled[t - season] if t >= season else np.nan
    season = season if len(filled) >= season else 1
    tail = filled[-season:]
    tail = np.where(np.isfinite(tail), tail, np.nanmean(filled))
    return np.resize(tail, horizon)


def spread_out(windows: Sequence[Window], count: int) -> list[Window]:
    """An even spread of `count` of the windows; all of them where there are no more."""
    if len(windows) <= count:
        return list(windows)
    return [windows[i] for i in np.linspace(0, len(windows) - 1, count).astype(int)]


def score_file(file: SeriesFile, predict: Predict, *, max_windows: int | None = None, context: int = 4096) -> FileScore:
    """Score `predict` on the windows of `file`, or on an even spread of `max_windows` of them.

    `context` is the number of past values that a forecast may use.
    """
    windows = file.windows() if max_windows is None else spread_out(file.windows(), max_windows)
    quantiles: list[Floats] = []
    ordered = sorted(range(len(windows)), key=lambda i: len(windows[i].context))
    windows = [windows[i] for i in ordered]
    for start in range(0, len(windows), BATCH):
        chunk = windows[start : start + BATCH]
        horizon = max(len(w.future) for w in chunk)
        answer = predict([w.context[-context:] for w in chunk], [w.season for w in chunk], horizon)
        quantiles += [answer[i, : len(w.future)] for i, w in enumerate(chunk)]
    naive = [seasonal_naive(w.context, w.season, len(w.future)) for w in windows]
    return FileScore(
        file.name,
        len(windows),
        _mase(windows, [q[:, LEVELS.index(0.5)] for q in quantiles]),
        _wql(windows, quantiles),
        _coverage(windows, quantiles),
        _mase(windows, naive),
        _wql(windows, [np.repeat(n[:, None], len(LEVELS), 1) for n in naive]),
    )


def geometric_means(rows: Sequence[FileScore]) -> dict[str, float]:
    """Over files: geometric means of the relative scores `mase` and `wql`, and the arithmetic mean of `coverage80`."""
    return {
        "mase": float(np.exp(np.mean([np.log(r.relative_mase) for r in rows]))),
        "wql": float(np.exp(np.mean([np.log(r.relative_wql) for r in rows]))),
        "coverage80": float(np.mean([r.coverage80 for r in rows])),
    }


def _mase(windows: Sequence[Window], points: Sequence[Floats]) -> float:
    values = []
    for window, point in zip(windows, points, strict=True):
        observed = np.isfinite(window.future)
        if observed.any():
            values.append(scores.mase(window.future[observed], point[observed], window.context, window.lag))
    finite = [value for value in values if np.isfinite(value)]  # a context that never changed has no MASE
    return float(np.mean(finite)) if finite else float("nan")


def _wql(windows: Sequence[Window], quantiles: Sequence[Floats]) -> float:
    return scores.wql(np.concatenate([w.future for w in windows]), np.concatenate(list(quantiles)), LEVELS)


def _coverage(windows: Sequence[Window], quantiles: Sequence[Floats]) -> float:
    actual, answer = np.concatenate([w.future for w in windows]), np.concatenate(list(quantiles))
    observed = np.isfinite(actual)
    return scores.coverage(actual[observed], answer[observed, 0], answer[observed, -1])
