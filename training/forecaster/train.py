"""How the forecaster is trained: stages, each from the weights of the previous one.

An endless stream of windows made on the training device, forecasts from a few random cuts of every window, the pinball
loss of all levels in units of the series' own seasonal change; added to it, at every step, the pinball loss of the
bands that the fast clock predicts for the next value. Every batch is a function of the seed and the step, so an
interrupted run resumes to the same result.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from service.contract.manifest import MODEL_FILE, RECORD_FILE
from training.data import real_series
from training.evaluation import backtest
from training.evaluation.predict import predictor
from training.evaluation.sine_errors import over_bayes, sine_errors, validation_series
from training.fit import distributed, loop
from training.fit.export import reload
from training.fit.optimizer import adamw
from training.fit.record import check_finished, command_line, current_commit, identity, stage_record
from training.fit.weights import read_weights, write_weights
from training.forecaster.config import Config
from training.forecaster.windows import Cut, Stream, add_glitches, draw_cuts
from training.networks.forecaster import LEVELS, Forecaster
from training.networks.seasonal_candidates import SEASONAL_CANDIDATES

VALIDATION_WINDOWS = 25  # of one file
VALIDATION_CONTEXT = 2048
MEDIAN = LEVELS.index(0.5)

Fitted = tuple[Forecaster, dict[str, Any]]  # a network with its averaged weights, and the record of its fit


def loss(network: Forecaster, stream: Stream, step: int) -> Tensor:
    """`window_loss` of the windows of one step, cut at random; of several processes each takes its rows."""
    inputs, truth, season = stream.batch(step)
    generator = torch.Generator(stream.device).manual_seed(stream.config.seed * 1_000_003 + step + 500_000_009)
    cuts, ahead = draw_cuts(truth, stream.config, generator)
    inputs = add_glitches(inputs, cuts, stream.config.glitches, generator)
    rows = distributed.rows_of_rank(len(truth))
    cut = Cut(inputs[rows], truth[rows], season[rows], cuts[rows], ahead[rows])
    with torch.autocast(stream.device.type, torch.bfloat16, enabled=stream.config.bfloat16):
        return window_loss(network, cut, stream.config.dense)


def window_loss(network: Forecaster, cut: Cut, dense: float) -> Tensor:
    """Mean pinball loss over levels, steps ahead and cuts, relative to the mean absolute seasonal change, and bands."""
    truth, cuts, ahead = cut.truth, cut.cuts, cut.ahead
    predicted, last, swing, band_errors, bands = network.predict_at(cut.inputs, cut.season, cuts, ahead)
    rows = torch.arange(len(truth), device=truth.device)[:, None, None]
    index = cuts[..., None] + ahead - 1
    actual = truth[rows, index.clamp(max=truth.shape[1] - 1)] - last[..., None]
    observed = torch.isfinite(actual) & (index < truth.shape[1])
    actual = torch.where(observed, actual, predicted[..., MEDIAN].detach())
    error = actual[..., None] - predicted
    levels = network.levels
    pinball = torch.maximum(levels * error, (levels - 1) * error).mean(3)  # (B, R, H)
    # Jumps that nothing announces would dominate the loss: a forecast that is far off weighs less.
    off = torch.where(observed, (actual - predicted[..., MEDIAN]).abs().detach(), 0).sum(2)
    off = off / observed.sum(2).clamp(min=1)
    size = (swing + 0.25 * off).clamp(min=1e-290)  # (B, R)
    relative = torch.where(observed, pinball / size[..., None], 0)
    forecasts = (relative.sum((1, 2)) / observed.sum((1, 2)).clamp(min=1)).mean().float()
    return forecasts + dense * distributed.ratio(band_errors, bands)


class Validation:
    """Scores during training: the ends of series that training reads the beginnings of, and fresh sine mixtures."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.device = device
        self.sines = validation_series(201)
        self.files: list[real_series.SeriesFile] = []
        if config.real > 0:
            self.files = [f for f in real_series.read_all() if real_series.is_for_validation(f.name)]

    def __call__(self, module: Any) -> dict[str, float]:
        """A row of the curves."""
        row = over_bayes(sine_errors(module, self.device, self.sines))
        return row | backtest.geometric_means(self.file_scores(module)) if self.files else row

    def file_scores(self, module: Any) -> list[backtest.FileScore]:
        """Scores of each file."""
        predict = predictor(module, self.device)
        return [
            backtest.score_file(f, predict, max_windows=VALIDATION_WINDOWS, context=VALIDATION_CONTEXT)
            for f in self.files
        ]


