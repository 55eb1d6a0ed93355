"""`python -m training digits`: train the digit reader in stages, calibrate it on validation digits, export it.

`teacher` and `teacher-2` are convolutional networks that see whole images; `labels` is the reader, trained on labels
alone; `taught` is the same reader, trained on with the teachers' answers beside the labels. A finished stage is taken
from its file, an interrupted one goes on where it was: the same command again. One stage alone, with other knobs:

    python -m training digits --stage teacher --epochs 30
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import mnist, plots
from training.digit_export import export_digits
from training.digit_recipe import Cohort, Knobs, build, train
from training.export import MODELS
from training.networks.convolutional import Committee
from training.record import command_line, current_commit

FOLDER = Path("runs/digits")
STAGES = {
    "teacher": Knobs(
        sizes=("image",), epochs=12.0, weight_decay=0.02, smoothing=0.01, free=0.0, drawn=0, ones=0, others=0, seed=1
    ),
    "teacher-2": Knobs(
        sizes=("strided",),
        epochs=14.0,
        weight_decay=0.02,
        smoothing=0.005,
        free=0.0,
        drawn=0,
        ones=0,
        others=0,
        seed=5,
    ),
    "labels": Knobs(),
    "taught": Knobs(
        epochs=22.0,
        peak=2e-3,
        warmup=0.05,
        dropout=0.15,
        smoothing=0.01,
        free=0.15,
        final=4.0,
        distilled=0.9,
        seed=4,
    ),
}


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
    """Train all stages that are not there yet and export the last; or one stage, and leave it in the folder."""
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
    """Train one stage; `taught` needs the files of the others in `folder`."""
    committee, start = None, None
    if stage == "taught":
        teachers = [Checkpoint.load(folder / f"{one}.pt") for one in STAGES if one.startswith("teacher")]
        committee = Committee([member for one in teachers for member in one.members()])
        start = next(iter(Checkpoint.load(folder / "labels.pt").weights.values()))
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


def record(checkpoints: dict[str, Checkpoint]) -> dict[str, Any]:
    """What manifest and `training.json` tell of a reader whose stages these are, the last of them the reader itself."""
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
    folder = export_digits(
        {size: last.member(size) for size in last.weights},
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
