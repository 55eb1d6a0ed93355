"""The shipped forecaster, tuned to a collection of series and kept only where that is better.

A short fit on the values before every held-back window, ended by the windows that choose; the mean of tuned and shipped
weights that is best on them (Wortsman et al. 2022); interval factors fitted on windows of their own, on top of the
shipped ones. What is kept is the best on the windows that score, the shipped forecaster among the candidates: by the
mean of MASE and WQL, and worse in neither.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from service.contract.types import Floats
from training.data.missing import mask_values
from training.data.real_series import Corpus, SeriesFile
from training.evaluation import backtest
from training.evaluation.predict import predict_quantiles
from training.finetuning.series import Parts
from training.fit import loop
from training.fit.optimizer import adamw
from training.forecaster.export import CONTEXT, Sample, interval_factors, real_sample
from training.forecaster.train import mean_of, window_loss
from training.forecaster.windows import Cut
from training.networks.forecaster import LEARNED_HORIZON, Forecaster

SHIPPED, CALIBRATED, TUNED = "shipped", "shipped, own intervals", "tuned, own intervals"
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the tuned weights in the mean with the shipped ones
CALIBRATION_WINDOWS = 300
FACTORS = (0.25, 4.0)  # bounds of an interval factor
PRIOR_WINDOWS = 8.0  # as many windows as this count for the shipped factors
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Config:
    """Everything that shapes the fit to one's own series."""

    seed: int = 0
    steps: int = 240
    rate: float = 6e-4  # peak learning rate
    values: int = 6_000  # values in a batch: rows x window length
    context: int = 512  # longest window
    cuts: int = 4  # forecasts from each window
    ahead: int = 12  # steps ahead of each forecast that enter the loss
    dense: float = 0.3  # weight of the loss of the next value's bands
    decay: float = 0.01  # weight decay
    ema: float = 0.95  # decay of the averaged weights
    evaluate_every: int = 20  # steps
    patience: int = 4  # evaluations that are no better, after which the fit ends
    windows: int = 150  # that choose between weights, at most
    test_windows: int = 600  # that score, at most


@dataclass(frozen=True)
class Candidate:
    """A forecaster and its scores on the windows that score."""

    name: str
    network: Forecaster
    score: backtest.FileScore


class Windows:
    """The windows of a fit, each cut where a forecast may be made; those of a step depend on seed and step alone."""

    def __init__(self, file: SeriesFile, horizon: int, config: Config) -> None:
        self.config, self.horizon = config, min(horizon, LEARNED_HORIZON)
        self.corpus = Corpus([file], CPU)
        longest = max(len(series) for series in file.training_part())
        self.length = min(longest, config.context)

    def __call__(self, step: int) -> Cut:
        """The windows of a step."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        rows = max(4, config.values // self.length)
        truth, season = self.corpus.draw(rows, self.length, generator)
        withheld = torch.rand(rows, generator=generator) < 0.5
        season = torch.where(withheld | (season == 1), 0, season)
        cuts, ahead = self._cuts(truth, generator)
        return Cut(mask_values(truth, generator), truth, season, cuts, ahead)

    def _cuts(self, truth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cuts (B, R) in the later part of what each window holds, and steps ahead (B, R, H) up to the horizon."""
        config, rows = self.config, len(truth)
        column = torch.arange(truth.shape[1])[None]
        end = torch.where(torch.isfinite(truth), column + 1, 1).max(1)[0][:, None]
        last = (end - self.horizon).clamp(min=1)
        first = torch.minimum((0.4 * end).long().clamp(min=1), last)
        share = torch.rand(rows, config.cuts, generator=generator)
        cuts = (first + (share * (last - first + 1)).long()).clamp(max=truth.shape[1] - 1)
        room = (end - cuts).clamp(1, self.horizon)[..., None]
        ahead = 1 + (torch.rand(rows, config.cuts, config.ahead, generator=generator) * room).long()
        ahead[..., 0] = 1
        return cuts, ahead


def predictor(network: Forecaster) -> backtest.Predict:
    """`network` as `backtest.score_file` asks it; a season of 1 is one that was not stated."""

    def predict(contexts: Sequence[Floats], seasons: Sequence[int], horizon: int) -> Floats:
        stated = [season if season > 1 else 0 for season in seasons]
        return predict_quantiles(network, contexts, stated, horizon, backtest.LEVELS)

    return predict


