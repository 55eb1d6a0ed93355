"""`python -m training digits`: train the digit reader, calibrate it on validation digits, export it.

In one go, or in two: `--checkpoint-only FILE` trains and stores weights, curves and knobs (torch and numpy are enough
there), `--from-checkpoint FILE` does the rest. A strong teacher first, then a pupil that learns from it:

    python -m training digits --device cuda --sizes conv --checkpoint-only runs/teacher.pt
    python -m training digits --device cuda --sizes 256x1 --teacher runs/teacher.pt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import mnist
from training.digit_recipe import Cohort, Knobs, build, train
from training.networks.convolutional import Committee

# Options with a value that say where files go or when to stop, and nothing about what is learned.
ELSEWHERE = ("--budget", "--resume", "--checkpoint-only")


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

    def record(self) -> dict[str, Any]:
        """What `training.json` tells of the run, the member's size apart."""
        told = {name: value for name, value in vars(self).items() if name != "weights"}
        return told | {"seed": self.knobs["seed"]}

    def member(self, size: str) -> nn.Module:
        """One trained network, in eval mode."""
        network = build(size, int(self.knobs["readout"]), 0.0)
        network.load_state_dict(self.weights[size])
        return network.eval()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m training digits`."""
    defaults = Knobs()
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--sizes", nargs="+", default=list(defaults.sizes), help="hidden x layers (256x1), or conv")
    for knob in fields(Knobs):
        value, option = getattr(defaults, knob.name), f"--{knob.name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=value)
        elif isinstance(value, int | float):
            parser.add_argument(option, type=type(value), default=value, metavar="N", help=f"default: {value}")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--budget", type=float, help="seconds: fewer epochs where --epochs would take longer")
    parser.add_argument("--teacher", type=Path, nargs="*", default=[], help="checkpoints to learn from")
    parser.add_argument("--resume", type=Path, help="folder of an interruptible run")
    parser.add_argument("--checkpoint-only", type=Path, metavar="FILE", help="train, store, and do not export")
    parser.add_argument("--from-checkpoint", type=Path, metavar="FILE", help="export what an earlier run stored")
    parser.add_argument("--pick", metavar="SIZE", help="which member to export; default: the best on validation")
    parser.add_argument("--name", default="digits", help="name to serve it under")
    parser.add_argument("--models", type=Path, help="where the model's folder goes (default: models/)")
    parser.add_argument("--figures", type=Path, help="where the curves go (default: training/figures/)")
    parser.add_argument("--version", type=int, help="version to write; default: the next one")


def main(arguments: argparse.Namespace) -> None:
    """Train, or take what was trained; then export, unless only the checkpoint is asked for."""
    torch.set_num_threads(arguments.threads)
    source: Path | None = arguments.from_checkpoint
    checkpoint = _trained(arguments) if source is None else Checkpoint.load(source)
    if arguments.checkpoint_only is not None:
        checkpoint.save(arguments.checkpoint_only)
        print(f"wrote {arguments.checkpoint_only}")
        return
    _export(arguments, checkpoint)


def _export(arguments: argparse.Namespace, checkpoint: Checkpoint) -> None:
    from training import plots  # these need matplotlib and pydantic, which a bare GPU machine lacks
    from training.digit_export import export_digits
    from training.export import MODELS

    folder = export_digits(
        {size: checkpoint.member(size) for size in checkpoint.weights},
        checkpoint.record(),
        mnist.load(),
        name=arguments.name,
        pick=arguments.pick,
        version=arguments.version,
        models=arguments.models or MODELS,
    )
    rows = checkpoint.curves
    panels = {"training loss, all rows": ["loss"]}
    for measure in ("nll", "row 28", "row 21", "row 14"):
        panels[f"validation, {measure}"] = [column for column in rows[0] if column.endswith(f" {measure}")]
    figures: Path = arguments.figures or plots.FIGURES
    plots.progress(rows, panels, figures / f"{arguments.name}-curves.png", arguments.name)
    print(f"wrote {folder}")


def _trained(arguments: argparse.Namespace) -> Checkpoint:
    chosen = {name: value for name, value in vars(arguments).items() if name in Knobs.__dataclass_fields__}
    knobs = Knobs(**(chosen | {"sizes": tuple(arguments.sizes)}))
    device = torch.device(arguments.device)
    teachers = [Checkpoint.load(file) for file in arguments.teacher]
    members = [teacher.member(size) for teacher in teachers for size in teacher.weights]
    committee = Committee(members) if members else None
    data = mnist.load()
    commit = _commit()
    cohort, curves, knobs = train(data, knobs, device, committee, budget=arguments.budget, folder=arguments.resume)
    return Checkpoint(
        weights=_weights(cohort),
        knobs=asdict(knobs) | {"teachers": len(members)},
        curves=curves.rows,
        data=data.digests,
        command=_command(sys.argv[1:], knobs, budgeted=arguments.budget is not None),
        commit=commit,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {arguments.threads} thread(s)",
        torch=str(torch.__version__),
        seconds=curves.last["seconds"],
    )


def _command(words: Sequence[str], knobs: Knobs, *, budgeted: bool) -> str:
    """The command that repeats the run in one go: without where files went, and with epochs instead of a budget."""
    kept, left = [], iter(words)
    for word in left:
        name, _, value = word.partition("=")
        if name in ELSEWHERE:
            if not value:
                next(left)
            continue
        kept.append(word)
    return " ".join(["python -m training", *kept, *(["--epochs", str(knobs.epochs)] if budgeted else [])])


def _commit() -> str:
    try:
        from training.record import current_commit
    except ModuleNotFoundError:  # pydantic, on a bare GPU machine
        return "unknown"
    return current_commit()


def _weights(cohort: Cohort) -> dict[str, dict[str, torch.Tensor]]:
    return {
        name: {key: value.detach().cpu() for key, value in member.state_dict().items()}
        for name, member in zip(cohort.names, cohort.members, strict=True)
    }
