"""`python -m training digits`: train the digit reader in stages, calibrate it on validation digits, export it.

A finished stage is taken from its file, an interrupted one resumes from its checkpoint: the same command again. One
stage alone, with another configuration:

    python -m training digits --stage teacher --epochs 30
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from training.data import mnist
from training.data.mnist import Digits, Mnist
from training.digits.config import JUDGE, SIGN_ROUNDS, STAGES, Config
from training.digits.export import export_digits
from training.digits.stages import (
    EARLIER_SHARES,
    Checkpoint,
    blended_weights,
    combined_record,
    exported_checkpoint,
    load_stages,
    reader_before_signs,
    stage_file,
    train_stage,
    trained_judge,
)
from training.digits.train import train
from training.evaluation import plots
from training.fit import distributed
from training.fit.options import (
    NOTHING_WRITTEN,
    add_config_options,
    add_destination_options,
    add_device_options,
    add_run_options,
    changed_fields,
    use_device,
)
from training.fit.record import check_finished

FOLDER = Path("runs/digits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training digits`."""
    add_config_options(parser, Config(), default="that of the stage")
    add_device_options(parser)
    add_destination_options(parser)
    parser.add_argument("--stage", choices=STAGES, help="train this stage only; no export")
    parser.add_argument(
        "--start", type=Path, help="folder of an exported reader: only the round of signs and the judge, from it"
    )
    add_run_options(parser, FOLDER)
    parser.add_argument("--name", default="digits", help="name to serve the reader under (default: %(default)s)")


def main(arguments: argparse.Namespace) -> None:
    """Train all stages that are not there yet and export the reader; or train one stage."""
    device = use_device(arguments)
    changed = changed_fields(arguments, Config())
    if changed and arguments.stage is None:
        raise SystemExit(f"--{next(iter(changed))} changes the configuration of one stage: name it with --stage")
    exported = None if arguments.start is None else exported_checkpoint(arguments.start)
    stages = (
        list(STAGES if exported is None else [*SIGN_ROUNDS, JUDGE]) if arguments.stage is None else [arguments.stage]
    )
    if arguments.dry_run:
        _try_out(replace(STAGES[stages[0]], **changed), device)
        return
    for stage in stages:
        file, config = stage_file(arguments.folder, stage), replace(STAGES[stage], **changed)
        if file.exists():
            check_finished(file, Checkpoint.load(file).knobs, config, accept_other=arguments.accept_other)
            continue
        options = {"deadline": arguments.deadline, "accept_other": arguments.accept_other, "exported": exported}
        train_stage(stage, config, arguments.folder, device, **options).save(file)
        print(f"wrote {file}", flush=True)
    if arguments.stage is None and distributed.is_first():
        _export(arguments, dict(zip(stages, load_stages(arguments.folder, stages), strict=True)), exported)


def _try_out(config: Config, device: torch.device) -> None:
    """Two steps of one stage, evaluated on a few images."""
    data = mnist.load()
    sample = Digits(data.validation.images[:200], data.validation.labels[:200])
    config = replace(config, epochs=1.0, batch=32, drawn=4, ones=2, others=4)
    train(Mnist(Digits(data.train.images[:64], data.train.labels[:64]), sample, sample), config, device)
    print(NOTHING_WRITTEN)


def _export(arguments: argparse.Namespace, checkpoints: dict[str, Checkpoint], exported: Checkpoint | None) -> None:
    last = list(checkpoints.values())[-1]
    beginning = exported or reader_before_signs(arguments.folder)
    rounds = [checkpoints[stage] for stage in SIGN_ROUNDS]
    reader = replace(checkpoints[SIGN_ROUNDS[-1]], weights=blended_weights(beginning, rounds, EARLIER_SHARES[1]))
    size = next(iter(reader.weights))
    folder = export_digits(
        {size: reader.member(size)},  # the judge reads with the first one
        combined_record(checkpoints if exported is None else {"start": exported, **checkpoints}),
        mnist.load(),
        judge=trained_judge(last),
        name=arguments.name,
        version=arguments.version,
        models=arguments.models,
    )
    rows = last.curves
    panels = {"training loss, all rows": ["loss"]}
    panels |= {f"share of unseen {name} doubted": [f"{name} doubted"] for name in ("digits", "others")}
    figures: Path = arguments.figures
    plots.progress(rows, panels, figures / f"{arguments.name}-curves.png", arguments.name)
    print(f"wrote {folder}")
