"""The rows of the tutorials' table: one for each run, kept as CSV, shown as Markdown with the published figures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.data.tutorial_series import tutorial_series
from training.folders import RESULTS
from training.tutorials.config import NAMES
from training.tutorials.train import least_squares

ROWS = RESULTS / "tutorials.csv"
SCORES = {"forecast": "tutorial_mse", "classify-digit": "test_accuracy"}
PUBLISHED = {"naive": 0.0206, "linear": 0.0031, "rnn-1": 0.1149, "rnn-20": 0.0044}  # mean squared errors


@dataclass(frozen=True)
class Run:
    """One trained and exported model and its score on the test set."""

    model: str
    seed: int
    score: str
    value: float
    seconds: float


def read(path: Path) -> list[Run]:
    """The runs that `save` wrote; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Run(row["model"], int(row["seed"]), row["score"], float(row["value"]), float(row["seconds"]))
            for row in csv.DictReader(file)
        ]


def table(runs: Sequence[Run]) -> str:
    """The tutorials' table in Markdown: published, then mean and spread over the seeds."""
    lines = [
        "| model | score | published | mean | lowest | highest | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(run.model for run in runs):
        model_runs = [run for run in runs if run.model == name]
        values = np.array([run.value for run in model_runs])
        figures = f"{values.mean():.4f} | {values.min():.4f} | {values.max():.4f}"
        lines.append(f"| {name} | {model_runs[0].score} | {PUBLISHED.get(name, '')} | {figures} | {len(model_runs)} |")
    if any(run.model == "linear" for run in runs):
        best = least_squares(tutorial_series())
        lines.append(f"| linear, solved by least squares | tutorial_mse | | {best:.4f} | | | |")
    return "\n".join(lines)


def save(runs: Sequence[Run], path: Path) -> None:
    """Write a row for each run; the file's rows of other models stay."""
    trained = {run.model for run in runs}
    rows = [*(run for run in read(path) if run.model not in trained), *runs]
    rows.sort(key=lambda run: (NAMES.index(run.model), run.seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Run.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(run) for run in rows)
