"""training.data.missing: gaps are rare, and never at the start of a series."""

from __future__ import annotations

import torch

from training.data.missing import mask_values


def test_the_first_value_and_most_others_stay() -> None:
    values = torch.zeros(2000, 50, dtype=torch.float64)
    missing = torch.isnan(mask_values(values, torch.Generator().manual_seed(0)))
    assert not missing[:, 0].any()
    assert 0.1 < missing.any(1).double().mean() < 0.2
    assert missing.double().mean() < 0.05
