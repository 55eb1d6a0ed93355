"""`python -m training tutorials`: train the models of the two tutorials, export them and print the tutorials' table.

`--seeds N` trains every model N times and reports mean and spread; the exported checkpoint is that of the first seed,
whatever the others reached. Every score is measured on an exported file.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from service.backend import load
from service.items import DigitItem, DigitResult
from service.manifest import read_manifest
from training import glyphs, mnist, plots
from training.export import MODELS
from training.loop import Curves
from training.record import Record, command_line, parameters
from training.tutorial_export import export_forecaster, export_reader
from training.tutorial_recipes import (
    FORECASTER,
    FORECASTERS,
    READER,
    READERS,
    DigitSplits,
    digit_splits,
    least_squares,
    train_forecaster,
    train_reader,
)
from training.tutorial_series import GENERATOR, tutorial_series

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "tutorials.csv"
NAMES = (*FORECASTERS, *READERS)
SCORES = {"forecast": "tutorial_mse", "classify-digit": "test_accuracy"}
PUBLISHED = {"naive": 0.0206, "linear": 0.0031, "rnn-1": 0.1149, "rnn-20": 0.0044}  # mean squared errors
DRAWN_DIGITS_SEED = 3


@dataclass(frozen=True)
class Run:
    """One trained and exported model and its score on the test set."""

    model: str
    seed: int
    score: str
    value: float
    seconds: float


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


def table(runs: Sequence[Run]) -> str:
    """The tutorials' table in Markdown: published, then mean and spread over the seeds."""
    lines = ["| model | score | published | mean | spread | seeds |", "| --- | --- | --- | --- | --- | --- |"]
    for name in dict.fromkeys(r.model for r in runs):
        mine = [r for r in runs if r.model == name]
        values = np.array([r.value for r in mine])
        published = PUBLISHED.get(name, "")
        spread = f"{values.min():.4f} … {values.max():.4f}"
        lines.append(f"| {name} | {mine[0].score} | {published} | {values.mean():.4f} | {spread} | {len(mine)} |")
    if any(r.model == "linear" for r in runs):
        best = least_squares(tutorial_series())
        lines.append(f"| linear, by least squares | tutorial_mse | | {best:.4f} | | |")
    return "\n".join(lines)


def save(runs: Sequence[Run], path: Path) -> None:
    """Write one row a run; rows of models that were not trained now stay."""
    kept = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if row["model"] not in {r.model for r in runs}]
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sorted([*kept, *(asdict(r) for r in runs)], key=lambda row: (NAMES.index(row["model"]), int(row["seed"])))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(runs[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


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
