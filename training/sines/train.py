"""How the specialist of the sine mixture is trained, in two stages.

`lstm`: the LSTM and its own mean. The series are generated, so the noise-free future is available, and its expectation
is that of the noisy one: the mean is trained on it, which takes the noise out of the gradient. Errors weigh by what is
unavoidable after so many values, so that the first steps, where no good forecast is possible, do not dominate.
`heads`: the LSTM is frozen; the head that guesses the two sines for the fit learns their true phases and frequencies,
and the LSTM's own quantiles learn the noisy future, while its mean learns on. The fit itself has nothing to learn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.data.sine_mixture import BAYES_ERRORS, BAYES_EXCESS, NOISE_VARIANCE
from training.evaluation.sine_errors import CONTEXTS, over_bayes, sine_errors, validation_series
from training.fit import loop
from training.fit.record import command_line, current_commit, identity, stage_record
from training.fit.weights import read_weights, write_weights
from training.networks.sines import SineForecaster
from training.sines.config import Config
from training.sines.windows import draw

SPAN = 16  # values over which a wrong frequency must not show
CPU = torch.device("cpu")
LSTM_WEIGHTS = ("lstm.", "coefficients.")  # what the first stage has learnt, by the names in the state_dict
DESTINATIONS = ("folder", "models", "version", "figures", "deadline")  # options that do not change the result


def error_weights(length: int) -> Tensor:
    """Weight of the squared error after 1..length values: the inverse of the unavoidable error there, (length,)."""
    n = np.log(np.arange(1, length + 1))
    excess = np.exp(np.interp(n, np.log(list(BAYES_EXCESS)), np.log(list(BAYES_EXCESS.values()))))
    return torch.from_numpy(1 / (excess + 0.05 * NOISE_VARIANCE)).float()


def importance(ahead: Tensor) -> Tensor:
    """Weight of the errors at `ahead`: the next value comes first, as the others follow from it."""
    return torch.where(ahead == 1, 1.0, torch.where(ahead <= 10, 0.02, 0.005))


def lstm_loss(network: SineForecaster, config: Config, step: int) -> Tensor:
    """Weighted squared error of the LSTM's own mean against the noise-free future, after every value."""
    windows = draw(config, step)
    rows, length = windows.inputs.shape
    mean = network.mean(network.follow(windows.inputs).flatten(0, 1), windows.ahead).unflatten(0, (rows, length))
    truth = torch.stack([windows.clean[:, h : h + length] for h in windows.ahead.tolist()], 2).float()
    return ((mean - truth).square() * error_weights(length)[:, None] * importance(windows.ahead)).mean()


def heads_loss(network: SineForecaster, config: Config, step: int) -> Tensor:
    """At a few positions of each window: error of the guess, and both losses of the LSTM's own mean and quantiles."""
    windows = draw(config, config.steps + step)
    rows, length = windows.inputs.shape
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step + 500_000_009)
    position = torch.randint(length, (rows, config.head_places), generator=generator)
    row = torch.arange(rows)[:, None]
    with torch.no_grad():
        units = network.follow(windows.inputs)[row, position].flatten(0, 1)
    guess_error = guess_loss(network.guess(units), true_sines(windows.components, position).flatten(0, 1))
    future = position[..., None] + windows.ahead
    mean = network.mean(units, windows.ahead)
    error = (mean - windows.clean[row[..., None], future].float().flatten(0, 1)).square()
    weighted = error * error_weights(length)[position].flatten()[:, None] * importance(windows.ahead)
    noisy = windows.noisy[row[..., None], future].float().flatten(0, 1)
    off = (noisy - mean.detach())[..., None] - network.distances(units, windows.ahead)
    levels = network.levels.float()
    pinball = torch.maximum(levels * off, (levels - 1) * off).mean()
    return guess_error + weighted.mean() + 10 * pinball


def true_sines(components: Tensor, position: Tensor) -> Tensor:
    """Phases at the value after `position` (B, R), and frequencies, of series with `components` (B, 4): (B, R, 4)."""
    passed = (position + 1)[..., None] * components[:, None, 1::2]
    phase = components[:, None, ::2] + passed
    return torch.stack([phase, components[:, None, 1::2].expand_as(phase)], 3).flatten(2)


def guess_loss(guess: Tensor, true: Tensor) -> Tensor:
    """Mean cost of wrong phases and frequencies, (N, 4) both; large errors in frequency weigh less and less."""
    error = guess - true
    phase = 2 * (1 - error[:, ::2].cos())
    frequency = torch.log1p((SPAN * error[:, 1::2]).square())
    return (phase + frequency).sum(1).mean().float()


