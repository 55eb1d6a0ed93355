"""training.digits and training.digit_export: from a checkpoint to a folder that the service's own backend accepts."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from service.backend import load
from service.items import DigitItem, DigitResult
from service.manifest import read_manifest
from training import digit_export, digits, evaluate, glyphs, mnist, scores
from training.digit_recipe import Knobs, build
from training.export import MODELS
from training.mnist import Digits, Mnist
from training.networks.digits import RowReader

KNOBS = Knobs(sizes=("10x1", "6x2"))


@pytest.fixture
def checkpoint() -> digits.Checkpoint:
    torch.manual_seed(9)
    return digits.Checkpoint(
        weights={size: build(size, 0, 0.0).state_dict() for size in KNOBS.sizes},
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
    assert got.record() == checkpoint.record()
    rows = torch.rand(2, 9, 28)
    assert torch.equal(got.member("6x2")(rows), checkpoint.member("6x2")(rows))


def test_an_exported_reader_is_what_the_service_loads(
    checkpoint: digits.Checkpoint, data: Mnist, tmp_path: Path
) -> None:
    members = {size: checkpoint.member(size) for size in checkpoint.weights}
    folder = digit_export.export_digits(members, checkpoint.record(), data, pick="6x2", models=tmp_path)
    assert folder == tmp_path / "digits" / "1"
    manifest = read_manifest(folder)
    assert manifest.input.max_length == 64
    assert manifest.state.width == 2 * 2 * 6 + 1
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
    want = (digit_export.logits(core, image[None])[0, -1] / temperature).softmax(-1)
    np.testing.assert_allclose(result.probabilities, want.numpy(), rtol=1e-4)


def test_the_better_size_on_validation_is_chosen(data: Mnist) -> None:
    torch.manual_seed(3)
    readers = {"a": RowReader(8), "b": RowReader(8)}
    labels = torch.from_numpy(data.validation.labels)
    right = {k: float((digit_export.logits(r, data.validation.rows()).argmax(-1)[:, -4:] == labels[:, None]).sum())
             for k, r in readers.items()}  # fmt: skip
    assert right["a"] != right["b"]
    assert digit_export.best(readers, data.validation) == max(right, key=lambda size: right[size])


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


def test_the_recorded_command_repeats_the_run() -> None:
    words = ["digits", "--seed", "3", "--budget", "60", "--resume=runs/a", "--checkpoint-only", "x.pt", "--hidden"]
    told = digits._command(words, Knobs(epochs=7.5), budgeted=True)
    assert told == "python -m training digits --seed 3 --hidden --epochs 7.5"


def test_every_knob_is_an_option_with_the_recipes_default() -> None:
    parser = argparse.ArgumentParser()
    digits.add_arguments(parser)
    parsed = parser.parse_args([])
    for name, value in asdict(KNOBS).items():
        if name not in ("distortion", "sizes"):
            assert getattr(parsed, name) == value, name


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
