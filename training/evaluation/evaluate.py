"""Scores of exported models on the test sets, measured on the file through the service's own backend.

The module that was trained is not used: a model is a folder, loaded and verified as the service does it.
`python -m training evaluate [NAME[@VERSION] …]` prints the scores; `--write` puts them into the manifests.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from service.backend.model import LoadedModel, load
from service.contract.manifest import MANIFEST_FILE, read_manifest
from service.contract.types import DigitItem, DigitResult, Floats, ForecastItem, ForecastResult, Item, Result
from training.data import mnist
from training.data.sine_mixture import sine_mixture
from training.data.tutorial_series import WINDOW, tutorial_series
from training.evaluation import scores
from training.folders import MODELS

CONTEXTS = (20, 50, 200)
AHEAD = 10
LEVELS = np.array([0.1, 0.5, 0.9])
FRESH_SERIES = 5_000  # the standard error of a mean squared error is then 1.4 % of it
FRESH_SEED = 20_260_101
READ_ROWS = (7, 10, 14, 17, 21, 24, 28)
BATCH = 256


@functools.cache
def fresh_series() -> Floats:
    """Sine mixtures that no training run and no other evaluation has used: (5000, 210)."""
    return sine_mixture(FRESH_SERIES, max(CONTEXTS) + AHEAD, np.random.default_rng(FRESH_SEED))


@functools.cache
def mnist_test() -> mnist.Digits:
    """MNIST's 10,000 test images."""
    return mnist.load().test


def metrics_of(folder: Path) -> dict[str, float]:
    """All scores of the model in `folder`, as they stand in its manifest."""
    model = load(folder, warm=False)
    if model.manifest.task == "forecast":
        return forecast_metrics(model)
    return digit_metrics(digit_traces(model, mnist_test()), mnist_test().labels)


def forecast_metrics(model: LoadedModel) -> dict[str, float]:
    """Scores of a forecaster on sine mixtures; contexts that the model does not accept are left out.

    `tutorial_mse`: the tutorial's test, the 51st value of 1,000 series. `sines_mse_n50_h10`: squared error of the 10th
    value after 50, on 5,000 other series. `sines_coverage_80`: share of the ten values after 50 that lie between the
    10 % and the 90 % quantile.
    """
    test = tutorial_series().test
    points, _ = forecasts(model, test[:, :WINDOW], 1)
    metrics = {"tutorial_mse": scores.mse(test[:, WINDOW], points[:, 0])}
    for context in CONTEXTS:
        if not accepts(model, context):
            continue
        series = fresh_series()[:, : context + AHEAD]
        points, quantiles = forecasts(model, series[:, :context], AHEAD)
        actual = series[:, context:]
        for step in (1, AHEAD):
            metrics[f"sines_mse_n{context}_h{step}"] = scores.mse(actual[:, step - 1], points[:, step - 1])
        if context == WINDOW:
            metrics["sines_coverage_80"] = scores.coverage(actual, quantiles[:, 0], quantiles[:, -1])
            metrics["sines_wql"] = scores.wql(actual, np.moveaxis(quantiles, 1, 2), LEVELS)
    return metrics


def digit_metrics(trace: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """Scores of the probabilities after every row (N, 28, 10) against the labels (N,).

    `test_accuracy` after all rows, `test_accuracy_row_7` after seven of them, and the expected calibration error of the
    last answer.
    """
    metrics = {"test_accuracy": scores.accuracy(labels, trace[:, -1])}
    for row in READ_ROWS:
        metrics[f"test_accuracy_row_{row}"] = scores.accuracy(labels, trace[:, row - 1])
    metrics["test_calibration_error"] = scores.calibration_error(labels, trace[:, -1])
    return metrics


def accepts(model: LoadedModel, length: int) -> bool:
    """Whether a fresh series of this length is within the model's contract."""
    contract = model.manifest.input
    return contract.min_length <= length and (contract.max_length is None or length <= contract.max_length)


def forecasts(model: LoadedModel, past: Floats, horizon: int, levels: Floats = LEVELS) -> tuple[Floats, Floats]:
    """Point forecasts (N, H) and quantiles (N, Q, H) of series (N, T)."""
    items = [ForecastItem(values=values, horizon=horizon, levels=levels) for values in past]
    results = cast("list[ForecastResult]", _run(model, items))
    return np.stack([r.mean for r in results]), np.stack([r.quantiles for r in results])


def digit_traces(model: LoadedModel, digits: mnist.Digits) -> Floats:
    """Probabilities after every row: (N, 28, 10)."""
    items = [DigitItem(rows=rows, trace=True) for rows in digits.rows()]
    results = cast("list[DigitResult]", _run(model, items))
    return np.stack([cast("Floats", r.trace) for r in results])


def _run(model: LoadedModel, items: Sequence[Item]) -> list[Result]:
    return [r for start in range(0, len(items), BATCH) for r in model.run(items[start : start + BATCH])]


def folders(models: Path, references: Sequence[str] = ()) -> list[Path]:
    """Model folders under `models`: the highest version of each name, or those of the references `name[@version]`.

    Raises `SystemExit` with a sentence for a reference that is not there.
    """
    versions: dict[str, list[int]] = {}
    for manifest in sorted(models.glob(f"*/*/{MANIFEST_FILE}")):
        if manifest.parent.name.isdigit():
            versions.setdefault(manifest.parent.parent.name, []).append(int(manifest.parent.name))
    chosen = []
    for reference in references or versions:
        name, _, version = reference.partition("@")
        matching = [v for v in versions.get(name, []) if not version or str(v) == version]
        if not matching:
            raise SystemExit(f"there is no model {reference} in {models}; there are {', '.join(versions) or 'none'}")
        chosen.append(models / name / str(max(matching)))
    return chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training evaluate`."""
    parser.add_argument("models", nargs="*", metavar="NAME[@VERSION]", help="default: the highest version of each")
    parser.add_argument("--folder", type=Path, default=MODELS, help="where the models are (default: models/)")
    parser.add_argument("--write", action="store_true", help="put the scores into the manifests")


def main(arguments: argparse.Namespace) -> None:
    """Score the models that the options name and print one JSON object a line."""
    for folder in folders(arguments.folder, arguments.models):
        metrics = metrics_of(folder)
        manifest = read_manifest(folder)
        print(json.dumps({"model": manifest.name, "version": manifest.version, **metrics}), flush=True)
        if arguments.write:
            manifest.model_copy(update={"metrics": {**manifest.metrics, **metrics}}).write(folder)
