"""training.finetuning.digits_command: a folder of pictures becomes a reader that is served."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from service.backend.model import load
from service.contract.types import DigitItem
from tests.training.finetuning.pictures import write_folders
from training.digits.export import write_folder
from training.finetuning.__main__ import main
from training.finetuning.digits import Reader, best
from training.fit.record import Record
from training.networks.digits import DigitReader, RowReader, row_reader


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with `digits/1`, a tiny reader with random weights."""
    torch.manual_seed(0)
    record = Record("tests", 0, 0.0, "cpu", 1, {}, {}, [])
    write_folder(
        DigitReader(RowReader(8, 1)),
        name="digits",
        description="random weights",
        unlikely=None,
        record=record,
        metrics_of=lambda _: {},
        version=None,
        models=tmp_path / "models",
    )
    return tmp_path / "models"


def train(folder: Path, tmp_path: Path, *options: str) -> int:
    words = ["digits", str(folder), "--name", "mine", "--models", str(tmp_path / "models")]
    return main([*words, "--report", str(tmp_path / "report"), *options])


def test_a_folder_becomes_a_reader_that_the_service_loads(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(write_folders(tmp_path / "pictures", 80), tmp_path, "--epochs", "2", "--default") == 0
    assert "(kept)" in capsys.readouterr().out
    for folder in (models / "mine" / "1", models / "digits" / "2"):
        model = load(folder, warm=False)
        answer = model.run([DigitItem(rows=np.zeros((28, 28), np.float32))])[0]
        assert np.isfinite(answer.probabilities).all()  # type: ignore[union-attr]
        assert 0 <= model.manifest.metrics["own_accuracy"] <= 1
    names = {path.name for path in (tmp_path / "report").iterdir() if not path.name.startswith("events.")}
    assert names == {"accuracy.json", "confusion.png", "curves.csv", "curves.png", "worst.png"}, "and no checkpoint"


def test_other_labels_are_told_in_description_and_record(tmp_path: Path, models: Path) -> None:
    folder = write_folders(tmp_path / "fruit", 120, {0: "apple", 1: "pear"})
    assert train(folder, tmp_path, "--epochs", "2") == 0
    model = load(models / "mine" / "1", warm=False)
    assert "apple, pear" in model.manifest.description
    assert model.manifest.output.labels == ("apple", "pear")
    answer = model.run([DigitItem(rows=np.zeros((28, 28), np.float32))])[0]
    assert answer.probabilities.shape == (2,)  # type: ignore[union-attr]
    record = json.loads((models / "mine" / "1" / "training.json").read_text())
    assert record["knobs"]["labels"] == ["apple", "pear"]


@pytest.mark.slow
def test_more_labels_than_digits(tmp_path: Path, models: Path) -> None:
    """Each digit under three names, turned by how its label is: thirty labels."""
    write_folders(tmp_path / "upright", 200)
    for turns in range(3):
        for file in sorted((tmp_path / "upright").glob("*/*.png")):
            target = tmp_path / "signs" / f"{file.parent.name} turned {turns}" / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(file) as image:
                image.rotate(90 * turns, fillcolor=255).save(target)
    assert train(tmp_path / "signs", tmp_path, "--epochs", "2") == 0
    model = load(models / "mine" / "1", warm=False)
    assert len(model.manifest.output.labels) == model.manifest.output.classes == 30
    answer = model.run([DigitItem(rows=np.zeros((28, 28), np.float32))])[0]
    assert answer.probabilities.shape == (30,)  # type: ignore[union-attr]
    assert sum(answer.probabilities) == pytest.approx(1)  # type: ignore[union-attr]
    assert (tmp_path / "report" / "confusion.png").is_file()


def test_a_dry_run_writes_nothing(tmp_path: Path, models: Path) -> None:
    assert train(write_folders(tmp_path / "pictures", 80), tmp_path, "--dry-run") == 0
    assert not (models / "mine").exists()


@pytest.mark.usefixtures("models")
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "nothing", tmp_path) == 2
    assert train(write_folders(tmp_path / "pictures", 80), tmp_path, "--start", "other") == 2
    err = capsys.readouterr().err
    assert "does not exist" in err
    assert "has no other to start from" in err
    assert "Traceback" not in err


def test_a_served_reader_becomes_the_trainable_one_again() -> None:
    torch.manual_seed(1)
    reader = RowReader(6, 2).eval()
    again = row_reader(DigitReader(reader).state_dict())
    for name, value in reader.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_the_more_often_right_is_kept_then_the_surer() -> None:
    def reader(name: str, accuracy: float, entropy: float) -> Reader:
        return Reader(name, RowReader(2, 1), torch.ones(64), np.zeros((1, 10)), accuracy, entropy)

    shipped = reader("shipped", 0.9, 0.3)
    assert best(shipped, reader("trained", 0.9, 0.4)) is shipped
    assert best(shipped, reader("trained", 0.89, 0.1)) is shipped
    assert best(shipped, better := reader("trained", 0.9, 0.2)) is better
    assert best(None, only := reader("trained", 0.1, 2.0)) is only
