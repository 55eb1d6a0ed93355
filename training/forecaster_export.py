"""From the forecaster's weights to `models/forecaster/<version>/` or `models/sines/<version>/`: calibrate, then export.

The intervals are corrected by split-conformal factors (Romano et al. 2019, in the multiplicative form): on series that
the fit has not seen, how much wider than predicted would each quantile's distance from the median have had to be? The
general forecaster is calibrated on the test parts of the files that it was trained on, so that the coverage measured on
the held-out files stays a fair figure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from service.backend import LoadedModel, load
from service.items import Floats, ForecastItem, ForecastResult
from service.manifest import InputContract, OutputContract, StateContract
from training import backtest, evaluate, generators, priors, real_series
from training.export import export, forecast_golden
from training.networks.forecaster import LEVELS, MAX_HORIZON, Forecaster
from training.record import Record, current_commit, parameters

CONTEXT = 4096
EDGES = (1, 2, 4, 8, 16, 32, 64, MAX_HORIZON + 1)  # steps ahead that share a factor
BOUNDS = (0.6, 1.7)  # a factor beyond these would say that the fit is wrong, not its width
CENTRE = LEVELS.index(0.5)
GOLDEN_HORIZON = 12
_CPU = torch.device("cpu")
Sample = tuple[Floats, Floats]  # quantiles (N, H, K), actual (N, H) with NaN where there is none


def export_forecaster(network: Forecaster, fitted: dict[str, Any], *, version: int | None, models: Path) -> Path:
    """Calibrate `network`, export it and return the folder. `fitted` is the record that `forecaster.train` made."""
    specialised, real = fitted["knobs"]["specialised"], fitted["knobs"]["real"] > 0
    network.eval()
    if specialised or real:  # without real series there is nothing that the general forecaster could be calibrated on
        network.widen.copy_(conformal_factors(_test_parts(network) if real else _fresh_sines(network)))
    name = "sines" if specialised else "forecaster"
    record = Record(
        command=_repeating(fitted["command"]),
        seed=fitted["knobs"]["seed"],
        seconds=fitted["curves"][-1]["seconds"],
        device=fitted["device"],
        parameters=parameters(network),
        data=fitted["data"],
        knobs=fitted["knobs"],
        curves=fitted["curves"],
        commit=fitted.get("commit", current_commit()),
        torch=fitted["torch"],
    )
    return export(
        network,
        name=name,
        task="forecast",
        description=_DESCRIPTIONS[name],
        inputs=InputContract(
            features=1,
            min_length=1,
            max_length=None,
            context=CONTEXT,
            missing=not specialised,
            season=not specialised,
            max_horizon=64 if specialised else MAX_HORIZON,
        ),
        outputs=OutputContract(quantile_levels=LEVELS),
        state=StateContract(width=network.state_width, exact=network.exact),
        golden=lambda module: forecast_golden(module, golden_sample(specialised), GOLDEN_HORIZON),
        record=record,
        metrics_of=lambda folder: metrics(folder, held_out=real),
        version=version,
        models=models,
    )


def _repeating(command: str) -> str:
    """The command that repeats fit and export in one go: without the flags that divide them or name places."""
    return re.sub(r" --(folder|weights|deadline|models|version)[ =]\S+", "", command)


_DESCRIPTIONS = {
    "forecaster": "Zero-shot probabilistic forecaster: two-clock LSTM, in-graph scaling and season, 15 quantiles",
    "sines": "The forecaster's network trained on the tutorial's sine mixture alone",
}


def metrics(folder: Path, *, held_out: bool) -> dict[str, float]:
    """Scores of the exported folder: the sine mixture and, where real series were trained on, the held-out files."""
    found = evaluate.metrics_of(folder)
    if not held_out:
        return found
    model = load(folder, warm=False)
    files = [f for f in real_series.read_all() if f.name in real_series.HELD_OUT]
    rows = [backtest.score_file(f, served(model), context=CONTEXT) for f in files]
    means = backtest.geometric_means(rows)
    found |= {f"held_out_{key}": value for key, value in means.items()}
    return found


def served(model: LoadedModel) -> backtest.Predict:
    """A loaded model as a function for `backtest`."""

    def predict(contexts: Sequence[Floats], seasons: Sequence[int], horizon: int) -> Floats:
        levels = np.array(backtest.LEVELS)
        items = [ForecastItem(c, horizon, levels, season=s) for c, s in zip(contexts, seasons, strict=True)]
        results = cast("list[ForecastResult]", model.run(items))
        return np.stack([r.quantiles.T for r in results])

    return predict


def conformal_factors(samples: Iterable[Sample]) -> Tensor:
    """Factors (MAX_HORIZON, K) by which each quantile's distance from the median is to be multiplied.

    `samples` yields (quantiles (N, H, K), actual (N, H)) of one source each; all sources weigh the same.
    """
    ratios: list[list[Floats]] = [[] for _ in EDGES[:-1]]
    for quantiles, actual in samples:
        for bucket, (low, high) in enumerate(pairwise(EDGES)):
            q, y = quantiles[:, low - 1 : high - 1], actual[:, low - 1 : high - 1]
            known = np.isfinite(y)
            if known.sum() >= 20:
                width = q[known] - q[known][:, CENTRE, None]
                error = (y[known] - q[known][:, CENTRE])[:, None]
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
        wanted = level if k > CENTRE else 1 - level
        factors[k] = values[order[np.searchsorted(share, wanted)], k]
    return np.clip(factors, *BOUNDS)


def _test_parts(network: Forecaster) -> Iterator[Sample]:
    """The test part of every file that training drew from, up to 60 series of each."""
    for file in real_series.read_all():
        if file.name in real_series.HELD_OUT:
            continue
        windows = file.windows()
        chosen = [windows[i] for i in np.linspace(0, len(windows) - 1, min(60, len(windows))).astype(int)]
        horizon = max(len(w.future) for w in chosen)
        actual = np.full((len(chosen), horizon), np.nan)
        for row, window in zip(actual, chosen, strict=True):
            row[: len(window.future)] = window.future
        contexts = [w.context[-2048:] for w in chosen]
        quantiles = np.concatenate(
            [
                predicted(network, contexts[i : i + 20], [w.season for w in chosen[i : i + 20]], horizon)
                for i in range(0, len(chosen), 20)
            ]
        )
        yield quantiles, actual


def _fresh_sines(network: Forecaster) -> Iterator[Sample]:
    """Sine mixtures of several lengths that no run and no test has seen."""
    series = generators.sine_mixture(2000, 280, np.random.default_rng(31_337))
    for length in (5, 10, 20, 50, 100, 200):
        past, future = series[:, :length], series[:, length : length + 64]
        yield predicted(network, list(past), [0] * len(past), 64), future


def predicted(
    module: Any,
    contexts: Sequence[Floats],
    seasons: Sequence[int],
    horizon: int,
    levels: Sequence[float] = LEVELS,
    device: torch.device = _CPU,
) -> Floats:
    """Quantiles (N, H, len(levels)) of `module`, eager or scripted, after contexts of any lengths."""
    longest = max(len(c) for c in contexts)
    values = np.zeros((len(contexts), longest))
    for row, context in zip(values, contexts, strict=True):
        row[: len(context)] = context
    lengths = torch.tensor([len(c) for c in contexts], device=device)
    wanted = torch.tensor(levels, dtype=torch.float64, device=device).expand(len(contexts), -1)
    with torch.no_grad():
        fresh = module.initial(torch.tensor(seasons, device=device))
        state = module.step(torch.from_numpy(values).to(device), lengths, fresh)
        return np.asarray(module.forecast(state, horizon, wanted)[:, :, 1:].cpu().numpy())


def golden_sample(specialised: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Generated series of different kinds and lengths; for the general forecaster some values are missing."""
    generator = torch.Generator().manual_seed(7)
    device = torch.device("cpu")
    kinds = [priors.sines] * 6 if specialised else [f for f, _ in priors.PRIORS.values()] + [priors.sines]
    rows = [kind(1, 160, generator, device)[0][0].numpy() for kind in kinds]
    lengths = np.array([160, 150, 97, 40, 9, 1])
    values = np.stack([np.where(np.arange(160) < n, row, 0.0) for row, n in zip(rows, lengths, strict=True)])
    season = np.zeros(6, np.int64)
    if not specialised:
        values[0, 20:25] = np.nan
        values[2, ::7] = np.nan
        season[1] = 12
    return {"values": values, "lengths": lengths, "season": season, "levels": np.tile([0.05, 0.5, 0.83], (6, 1))}
