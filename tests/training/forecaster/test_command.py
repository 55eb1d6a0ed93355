"""The forecaster's recipe: its batches, cuts and loss; that it learns, resumes, is calibrated and can be served."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.backend.torchscript import load
from training.data.real_series import HELD_OUT
from training.forecaster import command as forecaster
from training.forecaster.command import (
    Knobs,
    Stream,
    draw_cuts,
    hide,
    loss,
    read_weights,
    train,
    train_stages,
    write_weights,
)
from training.forecaster.export import (
    Sample,
    commands_of,
    curves_of,
    export_forecaster,
    interval_factors,
    is_for_calibration,
)
from training.networks.forecaster import LEVELS, MAX_HORIZON, Forecaster

CPU = torch.device("cpu")
TINY = Knobs(steps=4, values=800, lengths=(40,), cuts=2, real=0.0, fast=8, slow=4, width=8, evaluations=1)


def test_cuts_lie_inside_the_known_values_and_steps_ahead_in_what_follows() -> None:
    truth = torch.zeros(200, 60, dtype=torch.float64)
    ends = torch.arange(200) % 50 + 8
    truth = truth.masked_fill(torch.arange(60)[None] >= ends[:, None], torch.nan)
    cuts, ahead = draw_cuts(truth, TINY, torch.Generator().manual_seed(0))
    assert (cuts >= 1).all()
    assert (cuts < ends[:, None]).all()
    assert (ahead[..., 0] == 1).all()
    assert (cuts[..., None] + ahead <= ends[:, None, None]).all()
    assert ahead.max() <= MAX_HORIZON


def test_hiding_keeps_the_first_value_and_most_others() -> None:
    values = torch.zeros(2000, 50, dtype=torch.float64)
    gone = torch.isnan(hide(values, torch.Generator().manual_seed(0)))
    assert not gone[:, 0].any()
    assert 0.1 < gone.any(1).double().mean() < 0.2
    assert gone.double().mean() < 0.05


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    stream = Stream(TINY, CPU)
    again = Stream(TINY, CPU)
    seen, truth, _ = stream.batch(7)
    torch.testing.assert_close(again.batch(7)[0], seen, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(again.batch(7)[1], truth)
    assert not torch.equal(stream.batch(8)[1], truth)


def test_the_loss_falls_and_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    knobs = replace(TINY, steps=40, values=2000)
    network, record = train(knobs, CPU, None, None)
    torch.manual_seed(knobs.seed)
    untrained = Forecaster(knobs.fast, knobs.slow, knobs.width)
    assert record["curves"][-1]["loss"] < float(loss(untrained, Stream(knobs, CPU), 0).detach())
    with pytest.raises(TimeoutError):
        train(knobs, CPU, tmp_path, 0.0)
    resumed, _ = train(knobs, CPU, tmp_path, None)
    for mine, theirs in zip(network.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_scale_and_level_do_not_change_the_relative_forecast() -> None:
    torch.manual_seed(0)
    network = Forecaster(8, 8, 8).eval()
    torch.nn.init.normal_(network.out.weight, std=0.3)
    series = torch.sin(torch.arange(60, dtype=torch.float64))[None] + 2
    lengths, levels = torch.tensor([60]), torch.tensor([[0.1, 0.5, 0.9]], dtype=torch.float64)
    with torch.no_grad():
        fresh = network.initial(torch.zeros(1, dtype=torch.int64))
        plain = network.forecast(network.step(series, lengths, fresh), 10, levels)
        for factor in (1e-6, 1e12):
            scaled = network.forecast(network.step(series * factor, lengths, fresh), 10, levels)
            torch.testing.assert_close(scaled / factor, plain, rtol=1e-4, atol=1e-5)


def test_a_history_without_negative_values_has_a_forecast_without_them() -> None:
    torch.manual_seed(0)
    network = Forecaster(8, 8, 8).eval()
    counts = torch.poisson(torch.full((20, 40), 0.4, dtype=torch.float64))
    levels = torch.tensor([[0.01, 0.5, 0.99]], dtype=torch.float64).expand(20, -1)
    with torch.no_grad():
        state = network.step(counts, torch.full((20,), 40), network.initial(torch.zeros(20, dtype=torch.int64)))
        answer = network.forecast(state, 30, levels)
    assert (answer >= 0).all()


def normal_sample(width: float, level: float = 0.0, steps: int = 16) -> Sample:
    """Standard normal errors, and quantiles that are `width` times as wide as they should be."""
    rng = np.random.default_rng(int(width * 1000))
    normal = torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64)).numpy()
    actual = level + rng.normal(size=(3000, steps))
    return Sample("normal", np.broadcast_to(level + width * normal, (3000, steps, len(LEVELS))), actual)


def test_interval_factors_repair_intervals_that_are_too_narrow() -> None:
    factors = interval_factors([normal_sample(1 / 1.4), normal_sample(1 / 1.41, 50.0)]).numpy()
    assert factors.shape == (MAX_HORIZON, len(LEVELS))
    np.testing.assert_allclose(np.delete(factors[:16], 7, 1), 1.4, rtol=0.05)
    assert (factors[:, 7] == 1).all()


def test_interval_factors_shift_nothing_and_have_no_stairs() -> None:
    lopsided = normal_sample(1 / 1.3, steps=200)
    early = np.arange(200)[None, :, None] < 20
    narrow = np.where(early, lopsided.quantiles, 0.7 * lopsided.quantiles)
    factors = interval_factors([Sample("narrow far ahead", narrow, lopsided.actual + 0.2)]).numpy()
    np.testing.assert_array_equal(factors, factors[:, ::-1])
    assert factors[100, 3] > factors[0, 3]
    assert np.abs(np.diff(np.log(factors[8:]), axis=0)).max() < 0.02


def test_interval_factors_are_fitted_on_nothing_that_scores() -> None:
    assert not any(map(is_for_calibration, (*HELD_OUT, "m4_hourly", "m4_weekly", "m4_timetk_sample")))
    assert is_for_calibration("etth1")


def test_weights_survive_the_trip_through_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Forecaster(TINY.fast, TINY.slow, TINY.width)
    knobs = {"fast": TINY.fast, "slow": TINY.slow, "width": TINY.width}
    write_weights(tmp_path / "w.npz", network, {"knobs": knobs, "seed": 3})
    again, record = read_weights(tmp_path / "w.npz")
    assert record["seed"] == 3
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_the_command_trains_exports_and_the_service_loads(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    forecaster.add_arguments(parser)
    flags = "--steps 2 --values 800 --cuts 2 --real 0 --fast 8 --slow 4 --width 8 --device cpu --models"
    forecaster.main(parser.parse_args([*flags.split(), str(tmp_path)]))
    model = load(tmp_path / "forecaster" / "1", warm=False)
    assert model.manifest.name == "forecaster"
    assert model.manifest.metrics["tutorial_mse"] > 0
    assert model.manifest.training.data == {"synthetic": "generated"}


@pytest.mark.data
def test_real_and_synthetic_windows_meet_in_a_batch(real_data: Path) -> None:
    knobs = Knobs(values=3000, lengths=(60,))
    stream = Stream(knobs, CPU)
    seen, truth, season = stream.batch(0)
    assert seen.shape == truth.shape == (50, 60)
    assert (season > 1).any()
    assert set(stream.digests) > {"synthetic", "m4_weekly"}
    assert not set(stream.digests) & set(HELD_OUT)
    torch.manual_seed(0)
    assert math.isfinite(float(loss(Forecaster(8, 8, 8), stream, 0).detach()))


def test_a_new_version_of_earlier_weights(tmp_path: Path) -> None:
    network, record = train(TINY, CPU, None, None)
    export_forecaster(network, record, version=2, models=tmp_path)
    parser = argparse.ArgumentParser()
    forecaster.add_arguments(parser)
    forecaster.main(parser.parse_args(["--from-version", "2", "--models", str(tmp_path)]))
    earlier, later = (load(tmp_path / "forecaster" / version, warm=False).manifest for version in ("2", "3"))
    assert "the weights of version 2" in later.description
    assert later.training.parameters == earlier.training.parameters
    assert later.metrics["tutorial_mse"] == pytest.approx(earlier.metrics["tutorial_mse"])
    told = json.loads((tmp_path / "forecaster" / "3" / "training.json").read_text())
    assert told["knobs"]["weights_of_version"] == 2
    assert told["interval_factors_fitted_on"] == []  # no real series, no factors


def test_a_version_that_is_asked_for_is_written(tmp_path: Path) -> None:
    network, record = train(TINY, CPU, None, None)
    folder = export_forecaster(network, record, version=4, models=tmp_path)
    assert folder == tmp_path / "forecaster" / "4"


def test_a_further_stage_goes_on_from_weights_and_its_record_tells_both(tmp_path: Path) -> None:
    network, record = train(TINY, CPU, None, None)
    record["command"] = f"python -m training forecaster --steps 4 --weights {tmp_path}/first.npz"
    write_weights(tmp_path / "first.npz", network, record)
    second, told = train(replace(TINY, steps=2, rate=1e-9), CPU, None, None, read_weights(tmp_path / "first.npz"))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(network.parameters(), second.parameters(), strict=True))
    told["command"] = "python -m training forecaster --start runs/first.npz --steps 2 --folder elsewhere"
    assert commands_of(told) == (
        "python -m training forecaster --steps 4 --weights runs/first.npz"
        " && python -m training forecaster --start runs/first.npz --steps 2"
    )
    curves = curves_of(told)
    assert [row["step"] for row in curves] == [4, 6]
    assert curves[0]["seconds"] <= curves[1]["seconds"]


def test_stages_that_are_done_stay_done(tmp_path: Path) -> None:
    stages = (TINY, replace(TINY, seed=1, steps=2))
    network, record = train_stages(stages, CPU, tmp_path, None)
    assert [row["step"] for row in curves_of(record)] == [4, 6]
    again, told = train_stages(stages, CPU, tmp_path, None)
    assert curves_of(told) == curves_of(record)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    alone, _ = train(stages[1], CPU, None, None, train(stages[0], CPU, None, None))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), alone.parameters(), strict=True))
