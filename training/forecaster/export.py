"""From the forecaster's weights to `models/forecaster/<version>/`: calibrate on the held-out files, then export.

The intervals are corrected by split-conformal factors (Romano et al. 2019, in the multiplicative form): on files that
the fit has not used, how much wider than predicted would each quantile's distance from the median have had to be?
The record's scores of a held-out file are measured with the factors of the other files alone, so they are those of a
file that the fit and the factors have not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from service.contract.manifest import InputContract, OutputContract, StateContract
from service.contract.types import Floats
from training.data import priors, real_series
from training.evaluation import backtest, evaluate
from training.evaluation.predict import predict_quantiles, predictor
from training.fit.export import export, forecast_golden
from training.fit.record import Record, current_commit, parameters
from training.networks.forecaster import LEVELS, MAX_HORIZON, Forecaster

CONTEXT = 4096
MAX_WINDOWS = 200  # of one file
EDGES = (1, 2, 4, 8, 16, 32, 64, MAX_HORIZON + 1)  # steps ahead that share a factor
BOUNDS = (0.6, 1.7)  # a factor beyond these would say that the fit is wrong, not its width
CENTRE = LEVELS.index(0.5)
GOLDEN_HORIZON = 12
_CPU = torch.device("cpu")
Sample = tuple[Floats, Floats]  # quantiles (N, H, K), actual (N, H) with NaN where there is none


def export_forecaster(network: Forecaster, fitted: dict[str, Any], *, version: int | None, models: Path) -> Path:
    """Calibrate `network`, export it and return the folder. `fitted` is the record that `forecaster.train` made."""
    network.eval()
    sample = golden_sample()
    held_out = calibrate(network) if fitted["knobs"]["real"] > 0 else []  # without real series: as the fit left it
    curves = curves_of(fitted)
    record = Record(
        command=commands_of(fitted),
        seed=fitted["knobs"]["seed"],
        seconds=curves[-1]["seconds"],
        device=fitted["device"],
        parameters=parameters(network),
        data=fitted["data"],
        knobs=fitted["knobs"] | ({"earlier": fitted["earlier"]["knobs"]} if "earlier" in fitted else {}),
        curves=curves,
        commit=fitted.get("commit", current_commit()),
        torch=fitted["torch"],
        held_out=[asdict(row) for row in held_out],
    )
    return export(
        network,
        name="forecaster",
        task="forecast",
        description="Zero-shot probabilistic forecaster: two-clock LSTM, in-graph scaling and season, 15 quantiles",
        inputs=InputContract(
            features=1,
            min_length=1,
            max_length=None,
            context=CONTEXT,
            missing=True,
            season=True,
            max_horizon=MAX_HORIZON,
        ),
        outputs=OutputContract(quantile_levels=LEVELS),
        state=StateContract(width=network.state_width, exact=network.exact),
        golden=lambda module: forecast_golden(module, sample, GOLDEN_HORIZON),
        record=record,
        metrics_of=lambda folder: evaluate.metrics_of(folder) | summary(held_out),
        version=version,
        models=models,
    )


def commands_of(fitted: dict[str, Any]) -> str:
    """The commands that repeat the fit and the export, one for each stage, without options that name destinations."""
    command = re.sub(r" --(folder|weights|deadline|models|version)[ =]\S+", "", fitted["command"])
    start = re.search(r" --start[ =](\S+)", command)
    return f"{commands_of(fitted['earlier'])} --weights {start[1]} && {command}" if start else command


def curves_of(fitted: dict[str, Any]) -> list[dict[str, float]]:
    """The curves of all stages, one after the other: steps and seconds go on."""
    rows: list[dict[str, float]] = fitted["curves"]
    if "earlier" not in fitted:
        return rows
    earlier_rows = curves_of(fitted["earlier"])
    last = earlier_rows[-1]
    return earlier_rows + [row | {key: row[key] + last[key] for key in ("step", "seconds")} for row in rows]


def calibrate(network: Forecaster, *, max_windows: int = MAX_WINDOWS) -> list[backtest.FileScore]:
    """Fill in the network's conformal factors; returns each held-out file's scores with the others' factors."""
    files = [f for f in real_series.read_all() if f.name in real_series.HELD_OUT]
    samples = [_sample(network, file, max_windows) for file in files]
    rows = []
    for i, file in enumerate(files):
        network.widen.copy_(conformal_factors([*samples[:i], *samples[i + 1 :]]))
        rows.append(backtest.score_file(file, predictor(network), max_windows=max_windows, context=CONTEXT))
    network.widen.copy_(conformal_factors(samples))
    return rows


