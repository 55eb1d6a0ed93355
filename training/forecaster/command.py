"""`python -m training forecaster`: the zero-shot forecaster.

An endless stream of windows made on the training device, forecasts from a few random cuts of every window, the pinball
loss of all levels in units of the series' own seasonal change; beside it, at every step, the pinball loss of the bands
that the fast clock foretells for the next value. Every batch is a function of the seed and the step, so an interrupted
run resumes to the same result.

Training and export can run on different machines: `--weights FILE` ends after the fit and writes the weights, and
`--from-weights FILE` starts from them. `--from-version 2` makes a new version of an earlier one's weights: the graph
around them as it is now, and interval factors fitted anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.data import priors, real_series
from training.data import sine_mixture as generators
from training.evaluation import backtest
from training.fit import loop
from training.fit.export import MODELS
from training.fit.record import command_line, current_commit
from training.forecaster.export import export_again, export_forecaster, predicted
from training.networks.forecaster import LEVELS, MAX_HORIZON, Forecaster

Floats = np.ndarray[Any, np.dtype[np.float64]]
BAYES = {20: 1.21e-3, 50: 8.92e-4, 200: 8.37e-4}  # smallest possible error of the next value of the sine mixture


@dataclass(frozen=True)
class Knobs:
    """Everything that shapes a run of the forecaster."""

    seed: int = 0
    steps: int = 32_000
    values: int = 20_000  # values in a batch: rows x window length
    lengths: tuple[int, ...] = (128, 320, 1280)  # window lengths, one drawn for each step
    cuts: int = 4  # forecasts from each window
    ahead: int = 12  # steps ahead of each forecast that enter the loss
    real: float = 0.56  # share of windows from real series
    variety: float = 1.0  # how often real windows are varied: times the shares in `augment`
    dense: float = 0.3  # weight of the loss of the bands
    fast: int = 64
    slow: int = 128
    width: int = 160
    rate: float = 2e-3
    decay: float = 0.01
    ema: float = 0.999
    evaluations: int = 16  # rows of the curves, each with a validation and a checkpoint


STAGES = (Knobs(), Knobs(seed=1, steps=12_000, rate=1e-3, real=0.5, variety=2.5, evaluations=6))


class Stream:
    """The endless stream of training windows."""

    def __init__(self, knobs: Knobs, device: torch.device) -> None:
        self.knobs, self.device = knobs, device
        self.corpus: real_series.Corpus | None = None
        self.digests: dict[str, str] = {"synthetic": "generated"}
        if knobs.real > 0:
            files = [f for f in real_series.read_all() if f.name not in real_series.HELD_OUT]
            self.corpus = real_series.Corpus(files, device)
            self.digests |= {f.name: f.digest for f in files}

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of one step: what the network sees (B, T), what is true (B, T), the season it is told (B,)."""
        knobs = self.knobs
        generator = torch.Generator(self.device).manual_seed(knobs.seed * 1_000_003 + step)
        length = knobs.lengths[step % len(knobs.lengths)]
        rows = knobs.values // length
        real = 0 if self.corpus is None else round(knobs.real * rows)
        truth, season = priors.mixture(rows - real, length, generator, self.device)
        if self.corpus is not None:
            drawn, known = self.corpus.draw(real, length, generator)
            truth, season = torch.cat([augment(drawn, knobs.variety, generator), truth]), torch.cat([known, season])
        told = torch.rand(rows, device=self.device, generator=generator) < 0.5
        return hide(truth, generator), truth, torch.where(told, season, 0)


