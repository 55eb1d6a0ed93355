"""training.fit.record: the origin of a checkpoint, as its folder states it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from training.fit.loop import Plan
from training.fit.record import Record, command_line, current_commit, parameters, stage_record


def _record() -> Record:
    return Record(
        command="python -m training forecaster",
        seed=3,
        seconds=1.5,
        device="cpu",
        parameters=7,
        data={"synthetic": "generated"},
        knobs={"rate": 1e-3},
        curves=[{"step": 1, "loss": 0.5}],
    )


def test_provenance_is_a_part_of_the_record(tmp_path: Path) -> None:
    record = _record()
    provenance = record.provenance()
    record.write(tmp_path)
    content = json.loads((tmp_path / "training.json").read_text())
    assert content["knobs"] == {"rate": 1e-3}
    assert content["curves"] == [{"step": 1, "loss": 0.5}]
    assert {k: content[k] for k in provenance.model_dump()} == provenance.model_dump()


def test_the_commit_is_a_hash_or_unknown() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", current_commit())


def test_a_command_may_leave_out_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "sines", "--steps", "5", "--folder=runs/a", "--models", "m", "--seed", "1"])
    assert command_line() == "python -m training sines --steps 5 --folder=runs/a --models m --seed 1"
    assert command_line(omit=("folder", "models")) == "python -m training sines --steps 5 --seed 1"


def test_the_record_of_a_stage_has_configuration_curves_and_device() -> None:
    curves = [{"step": 1.0, "loss": 0.5}]
    config = Plan(steps=3)
    record = stage_record(config, curves, data={"a": "b"}, device=torch.device("cpu"), command="c", commit="d")
    assert record["knobs"] == asdict(config)
    assert record["curves"] == curves
    assert record["device"].startswith("cpu, ")
    assert record["torch"] == str(torch.__version__)


def test_only_trainable_values_count() -> None:
    module = torch.nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    assert parameters(module) == 6
