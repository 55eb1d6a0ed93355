"""training.tutorials.export: golden inputs of mixed lengths with clean padding."""

from __future__ import annotations

import numpy as np
import pytest

from training.tutorials.export import digit_sample, forecast_sample


@pytest.mark.parametrize("missing", [False, True])
def test_series_have_zeros_behind_their_ends(missing: bool) -> None:
    sample = forecast_sample(missing=missing)
    values, lengths = sample["values"], sample["lengths"]
    assert not values[np.arange(values.shape[1]) >= lengths[:, None]].any()
    assert np.isnan(values).any() == missing
    assert lengths.min() == 1


def test_digits_have_zeros_below_their_last_row() -> None:
    sample = digit_sample()
    assert not sample["rows"][np.arange(28) >= sample["lengths"][:, None]].any()
    assert {1, 28} <= set(sample["lengths"].tolist())
