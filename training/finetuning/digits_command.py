"""`ritmo train digits FOLDER --name NAME`: train the shipped digit reader on with labelled images of one's own."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from service.backend.model import load
from training.data.mnist import Digits
from training.digits.config import Config
from training.digits.export import write_folder
from training.evaluation import evaluate, plots, scores
from training.finetuning.digits import (
    Reader,
    best,
    calibrated,
    scored,
    served,
    shipped_reader,
    size_of,
    steps,
    tune,
    usual_epochs,
    without_head,
)
from training.finetuning.images import LabelledImages, read_images, split
from training.finetuning.options import (
    add_common_options,
    announce,
    check_name,
    folder_of,
    report_folder,
    run_fit,
    say,
)
from training.finetuning.series import UnusableData
from training.fit.loop import Curves
from training.fit.options import changed_fields
from training.fit.record import Record, command_line, device_name, identity, parameters
from training.networks.digits import RowReader

DEFAULT_NAME = "digits"  # the name that answers where a request names no model
WORST = 20  # examples that are drawn
USUAL = Config(
    batch=32, peak=5e-4, warmup=0.1, dropout=0.1, smoothing=0.01, ema=0.98, drawn=0, ones=0, others=0, bfloat16=False
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `ritmo train digits`."""
    parser.add_argument(
        "folder", type=Path, help="folders named 0 to 9 (or up to a hundred other labels), idx files, or a CSV of paths"
    )
    add_common_options(parser)
    parser.add_argument("--start", default=DEFAULT_NAME, help="reader to train on (default: %(default)s)")
    parser.add_argument("--epochs", type=float, help="passes over the images (default: by their number)")
    parser.add_argument("--batch", type=int, help=f"images of a step (default: {USUAL.batch})")
    parser.add_argument("--peak", type=float, help=f"peak learning rate (default: {USUAL.peak})")
    parser.add_argument("--seed", type=int, help="of the split and of the fit (default: 0)")


def main(arguments: argparse.Namespace) -> None:
    """Read, score, train, choose, write; raises `UnusableData` for what cannot be done, in a sentence."""
    started = time.monotonic()
    check_name(arguments.name, arguments.models, "classify-digit", DEFAULT_NAME)
    core, scale, version = _shipped(arguments.start, arguments.models)
    images = read_images(arguments.folder)
    config = replace(USUAL, sizes=(size_of(core),), **changed_fields(arguments, USUAL))
    parts = split(images, config.seed)
    learning, choosing, scoring = parts
    if arguments.epochs is None:
        config = replace(config, epochs=usual_epochs(len(learning), config.batch))
    config = replace(config, batch=min(config.batch, len(learning)))
    if arguments.dry_run:
        config = replace(config, epochs=2 * config.batch / len(learning))
    say(
        f"{len(images.digits)} images of {len(set(images.digits.labels.tolist()))} labels; {len(scoring)} of them score"
    )
    for note in images.notes:
        say(f"note: {note}")
    shipped = scored("shipped", core, scale, scoring) if images.are_digits else None

    start = core if images.are_digits else without_head(core, len(images.names), config.seed)
    run = identity(config, {"own images": images.digest}, "digits", "finetuning", start=version)
    tuned_core, curves = run_fit(
        arguments, started, steps(config, len(learning)), "training", partial(tune, start, parts, config, identity=run)
    )
    tuned = scored("trained", tuned_core, calibrated(tuned_core, scale, choosing), scoring)
    chosen = best(shipped, tuned)
    print(score_table([reader for reader in (shipped, tuned) if reader is not None], chosen))
    if arguments.dry_run:
        say("dry run: nothing was written")
        return
    record = Record(
        command=command_line(program="ritmo train"),
        seed=config.seed,
        seconds=round(time.monotonic() - started, 1),
        device=device_name(torch.device("cpu")),
        parameters=parameters(chosen.core.requires_grad_(True)),
        data={"own images": images.digest},
        knobs=asdict(config) | {"start": version, "kept": chosen.name, "labels": list(images.names)},
        curves=curves.rows,
    )
    folder = _write(arguments, chosen, images, scoring, record)
    _write_report(report_folder(arguments), images, scoring, chosen, curves)
    announce(arguments, folder, DEFAULT_NAME)


def _shipped(reference: str, models: Path) -> tuple[RowReader, torch.Tensor, str]:
    """The reader to start from, its temperatures, and its name@version."""
    folder = folder_of(reference, models)
    try:
        return *shipped_reader(folder), f"{folder.parent.name}@{folder.name}"
    except (KeyError, RuntimeError) as error:
        raise UnusableData(f"{reference} is no reader of the shipped kind, the one that can be trained on") from error


def score_table(tried: list[Reader], chosen: Reader) -> str:
    """Scores on the images that score, as Markdown; the chosen reader is marked."""
    lines = ["| reader | right | cross-entropy |", "| --- | --- | --- |"]
    for reader in tried:
        mark = " (kept)" if reader is chosen else ""
        lines.append(f"| {reader.name}{mark} | {100 * reader.accuracy:.2f} % | {reader.cross_entropy:.4f} |")
    return "\n".join(lines)


def _write(
    arguments: argparse.Namespace, chosen: Reader, images: LabelledImages, scoring: Digits, record: Record
) -> Path:
    """The model's folder; its metrics are those of the exported file."""

    def metrics_of(folder: Path) -> dict[str, float]:
        answers = evaluate.digit_traces(load(folder, warm=False), scoring)[:, -1]
        return {
            "own_accuracy": scores.accuracy(scoring.labels, answers),
            "own_calibration_error": scores.calibration_error(scoring.labels, answers),
        }

    classes = "" if images.are_digits else f"; its {len(images.names)} classes: {', '.join(images.names)}"
    return write_folder(
        served(chosen),
        name=arguments.name,
        description=f"Digit reader for one's own images ({chosen.name}){classes}",
        unlikely=None,
        record=record,
        metrics_of=metrics_of,
        version=arguments.version,
        models=arguments.models,
        labels=() if images.are_digits else images.names,
    )


def _write_report(folder: Path, images: LabelledImages, scoring: Digits, chosen: Reader, curves: Curves) -> None:
    """Confusion, the worst examples, the curves, and the accuracy of every label."""
    folder.mkdir(parents=True, exist_ok=True)
    table = scores.confusion(scoring.labels, chosen.probabilities)
    plots.confusion(table, folder / "confusion.png", f"{100 * chosen.accuracy:.2f} % right", images.names)
    of_label = chosen.probabilities[np.arange(len(scoring)), scoring.labels]
    worst = np.argsort(of_label, kind="stable")[:WORST]
    answers = chosen.probabilities.argmax(1)
    captions = [
        f"{images.names[scoring.labels[i]]}, read {images.names[answers[i]]} ({chosen.probabilities[i].max():.2f})"
        for i in worst
    ]
    plots.digit_grid(scoring.rows()[worst], captions, folder / "worst.png", "the least likely labels first")
    measures = [name for name in curves.rows[0] if name.endswith(("nll", "row 28"))]
    plots.progress(curves.rows, {name: [name] for name in measures}, folder / "curves.png", "images that choose")
    right = np.diag(table) / np.maximum(table.sum(1), 1)
    by_label = {name: float(share) for name, share in zip(images.names, right, strict=True)}
    (folder / "accuracy.json").write_text(json.dumps(by_label, indent=1) + "\n", encoding="utf-8")
    say(f"wrote {folder}/confusion.png, worst.png, curves.png, accuracy.json")
