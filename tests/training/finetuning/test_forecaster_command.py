"""training.finetuning.forecaster_command: one command from a table to a model that is served."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from service.backend.model import load
from service.contract.manifest import read_manifest
from service.contract.types import ForecastItem
from tests.models import LSTMDigits, write_model
from tests.training.finetuning.retail import shops, write_csv
from training.finetuning import options
from training.finetuning.__main__ import main

QUICK = ["--steps", "2", "--values", "800", "--context", "100", "--evaluate-every", "1", "--windows", "4"]


def train(tmp_path: Path, models: Path, *words: str) -> int:
    sales = write_csv(tmp_path / "sales.csv", shops(3, 150))
    usual = ["forecaster", str(sales), "--models", str(models), "--report", str(tmp_path / "report"), *QUICK]
    return main([*usual, "--threads", "1", "--horizon", "7", "--test-windows", "6", *words])


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_killed_run_goes_on_and_another_one_does_not(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def killed_at_two(steps: int, label: str) -> Iterator[Callable[[int], None]]:
        def report(step: int) -> None:
            if step == 2:
                raise KeyboardInterrupt

        yield report

    checkpoint = tmp_path / "report" / "checkpoint.pt"
    monkeypatch.setattr(options, "progress_bar", killed_at_two)
    assert train(tmp_path, models, "--name", "shops") == 130
    assert checkpoint.exists()
    assert not (models / "shops").exists(), "nothing half is left where the service loads from"
    monkeypatch.undo()
    capsys.readouterr()
    assert train(tmp_path, models, "--name", "shops", "--rate", "0.01") == 2
    assert "other configuration rate" in capsys.readouterr().err
    assert train(tmp_path, models, "--name", "shops") == 0
    assert not checkpoint.exists()
    record = json.loads((models / "shops" / "1" / "training.json").read_text())
    assert [row["step"] for row in record["curves"]] == [0, 1, 2]
    assert {path.name for path in checkpoint.parent.glob("curves*")} >= {"curves.csv", "curves.json"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--name", "My Shops"], "small letters"),
        (["--name", "forecaster"], "answers by default; take another name, and --default"),
        (["--name", "shops", "--start", "nothing"], "has no nothing to start from"),
        (["--name", "shops", "--start", "forecaster@9"], "has no forecaster@9"),
        (["--name", "shops", "--horizon", "0"], "--horizon is 1 to"),
        (["--name", "shops", "--horizon", "100"], "too few values"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    tmp_path: Path, models: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, models, *words) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err
    assert not (models / "shops").exists()


def test_the_name_of_a_model_of_another_task_is_refused(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(models, "strokes", LSTMDigits())
    assert train(tmp_path, models, "--name", "strokes") == 2
    assert "has a model of that name for classify-digit" in capsys.readouterr().err
