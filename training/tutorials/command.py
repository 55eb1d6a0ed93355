"""`python -m training tutorials`: train the models of the two tutorials, export them and print the tutorials' table.

`--seeds N` trains every model N times and reports mean and spread; the exported checkpoint is that of the first seed,
whatever the others reached. Every score is measured on an exported file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from service.backend.model import load
from service.contract.manifest import read_manifest
from service.contract.types import DigitItem, DigitResult
from training.data import drawn_digits as glyphs
from training.data import mnist
from training.data.tutorial_series import GENERATOR, tutorial_series
from training.evaluation import plots
from training.fit.export import MODELS
from training.fit.loop import Curves
from training.fit.record import Record, command_line, parameters
from training.tutorials.export import export_forecaster, export_reader
from training.tutorials.results import NAMES, RESULTS, SCORES, Run, save, table
from training.tutorials.train import (
    FORECASTER,
    FORECASTERS,
    READER,
    READERS,
    DigitSplits,
    digit_splits,
    train_forecaster,
    train_reader,
)

DRAWN_DIGITS_SEED = 3


@cache
def _digits() -> tuple[DigitSplits, dict[str, str]]:
    data = mnist.load()
    return digit_splits(data), data.digests


def run(name: str, seed: int, models: Path) -> tuple[Run, Path, Curves]:
    """Train the named model with one seed and export it into `models`."""
    started = time.monotonic()
    forecaster = name in FORECASTERS
    module: Any
    recipe = FORECASTER if forecaster else READER
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
        device="cpu, 1 thread",
        parameters=parameters(module),
        data=digests,
        knobs=asdict(recipe) if curves.rows else {},
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
        image = glyphs.digit_images(10, seed=DRAWN_DIGITS_SEED)[0][5].astype(np.float32) / np.float32(255)
        answer = cast("DigitResult", load(folder, warm=False).run([DigitItem(rows=image)])[0])
        plots.digit_answer(image, answer.probabilities, figures / f"{name}-digit.png", f"{name} reads a drawn digit")
    plots.training_curves(curves.rows, pairs, figures / f"{name}-curves.png", name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training tutorials`."""
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=0, help="the exported checkpoint's seed (default: 0)")
    parser.add_argument("--seeds", type=int, default=1, help="train each model with so many seeds, for the spread")
    parser.add_argument("--models", type=Path, default=MODELS, help="where the folders go (default: models/)")
    parser.add_argument("--figures", type=Path, default=plots.FIGURES, help="where the plots go")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the rows go when there are several seeds")


def main(args: argparse.Namespace) -> None:
    """Train, export, plot, and print the table."""
    torch.set_num_threads(1)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.only:
            for seed in range(args.seed, args.seed + args.seeds):
                first = seed == args.seed
                done, folder, curves = run(name, seed, args.models if first else Path(scratch))
                if first:
                    draw(name, folder, curves, args.figures)
                print(f"{name}, seed {seed}: {done.score} {done.value:.4f} after {done.seconds:.0f} s", flush=True)
                runs.append(done)
    if args.seeds > 1:
        save(runs, args.results)
    print(table(runs))
