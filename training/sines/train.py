"""How the specialist of the sine mixture is trained, in two stages.

`lstm`: the LSTM and its own mean. The series are generated, so the noise-free future is known, and its expectation is
that of the noisy one: the mean is trained on it, which takes the noise out of the gradient. Errors weigh by what is
unavoidable after so many values, so that the first steps, where nobody can know much, do not drown the later ones.
`heads`: the LSTM stands still; what guesses the two sines for the fit learns their true phases and frequencies, and the
LSTM's own quantiles learn the noisy future, while its mean learns on. The fit itself has nothing to learn.

Every batch is a function of the seed and the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.data import priors
from training.data import sine_mixture as generators
from training.fit import loop
from training.forecaster.command import BAYES, hide, sine_errors
from training.networks.sines import MAX_HORIZON, SineForecaster

AHEAD = 9  # steps ahead that a batch learns: the next one, and others
# Smallest possible error of the next value after n values, less the noise (training/RESULTS.md): sets the weights.
KNOWN = {1: 1.92e-2, 5: 2.84e-3, 10: 1.41e-3, 20: 3.8e-4, 30: 1.7e-4, 50: 5.9e-5, 100: 1.5e-5, 200: 4e-6}
NOISE = 0.1**2 / 12
SPAN = 16  # values over which a wrong frequency must not show


@dataclass(frozen=True)
class Knobs:
    """Everything that shapes a run."""

    seed: int = 0
    steps: int = 20_000
    values: int = 12_288  # values in a batch: rows x window length
    lengths: tuple[int, ...] = (48, 96, 240, 96, 48, 480)  # window lengths, in turn
    missing: float = 0.25  # share of batches in which some windows have missing values
    hidden: int = 96
    rate: float = 4e-3
    decay: float = 1e-4
    ema: float = 0.999
    evaluations: int = 20
    head_steps: int = 4_000
    head_rate: float = 2e-3
    head_places: int = 12  # read-outs of each window


@dataclass(frozen=True)
class Drawn:
    """Windows of one step: what is seen (B, T); the series and their truth (B, T + 64); the sines in them (B, 4).

    `ahead` (AHEAD,) are the steps ahead to learn now.
    """

    seen: Tensor
    noisy: Tensor
    clean: Tensor
    sines: Tensor
    ahead: Tensor


def weights(length: int) -> Tensor:
    """Weight of the squared error after 1..length values: the inverse of what is unavoidable there, (length,)."""
    n = np.log(np.arange(1, length + 1))
    known = np.exp(np.interp(n, np.log(list(KNOWN)), np.log(list(KNOWN.values()))))
    return torch.from_numpy(1 / (known + 0.05 * NOISE)).float()


def importance(ahead: Tensor) -> Tensor:
    """Weight of the errors at `ahead`: the next value comes first, as the others follow from it."""
    return torch.where(ahead == 1, 1.0, torch.where(ahead <= 10, 0.02, 0.005))


def draw(knobs: Knobs, step: int) -> Drawn:
    """The windows of one step, of some of which values are missing."""
    generator = torch.Generator().manual_seed(knobs.seed * 1_000_003 + step)
    length = knobs.lengths[step % len(knobs.lengths)]
    rows = knobs.values // length
    noisy, clean, made_of = priors.sines_and_truth(rows, length + MAX_HORIZON, generator, torch.device("cpu"))
    seen = noisy[:, :length]
    if torch.rand((), generator=generator) < knobs.missing:
        seen = hide(seen, generator)
    ahead = (MAX_HORIZON + 1) ** torch.rand(AHEAD, generator=generator)  # as many up to 8 as beyond
    ahead[0] = 1
    return Drawn(seen, noisy, clean, made_of, ahead.long())


def lstm_loss(network: SineForecaster, knobs: Knobs, step: int) -> Tensor:
    """Weighted squared error of the LSTM's own mean against the noise-free future, after every value."""
    drawn = draw(knobs, step)
    rows, length = drawn.seen.shape
    said = network.mean(network.follow(drawn.seen).flatten(0, 1), drawn.ahead).unflatten(0, (rows, length))
    true = torch.stack([drawn.clean[:, h : h + length] for h in drawn.ahead.tolist()], 2).float()
    return ((said - true).square() * weights(length)[:, None] * importance(drawn.ahead)).mean()


