"""training.reports.report: tables, rows and figures of the models in a folder, and of no others."""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import pytest

from service.contract.manifest import read_manifest
from training.evaluation import evaluate
from training.folders import MODELS
from training.reports import report
from training.tutorials import results as tutorial_runs

SMALL = 60_000  # bytes of a figure that may be committed


def _run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    report.main(parser.parse_args(arguments))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("naive", "linear"):
        [folder] = evaluate.folders(MODELS, [name])
        shutil.copytree(folder, tmp_path / "models" / name / folder.name)
    return tmp_path / "models"


def test_the_command_writes_tables_rows_and_figures(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "REPEATS", 2)
    output, rows = tmp_path / "out" / "RESULTS.md", tmp_path / "rows.csv"
    output.parent.mkdir()
    [folder] = (models / "naive").iterdir()
    version = folder.name
    rows.write_text(
        f"model,version,digest,metric,value\nnaive,{version},old,old,1\nother,2,x,kept,3\n", encoding="utf-8"
    )
    tutorial_runs.save([tutorial_runs.Run("naive", 0, "tutorial_mse", 0.0213, 0.0)], tmp_path / "t.csv")
    options = {"--folder": models, "--output": output, "--rows": rows, "--tutorial-rows": tmp_path / "t.csv"}
    _run([str(word) for option in options.items() for word in option])
    text = output.read_text(encoding="utf-8")
    metrics = read_manifest(folder).metrics
    assert f"| naive@{version} | forecast | 0 | {(folder / 'model.pt').stat().st_size / 1000:.0f} |" in text
    assert f"{metrics['sines_mse_n200_h1']:.2e}" in text
    assert "| Bayes limit | 8.92e-04 |" in text
    assert "Digit readers" not in text
    for name in ("naive", "linear"):
        figure = output.parent / "figures" / f"forecasts-{name}.png"
        assert f"(figures/{figure.name})" in text
        assert figure.stat().st_size < SMALL
    with rows.open(newline="", encoding="utf-8") as file:
        values = {(row["model"], row["metric"]): row["value"] for row in csv.DictReader(file)}
    assert ("naive", "old") not in values
    assert values["other", "kept"] == "3"
    assert float(values["naive", "tutorial_mse"]) == pytest.approx(metrics["tutorial_mse"], rel=1e-5)
    assert float(values["linear", "microseconds_alone"]) > 0