def train_stages(
    stages: Sequence[Config],
    device: torch.device,
    folder: Path | None,
    deadline: float | None,
    *,
    accept_other: bool = False,
) -> Fitted:
    """Fit a network in `stages`; with a `folder` a finished stage is read from its file there."""
    fitted: Fitted | None = None
    for number, config in enumerate(stages, 1):
        path = None if folder is None else folder / f"stage-{number}.npz"
        if path is not None and path.exists():
            fitted = read_fit(path)
            check_finished(path, fitted[1]["knobs"], config, accept_other=accept_other)
            continue
        run = folder and folder / f"stage-{number}"
        fitted = train(config, device, run, deadline, fitted, accept_other=accept_other)
        if path is not None:
            write_fit(path, *fitted)
    if fitted is None:
        raise ValueError("no stage to train")
    return fitted


def train(
    config: Config,
    device: torch.device,
    folder: Path | None,
    deadline: float | None,
    start: Fitted | None = None,
    *,
    accept_other: bool = False,
) -> Fitted:
    """Fit a network, or continue from `start`; the record of `start` then becomes the `earlier` of the new one.

    With `folder` checkpoints are written there and an interrupted run resumes from them; `deadline` is in seconds.
    """
    torch.manual_seed(config.seed)
    commit = current_commit()
    network, start_record = start or (Forecaster(config.fast, config.slow, config.width), None)
    network = network.to(device)
    stream = Stream(config, device)
    interval = max(1, config.steps // config.evaluations)
    curves = loop.fit(
        network,
        lambda step: loss(network, stream, step),
        adamw(network, config.rate, config.decay, (0.9, 0.98)),
        loop.Plan(
            steps=config.steps,
            warmup=min(300, config.steps // 10 + 1),
            hold=config.hold,
            ema=config.ema,
            evaluate_every=interval,
            checkpoint_every=interval if folder else 0,
        ),
        evaluate=Validation(config, device),
        after_step=network.restore_fixed_weights,
        folder=folder,
        label="forecaster",
        deadline=deadline,
        identity=identity(config, stream.digests, "forecaster", start=start_record),
        accept_other=accept_other,
    )
    network.restore_fixed_weights()
    record = stage_record(
        config, curves.rows, data=stream.digests, device=device, command=command_line(), commit=commit
    )
    return network, record | ({"earlier": start_record} if start_record else {})


def grow(weights: dict[str, Tensor], network: Forecaster) -> None:
    """Fill `network` with the weights of an earlier version, which mixes fewer candidates and has fewer inputs.

    New inputs have no effect at first, and new candidates a small share.
    """
    grown = network.state_dict()
    for name, value in weights.items():
        if name not in grown:  # a constant that only an exported module keeps among its weights
            continue
        new = grown[name]
        if new.shape == value.shape:
            new.copy_(value)
        elif name.startswith("out."):
            candidates = len(new) - len(value)
            new.fill_(0.0 if name.endswith("weight") else -3.0)
            new[:SEASONAL_CANDIDATES].copy_(value[:SEASONAL_CANDIDATES])
            new[SEASONAL_CANDIDATES + candidates :].copy_(value[SEASONAL_CANDIDATES:])
        else:
            new.zero_()
            new[:, : value.shape[1]].copy_(value)
    network.load_state_dict(grown)


def mean_of(network: Forecaster, second: Forecaster, share: float) -> Forecaster:
    """A network with the mean of the weights, `share` of it those of `network`."""
    mean = copy.deepcopy(network)
    second_weights = second.state_dict()
    weights = {name: share * value + (1 - share) * second_weights[name] for name, value in network.state_dict().items()}
    mean.load_state_dict(weights)
    mean.restore_fixed_weights()
    return mean


def read_version(version: int, models: Path, name: str = "forecaster") -> Fitted:
    """The weights of a committed version in today's graph, and its record."""
    folder = models / name / str(version)
    record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    knobs = record["knobs"]
    network = Forecaster(knobs["fast"], knobs["slow"], knobs["width"])
    grow(reload((folder / MODEL_FILE).read_bytes()).state_dict(), network)
    return network, record


def write_fit(path: Path, network: Forecaster, record: dict[str, Any]) -> None:
    """Weights and record of a fit in one `.npz` file."""
    write_weights(path, network.state_dict(), record)


def read_fit(path: Path) -> Fitted:
    """The network and record that `write_fit` wrote."""
    weights, record = read_weights(path)
    config = record["knobs"]
    network = Forecaster(config["fast"], config["slow"], config["width"])
    network.load_state_dict(weights)
    return network, record
