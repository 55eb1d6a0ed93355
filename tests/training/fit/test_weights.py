"""training.fit.weights: weights and record come back from their file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from training.fit.weights import read_weights, write_weights


def test_weights_and_record_come_back(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    write_weights(tmp_path / "deep" / "w.npz", module.state_dict(), {"seed": 3, "knobs": {"rate": 0.1}})
    weights, record = read_weights(tmp_path / "deep" / "w.npz")
    assert record == {"seed": 3, "knobs": {"rate": 0.1}}
    assert weights.keys() == module.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
