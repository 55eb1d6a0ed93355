"""training.digits.command and training.digits.export: from a checkpoint to a folder that the service's own backend accepts."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.backend.model import load
from service.contract.manifest import read_manifest
from service.contract.types import DigitItem, DigitResult
from training.data import drawn_digits as glyphs
from training.data import mnist
from training.data.mnist import Digits, Mnist
from training.digits import command as digits
from training.digits import export as digit_export
from training.digits.train import Knobs, build
from training.evaluation import evaluate, scores
from training.fit.export import MODELS
from training.networks.digits import RowReader, answered

KNOBS = Knobs(sizes=("10x1", "6x2"))


@pytest.fixture
def checkpoint() -> digits.Checkpoint:
    torch.manual_seed(9)
    return digits.Checkpoint(
        weights={size: build(size, 0.0).state_dict() for size in KNOBS.sizes},
        knobs=asdict(KNOBS),
        curves=[{"step": 1.0, "seconds": 2.0, "loss": 3.0}],
        data={"mnist/train-images-idx3-ubyte": "0" * 64},
        command="python -m training digits --epochs 1",
        commit="unknown",
        device="cpu, 1 thread(s)",
        torch=str(torch.__version__),
        seconds=2.0,
    )


@pytest.fixture(scope="module")
def data() -> Mnist:
    some = Digits(*glyphs.digit_images(60, 31))
    return Mnist(some, some, some)


def test_a_checkpoint_comes_back_from_its_file(checkpoint: digits.Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "deep" / "run.pt")
    got = digits.Checkpoint.load(tmp_path / "deep" / "run.pt")
    assert got.knobs == checkpoint.knobs
    assert digits.record({"taught": got}) == digits.record({"taught": checkpoint})
    rows = torch.rand(2, 9, 28)
    assert torch.equal(got.member("6x2")(rows), checkpoint.member("6x2")(rows))


def test_an_exported_reader_is_what_the_service_loads(
    checkpoint: digits.Checkpoint, data: Mnist, tmp_path: Path
) -> None:
    members = {size: checkpoint.member(size) for size in checkpoint.weights}
    told = digits.record({"teacher": checkpoint, "taught": checkpoint})
    del members["10x1"]
    folder = digit_export.export_digits(members, told, data, models=tmp_path)
    assert folder == tmp_path / "digits" / "1"
    manifest = read_manifest(folder)
    assert manifest.input.max_length == 64
    assert manifest.state.width == 2 * 2 * 6 + 57
    assert {"test_accuracy", "test_accuracy_row_14", "stop_99_rows", "anywhere_accuracy"} <= set(manifest.metrics)
    record = json.loads((folder / "training.json").read_text())
    assert record["knobs"]["distortion"]["rotation"] == KNOBS.distortion.rotation
    model = load(folder, "cpu")
    image = data.test.rows()[3]
    result = model.run([DigitItem(rows=image, trace=True)])[0]
    assert isinstance(result, DigitResult)
    core = members["6x2"]
    assert isinstance(core, RowReader)
    temperature = digit_export.temperatures(core, data.validation)[27]
    want = answered(digit_export.logits(core, image[None])[0, -1] / temperature).exp()
    np.testing.assert_allclose(result.probabilities, want.numpy(), rtol=1e-4)


def test_the_better_size_on_validation_is_chosen(data: Mnist) -> None:
    torch.manual_seed(4)
    readers = {"a": RowReader(8), "b": RowReader(8)}
    labels = torch.from_numpy(data.validation.labels)[:, None]
    right = {}
    for size, reader in readers.items():
        said = digit_export.logits(reader, data.validation.rows())[:, -4:, :10].argmax(-1)
        right[size] = int((said == labels).sum())
    assert right["a"] != right["b"]
    assert digit_export.best(readers, data.validation) == max(right, key=lambda size: right[size])


def test_one_digit_in_a_hundred_lies_below_what_is_called_unlikely() -> None:
    torch.manual_seed(6)
    core, scale = RowReader(8), torch.full((64,), 0.1)
    some = Digits(*glyphs.digit_images(300, 5))
    level = digit_export.unlikely_below(core, scale, some)
    said = answered(digit_export.logits(core, some.rows())[:, -1] / 0.1).exp().amax(-1)
    below = (said < level).float().mean()
    assert 0 < level < float(said.quantile(0.1))
    assert below < 0.05


def test_stopping_scores_by_hand() -> None:
    trace = np.full((3, 2, 10), 0.05)
    trace[0, 0, 4] = trace[0, 1, 4] = 0.995  # sure and right after one row
    trace[1, 1, 7] = 0.991  # sure and wrong after two
    trace[2, :, 1] = 0.6  # never sure
    got = digit_export.reading_metrics(trace, np.array([4, 8, 1]))
    assert got["stop_99_rows"] == pytest.approx((1 + 2 + 2) / 3)
    assert got["stop_99_reached"] == pytest.approx(2 / 3)
    assert got["stop_99_accuracy"] == pytest.approx(0.5)


def test_the_golden_sample_has_mixed_lengths_and_clean_padding() -> None:
    sample = digit_export.golden_sample()
    lengths = sample["lengths"]
    assert sample["rows"].shape == (len(lengths), 64, 28)
    assert {1, 28, 64} <= set(lengths.tolist())
    assert sample["rows"][np.arange(64) >= lengths[:, None]].sum() == 0
    assert (sample["rows"][:4].max((1, 2)) > 0.5).all()


def test_a_record_tells_of_all_stages(checkpoint: digits.Checkpoint) -> None:
    other = replace(checkpoint, command="python -m training digits --stage teacher", seconds=5.0)
    told = digits.record({"teacher": other, "labels": checkpoint, "taught": checkpoint})
    assert told["command"] == "python -m training digits --stage teacher && python -m training digits --epochs 1"
    assert told["seconds"] == 9.0
    assert told["knobs"]["earlier"]["teacher"]["seconds"] == 5.0
    assert told["knobs"]["epochs"] == KNOBS.epochs
    assert "weights" not in told


def _parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    digits.add_arguments(parser)
    return parser.parse_args(words)


def test_every_knob_is_an_option_of_a_stage() -> None:
    parsed = vars(_parsed())
    for name in asdict(KNOBS):
        if name != "distortion":
            assert parsed[name] is None, name
    with pytest.raises(SystemExit, match="--stage"):
        digits.main(_parsed("--epochs", "3"))


def test_stages_that_are_done_are_exported_and_not_trained_again(
    checkpoint: digits.Checkpoint, data: Mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "load", lambda: data)  # the real one needs files or a network
    measured = {f"10x1 {measure}": 0.5 for measure in ("nll", "row 14", "row 21", "row 28")}
    curves = [{"step": 1.0, "seconds": 1.0, "loss": 2.0} | measured]
    for stage in digits.STAGES:
        replace(checkpoint, curves=curves).save(tmp_path / "runs" / f"{stage}.pt")
    where = ["--folder", str(tmp_path / "runs"), "--models", str(tmp_path / "models"), "--figures", str(tmp_path)]
    digits.main(_parsed(*where))
    assert read_manifest(tmp_path / "models" / "digits" / "1").training.seconds == 2.0 * len(digits.STAGES)
    assert (tmp_path / "digits-curves.png").is_file()


def test_the_stages_train_on_each_other(data: Mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "load", lambda: data)
    quick = [
        "--folder",
        str(tmp_path),
        "--epochs",
        "1",
        "--batch",
        "30",
        "--drawn",
        "10",
        "--others",
        "10",
        "--ones",
        "9",
    ]
    quick += ["--free", "0", "--no-bfloat16"]
    for stage in digits.STAGES:
        digits.main(_parsed("--stage", stage, *([] if stage.startswith("teacher") else ["--sizes", "6x1"]), *quick))
    rounds = [digits.Checkpoint.load(tmp_path / f"{stage}.pt") for stage in digits.ROUNDS]
    assert rounds[-1].knobs["final"] == digits.STAGES[digits.ROUNDS[-1]].final
    assert rounds[-1].member("6x1")(torch.rand(1, 28, 28)).shape == (1, 28, 11)


def test_the_reader_is_the_mean_of_its_rounds(checkpoint: digits.Checkpoint) -> None:
    twice = {size: {k: 3 * w for k, w in weights.items()} for size, weights in checkpoint.weights.items()}
    found = digits.mean([checkpoint, replace(checkpoint, weights=twice)])
    assert found.keys() == checkpoint.weights.keys()
    for size, weights in found.items():
        for name, weight in weights.items():
            torch.testing.assert_close(weight, 2 * checkpoint.weights[size][name])


@pytest.mark.data
def test_the_committed_reader_reads_mnist_as_its_manifest_says(real_data: Path) -> None:
    folder = max((MODELS / "digits").glob("[0-9]*"), key=lambda path: int(path.name))
    model, count = load(folder, "cpu", warm=False), 1000
    test = mnist.load(real_data / "mnist").test
    trace = evaluate.digit_traces(model, Digits(test.images[:count], test.labels[:count]))
    for row in (14, 21, 28):
        told = model.manifest.metrics[f"test_accuracy_row_{row}"]
        margin = 4 * (told * (1 - told) / count) ** 0.5
        assert abs(scores.accuracy(test.labels[:count], trace[:, row - 1]) - told) < margin
    assert model.manifest.metrics["test_accuracy"] >= 0.995