def summary(rows: Sequence[backtest.FileScore]) -> dict[str, float]:
    """The manifest's scores of the held-out files: geometric means, and the share of files with the right coverage."""
    if not rows:
        return {}
    means = {f"held_out_{key}": value for key, value in backtest.geometric_means(rows).items()}
    return means | {"held_out_covered": float(np.mean([0.76 <= r.coverage80 <= 0.84 for r in rows]))}


def _sample(network: Forecaster, file: real_series.SeriesFile, max_windows: int) -> Sample:
    """Uncorrected quantiles and actual values of the windows of one file, the shorter futures filled up with NaN."""
    network.widen.fill_(1.0)
    windows = backtest.spread_out(file.windows(), max_windows)
    horizon = max(len(w.future) for w in windows)
    actual = np.full((len(windows), horizon), np.nan)
    for row, window in zip(actual, windows, strict=True):
        row[: len(window.future)] = window.future
    contexts, seasons = [w.context[-CONTEXT:] for w in windows], [w.season for w in windows]
    starts = range(0, len(windows), 20)
    return np.concatenate(
        [predict_quantiles(network, contexts[i : i + 20], seasons[i : i + 20], horizon, LEVELS) for i in starts]
    ), actual


def conformal_factors(samples: Iterable[Sample]) -> Tensor:
    """Factors (MAX_HORIZON, K) by which each quantile's distance from the median is to be multiplied.

    `samples` yields (quantiles (N, H, K), actual (N, H)) of one source each; all sources weigh the same.
    """
    ratios: list[list[Floats]] = [[] for _ in EDGES[:-1]]
    for quantiles, actual in samples:
        for bucket, (low, high) in enumerate(pairwise(EDGES)):
            q, y = quantiles[:, low - 1 : high - 1], actual[:, low - 1 : high - 1]
            observed = np.isfinite(y)
            if observed.sum() >= 20:
                width = q[observed] - q[observed][:, CENTRE, None]
                error = (y[observed] - q[observed][:, CENTRE])[:, None]
                ratios[bucket].append(np.divide(error, width, out=np.zeros_like(width), where=width != 0))
    factors = np.ones((MAX_HORIZON, len(LEVELS)))
    last = np.ones(len(LEVELS))
    for bucket, (low, high) in enumerate(pairwise(EDGES)):
        if ratios[bucket]:
            last = _bucket_factors(ratios[bucket])
        factors[low - 1 : high - 1] = last
    return torch.from_numpy(factors)


def _bucket_factors(ratios: list[Floats]) -> Floats:
    """Factors (K,) from ratios of error to predicted width (n, K) of every source."""
    values = np.concatenate(ratios)
    weights = np.concatenate([np.full(len(r), 1 / len(r)) for r in ratios])
    factors = np.ones(len(LEVELS))
    for k, level in enumerate(LEVELS):
        if k == CENTRE:
            continue
        # error / width exceeds the right factor exactly as often as the value lies beyond the quantile.
        order = np.argsort(values[:, k])
        share = np.cumsum(weights[order]) / weights.sum()
        target = level if k > CENTRE else 1 - level
        factors[k] = values[order[np.searchsorted(share, target)], k]
    return np.clip(factors, *BOUNDS)


def golden_sample() -> dict[str, np.ndarray[Any, Any]]:
    """Generated series of different kinds and lengths, some values missing."""
    generator = torch.Generator().manual_seed(7)
    kinds = [f for f, _ in priors.PRIORS.values()] + [priors.sines]
    rows = [kind(1, 160, generator, _CPU)[0][0].numpy() for kind in kinds]
    lengths = np.array([160, 150, 97, 40, 9, 1])
    values = np.stack([np.where(np.arange(160) < n, row, 0.0) for row, n in zip(rows, lengths, strict=True)])
    season = np.zeros(6, np.int64)
    values[0, 20:25] = np.nan
    values[2, ::7] = np.nan
    season[1] = 12
    return {"values": values, "lengths": lengths, "season": season, "levels": np.tile([0.05, 0.5, 0.83], (6, 1))}