class LstmValidation:
    """Errors of the LSTM's own next value on fresh mixtures, over the smallest possible ones."""

    def __init__(self) -> None:
        self.series = torch.from_numpy(validation_series(201))

    def __call__(self, module: Any) -> dict[str, float]:
        units = module.follow(self.series[:, :-1])
        means = {n: module.mean(units[:, n - 1], torch.ones(1))[:, 0] for n in CONTEXTS}
        return over_bayes({n: float((mean - self.series[:, n]).square().mean()) for n, mean in means.items()})


class Validation:
    """Errors of the next value on fresh mixtures over the smallest possible ones, and coverage ten steps ahead."""

    def __init__(self) -> None:
        self.series = validation_series(211)

    def __call__(self, module: Any) -> dict[str, float]:
        row = over_bayes(sine_errors(module, CPU, self.series))
        past, future = torch.from_numpy(self.series[:, :50].copy()), self.series[:, 50:60]
        lengths = torch.full((len(past),), 50)
        levels = torch.tensor([[0.1, 0.9]], dtype=torch.float64).expand(len(past), -1)
        forecast = module.forecast(module.step(past, lengths, module.initial(lengths)), 10, levels).numpy()
        row["ten_ahead"] = float(np.mean((forecast[:, -1, 0] - future[:, -1]) ** 2)) / BAYES_ERRORS[50, 10]
        row["coverage80"] = float(np.mean((future >= forecast[..., 1]) & (future <= forecast[..., 2])))
        return row


def train_lstm(
    config: Config, folder: Path | None, deadline: float | None = None, *, accept_other: bool = False
) -> tuple[SineForecaster, dict[str, Any]]:
    """The first stage: the network with the averaged weights, and its record; both also in `lstm.npz` of `folder`."""
    torch.manual_seed(config.seed)
    commit = current_commit()
    network = SineForecaster(config.hidden)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay, betas=(0.9, 0.98))
    curves = loop.fit(
        network,
        lambda step: lstm_loss(network, config, step),
        optimizer,
        _plan(config, config.steps, folder, hold=0.35),
        evaluate=LstmValidation(),
        after_step=network.restore_fixed_weights,
        folder=None if folder is None else folder / "lstm",
        label="lstm",
        deadline=deadline,
        identity=identity(config, {}, "sines"),
        accept_other=accept_other,
    )
    network.restore_fixed_weights()
    record = stage_record(
        config,
        curves.rows,
        data={"synthetic": "generated"},
        device=CPU,
        command=command_line(omit=DESTINATIONS),
        commit=commit,
    )
    if folder is not None:
        write_lstm(folder / "lstm.npz", network, record)
    return network, record


def write_lstm(path: Path, network: SineForecaster, record: dict[str, Any]) -> None:
    """What the first stage has learnt, and its record, in one `.npz` file."""
    write_weights(path, {k: v for k, v in network.state_dict().items() if k.startswith(LSTM_WEIGHTS)}, record)


def read_lstm(path: Path) -> tuple[SineForecaster, dict[str, Any]]:
    """A network with the first stage of the file that `write_lstm` wrote, its heads new, and the record."""
    weights, record = read_weights(path)
    network = SineForecaster(record["knobs"]["hidden"])
    for part, prefix in zip((network.lstm, network.coefficients), LSTM_WEIGHTS, strict=True):
        part.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    return network, record


def train_heads(
    network: SineForecaster,
    config: Config,
    folder: Path | None,
    deadline: float | None = None,
    *,
    accept_other: bool = False,
) -> loop.Curves:
    """The second stage, on a network with a trained LSTM; returns the curves."""
    torch.manual_seed(config.seed + 1)
    network.requires_grad_(False)
    new = nn.ModuleList([network.proposal, network.doubt, network.ahead, network.spread])
    heads = nn.ModuleList([*new, network.coefficients]).requires_grad_()
    for layer in new.modules():  # anew, whether the first stage has just run or was read from its file
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    optimizer = torch.optim.AdamW(heads.parameters(), lr=config.head_rate, weight_decay=config.decay, betas=(0.9, 0.98))
    curves = loop.fit(
        network,
        lambda step: heads_loss(network, config, step),
        optimizer,
        _plan(config, config.head_steps, folder, hold=0.2),
        evaluate=Validation(),
        folder=None if folder is None else folder / "heads",
        label="heads",
        deadline=deadline,
        identity=identity(config, {}, "sines"),
        accept_other=accept_other,
    )
    network.requires_grad_()
    return curves


def _plan(config: Config, steps: int, folder: Path | None, *, hold: float) -> loop.Plan:
    interval = max(1, steps // config.evaluations)
    return loop.Plan(
        steps=steps,
        warmup=min(100, steps // 10),
        hold=hold,
        floor=0.005,
        ema=config.ema,
        evaluate_every=interval,
        checkpoint_every=interval if folder else 0,
    )
