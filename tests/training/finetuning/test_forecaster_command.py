"""training.finetuning.forecaster_command: one command from a table to a model that is served."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from service.backend.model import load
from service.contract.manifest import read_manifest
from service.contract.types import ForecastItem
from tests.training.finetuning.retail import shops, write_csv
from training.finetuning.__main__ import main

QUICK = ["--steps", "2", "--values", "800", "--context", "100", "--evaluate-every", "1", "--windows", "4"]


def train(tmp_path: Path, models: Path, *options: str) -> int:
    sales = write_csv(tmp_path / "sales.csv", shops(3, 150))
    words = ["forecaster", str(sales), "--models", str(models), "--report", str(tmp_path / "report"), *QUICK]
    return main([*words, "--threads", "1", "--horizon", "7", "--test-windows", "6", *options])


def test_a_table_becomes_a_model_that_the_service_loads(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, models, "--name", "shops") == 0
    out, err = capsys.readouterr()
    assert "| shipped" in out
    assert "(kept)" in out
    assert "wrote" in err
    model = load(models / "shops" / "1", warm=False)
    item = ForecastItem(values=shops(1, 60)[0], horizon=7, levels=np.array([0.1, 0.5, 0.9]))
    assert np.isfinite(model.run([item])[0].mean).all()  # type: ignore[union-attr]
    assert model.manifest.metrics["own_wql"] <= model.manifest.metrics["own_shipped_wql"] * (1 + 1e-6)
    record = json.loads((models / "shops" / "1" / "training.json").read_text())
    assert record["knobs"]["start"] == "forecaster@1"
    assert record["curves"][0]["step"] == 0
    assert {path.name for path in (tmp_path / "report").iterdir()} >= {"scores.md", "forecasts.png", "curves.png"}
    assert not list(models.glob("shops/.*")), "nothing is left beside the model"
    assert [path.name for path in (models / "forecaster").iterdir()] == ["1"], "the default stays as it was"


def test_default_makes_it_a_version_of_the_default(tmp_path: Path, models: Path) -> None:
    assert train(tmp_path, models, "--name", "shops", "--default") == 0
    manifest = read_manifest(models / "forecaster" / "2")
    assert (manifest.name, manifest.version) == ("forecaster", 2)
    assert manifest.sha256 == read_manifest(models / "shops" / "1").sha256
    load(models / "forecaster" / "2", warm=False)


def test_a_dry_run_writes_nothing(tmp_path: Path, models: Path) -> None:
    assert train(tmp_path, models, "--name", "shops", "--dry-run") == 0
    assert not (models / "shops").exists()
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--name", "My Shops"], "small letters"),
        (["--name", "shops", "--start", "nothing"], "has no nothing to start from"),
        (["--name", "shops", "--start", "forecaster@9"], "has no forecaster@9"),
        (["--name", "shops", "--horizon", "0"], "--horizon is 1 to"),
        (["--name", "shops", "--horizon", "100"], "too few values"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    tmp_path: Path, models: Path, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, models, *options) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err
    assert not (models / "shops").exists()
