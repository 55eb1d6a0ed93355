"""training.digits.export: from a checkpoint to a folder that the service's own backend accepts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from service.backend.model import load
from service.contract.manifest import read_manifest
from service.contract.types import DigitItem, DigitResult
from training.data import drawn_digits, mnist
from training.data.mnist import Digits, Mnist
from training.digits import export
from training.digits.stages import Checkpoint, combined_record
from training.evaluation import evaluate, scores
from training.folders import MODELS
from training.networks.digits import DigitJudge, DigitReader, RowReader, digit_log_probabilities


@pytest.mark.usefixtures("few_unseen_images")
def test_the_service_loads_an_exported_reader(checkpoint: Checkpoint, data: Mnist, tmp_path: Path) -> None:
    members = {size: checkpoint.member(size) for size in checkpoint.weights}
    record = combined_record({"teacher": checkpoint, "taught": checkpoint})
    del members["10x1"]
    folder = export.export_digits(members, record, data, models=tmp_path)
    assert folder == tmp_path / "digits" / "1"
    manifest = read_manifest(folder)
    assert manifest.input.max_length == 64
    assert manifest.state.width == 2 * 2 * 6 + 87
    assert {"test_accuracy", "test_accuracy_row_14", "stop_99_rows", "anywhere_accuracy"} <= set(manifest.metrics)
    file_record = json.loads((folder / "training.json").read_text())
    assert file_record["knobs"]["distortion"]["rotation"] == checkpoint.knobs["distortion"]["rotation"]
    image = data.test.rows()[3]
    result = load(folder, "cpu").run([DigitItem(rows=image, trace=True)])[0]
    assert isinstance(result, DigitResult)
    core = members["6x2"]
    assert isinstance(core, RowReader)
    temperature = export.temperatures(core, data.validation)[27]
    expected = digit_log_probabilities(export.logits(core, image[None])[0, -1] / temperature).exp()
    np.testing.assert_allclose(result.probabilities, expected.numpy(), rtol=1e-4)


def test_the_better_size_on_validation_is_chosen(data: Mnist) -> None:
    torch.manual_seed(4)
    readers = {"a": RowReader(8), "b": RowReader(8)}
    labels = torch.from_numpy(data.validation.labels)[:, None]
    right = {}
    for size, reader in readers.items():
        answers = export.logits(reader, data.validation.rows())[:, -4:, :10].argmax(-1)
        right[size] = int((answers == labels).sum())
    assert right["a"] != right["b"]
    assert export.best_size(readers, data.validation) == max(right, key=lambda size: right[size])


def test_one_digit_in_a_hundred_lies_below_the_unlikely_level() -> None:
    torch.manual_seed(6)
    core, scale = RowReader(8), torch.full((64,), 0.1)
    digits = Digits(*drawn_digits.digit_images(300, 5))
    level = export.unlikely_below(DigitReader(core, scale), digits)
    score = digit_log_probabilities(export.logits(core, digits.rows())[:, -1] / 0.1).exp().amax(-1)
    assert 0 < level < float(score.quantile(0.1))
    assert (score < level).float().mean() < 0.05


def test_stopping_scores_by_hand() -> None:
    trace = np.full((3, 2, 10), 0.05)
    trace[0, 0, 4] = trace[0, 1, 4] = 0.995  # sure and right after one row
    trace[1, 1, 7] = 0.991  # sure and wrong after two
    trace[2, :, 1] = 0.6  # never sure
    metrics = export.reading_metrics(trace, np.array([4, 8, 1]))
    assert metrics["stop_99_rows"] == pytest.approx((1 + 2 + 2) / 3)
    assert metrics["stop_99_reached"] == pytest.approx(2 / 3)
    assert metrics["stop_99_accuracy"] == pytest.approx(0.5)


def test_the_golden_sample_has_mixed_lengths_and_clean_padding() -> None:
    sample = export.golden_sample()
    lengths = sample["lengths"]
    assert sample["rows"].shape == (len(lengths), 64, 28)
    assert {1, 28, 64} <= set(lengths.tolist())
    assert sample["rows"][np.arange(64) >= lengths[:, None]].sum() == 0
    assert (sample["rows"][:4].max((1, 2)) > 0.5).all()


@pytest.mark.data
def test_the_committed_reader_has_the_accuracy_of_its_manifest(real_data: Path) -> None:
    folder = max((MODELS / "digits").glob("[0-9]*"), key=lambda path: int(path.name))
    model, count = load(folder, "cpu", warm=False), 1000
    test = mnist.load(real_data / "mnist").test
    trace = evaluate.digit_traces(model, Digits(test.images[:count], test.labels[:count]))
    for row in (14, 21, 28):
        stated = model.manifest.metrics[f"test_accuracy_row_{row}"]
        margin = 4 * (stated * (1 - stated) / count) ** 0.5
        assert abs(scores.accuracy(test.labels[:count], trace[:, row - 1]) - stated) < margin
    assert model.manifest.metrics["test_accuracy"] >= 0.995


def test_a_judge_is_more_cautious_the_fewer_rows_there_are() -> None:
    caution = export.caution()
    assert bool((caution.diff() >= 0).all())
    assert caution[0] < caution[27] == caution[63] == export.SHARPNESS * export.CAUTION


def test_a_sharpened_judge_has_a_multiple_of_the_log_odds() -> None:
    torch.manual_seed(4)
    judge = DigitJudge(5, 3).eval()
    hidden, seen = torch.rand(2, 4, 5), torch.rand(2, 4, 84)
    torch.testing.assert_close(export.sharpened(judge)(hidden, seen), export.SHARPNESS * judge(hidden, seen))
