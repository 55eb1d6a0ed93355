"""training.forecaster.windows: batches by seed and step, their variations, and where forecasts are cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.data.real_series import HELD_OUT
from training.forecaster.config import Config
from training.forecaster.windows import Stream, add_glitches, augment, draw_cuts, offset
from training.networks.forecaster import LEARNED_HORIZON

CPU = torch.device("cpu")
TINY = Config(values=800, lengths=(40,), cuts=2, real=0.0)


def test_cuts_lie_inside_the_observed_values_and_steps_ahead_in_what_follows() -> None:
    truth = torch.zeros(200, 60, dtype=torch.float64)
    ends = torch.arange(200) % 50 + 8
    truth = truth.masked_fill(torch.arange(60)[None] >= ends[:, None], torch.nan)
    cuts, ahead = draw_cuts(truth, TINY, torch.Generator().manual_seed(0))
    assert (cuts >= 1).all()
    assert (cuts < ends[:, None]).all()
    assert (ahead[..., 0] == 1).all()
    assert (cuts[..., None] + ahead <= ends[:, None, None]).all()
    assert ahead.max() <= LEARNED_HORIZON


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    stream, twin = Stream(TINY, CPU), Stream(TINY, CPU)
    inputs, truth, season = stream.batch(7)
    torch.testing.assert_close(twin.batch(7)[0], inputs, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(twin.batch(7)[1], truth)
    assert not torch.equal(stream.batch(8)[1], truth)
    assert (season == 0).any(), "a season is withheld in half of the windows"


@pytest.mark.parametrize("variety", [0.0, 1.0])
def test_variations_keep_gaps_and_leave_most_windows_alone(variety: float) -> None:
    values = torch.randn(500, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    values[:, 50:] = torch.nan
    varied = augment(values, variety, torch.Generator().manual_seed(0))
    assert torch.equal(torch.isnan(varied), torch.isnan(values))
    changed = (varied != values)[:, :50].any(1).double().mean()
    assert changed == 0 if variety == 0 else 0.2 < changed < 0.5


@pytest.mark.data
def test_real_and_synthetic_windows_meet_in_a_batch(real_data: Path) -> None:
    stream = Stream(Config(values=3000, lengths=(60,)), CPU)
    inputs, truth, season = stream.batch(0)
    assert inputs.shape == truth.shape == (50, 60)
    assert (season > 1).any()
    assert set(stream.digests) > {"synthetic", "m4_weekly"}
    assert not set(stream.digests) & set(HELD_OUT)


def test_offsets_lift_whole_rows_by_up_to_a_million_deviations() -> None:
    values = torch.randn(400, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values[:, ::9] = torch.nan
    moved = offset(values, 0.25, torch.Generator().manual_seed(1)) - values
    is_lifted = moved.nan_to_num().abs().amax(1) > 0
    assert 60 < is_lifted.sum() < 140
    assert (moved[is_lifted].nan_to_num(nan=0.0).amax(1) < 2e6).all()
    assert (moved[is_lifted][:, 1] > 2).all()


def test_glitches_are_few_and_at_the_end_of_a_context_in_some_rows() -> None:
    values = torch.randn(400, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cuts = torch.full((400, 2), 20)
    seen = add_glitches(values, cuts, 0.5, torch.Generator().manual_seed(1))
    wrong = seen != values
    assert 0 < wrong.any(1).float().mean() < 0.5
    assert wrong.sum(1).max() < 12
    assert wrong[:, 19].sum() > 40
    assert torch.equal(add_glitches(values, cuts, 0.0, torch.Generator().manual_seed(1)), values)