def augment(values: Tensor, variety: float, generator: torch.Generator) -> Tensor:
    """Variations of real windows (B, T): upside down, mixed with one another, modulated, lifted by a constant.

    Each of them befalls a tenth of the windows or so, times `variety`.
    """
    rows, length = values.shape
    device = values.device

    def uniform() -> Tensor:
        return torch.rand(rows, 1, generator=generator, device=device, dtype=torch.float64)

    known = torch.isfinite(values)
    count = known.sum(1, keepdim=True).clamp(min=1)
    mean = torch.where(known, values, 0).sum(1, keepdim=True) / count
    spread = (torch.where(known, values - mean, 0).square().sum(1, keepdim=True) / count).sqrt()
    spread = torch.where(spread > 0, spread, 1.0)
    values = torch.where(uniform() < 0.1 * variety, -values, values)
    other = ((values - mean) / spread).roll(1, 0)
    mixed = values + spread * (0.2 + uniform()) * other
    values = torch.where((uniform() < 0.12 * variety) & torch.isfinite(mixed), mixed, values)
    wave = torch.linspace(0, 1, length, device=device, dtype=torch.float64)[None] * (0.3 + 2 * uniform()) + uniform()
    wave = 1 + (0.5 * uniform()) * torch.sin(2 * torch.pi * wave)
    values = torch.where(uniform() < 0.12 * variety, values * wave, values)
    return torch.where(uniform() < 0.1 * variety, values + spread * 20 * (uniform() - 0.5), values)


def hide(values: Tensor, generator: torch.Generator) -> Tensor:
    """Make values missing in some rows of (B, T): here and there, and in runs."""
    rows, length = values.shape
    device = values.device
    uniform = torch.rand(rows, 4, generator=generator, device=device)
    each = torch.rand(rows, length, generator=generator, device=device)
    scattered = each < 0.4 * uniform[:, 1:2] ** 2
    start = (uniform[:, 2] * length).long()
    width = 1 + (uniform[:, 3] ** 3 * length / 3).long()
    column = torch.arange(length, device=device)[None]
    run = (column >= start[:, None]) & (column < (start + width)[:, None])
    gone = (scattered & (uniform[:, :1] < 0.08)) | (run & (uniform[:, :1] > 0.92))
    gone[:, 0] = False
    return values.masked_fill(gone, float("nan"))


