"""`python -m training sines`: a recurrent network for the tutorial's sine mixture, as near the Bayes limit as it gets.

Two stages (`training.sines.train`), one after the other. With `--folder` an interrupted run goes on where it was, and
the first stage leaves `lstm.npz` there; `--from-weights` starts the second stage from such a file.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from service.contract.manifest import InputContract, OutputContract, StateContract
from training.data import sine_mixture as generators
from training.evaluation import evaluate, plots
from training.fit.export import MODELS, export, forecast_golden
from training.fit.loop import Curves
from training.fit.record import Record, command_line, current_commit, parameters
from training.networks.sines import LEVELS, MAX_HORIZON, SineForecaster
from training.sines.train import Knobs, train_heads, train_lstm

CONTEXT = 4096
GOLDEN_HORIZON = 12


def first_stage(knobs: Knobs, folder: Path | None) -> tuple[SineForecaster, dict[str, Any]]:
    """Train the LSTM and leave it in `folder`; the network, and the stage's record."""
    network, curves = train_lstm(knobs, folder)
    record = {
        "command": repeating(command_line()),
        "commit": current_commit(),
        "torch": torch.__version__,
        "device": device(),
        "data": {"synthetic": "generated"},
        "knobs": asdict(knobs),
        "curves": curves.rows,
    }
    if folder is not None:
        write_weights(folder / "lstm.npz", network, record)
    return network, record


def device() -> str:
    """What a run here runs on."""
    return f"cpu, {torch.get_num_threads()} threads"


def repeating(command: str) -> str:
    """The command without what only says where its results go."""
    return re.sub(r" --(folder|models|version|figures)[ =]\S+", "", command)


def write_weights(path: Path, network: SineForecaster, record: dict[str, Any]) -> None:
    """What the first stage has learnt, and its record, in one `.npz` file."""
    arrays = {k: v.numpy() for k, v in network.state_dict().items() if k.startswith(("lstm.", "coefficients."))}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, record=np.frombuffer(json.dumps(record).encode(), np.uint8), **arrays)


def read_weights(path: Path) -> tuple[SineForecaster, dict[str, Any]]:
    """A network with the first stage of the file that `write_weights` wrote, its heads new, and the record."""
    with np.load(path, allow_pickle=False) as z:
        record = json.loads(z["record"].tobytes())
        network = SineForecaster(record["knobs"]["hidden"])
        for part, prefix in ((network.lstm, "lstm."), (network.coefficients, "coefficients.")):
            found = {k.removeprefix(prefix): torch.from_numpy(z[k]) for k in z.files if k.startswith(prefix)}
            part.load_state_dict(found)
    return network, record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command; every knob but the window lengths has one."""
    for name, value in asdict(Knobs()).items():
        if name != "lengths":
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, type=type(value), default=value, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where checkpoints are kept; an interrupted run resumes from there")
    parser.add_argument("--from-weights", type=Path, help="skip the first stage: begin with its file, lstm.npz")
    parser.add_argument("--version", type=int, help="version to write; default: one above the highest there is")
    parser.add_argument("--models", type=Path, default=MODELS, help="where to write it; default: models/")
    parser.add_argument("--figures", type=Path, default=plots.FIGURES, help="where the curves go; default: %(default)s")


def main(args: argparse.Namespace) -> None:
    """Train both stages, or the second alone, export, and draw the curves."""
    knobs = Knobs(**{k: v for k, v in vars(args).items() if k in asdict(Knobs())})
    torch.set_num_threads(args.threads)
    if args.from_weights is None:
        network, lstm = first_stage(knobs, args.folder)
    else:
        network, lstm = read_weights(args.from_weights)
    curves = train_heads(network, knobs, args.folder)
    print(export_sines(network, record(network, knobs, lstm, curves), version=args.version, models=args.models))
    errors = ["sines20", "sines50", "sines200"]
    panels = {"loss": ["loss"], "next value, error over the limit": errors}
    plots.progress(lstm["curves"], panels, args.figures / "sines-lstm-curves.png", "sines, the LSTM alone")
    panels = {**panels, "coverage of the 80 % interval": ["coverage80"]}
    plots.progress(curves.rows, panels, args.figures / "sines-curves.png", "sines, the heads, with the fit")


def record(network: SineForecaster, knobs: Knobs, lstm: dict[str, Any], curves: Curves) -> Record:
    """What manifest and `training.json` tell of both stages; the first may have been a run of its own."""
    now = repeating(command_line())
    return Record(
        command=" && ".join(dict.fromkeys([lstm["command"], now])),
        seed=knobs.seed,
        seconds=lstm["curves"][-1]["seconds"] + curves.last["seconds"],
        device=device(),
        parameters=parameters(network),
        data={"synthetic": "generated"},
        knobs=asdict(knobs) | {"earlier": {"lstm": lstm}},
        curves=curves.rows,
    )


def export_sines(network: SineForecaster, record: Record, *, version: int | None, models: Path) -> Path:
    """Write `models/sines/<version>/` and return it."""
    return export(
        network,
        name="sines",
        task="forecast",
        description="For the tutorial's sine mixture alone: an LSTM guesses the two sines, a fit in the graph refines",
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