def score(network: Forecaster, file: SeriesFile, max_windows: int, context: int = CONTEXT) -> backtest.FileScore:
    """The scores of `network` on an even spread of the windows of `file`."""
    return backtest.score_file(file, predictor(network), max_windows=max_windows, context=context)


def tune(
    shipped: Forecaster,
    parts: Parts,
    config: Config,
    **options: Any,
) -> tuple[Forecaster, loop.Curves]:
    """The forecaster after a fit that starts from `shipped`, and the curves.

    `options` are those of `training.fit.loop.fit`.
    """
    network = copy.deepcopy(shipped).requires_grad_(True)
    windows = Windows(parts.training, parts.horizon, config)
    plan = loop.Plan(
        steps=config.steps,
        warmup=max(1, config.steps // 12),
        hold=0.3,
        ema=config.ema,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.evaluate_every,
        best="error",
        patience=config.patience,
    )
    curves = loop.fit(
        network,
        lambda step: window_loss(network, windows(step), config.dense),
        adamw(network, config.rate, config.decay, (0.9, 0.98)),
        plan,
        evaluate=lambda module: error_of(module, parts.validation, config),
        after_step=network.restore_fixed_weights,
        progress=False,
        label="tuning",
        **options,
    )
    network.restore_fixed_weights()
    shares = [share for share in SHARES if curves.rows[-1]["step"] > 0]
    means = [shipped, *(mean_of(network, shipped, share).eval() for share in shares)]
    errors = [curves.rows[0]["error"], *(error_of(mean, parts.validation, config)["error"] for mean in means[1:])]
    return means[int(np.argmin(errors))], curves


def error_of(network: torch.nn.Module, validation: SeriesFile, config: Config) -> dict[str, float]:
    """A row of the curves: MASE and WQL on the windows that choose, and the mean by which they choose."""
    result = score(network, validation, config.windows, config.context)  # type: ignore[arg-type]
    return {"mase": result.mase, "wql": result.wql, "error": _mean_score(result)}


def _mean_score(result: backtest.FileScore) -> float:
    """The geometric mean of MASE and WQL; one alone where the other is not known."""
    scores = [value for value in (result.mase, result.wql) if math.isfinite(value)]
    return float(np.exp(np.mean(np.log(np.maximum(scores, 1e-12))))) if scores else math.inf


def calibrated(network: Forecaster, file: SeriesFile, horizon: int) -> Forecaster:
    """`network` with its interval factors fitted on the windows of `file`, beyond the horizon those of its end.

    Few windows say little: the factors are drawn to those that the network had.
    """
    result = copy.deepcopy(network)
    sample = _sample(network, file)
    reach = min(horizon, LEARNED_HORIZON)
    try:
        factors = interval_factors([sample])
    except ValueError:  # fewer errors than a fit of a line needs
        return result
    factors[reach:] = factors[reach - 1]
    count = min(len(file.items), CALIBRATION_WINDOWS)
    weight = count / (count + PRIOR_WINDOWS)
    result.widen.copy_((network.widen * factors**weight).clamp(*FACTORS))
    return result


def _sample(network: Forecaster, file: SeriesFile) -> Sample:
    """The forecasts of the calibration windows; a season of 1 is not stated."""
    unstated = replace(file, seasons=[season if season > 1 else 0 for season in file.seasons])
    return real_sample(network, unstated, CALIBRATION_WINDOWS, 1.0)


def candidates(shipped: Forecaster, tuned: Forecaster, parts: Parts, config: Config) -> list[Candidate]:
    """The shipped forecaster first, then what could be kept in its place."""
    networks = {SHIPPED: shipped, CALIBRATED: calibrated(shipped, parts.calibration, parts.horizon)}
    if tuned is not shipped:
        networks[TUNED] = calibrated(tuned, parts.calibration, parts.horizon)
    return [
        Candidate(name, network, score(network, parts.test, config.test_windows)) for name, network in networks.items()
    ]


def best(tried: Sequence[Candidate]) -> Candidate:
    """The candidate with the least mean of MASE and WQL among those that are worse in neither than the first one."""
    first = tried[0].score

    def is_no_worse(candidate: Candidate) -> bool:
        pairs = ((candidate.score.mase, first.mase), (candidate.score.wql, first.wql))
        return all(not math.isfinite(base) or value <= base for value, base in pairs)

    return min(filter(is_no_worse, tried), key=lambda candidate: _mean_score(candidate.score))