def heads_loss(network: SineForecaster, knobs: Knobs, step: int) -> Tensor:
    """At a few places of each window: how wrong the guess is, plus both losses of the LSTM's own mean and quantiles."""
    drawn = draw(knobs, knobs.steps + step)
    rows, length = drawn.seen.shape
    generator = torch.Generator().manual_seed(knobs.seed * 1_000_003 + step + 500_000_009)
    place = torch.randint(length, (rows, knobs.head_places), generator=generator)
    row = torch.arange(rows)[:, None]
    with torch.no_grad():
        units = network.follow(drawn.seen)[row, place].flatten(0, 1)
    guessed = guess_loss(network.guess(units), true_sines(drawn.sines, place).flatten(0, 1))
    future = place[..., None] + drawn.ahead
    mean = network.mean(units, drawn.ahead)
    error = (mean - drawn.clean[row[..., None], future].float().flatten(0, 1)).square()
    weighted = error * weights(length)[place].flatten()[:, None] * importance(drawn.ahead)
    noisy = drawn.noisy[row[..., None], future].float().flatten(0, 1)
    off = (noisy - mean.detach())[..., None] - network.distances(units, drawn.ahead)
    levels = network.levels.float()
    pinball = torch.maximum(levels * off, (levels - 1) * off).mean()
    return guessed + weighted.mean() + 10 * pinball


def true_sines(made_of: Tensor, place: Tensor) -> Tensor:
    """Phases at the value after `place` (B, R), and frequencies, of series made of (B, 4): (B, R, 4)."""
    passed = (place + 1)[..., None] * made_of[:, None, 1::2]
    phase = made_of[:, None, ::2] + passed
    return torch.stack([phase, made_of[:, None, 1::2].expand_as(phase)], 3).flatten(2)


def guess_loss(guess: Tensor, true: Tensor) -> Tensor:
    """Mean of what wrong phases and frequencies cost, (N, 4) both; large errors in frequency weigh less and less."""
    error = guess - true
    phase = 2 * (1 - error[:, ::2].cos())
    frequency = torch.log1p((SPAN * error[:, 1::2]).square())
    return (phase + frequency).sum(1).mean().float()


class LstmValidation:
    """Errors of the LSTM's own next value on fresh mixtures, over the smallest possible ones."""

    def __init__(self) -> None:
        self.series = torch.from_numpy(generators.sine_mixture(2000, 201, np.random.default_rng(987_654_321)))

    def __call__(self, module: Any) -> dict[str, float]:
        units = module.follow(self.series[:, :-1])
        said = {n: module.mean(units[:, n - 1], torch.ones(1))[:, 0] for n in BAYES}
        return {f"sines{n}": float((m - self.series[:, n]).square().mean()) / BAYES[n] for n, m in said.items()}


class Validation:
    """Errors of the next value on fresh mixtures over the smallest possible ones, and coverage ten steps ahead."""

    def __init__(self) -> None:
        self.series = generators.sine_mixture(2000, 211, np.random.default_rng(987_654_321))

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


def train_lstm(knobs: Knobs, folder: Path | None) -> tuple[SineForecaster, loop.Curves]:
    """The first stage; returns the network with the averaged weights, and the curves."""
    torch.manual_seed(knobs.seed)
    network = SineForecaster(knobs.hidden)
    optimizer = torch.optim.AdamW(network.parameters(), lr=knobs.rate, weight_decay=knobs.decay, betas=(0.9, 0.98))
    plan = _plan(knobs, knobs.steps, folder, hold=0.35)
    curves = loop.fit(
        network,
        lambda step: lstm_loss(network, knobs, step),
        optimizer,
        plan,
        evaluate=LstmValidation(),
        after_step=network.fix,
        folder=None if folder is None else folder / "lstm",
        label="lstm",
    )
    network.fix()
    return network, curves


def train_heads(network: SineForecaster, knobs: Knobs, folder: Path | None) -> loop.Curves:
    """The second stage, on a network whose LSTM stands; returns the curves."""
    torch.manual_seed(knobs.seed + 1)
    network.requires_grad_(False)
    new = nn.ModuleList([network.proposal, network.doubt, network.ahead, network.spread])
    heads = nn.ModuleList([*new, network.coefficients]).requires_grad_()
    for layer in new.modules():  # anew, whether the first stage has just run or was read from its file
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    optimizer = torch.optim.AdamW(heads.parameters(), lr=knobs.head_rate, weight_decay=knobs.decay, betas=(0.9, 0.98))
    curves = loop.fit(
        network,
        lambda step: heads_loss(network, knobs, step),
        optimizer,
        _plan(knobs, knobs.head_steps, folder, hold=0.2),
        evaluate=Validation(),
        folder=None if folder is None else folder / "heads",
        label="heads",
    )
    network.requires_grad_()
    return curves


def _plan(knobs: Knobs, steps: int, folder: Path | None, *, hold: float) -> loop.Plan:
    every = max(1, steps // knobs.evaluations)
    return loop.Plan(
        steps=steps,
        warmup=min(100, steps // 10),
        hold=hold,
        floor=0.005,
        ema=knobs.ema,
        evaluate_every=every,
        checkpoint_every=every if folder else 0,
    )
