"""training.digits.stages: a stage's file, the mean of several, and the record of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from training.digits.stages import Checkpoint, combined_record, load_stages, mean_weights, stage_file


def test_a_checkpoint_comes_back_from_its_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(stage_file(tmp_path / "deep", "taught"))
    [copy] = load_stages(tmp_path / "deep", ["taught"])
    assert copy.knobs == checkpoint.knobs
    assert combined_record({"taught": copy}) == combined_record({"taught": checkpoint})
    rows = torch.rand(2, 9, 28)
    assert torch.equal(copy.member("6x2")(rows), checkpoint.member("6x2")(rows))


def test_a_combined_record_has_all_stages(checkpoint: Checkpoint) -> None:
    teacher = replace(checkpoint, command="python -m training digits --stage teacher", seconds=5.0)
    record = combined_record({"teacher": teacher, "labels": checkpoint, "taught": checkpoint})
    assert record["command"] == "python -m training digits --stage teacher && python -m training digits --epochs 1"
    assert record["seconds"] == 9.0
    assert list(record["knobs"]["earlier"]) == ["teacher", "labels"]
    assert record["knobs"]["earlier"]["teacher"]["seconds"] == 5.0
    assert record["knobs"]["epochs"] == checkpoint.knobs["epochs"]
    assert "weights" not in record


def test_the_reader_is_the_mean_of_its_rounds(checkpoint: Checkpoint) -> None:
    tripled = {size: {k: 3 * w for k, w in weights.items()} for size, weights in checkpoint.weights.items()}
    mean = mean_weights([checkpoint, replace(checkpoint, weights=tripled)])
    assert mean.keys() == checkpoint.weights.keys()
    for size, weights in mean.items():
        for name, weight in weights.items():
            torch.testing.assert_close(weight, 2 * checkpoint.weights[size][name])
