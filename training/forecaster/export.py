"""From the forecaster's weights to `models/forecaster/<version>/`: fit the interval factors, export, score.

Each quantile's distance from the median is multiplied by a factor: a split-conformal one (Romano et al. 2019, in the
multiplicative form), fitted on windows that are new to the fit of the weights: training files backwards in time, since
intervals at the ends of series that it has seen the beginnings of are better than elsewhere, and fresh draws of the
priors. No file that is scored takes part: neither a held-out one nor one of M4.
A factor belongs to both quantiles of a pair (1 and 99 %), so that nothing is shifted, and is a straight line over the
logarithm of the step ahead, so that a forecast has no stairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from training.fit.export import Metrics, export, forecast_golden
from training.fit.record import Record, command_line, current_commit, parameters
from training.forecaster.train import read_version
from training.networks.forecaster import LEARNED_HORIZON, LEVELS, MAX_HORIZON, MEMORY, Forecaster

CONTEXT = 4096
MAX_WINDOWS = 200  # of one file
STEPS = (
    1,
    2,
    3,
    4,
    6,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
    96,
    128,
    192,
    LEARNED_HORIZON + 1,
)  # edges of the fit
BOUNDS = (0.6, 1.7)  # a factor beyond these would say that the fit is wrong, not its width
MIN_ERRORS = 20  # of one source, for it to count
REAL_SHARE = 0.7  # of the real files in the fit of the factors
PRIOR_ROWS, PRIOR_CONTEXTS, PRIOR_SEED = 60, (12, 30, 60, 120, 250, 500), 424_242
CENTRE = LEVELS.index(0.5)
GOLDEN_HORIZON = 12
DESCRIPTION = "Zero-shot probabilistic forecaster: two-clock LSTM, in-graph scaling and season, 15 quantiles"
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sample:
    """Forecasts of one source, and what came: `quantiles` (N, H, K), `actual` (N, H) with NaN where there is none."""

    source: str
    quantiles: Floats
    actual: Floats
    weight: float = 1.0


@dataclass(frozen=True)
class CalibratedRecord(Record):
    """A record that says which sources the interval factors were fitted on."""

    interval_factors_fitted_on: Sequence[str] = ()


def export_forecaster(
    network: Forecaster,
    fitted: dict[str, Any],
    *,
    version: int | None,
    models: Path,
    description: str = DESCRIPTION,
    fitted_on: Sequence[str] | None = None,
) -> Path:
    """Calibrate `network`, export it, score the held-out files once and return the folder.

    `fitted` is the record that `forecaster.train` made. Without real series the factors stay as they are, and where
    `fitted_on` says what they were fitted on.
    """
    network.eval()
    is_real = fitted["knobs"]["real"] > 0
    if fitted_on is None:
        fitted_on = calibrate(network) if is_real else []
    held_out = held_out_scores(network) if is_real else []
    curves = curves_of(fitted)
    record = CalibratedRecord(
        command=commands_of(fitted),
        seed=fitted["knobs"]["seed"],
        seconds=curves[-1]["seconds"],
        device=fitted["device"],
        parameters=parameters(network),
        data=fitted["data"],
        knobs=fitted["knobs"]
        | {key: fitted[key] for key in ("share_of_the_fit",) if key in fitted}
        | ({"earlier": fitted["earlier"]["knobs"]} if "earlier" in fitted else {}),
        curves=curves,
        commit=fitted.get("commit", current_commit()),
        torch=fitted["torch"],
        held_out=[asdict(row) for row in held_out],
        interval_factors_fitted_on=fitted_on,
    )
    return write_folder(
        network,
        name="forecaster",
        description=description,
        record=record,
        metrics_of=lambda folder: evaluate.metrics_of(folder) | summary(held_out),
        version=version,
        models=models,
    )


def write_folder(
    network: Forecaster,
    *,
    name: str,
    description: str,
    record: Record,
    metrics_of: Metrics,
    version: int | None,
    models: Path,
) -> Path:
    """`training.fit.export.export` with the contract that every forecaster of this kind has."""
    sample = golden_sample()
    return export(
        network,
        name=name,
        task="forecast",
        description=description,
        inputs=InputContract(
            features=1,
            min_length=1,
            max_length=None,
            context=CONTEXT,
            missing=True,
            season=True,
            seasons=2,
            max_season=MEMORY // 2,
            optional_floor=True,
            max_horizon=MAX_HORIZON,
        ),
        outputs=OutputContract(quantile_levels=LEVELS),
        state=StateContract(width=network.state_width, exact=network.exact),
        golden=lambda module: forecast_golden(module, sample, GOLDEN_HORIZON),
        record=record,
        metrics_of=metrics_of,
        version=version,
        models=models,
    )


def export_again(base_version: int, *, version: int | None, models: Path, keeps_factors: bool = False) -> Path:
    """A new version of the weights of `base_version` in `models`, in today's graph; factors are fitted anew or kept."""
    network, record = read_version(base_version, models)
    knobs = record["knobs"]
    fitted = record | {
        "command": command_line(),
        "commit": current_commit(),
        "knobs": knobs | {"weights_of_version": base_version, "command_of_weights": record["command"]},
    }
    description = f"{DESCRIPTION}; the weights of version {base_version} in a mended graph"
    fitted_on = record.get("interval_factors_fitted_on", []) if keeps_factors else None
    return export_forecaster(
        network, fitted, version=version, models=models, description=description, fitted_on=fitted_on
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


def calibrate(network: Forecaster, *, max_windows: int = MAX_WINDOWS) -> list[str]:
    """Fill in the network's interval factors; returns the sources that they were fitted on.

    All files weigh the same, and so do all priors.
    """
    network.widen.fill_(1.0)
    files = [file.backwards() for file in real_series.read_all() if real_series.is_for_validation(file.name)]
    real = [real_sample(network, file, max_windows, REAL_SHARE / len(files)) for file in files]
    synthetic = prior_samples(network)
    network.widen.copy_(interval_factors([*real, *synthetic]))
    return [sample.source for sample in (*real, *synthetic)]


def held_out_scores(network: Forecaster, *, max_windows: int = MAX_WINDOWS) -> list[backtest.FileScore]:
    """The scores of each held-out file."""
    files = [file for file in real_series.read_all() if file.name in real_series.HELD_OUT]
    return [backtest.score_file(file, predictor(network), max_windows=max_windows, context=CONTEXT) for file in files]


def summary(rows: Sequence[backtest.FileScore]) -> dict[str, float]:
    """The manifest's scores of the held-out files: geometric means, and the share of files with the right coverage."""
    if not rows:
        return {}
    means = {f"held_out_{key}": value for key, value in backtest.geometric_means(rows).items()}
    return means | {"held_out_covered": float(np.mean([0.76 <= r.coverage80 <= 0.84 for r in rows]))}


def real_sample(network: Forecaster, file: real_series.SeriesFile, max_windows: int, weight: float) -> Sample:
    """The windows of one file twice, with the season stated and without; shorter futures are filled up with NaN."""
    windows = backtest.spread_out(file.windows(), max_windows)
    horizon = max(len(w.future) for w in windows)
    actual = np.full((len(windows), horizon), np.nan)
    for row, window in zip(actual, windows, strict=True):
        row[: len(window.future)] = window.future
    contexts, seasons = [w.context[-CONTEXT:] for w in windows], [w.season for w in windows]
    quantiles = [
        predict_quantiles(network, contexts[i : i + 20], stated[i : i + 20], horizon, LEVELS)
        for stated in (seasons, [0] * len(seasons))
        for i in range(0, len(windows), 20)
    ]
    return Sample(file.name, np.concatenate(quantiles), np.concatenate([actual, actual]), weight)


def prior_samples(network: Forecaster) -> list[Sample]:
    """Fresh draws of every prior after contexts of several lengths."""
    generator = torch.Generator().manual_seed(PRIOR_SEED)
    samples = []
    for name, (prior, _) in priors.PRIORS.items():
        values = [prior(PRIOR_ROWS, n + LEARNED_HORIZON, generator, _CPU)[0].numpy() for n in PRIOR_CONTEXTS]
        unstated = [0] * PRIOR_ROWS
        quantiles = [
            predict_quantiles(network, list(v[:, :-LEARNED_HORIZON]), unstated, LEARNED_HORIZON, LEVELS) for v in values
        ]
        actual = np.concatenate([v[:, -LEARNED_HORIZON:] for v in values])
        samples.append(
            Sample(f"prior {name}", np.concatenate(quantiles), actual, (1 - REAL_SHARE) / len(priors.PRIORS))
        )
    return samples


def interval_factors(samples: Sequence[Sample]) -> Tensor:
    """Factors (LEARNED_HORIZON, K) by which each quantile's distance from the median is to be multiplied."""
    sources = [(_ratios(sample), sample.weight) for sample in samples]
    positions, logs, weights = [], [], []
    for low, high in pairwise(STEPS):
        steps = [(ratios[:, low - 1 : high - 1].reshape(-1, CENTRE), weight) for ratios, weight in sources]
        steps = [(ratios[~np.isnan(ratios[:, 0])], weight) for ratios, weight in steps]
        steps = [(ratios, weight) for ratios, weight in steps if len(ratios) >= MIN_ERRORS]
        if steps:
            positions.append(0.5 * np.log(low * (high - 1)))
            logs.append(np.log(_covering_factors(steps)))
            weights.append(sum(weight for _, weight in steps))
    lines = np.stack([np.ones(len(positions)), positions], 1)
    root = np.sqrt(weights)[:, None]
    offset, slope = np.linalg.lstsq(lines * root, np.array(logs) * root, rcond=None)[0]
    ahead = np.log(np.arange(1, LEARNED_HORIZON + 1))[:, None]
    factors = np.exp(offset + slope * ahead).clip(*BOUNDS)
    return torch.from_numpy(np.concatenate([factors, np.ones((LEARNED_HORIZON, 1)), factors[:, ::-1]], 1))


def _ratios(sample: Sample) -> Floats:
    """Errors over the predicted width on their side, for each pair of quantiles (N, H, CENTRE); NaN where unknown."""
    error = (sample.actual - sample.quantiles[:, :, CENTRE])[:, :, None]
    distance = sample.quantiles - sample.quantiles[:, :, CENTRE, None]
    width = np.where(error >= 0, distance[:, :, :CENTRE:-1], -distance[:, :, :CENTRE])
    ratios = np.where(error == 0, 0.0, np.inf) + np.zeros_like(width)
    np.divide(np.abs(error), width, out=ratios, where=width > 0)
    ratios[np.isnan(sample.actual)] = np.nan
    return ratios


def _covering_factors(sources: Sequence[tuple[Floats, float]]) -> Floats:
    """Factors (CENTRE,) with which each interval covers its share, from ratios (n, CENTRE) and weights of sources."""
    ratios = np.concatenate([values for values, _ in sources])
    weights = np.concatenate([np.full(len(values), weight / len(values)) for values, weight in sources])
    factors = np.ones(CENTRE)
    for k in range(CENTRE):
        order = np.argsort(ratios[:, k])
        share = np.cumsum(weights[order]) / weights.sum()
        position = np.searchsorted(share, 1 - 2 * LEVELS[k]).clip(max=len(order) - 1)
        factors[k] = ratios[order[position], k]
    return factors.clip(*BOUNDS)


def golden_sample() -> dict[str, np.ndarray[Any, Any]]:
    """Generated series of different kinds and lengths, some values missing."""
    generator = torch.Generator().manual_seed(7)
    kinds = [priors.sines, priors.seasonal, priors.rough, priors.walks, priors.counts, priors.sines]
    rows = [kind(1, 160, generator, _CPU)[0][0].numpy() for kind in kinds]
    lengths = np.array([160, 150, 97, 40, 9, 1])
    values = np.stack([np.where(np.arange(160) < n, row, 0.0) for row, n in zip(rows, lengths, strict=True)])
    season = np.zeros(6, np.int64)
    values[0, 20:25] = np.nan
    values[2, ::7] = np.nan
    season[1] = 12
    return {"values": values, "lengths": lengths, "season": season, "levels": np.tile([0.05, 0.5, 0.83], (6, 1))}
