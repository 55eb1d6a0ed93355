"""`python -m training report`: score every exported model and write `training/RESULTS.md` with its figures.

Nothing in the report is written by hand: scores come from `training.evaluation.evaluate`, which runs the exported files
through the service's backend; speed is measured here, on one thread; the rows go to `benchmarks/results/models.csv`.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from service.backend.model import LoadedModel, load
from service.contract.manifest import MODEL_FILE
from service.contract.types import DigitItem, ForecastItem, Item
from training.data.drawn_digits import digit_images
from training.data.tutorial_series import WINDOW, tutorial_series
from training.evaluation import evaluate, plots, scores
from training.folders import FIGURES, MODELS, REPORT, RESULTS
from training.reports.tables import Scored, document
from training.tutorials import results as tutorial_runs

ROWS = RESULTS / "models.csv"
GRID = 15  # forecasts in a figure
BATCH = 64
REPEATS = 50


def score(folder: Path, figures: Path) -> Scored:
    """Load the model in `folder` as the service does, score and time it, and draw its figures into `figures`."""
    model = load(folder)
    manifest = model.manifest
    kilobytes = (folder / MODEL_FILE).stat().st_size / 1000
    if manifest.task == "forecast":
        metrics = {**evaluate.forecast_metrics(model), **speed(model, _series())}
        return Scored(manifest, kilobytes, metrics, figures=_draw_forecasts(model, figures))
    digits = evaluate.mnist_test()
    trace = evaluate.digit_traces(model, digits)
    metrics = {**evaluate.digit_metrics(trace, digits.labels), **speed(model, _digits())}
    by_row = np.array([scores.accuracy(digits.labels, trace[:, row]) for row in range(trace.shape[1])])
    name = f"confusion-{manifest.name}.png"
    plots.confusion(scores.confusion(digits.labels, trace[:, -1]), figures / name, f"{manifest.name}, MNIST test")
    return Scored(manifest, kilobytes, metrics, by_row, [name])


def speed(model: LoadedModel, items: Sequence[Item]) -> dict[str, float]:
    """Microseconds of processor time an item takes, alone and in a batch of 64: the quickest of some calls, one thread.

    Processor time and the quickest call are less disturbed by other programs on the machine.
    """
    return {
        "microseconds_alone": _seconds(model, items[:1]) * 1e6,
        f"microseconds_in_{BATCH}": _seconds(model, items) * 1e6 / len(items),
    }


def _seconds(model: LoadedModel, items: Sequence[Item]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.thread_time()
        model.run(items)
        times.append(time.thread_time() - started)
    return min(times)


def _series() -> list[Item]:
    past = evaluate.fresh_series()[:BATCH, :WINDOW]
    return [ForecastItem(values=values, horizon=1, levels=evaluate.LEVELS) for values in past]


def _digits() -> list[Item]:
    return [DigitItem(rows=image.astype(np.float32) / np.float32(255)) for image in digit_images(BATCH, seed=1)[0]]


def _draw_forecasts(model: LoadedModel, figures: Path) -> list[str]:
    series = tutorial_series().test[:GRID, : WINDOW + evaluate.AHEAD]
    past, actual = np.split(series, [WINDOW], axis=1)
    mean, quantiles = evaluate.forecasts(model, past, evaluate.AHEAD)
    name = f"forecasts-{model.manifest.name}.png"
    drawn_forecasts = plots.Forecasts(past, actual, mean, quantiles[:, 0], quantiles[:, -1])
    plots.forecast_grid(drawn_forecasts, figures / name, model.manifest.name)
    return [name]


def save_rows(scored: Sequence[Scored], path: Path) -> None:
    """Write one row per model version and metric; the file's rows of other versions stay."""
    versions = {(s.manifest.name, str(s.manifest.version)) for s in scored}
    other_rows = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            other_rows = [row for row in csv.DictReader(file) if (row["model"], row["version"]) not in versions]
    new_rows = [
        {
            "model": s.manifest.name,
            "version": str(s.manifest.version),
            "digest": s.manifest.sha256[:12],
            "metric": metric,
            "value": f"{value:.6g}",
        }
        for s in scored
        for metric, value in s.metrics.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("model", "version", "digest", "metric", "value"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(other_rows + new_rows, key=lambda row: (row["model"], int(row["version"]))))


def machine() -> str:
    """Processor and torch release that the timings belong to."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, torch {torch.__version__}, one thread"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training report`."""
    parser.add_argument("models", nargs="*", metavar="NAME[@VERSION]", help="default: the highest version of each")
    parser.add_argument("--folder", type=Path, default=MODELS, help="where the models are (default: models/)")
    parser.add_argument("--output", type=Path, default=REPORT, help="the report (default: training/RESULTS.md)")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the rows (default: benchmarks/results/models.csv)")
    parser.add_argument(
        "--tutorial-rows", type=Path, default=tutorial_runs.ROWS, help="the file that `tutorials --seeds N` wrote"
    )


def main(arguments: argparse.Namespace) -> None:
    """Score the models, write rows, figures and the report."""
    torch.set_num_threads(1)
    figures = arguments.output.parent / FIGURES.name
    scored = []
    for folder in evaluate.folders(arguments.folder, arguments.models):
        scored.append(score(folder, figures))
        print(f"{folder.parent.name}@{folder.name} scored", flush=True)
    curves = {s.manifest.name: s.accuracy_by_row for s in scored if s.accuracy_by_row is not None}
    if curves:
        plots.accuracy_by_row(curves, figures / "accuracy-by-row.png")
    save_rows(scored, arguments.rows)
    curves_of_runs = sorted(path.name for end in ("curves", "digit") for path in figures.glob(f"*-{end}.png"))
    text = document(scored, tutorial_runs.read(arguments.tutorial_rows), machine(), figures.name, curves_of_runs)
    arguments.output.write_text(text, encoding="utf-8")
    print(f"wrote {arguments.output}")
