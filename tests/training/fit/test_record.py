"""The record of a run: what it says about where a checkpoint came from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import torch

from training.fit.record import Record, current_commit, digest, parameters


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
    written = json.loads((tmp_path / "training.json").read_text())
    assert written["knobs"] == {"rate": 1e-3}
    assert written["curves"] == [{"step": 1, "loss": 0.5}]
    assert {k: written[k] for k in provenance.model_dump()} == provenance.model_dump()


def test_the_commit_is_a_hash_or_unknown() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", current_commit())


def test_a_digest_depends_on_values_type_and_shape() -> None:
    a = np.arange(6, dtype=np.float32)
    assert digest(a) == digest(a.copy())
    others = {digest(a + 1), digest(a.astype(np.float64)), digest(a.reshape(2, 3)), digest(a, a)}
    assert len(others | {digest(a)}) == 5


def test_only_trainable_values_count() -> None:
    module = torch.nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    assert parameters(module) == 6
