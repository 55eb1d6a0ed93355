"""training.finetuning.forecaster: windows, calibration, and what is kept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.finetuning.retail import shops
from training.evaluation.backtest import FileScore
from training.finetuning.forecaster import (
    Candidate,
    Config,
    Windows,
    best,
    calibrated,
    candidates,
    score,
    tune,
)
from training.finetuning.series import Collection, Parts, split
from training.folders import MODELS
from training.forecaster.train import read_version
from training.networks.forecaster import Forecaster

TINY = Config(steps=4, values=800, context=100, cuts=2, ahead=4, evaluate_every=2, windows=8, test_windows=8)


def parts(count: int = 3, days: int = 150, horizon: int = 7) -> Parts:
    series = shops(count, days)
    return split(Collection([str(i) for i in range(count)], series, [7] * count, [7] * count, "", []), horizon)


def network() -> Forecaster:
    torch.manual_seed(0)
    return Forecaster(8, 4, 8).eval().requires_grad_(False)


def test_windows_are_a_function_of_seed_and_step_and_cut_where_something_follows() -> None:
    file = parts().training
    windows, twin = Windows(file, 7, TINY), Windows(file, 7, TINY)
    cut = windows(3)
    assert torch.equal(twin(3).cuts, cut.cuts)
    assert not torch.equal(windows(4).cuts, cut.cuts)
    assert (cut.ahead >= 1).all()
    assert (cut.ahead <= 7).all()
    end = torch.isfinite(cut.truth).sum(1)
    assert (cut.cuts >= 1).all()
    assert (cut.cuts < end[:, None]).all()


def test_a_fit_starts_with_the_shipped_weights_among_what_it_chooses_from() -> None:
    shipped = network()
    before = {name: value.clone() for name, value in shipped.state_dict().items()}
    tuned, curves = tune(shipped, parts(), TINY, stop=lambda: False)
    assert curves.rows[0]["step"] == 0
    assert all(torch.equal(value, before[name]) for name, value in shipped.state_dict().items())
    validation = parts().validation
    assert score(tuned, validation, 8, TINY.context).wql <= score(shipped, validation, 8, TINY.context).wql * 1.2


def test_a_fit_that_is_stopped_at_once_keeps_the_shipped_weights() -> None:
    shipped = network()
    tuned, curves = tune(shipped, parts(), TINY, stop=lambda: True)
    assert tuned is shipped
    assert len(curves.rows) == 1


def test_factors_beyond_the_horizon_are_those_of_its_end_and_bounded() -> None:
    shipped = network()
    result = calibrated(shipped, parts(days=300).calibration, 7)
    assert torch.equal(result.widen[7:], result.widen[6:7].expand(len(result.widen) - 7, -1))
    assert (shipped.widen == 1).all()
    assert float(result.widen.max()) <= 4
    assert float(result.widen.min()) >= 0.25


def scored(name: str, mase: float, wql: float) -> Candidate:
    return Candidate(name, network(), FileScore("test", 3, mase, wql, 0.8, 1.0, 1.0))


@pytest.mark.parametrize(
    ("others", "kept"),
    [
        ([(0.9, 0.09)], 1),
        ([(0.7, 0.11)], 0),  # the better mean does not make up for worse intervals
        ([(1.1, 0.05)], 0),
        ([(1.0, 0.1)], 0),
        ([(0.99, 0.1), (0.9, 0.09)], 2),
        ([(math.nan, 0.09)], 0),
    ],
)
def test_what_is_kept_is_worse_in_nothing(others: list[tuple[float, float]], kept: int) -> None:
    tried = [scored("shipped", 1.0, 0.1), *(scored(str(i), *pair) for i, pair in enumerate(others))]
    assert best(tried) is tried[kept]


def test_without_a_scale_the_other_score_decides() -> None:
    tried = [scored("shipped", math.nan, 0.1), scored("tuned", math.nan, 0.09)]
    assert best(tried) is tried[1]


@pytest.mark.slow
def test_wql_is_better_by_three_per_cent_on_seasonal_sales() -> None:
    series = shops(30, 600)
    sales = split(Collection([str(i) for i in range(30)], series, [7] * 30, [7] * 30, "", []), 28)
    shipped = read_version(7, MODELS)[0].eval()
    config = replace(Config(), steps=120)
    tuned, _ = tune(shipped, sales, config, stop=lambda: False)
    tried = candidates(shipped, tuned, sales, config)
    kept = best(tried)
    assert kept.score.wql <= 0.97 * tried[0].score.wql
    assert kept.score.mase <= tried[0].score.mase
    assert 0.7 < kept.score.coverage80 < 0.9
    assert np.isfinite(kept.score.wql)
