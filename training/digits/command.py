"""`python -m training digits`: train the digit reader in stages, calibrate it on validation digits, export it.

`teacher` and `teacher-2` are convolutional networks that see whole images; `labels` is the reader, trained on labels
alone; the rounds `taught`, `taught-2` … train it on with the teachers' answers beside the labels. Each round begins
from the mean of the weights that the rounds before it ended with, and the mean of them all is the reader (Izmailov et
al., 2018). A finished stage is taken from its file, an interrupted one goes on where it was: the same command again.
One stage alone, with other knobs:

    python -m training digits --stage teacher --epochs 30
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.data import mnist
from training.digits.augment import Distortion
from training.digits.export import export_digits
from training.digits.train import Cohort, Knobs, build, train
from training.evaluation import plots
from training.fit.export import MODELS
from training.fit.record import command_line, current_commit
from training.networks.convolutional import Committee

FOLDER = Path("runs/digits")
_TEACHER = Knobs(weight_decay=0.02, smoothing=0.01, free=0.0, drawn=0, ones=0, others=0, seed=1)
_TAUGHT = Knobs(epochs=8.0, peak=2e-3, warmup=0.05, dropout=0.15, smoothing=0.01, final=4.0, seed=2)
_BY_TWO = replace(_TAUGHT, peak=1.5e-3, free=0.12, distilled=0.9)  # both teachers, listened to more
STAGES = {
    "teacher": replace(_TEACHER, sizes=("image",), epochs=12.0),
    "teacher-2": replace(_TEACHER, sizes=("strided",), epochs=11.0, smoothing=0.005, seed=5),
    "labels": Knobs(),
    "taught": _TAUGHT,
    "taught-2": replace(_TAUGHT, epochs=6.0, peak=1.5e-3, seed=3),
    "taught-3": replace(_TAUGHT, epochs=6.0, peak=1.5e-3, seed=4),
    "taught-4": replace(_BY_TWO, epochs=9.0, seed=4),
    "taught-5": replace(_BY_TWO, epochs=7.0, seed=6, distortion=Distortion(untouched=0.3)),
    "taught-6": replace(_BY_TWO, epochs=10.0, seed=7, distortion=Distortion(untouched=0.3), own=True),
}
ROUNDS = [stage for stage in STAGES if stage.startswith("taught")]


@dataclass(frozen=True)
class Checkpoint:
    """What a finished training left behind: the members' weights and how they came about."""

    weights: dict[str, dict[str, torch.Tensor]]  # member -> state of its network
    knobs: dict[str, Any]
    curves: list[dict[str, float]]
    data: dict[str, str]
    command: str
    commit: str
    device: str
    torch: str
    seconds: float

    def save(self, file: Path) -> None:
        """Write one file that `load` reads back without running anything in it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(vars(self), file)

    @classmethod
    def load(cls, file: Path) -> Checkpoint:
        """Read what `save` wrote."""
        return cls(**torch.load(file, map_location="cpu", weights_only=True))

    def member(self, size: str) -> nn.Module:
        """One trained network, in eval mode."""
        network = build(size, 0.0)
        network.load_state_dict(self.weights[size])
        return network.eval()

    def members(self) -> list[nn.Module]:
        """All trained networks, in eval mode."""
        return [self.member(size) for size in self.weights]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m training digits`."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--stage", choices=STAGES, help="train this stage only, with its knobs as below; no export")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"what the stages leave (default: {FOLDER}/)")
    parser.add_argument("--sizes", nargs="+", help="hidden x layers (256x1), or image")
    for knob in fields(Knobs):
        value, option = getattr(Knobs(), knob.name), f"--{knob.name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None)
        elif isinstance(value, int | float):
            parser.add_argument(option, type=type(value), metavar="N")
    parser.add_argument("--name", default="digits", help="name to serve it under")
    parser.add_argument("--models", type=Path, help="where the model's folder goes (default: models/)")
    parser.add_argument("--figures", type=Path, help="where the curves go (default: training/figures/)")
    parser.add_argument("--version", type=int, help="version to write; default: the next one")


def main(arguments: argparse.Namespace) -> None:
    """Train all stages that are not there yet and export the reader; or one stage, and leave it in the folder."""
    torch.set_num_threads(arguments.threads)
    changed = {name: value for name, value in vars(arguments).items() if name in Knobs.__dataclass_fields__}
    changed = {name: value for name, value in changed.items() if value is not None}
    if changed and arguments.stage is None:
        raise SystemExit(f"--{next(iter(changed))} changes a knob of one stage: say which, with --stage")
    if "sizes" in changed:
        changed["sizes"] = tuple(changed["sizes"])
    stages = list(STAGES) if arguments.stage is None else [arguments.stage]
    for stage in stages:
        file: Path = arguments.folder / f"{stage}.pt"
        if not file.exists():
            trained(stage, replace(STAGES[stage], **changed), arguments.folder, arguments.device).save(file)
            print(f"wrote {file}", flush=True)
    if arguments.stage is None:
        _export(arguments, {stage: Checkpoint.load(arguments.folder / f"{stage}.pt") for stage in stages})


def trained(stage: str, knobs: Knobs, folder: Path, device: str) -> Checkpoint:
    """Train one stage; a round with teachers needs the files of the stages before it in `folder`."""
    committee, start = None, None
    if stage in ROUNDS:
        teachers = [Checkpoint.load(folder / f"{one}.pt") for one in STAGES if one.startswith("teacher")]
        before = [Checkpoint.load(folder / f"{one}.pt") for one in ROUNDS[: ROUNDS.index(stage)] or ["labels"]]
        reader = replace(before[-1], weights=mean(before))
        start = next(iter(reader.weights.values()))
        teachers += [reader] if knobs.own else []
        committee = Committee([member for one in teachers for member in one.members()])
    data, commit, chosen = mnist.load(), current_commit(), torch.device(device)
    cohort, curves = train(data, knobs, chosen, committee, start=start, folder=folder / stage)
    return Checkpoint(
        weights=_weights(cohort),
        knobs=asdict(knobs),
        curves=curves.rows,
        data=data.digests,
        command=command_line(),
        commit=commit,
        device=torch.cuda.get_device_name(chosen)
        if chosen.type == "cuda"
        else f"cpu, {torch.get_num_threads()} thread(s)",
        torch=str(torch.__version__),
        seconds=curves.last["seconds"],
    )


def mean(checkpoints: Sequence[Checkpoint]) -> dict[str, dict[str, torch.Tensor]]:
    """Member -> the mean of the weights that the checkpoints have for it; all have the same members."""
    return {
        size: {name: torch.stack([one.weights[size][name] for one in checkpoints]).mean(0) for name in weights}
        for size, weights in checkpoints[0].weights.items()
    }


def record(checkpoints: dict[str, Checkpoint]) -> dict[str, Any]:
    """What manifest and `training.json` tell of a reader whose stages these are, in order."""
    told = {stage: {k: v for k, v in vars(c).items() if k != "weights"} for stage, c in checkpoints.items()}
    *earlier, last = told.values()
    stages = {stage: told[stage] for stage in list(told)[:-1]}
    return last | {
        "command": " && ".join(dict.fromkeys(one["command"] for one in told.values())),
        "seconds": last["seconds"] + sum(one["seconds"] for one in earlier),
        "seed": last["knobs"]["seed"],
        "knobs": last["knobs"] | {"earlier": stages},
    }


def _export(arguments: argparse.Namespace, checkpoints: dict[str, Checkpoint]) -> None:
    last = list(checkpoints.values())[-1]
    reader = replace(last, weights=mean([one for stage, one in checkpoints.items() if stage in ROUNDS]))
    folder = export_digits(
        {size: reader.member(size) for size in reader.weights},
        record(checkpoints),
        mnist.load(),
        name=arguments.name,
        version=arguments.version,
        models=arguments.models or MODELS,
    )
    rows = last.curves
    panels = {"training loss, all rows": ["loss"]}
    for measure in ("nll", "row 28", "row 21", "row 14"):
        panels[f"validation, {measure}"] = [column for column in rows[0] if column.endswith(f" {measure}")]
    figures: Path = arguments.figures or plots.FIGURES
    plots.progress(rows, panels, figures / f"{arguments.name}-curves.png", arguments.name)
    print(f"wrote {folder}")


def _weights(cohort: Cohort) -> dict[str, dict[str, torch.Tensor]]:
    return {
        name: {key: value.detach().cpu() for key, value in member.state_dict().items()}
        for name, member in zip(cohort.names, cohort.members, strict=True)
    }
