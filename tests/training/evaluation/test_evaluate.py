"""training.evaluation.evaluate: scores come from the exported file; a damaged one has none."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from service.backend.model import load
from service.contract.errors import BrokenModel
from service.contract.manifest import MODEL_FILE, read_manifest
from training.data.mnist import Digits
from training.evaluation import evaluate
from training.folders import MODELS

NAIVE, LINEAR, READER = evaluate.folders(MODELS, ["naive", "linear", "digits-rnn-10"])


def test_the_naive_scores_are_those_of_the_last_value() -> None:
    metrics = evaluate.metrics_of(NAIVE)
    series = evaluate.fresh_series()
    for n in (20, 50, 200):
        for h in (1, 10):
            expected = np.mean((series[:, n + h - 1] - series[:, n - 1]) ** 2)
            assert metrics[f"sines_mse_n{n}_h{h}"] == pytest.approx(expected, rel=1e-12)
    assert 0.4 < metrics["sines_coverage_80"] < 0.6  # sines are no random walk


def test_a_model_of_fixed_length_is_scored_at_that_length_only() -> None:
    metrics = evaluate.metrics_of(LINEAR)
    assert "sines_mse_n50_h1" in metrics
    assert not {"sines_mse_n20_h1", "sines_mse_n200_h10"} & set(metrics)


@pytest.mark.parametrize("folder", [NAIVE, LINEAR], ids=["naive", "linear"])
def test_the_committed_scores_are_found_again(folder: Path) -> None:
    assert evaluate.metrics_of(folder) == pytest.approx(dict(read_manifest(folder).metrics), rel=1e-6)


def test_digit_scores_are_of_the_rows_that_were_read() -> None:
    labels = np.array([1, 2, 3, 4])
    trace = np.full((4, 28, 10), 0.05)
    trace[np.arange(4), :, labels] = 0.55
    trace[:2, :20] = 0.1  # two digits are recognised from row 21 on only
    trace[:2, :20, 0] = 0.1 + 1e-9
    metrics = evaluate.digit_metrics(trace, labels)
    assert metrics["test_accuracy"] == 1.0
    assert metrics["test_accuracy_row_17"] == 0.5
    assert metrics["test_accuracy_row_21"] == 1.0
    assert metrics["test_calibration_error"] == pytest.approx(0.45)


def test_a_trace_has_probabilities_after_every_row() -> None:
    rng = np.random.default_rng(0)
    digits = Digits(rng.integers(0, 255, (3, 28, 28), dtype=np.uint8), np.array([1, 2, 3]))
    trace = evaluate.digit_traces(load(READER, warm=False), digits)
    assert trace.shape == (3, 28, 10)
    np.testing.assert_allclose(trace.sum(axis=2), 1)


def test_a_damaged_file_has_no_scores(tmp_path: Path) -> None:
    folder = tmp_path / "naive" / "1"
    shutil.copytree(NAIVE, folder)
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[100] ^= 1
    (folder / MODEL_FILE).write_bytes(data)
    with pytest.raises(BrokenModel):
        evaluate.metrics_of(folder)


def test_references_name_the_highest_version_or_one(tmp_path: Path) -> None:
    for version in ("1", "2", "10"):
        shutil.copytree(NAIVE, tmp_path / "naive" / version)
    shutil.copytree(LINEAR, tmp_path / "linear" / "3")
    (tmp_path / "naive" / ".export-x").mkdir()
    assert evaluate.folders(tmp_path) == [tmp_path / "linear" / "3", tmp_path / "naive" / "10"]
    assert evaluate.folders(tmp_path, ["naive@2"]) == [tmp_path / "naive" / "2"]
    with pytest.raises(SystemExit, match="no model naive@7"):
        evaluate.folders(tmp_path, ["naive@7"])


def test_the_command_prints_scores_and_writes_them_with_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "linear" / "1"
    shutil.copytree(LINEAR, folder)
    read_manifest(folder).model_copy(update={"metrics": {"kept": 1.0}}).write(folder)
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    evaluate.main(parser.parse_args(["--folder", str(tmp_path)]))
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"] == "linear"
    assert read_manifest(folder).metrics == {"kept": 1.0}
    evaluate.main(parser.parse_args(["linear", "--folder", str(tmp_path), "--write"]))
    metrics = read_manifest(folder).metrics
    assert metrics["kept"] == 1.0
    assert metrics["tutorial_mse"] == pytest.approx(printed["tutorial_mse"])


@pytest.mark.data
def test_the_committed_reader_reads_mnist_as_its_manifest_says(real_data: Path) -> None:
    assert real_data.is_dir()
    manifest = read_manifest(READER)
    assert evaluate.metrics_of(READER) == pytest.approx(dict(manifest.metrics), abs=5e-4)
