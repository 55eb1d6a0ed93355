"""The report is made of measurements: tables, rows and figures of the models that are there, and of no others."""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.contract.manifest import read_manifest
from training.evaluation import evaluate, plots
from training.fit.export import MODELS
from training.reports import report, tables
from training.reports.tables import Scored
from training.tutorials import results as tutorial_runs

SMALL = 60_000  # bytes of a figure that may be committed


def committed(name: str) -> Path:
    return evaluate.folders(MODELS, [name])[0]


def _run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    report.main(parser.parse_args(arguments))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("naive", "linear"):
        shutil.copytree(committed(name), tmp_path / "models" / name / committed(name).name)
    return tmp_path / "models"


def test_the_command_writes_tables_rows_and_figures(models: Path, tmp_path: Path) -> None:
    output, rows = tmp_path / "out" / "RESULTS.md", tmp_path / "rows.csv"
    output.parent.mkdir()
    version = committed("naive").name
    rows.write_text(
        f"model,version,digest,metric,value\nnaive,{version},old,old,1\nother,2,x,kept,3\n", encoding="utf-8"
    )
    tutorial_runs.save([tutorial_runs.Run("naive", 0, "tutorial_mse", 0.0213, 0.0)], tmp_path / "t.csv")
    _run(
        [
            "--folder",
            str(models),
            "--output",
            str(output),
            "--rows",
            str(rows),
            "--tutorial-rows",
            str(tmp_path / "t.csv"),
        ]
    )
    text = output.read_text(encoding="utf-8")
    folder = models / "naive" / version
    manifest = read_manifest(folder)
    metrics = manifest.metrics
    assert f"| naive@{version} | forecast | 0 | {(folder / 'model.pt').stat().st_size / 1000:.0f} |" in text
    assert f"{metrics['sines_mse_n200_h1']:.2e}" in text
    assert "| Bayes limit | 8.92e-04 |" in text
    assert "Digit readers" not in text
    for name in ("naive", "linear"):
        figure = output.parent / "figures" / f"forecasts-{name}.png"
        assert f"(figures/{figure.name})" in text
        assert figure.stat().st_size < SMALL
    with rows.open(newline="", encoding="utf-8") as file:
        kept = {(row["model"], row["metric"]): row["value"] for row in csv.DictReader(file)}
    assert ("naive", "old") not in kept
    assert kept["other", "kept"] == "3"
    assert float(kept["naive", "tutorial_mse"]) == pytest.approx(metrics["tutorial_mse"], rel=1e-5)
    assert float(kept["linear", "microseconds_alone"]) > 0


def test_digit_readers_get_their_table_and_their_curve() -> None:
    manifest = read_manifest(committed("digits-rnn-10"))
    speeds = {"microseconds_alone": 200.0, "microseconds_in_64": 20.0}
    scored = Scored(manifest, 21.0, {**manifest.metrics, **speeds}, np.linspace(0.1, 0.7, 28), ["confusion-x.png"])
    text = tables.document([scored], [], "a machine", "figures")
    assert f"{100 * manifest.metrics['test_accuracy']:.2f} |" in text
    assert "(figures/accuracy-by-row.png)" in text
    assert "(figures/confusion-x.png)" in text
    assert "## Forecasters" not in text


def test_scores_that_only_the_manifest_knows_are_shown_too() -> None:
    manifest = read_manifest(committed("naive"))
    other = manifest.model_copy(update={"metrics": {**manifest.metrics, "m4_weekly_mase": 2.25}})
    scored = Scored(other, 8.0, {**manifest.metrics, "microseconds_alone": 1.0, "microseconds_in_64": 1.0})
    assert f"| naive@{manifest.version} | m4_weekly_mase | 2.25 |" in tables.document(
        [scored], [], "a machine", "figures"
    )


def test_figures_are_small_and_the_same_each_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [{"loss": 1 / k, "validation": 2 / k} for k in range(1, 11)]

    def draw(folder: Path) -> list[Path]:
        plots.training_curves(rows, {"loss": ("loss", "validation")}, folder / "curves.png", "a run")
        plots.confusion(rng.integers(0, 900, (10, 10)) * 0 + 7, folder / "confusion.png", "a reader")
        plots.accuracy_by_row({"a": np.linspace(0, 1, 28), "b": np.ones(28)}, folder / "rows.png")
        plots.digit_answer(np.eye(28, dtype=np.float32), np.full(10, 0.1), folder / "digit.png", "a digit")
        return sorted(folder.iterdir())

    for first, second in zip(draw(tmp_path / "1"), draw(tmp_path / "2"), strict=True):
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size < SMALL
        with Image.open(first) as image:
            assert len(image.convert("RGB").getcolors(100_000) or []) > 2  # something is drawn
