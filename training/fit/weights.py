"""Weights and record of a fit in one `.npz` file, which is read back without running anything in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.fit import distributed

RECORD = "record"  # name of the array that holds the record, as the bytes of a JSON object


def write_weights(path: Path, weights: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write `weights` (a state_dict, or a part of one) and `record`; missing folders are made.

    Of several processes the first one writes, and the others wait for it.
    """
    if not distributed.is_first():
        distributed.wait()
        return
    arrays: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in weights.items()}
    arrays[RECORD] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    distributed.wait()


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the record that `write_weights` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        record: dict[str, Any] = json.loads(archive[RECORD].tobytes())
        weights = {name: torch.from_numpy(archive[name]) for name in archive.files if name != RECORD}
    return weights, record