def draw_cuts(truth: Tensor, knobs: Knobs, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where forecasts are made, (B, R) in 1..T-1, and how far ahead, (B, R, H): one step and any up to the end."""
    rows, length = truth.shape
    device = truth.device
    column = torch.arange(length, device=device)[None]
    end = torch.where(torch.isfinite(truth), column + 1, 1).max(1)[0]  # values up to the last known one
    uniform = torch.rand(rows, knobs.cuts, 2, generator=generator, device=device)
    share = torch.where(uniform[..., 1] < 0.25, uniform[..., 0] ** 3, uniform[..., 0])
    cuts = 1 + (share * (end[:, None] - 1)).long().minimum((end[:, None] - 2).clamp(min=0))
    room = (end[:, None] - cuts).clamp(1, MAX_HORIZON)
    cap = torch.exp(torch.rand(rows, knobs.cuts, generator=generator, device=device) * 3.5 + 2.1).long()
    room = torch.minimum(room, cap)  # eight to 256 steps
    spread = torch.rand(rows, knobs.cuts, knobs.ahead, generator=generator, device=device)
    ahead = 1 + (spread * room[..., None]).long()
    ahead[..., 0] = 1
    return cuts.clamp(max=length - 1), ahead.clamp(max=MAX_HORIZON)


def loss(network: Forecaster, stream: Stream, step: int) -> Tensor:
    """Mean pinball loss over levels, steps ahead and cuts, relative to the mean absolute seasonal change, and bands."""
    seen, truth, season = stream.batch(step)
    generator = torch.Generator(stream.device).manual_seed(stream.knobs.seed * 1_000_003 + step + 500_000_009)
    cuts, ahead = draw_cuts(truth, stream.knobs, generator)
    predicted, last, swing, bands = network.predict_at(seen, season, cuts, ahead)
    rows = torch.arange(len(truth), device=truth.device)[:, None, None]
    index = cuts[..., None] + ahead - 1
    actual = truth[rows, index.clamp(max=truth.shape[1] - 1)] - last[..., None]
    known = torch.isfinite(actual) & (index < truth.shape[1])
    actual = torch.where(known, actual, predicted[..., LEVELS.index(0.5)].detach())
    error = actual[..., None] - predicted
    levels = network.levels
    pinball = torch.maximum(levels * error, (levels - 1) * error).mean(3)  # (B, R, H)
    # Jumps that nothing announces would drown all else: a forecast that is far off weighs less.
    off = torch.where(known, (actual - predicted[..., LEVELS.index(0.5)]).abs().detach(), 0).sum(2)
    off = off / known.sum(2).clamp(min=1)
    size = (swing + 0.25 * off).clamp(min=1e-290)  # (B, R)
    relative = torch.where(known, pinball / size[..., None], 0)
    forecasts = (relative.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)).mean().float()
    return forecasts + stream.knobs.dense * bands


def predictor(module: Any, device: torch.device) -> backtest.Predict:
    """`module` (eager or scripted) as a function for `backtest`."""

    def predict(contexts: Sequence[Floats], seasons: Sequence[int], horizon: int) -> Floats:
        return predicted(module, contexts, seasons, horizon, backtest.LEVELS, device)

    return predict


def sine_errors(module: Any, device: torch.device, series: Floats) -> dict[int, float]:
    """Mean squared error of the next value (the forecast's mean) after n = 20, 50, 200 values; series (N, > 200)."""
    errors = {}
    levels = torch.full((len(series), 1), 0.5, dtype=torch.float64, device=device)
    for n in BAYES:
        values = torch.from_numpy(np.ascontiguousarray(series[:, :n])).to(device)
        lengths = torch.full((len(series),), n, device=device)
        with torch.no_grad():
            state = module.step(values, lengths, module.initial(torch.zeros_like(lengths)))
            mean = module.forecast(state, 1, levels)[:, 0, 0].cpu().numpy()
        errors[n] = float(np.mean((mean - series[:, n]) ** 2))
    return errors


class Validation:
    """Scores during training: held-out files (never the test parts of training files) and fresh sine mixtures."""

    def __init__(self, knobs: Knobs, device: torch.device, *, most: int = 25) -> None:
        self.device, self.most = device, most
        self.sines = generators.sine_mixture(2000, 201, np.random.default_rng(987_654_321))
        self.files: list[real_series.SeriesFile] = []
        if knobs.real > 0:
            self.files = [f for f in real_series.read_all() if f.name in real_series.HELD_OUT]

    def __call__(self, module: Any) -> dict[str, float]:
        row = {f"sines{n}": e / BAYES[n] for n, e in sine_errors(module, self.device, self.sines).items()}
        if self.files:
            row |= backtest.geometric_means(self.rows(module))
        return row

    def rows(self, module: Any) -> list[backtest.FileScore]:
        predict = predictor(module, self.device)
        return [backtest.score_file(f, predict, most=self.most, context=2048) for f in self.files]


Fitted = tuple[Forecaster, dict[str, Any]]  # a network with its averaged weights, and the record of its fit


def train_stages(stages: Sequence[Knobs], device: torch.device, folder: Path | None, deadline: float | None) -> Fitted:
    """Fit a network in `stages`, each from the weights of the one before; with a `folder` what is done stays done."""
    fitted: Fitted | None = None
    for number, knobs in enumerate(stages, 1):
        weights = None if folder is None else folder / f"stage-{number}.npz"
        if weights is not None and weights.exists():
            fitted = read_weights(weights)
            continue
        fitted = train(knobs, device, folder and folder / f"stage-{number}", deadline, fitted)
        if weights is not None:
            write_weights(weights, *fitted)
    if fitted is None:
        raise ValueError("no stage to train")
    return fitted


def train(
    knobs: Knobs, device: torch.device, folder: Path | None, deadline: float | None, start: Fitted | None = None
) -> Fitted:
    """Fit a network, from `start` on where there is one, whose record becomes the `earlier` of the new one."""
    torch.manual_seed(knobs.seed)
    network, earlier = start or (Forecaster(knobs.fast, knobs.slow, knobs.width), None)
    network = network.to(device)
    stream = Stream(knobs, device)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": knobs.decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=knobs.rate, betas=(0.9, 0.98), fused=device.type == "cuda")
    every = max(1, knobs.steps // knobs.evaluations)
    plan = loop.Plan(
        steps=knobs.steps,
        warmup=min(300, knobs.steps // 10 + 1),
        hold=0.4,
        ema=knobs.ema,
        evaluate_every=every,
        checkpoint_every=every if folder else 0,
    )
    validation = Validation(knobs, device)
    curves = loop.fit(
        network,
        lambda step: loss(network, stream, step),
        optimizer,
        plan,
        evaluate=validation,
        after_step=network.fix,
        folder=folder,
        label="forecaster",
        deadline=deadline,
    )
    network.fix()
    return network, {
        "curves": curves.rows,
        "data": stream.digests,
        "knobs": asdict(knobs),
        "device": _device_name(device),
        "command": command_line(),
        "commit": current_commit(),
        "torch": torch.__version__,
    } | ({"earlier": earlier} if earlier else {})


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command; every knob but the window lengths has one."""
    for name, value in asdict(Knobs()).items():
        if name != "lengths":
            parser.add_argument(f"--{name}", type=type(value), default=value, help="default: %(default)s")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="torch threads on the CPU; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where checkpoints are kept; an interrupted run resumes from there")
    parser.add_argument("--deadline", type=float, help="seconds after which to stop with a checkpoint")
    parser.add_argument("--start", type=Path, help="weights to go on from, with other knobs: a further stage of a fit")
    parser.add_argument("--weights", type=Path, help="write the trained weights here and stop")
    parser.add_argument("--version", type=int, help="version to write; default: one above the highest there is")
    parser.add_argument("--models", type=Path, default=MODELS, help="where to write it; default: models/")
    parser.add_argument("--from-version", type=int, help="skip the fit: an earlier version's weights in today's graph")
    parser.add_argument("--from-weights", type=Path, help="skip the fit: calibrate and export these weights")


def main(args: argparse.Namespace) -> None:
    """Train, calibrate, export: all stages, or one of the knobs that are given."""
    knobs = Knobs(**{k: v for k, v in vars(args).items() if k in asdict(Knobs())})
    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    if args.from_version is not None:
        print(export_again(args.from_version, version=args.version, models=args.models))
        return
    if args.from_weights is not None:
        network, record = read_weights(args.from_weights)
    elif args.start is None and knobs == Knobs():
        network, record = train_stages(STAGES, device, args.folder, args.deadline)
    else:
        start = None if args.start is None else read_weights(args.start)
        network, record = train(knobs, device, args.folder, args.deadline, start)
    if args.weights is not None:
        write_weights(args.weights, network, record)
        return
    print(export_forecaster(network.cpu(), record, version=args.version, models=args.models))


def write_weights(path: Path, network: Forecaster, record: dict[str, Any]) -> None:
    """Weights and record of a fit in one `.npz` file."""
    arrays = {k: v.detach().cpu().numpy() for k, v in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, record=np.frombuffer(json.dumps(record).encode(), np.uint8), **arrays)


def read_weights(path: Path) -> Fitted:
    """The network and record that `write_weights` wrote."""
    with np.load(path, allow_pickle=False) as z:
        record = json.loads(z["record"].tobytes())
        arrays = {k: torch.from_numpy(z[k]) for k in z.files if k != "record"}
    knobs = record["knobs"]
    network = Forecaster(knobs["fast"], knobs["slow"], knobs["width"])
    network.load_state_dict(arrays)
    return network, record
