"""`python -m training tutorials`: train the models of the two tutorials, export them and print the tutorials' table.

`--seeds N` trains every model N times and reports mean and spread; the exported checkpoint is always that of the first
seed. Every score is measured on an exported file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from service.backend.model import load
from service.contract.manifest import read_manifest
from service.contract.types import DigitItem, DigitResult
from training.data import mnist
from training.data.drawn_digits import digit_images
from training.data.tutorial_series import GENERATOR, tutorial_series
from training.evaluation import plots
from training.fit.loop import Curves
from training.fit.options import NOTHING_WRITTEN, add_destination_options, add_dry_run_option
from training.fit.record import Record, command_line, device_name, parameters
from training.tutorials.config import FORECASTER, FORECASTERS, NAMES, READER, READERS
from training.tutorials.export import export_forecaster, export_reader
from training.tutorials.results import ROWS, SCORES, Run, save, table
from training.tutorials.train import DigitSplits, digit_splits, train_forecaster, train_reader

DRAWN_DIGITS_SEED = 3


@cache
def _digits() -> tuple[DigitSplits, dict[str, str]]:
    data = mnist.load()
    return digit_splits(data), data.digests


def train_and_export(name: str, seed: int, models: Path) -> tuple[Run, Path, Curves]:
    """Train the named model with one seed and export it into `models`."""
    started = time.monotonic()
    forecaster = name in FORECASTERS
    module: Any
    config = FORECASTER if forecaster else READER
    if forecaster:
        module, curves = train_forecaster(name, tutorial_series(), seed)
        digests = {GENERATOR: "generated"}
    else:
        splits, digests = _digits()
        module, curves = train_reader(name, splits, seed)
    record = Record(
        command=command_line(),
        seed=seed,
        seconds=round(time.monotonic() - started, 1),
        device=device_name(torch.device("cpu")),
        parameters=parameters(module),
        data=digests,
        knobs=asdict(config) if curves.rows else {},
        curves=curves.rows,
    )
    folder = (export_forecaster if forecaster else export_reader)(module, name, record, models)
    manifest = read_manifest(folder)
    score = SCORES[manifest.task]
    return Run(name, seed, score, manifest.metrics[score], record.seconds), folder, curves


def draw(name: str, folder: Path, curves: Curves, figures: Path) -> None:
    """The tutorial's plots of a run: loss (and accuracy), train against validation; a digit with its prediction."""
    if not curves.rows:
        return
    pairs = {"loss": ("loss", "validation")}
    if name in READERS:
        pairs["accuracy"] = ("accuracy", "validation_accuracy")
        image = digit_images(10, seed=DRAWN_DIGITS_SEED)[0][5].astype(np.float32) / np.float32(255)
        answer = cast("DigitResult", load(folder, warm=False).run([DigitItem(rows=image)])[0])
        plots.digit_answer(image, answer.probabilities, figures / f"{name}-digit.png", f"{name} reads a drawn digit")
    plots.training_curves(curves.rows, pairs, figures / f"{name}-curves.png", name)


def _try_out(name: str, seed: int) -> None:
    """One epoch of the named model, on a part of the data."""
    if name in FORECASTERS:
        train_forecaster(name, tutorial_series(), seed, replace(FORECASTER, epochs=1))
        return
    splits, _ = _digits()
    parts = (splits.rows, splits.labels, splits.validation_rows, splits.validation_labels)
    train_reader(name, DigitSplits(*(part[:320] for part in parts)), seed, replace(READER, epochs=1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training tutorials`."""
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=0, help="the exported checkpoint's seed (default: 0)")
    parser.add_argument("--seeds", type=int, default=1, help="train each model with this many seeds, for the spread")
    add_destination_options(parser, version=False)
    add_dry_run_option(parser)
    parser.add_argument("--results", type=Path, default=ROWS, help="where the rows go when there are several seeds")


def main(arguments: argparse.Namespace) -> None:
    """Train, export, plot, and print the table."""
    torch.set_num_threads(1)
    if arguments.dry_run:
        for name in arguments.only:
            _try_out(name, arguments.seed)
        print(NOTHING_WRITTEN)
        return
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.only:
            for seed in range(arguments.seed, arguments.seed + arguments.seeds):
                first = seed == arguments.seed
                run, folder, curves = train_and_export(name, seed, arguments.models if first else Path(scratch))
                if first:
                    draw(name, folder, curves, arguments.figures)
                print(f"{name}, seed {seed}: {run.score} {run.value:.4f} after {run.seconds:.0f} s", flush=True)
                runs.append(run)
    if arguments.seeds > 1:
        save(runs, arguments.results)
    print(table(runs))
