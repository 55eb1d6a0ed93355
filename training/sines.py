"""`python -m training sines`: a recurrent network for the tutorial's sine mixture, as near the Bayes limit as it gets.

The series are generated, so the noise-free future is known, and its expectation is that of the noisy one: the mean is
trained on it, which takes the noise out of the gradient. Errors weigh by what is unavoidable after so many values, so
that the first steps, where nobody can know much, do not drown the later ones. The quantiles are trained beside the
mean, on the noisy future, and do not move the recurrent part. Every batch is a function of the seed and the step.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from service.manifest import InputContract, OutputContract, StateContract
from training import evaluate, generators, loop, priors
from training.export import MODELS, export, forecast_golden
from training.forecaster import BAYES, hide, sine_errors
from training.networks.sines import LEVELS, MAX_HORIZON, SineForecaster
from training.record import Record, command_line, parameters

AHEAD = (1, 2, 3, 5, 10, 16, 24, 40, 64)
IMPORTANCE = (
    1.0,
    0.02,
    0.02,
    0.02,
    0.02,
    0.005,
    0.005,
    0.005,
    0.005,
)  # the next value first; the others follow from it
# Smallest possible error of the next value after n values, less the noise (training/RESULTS.md): sets the weights.
KNOWN = {1: 1.92e-2, 5: 2.84e-3, 10: 1.41e-3, 20: 3.8e-4, 30: 1.7e-4, 50: 5.9e-5, 100: 1.5e-5, 200: 4e-6}
NOISE = 0.1**2 / 12
CONTEXT = 4096
GOLDEN_HORIZON = 12


@dataclass(frozen=True)
class Knobs:
    """Everything that shapes a run."""

    seed: int = 0
    steps: int = 14_000
    values: int = 12_288  # values in a batch: rows x window length
    lengths: tuple[int, ...] = (48, 96, 240, 96, 48, 480)  # window lengths, in turn
    missing: float = 0.25  # share of batches in which some windows have missing values
    hidden: int = 96
    rate: float = 4e-3
    decay: float = 1e-4
    ema: float = 0.999
    evaluations: int = 12


def weights(length: int) -> Tensor:
    """Weight of the squared error after 1..length values: the inverse of what is unavoidable there, (length,)."""
    n = np.log(np.arange(1, length + 1))
    known = np.exp(np.interp(n, np.log(list(KNOWN)), np.log(list(KNOWN.values()))))
    return torch.from_numpy(1 / (known + 0.05 * NOISE)).float()


def draw(knobs: Knobs, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Windows of one step: seen (B, T) float64 with some values missing, and all with and without noise (B, T + 64)."""
    generator = torch.Generator().manual_seed(knobs.seed * 1_000_003 + step)
    length = knobs.lengths[step % len(knobs.lengths)]
    noisy, clean = priors.sines_and_truth(knobs.values // length, length + AHEAD[-1], generator, torch.device("cpu"))
    seen = noisy[:, :length]
    if torch.rand((), generator=generator) < knobs.missing:
        seen = hide(seen, generator)
    return seen, noisy, clean


def loss(network: SineForecaster, knobs: Knobs, step: int) -> Tensor:
    """Weighted squared error of the mean against the noise-free future, plus the pinball loss of the quantiles."""
    seen, noisy, clean = draw(knobs, step)
    rows, length = seen.shape
    units = network.follow(seen)
    ahead = torch.tensor(AHEAD)
    said = network.mean(units.flatten(0, 1), ahead).unflatten(0, (rows, length))
    true = torch.stack([clean[:, h : h + length] for h in AHEAD], 2).float()
    error = (said - true).square() * weights(length)[:, None] * torch.tensor(IMPORTANCE)
    # Quantiles from a few places of each window; neither the mean nor the recurrent part learns from them.
    generator = torch.Generator().manual_seed(knobs.seed * 1_000_003 + step + 500_000_009)
    place = torch.randint(length, (rows, 3), generator=generator)
    row = torch.arange(rows)[:, None]
    future = noisy[row[..., None], place[..., None] + ahead]
    about = said.detach()[row, place][..., None] + network.distances(
        units.detach()[row, place].flatten(0, 1), ahead
    ).unflatten(0, place.shape)
    off = future.float()[..., None] - about
    levels = network.levels.float()
    return error.mean() + torch.maximum(levels * off, (levels - 1) * off).mean()


class Validation:
    """Errors of the next value on fresh mixtures over the smallest possible ones, and coverage ten steps ahead."""

    def __init__(self) -> None:
        self.series = generators.sine_mixture(4000, 211, np.random.default_rng(987_654_321))

    def __call__(self, module: Any) -> dict[str, float]:
        device = torch.device("cpu")
        row = {f"sines{n}": e / BAYES[n] for n, e in sine_errors(module, device, self.series).items()}
        past, future = torch.from_numpy(self.series[:, :50].copy()), self.series[:, 50:60]
        lengths = torch.full((len(past),), 50)
        levels = torch.tensor([[0.1, 0.9]], dtype=torch.float64).expand(len(past), -1)
        said = module.forecast(module.step(past, lengths, module.initial(lengths)), 10, levels).numpy()
        row["ten_ahead"] = float(np.mean((said[:, -1, 0] - future[:, -1]) ** 2)) / 9.39e-4
        row["coverage80"] = float(np.mean((future >= said[..., 1]) & (future <= said[..., 2])))
        return row


def train(knobs: Knobs, folder: Path | None) -> tuple[SineForecaster, Record]:
    """Fit a network; returns it with the averaged weights, and the fit's record."""
    torch.manual_seed(knobs.seed)
    network = SineForecaster(knobs.hidden)
    optimizer = torch.optim.AdamW(network.parameters(), lr=knobs.rate, weight_decay=knobs.decay, betas=(0.9, 0.98))
    every = max(1, knobs.steps // knobs.evaluations)
    plan = loop.Plan(
        steps=knobs.steps,
        warmup=100,
        hold=0.35,
        floor=0.005,
        ema=knobs.ema,
        evaluate_every=every,
        checkpoint_every=every if folder else 0,
    )
    curves = loop.fit(
        network,
        lambda step: loss(network, knobs, step),
        optimizer,
        plan,
        evaluate=Validation(),
        after_step=network.fix,
        folder=folder,
        label="sines",
    )
    network.fix()
    return network, Record(
        command=re.sub(r" --(folder|models|version)[ =]\S+", "", command_line()),
        seed=knobs.seed,
        seconds=curves.last["seconds"],
        device=f"cpu, {torch.get_num_threads()} threads",
        parameters=parameters(network),
        data={"synthetic": "generated"},
        knobs=asdict(knobs),
        curves=curves.rows,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command; every knob but the window lengths has one."""
    for name, value in asdict(Knobs()).items():
        if name != "lengths":
            parser.add_argument(f"--{name}", type=type(value), default=value, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where checkpoints are kept; an interrupted run resumes from there")
    parser.add_argument("--version", type=int, help="version to write; default: one above the highest there is")
    parser.add_argument("--models", type=Path, default=MODELS, help="where to write it; default: models/")


def main(args: argparse.Namespace) -> None:
    """Train and export."""
    knobs = Knobs(**{k: v for k, v in vars(args).items() if k in asdict(Knobs())})
    torch.set_num_threads(args.threads)
    network, record = train(knobs, args.folder)
    print(export_sines(network, record, version=args.version, models=args.models))


def export_sines(network: SineForecaster, record: Record, *, version: int | None, models: Path) -> Path:
    """Write `models/sines/<version>/` and return it."""
    return export(
        network,
        name="sines",
        task="forecast",
        description="One LSTM over raw values, read out as sums of sines: for the tutorial's sine mixture alone",
        inputs=InputContract(
            features=1,
            min_length=1,
            max_length=None,
            context=CONTEXT,
            missing=True,
            season=False,
            max_horizon=MAX_HORIZON,
        ),
        outputs=OutputContract(quantile_levels=LEVELS),
        state=StateContract(width=network.state_width, exact=network.exact),
        golden=lambda module: forecast_golden(module, golden_sample(), GOLDEN_HORIZON),
        record=record,
        metrics_of=evaluate.metrics_of,
        version=version,
        models=models,
    )


def golden_sample() -> dict[str, np.ndarray[Any, Any]]:
    """Mixtures of different lengths, one with missing values."""
    lengths = np.array([160, 150, 97, 40, 9, 1])
    series = generators.sine_mixture(len(lengths), 160, np.random.default_rng(7))
    values = np.where(np.arange(160) < lengths[:, None], series, 0.0)
    values[1, 20:25] = np.nan
    season = np.zeros(len(lengths), np.int64)
    levels = np.tile([0.05, 0.5, 0.83], (len(lengths), 1))
    return {"values": values, "lengths": lengths, "season": season, "levels": levels}
