"""training.forecaster.train: the loss falls, runs resume, stages follow on one another, weights come back."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.fit.errors import OtherRun
from training.forecaster.config import Config
from training.forecaster.export import commands_of, curves_of
from training.forecaster.train import loss, read_fit, train, train_stages, write_fit
from training.forecaster.windows import Stream
from training.networks.forecaster import Forecaster

CPU = torch.device("cpu")
TINY = Config(steps=4, values=800, lengths=(40,), cuts=2, real=0.0, fast=8, slow=4, width=8, evaluations=1)

pytestmark = pytest.mark.usefixtures("few_series")


def _same_weights(a: Forecaster, b: Forecaster) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.slow
def test_the_loss_falls_and_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    config = replace(TINY, steps=40, values=2000)
    network, record = train(config, CPU, None, None)
    torch.manual_seed(config.seed)
    untrained = Forecaster(config.fast, config.slow, config.width)
    stream = Stream(config, CPU)
    assert float(loss(network, stream, 0).detach()) < float(loss(untrained, stream, 0).detach())
    assert record["device"] == f"cpu, {torch.get_num_threads()} thread"
    with pytest.raises(TimeoutError):
        train(config, CPU, tmp_path, 0.0)
    assert _same_weights(network, train(config, CPU, tmp_path, None)[0])


@pytest.mark.data
def test_the_loss_of_real_windows_is_finite(real_data: Path) -> None:
    torch.manual_seed(0)
    stream = Stream(Config(values=3000, lengths=(60,)), CPU)
    assert math.isfinite(float(loss(Forecaster(8, 8, 8), stream, 0).detach()))


def test_a_fit_comes_back_from_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Forecaster(TINY.fast, TINY.slow, TINY.width)
    knobs = {"fast": TINY.fast, "slow": TINY.slow, "width": TINY.width}
    write_fit(tmp_path / "w.npz", network, {"knobs": knobs, "seed": 3})
    copy, record = read_fit(tmp_path / "w.npz")
    assert record["seed"] == 3
    assert _same_weights(network, copy)


def test_a_further_stage_starts_from_weights_and_its_record_has_both(tmp_path: Path) -> None:
    network, record = train(TINY, CPU, None, None)
    record["command"] = f"python -m training forecaster --steps 4 --weights {tmp_path}/first.npz"
    write_fit(tmp_path / "first.npz", network, record)
    second, record = train(replace(TINY, steps=2, rate=1e-9), CPU, None, None, read_fit(tmp_path / "first.npz"))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(network.parameters(), second.parameters(), strict=True))
    record["command"] = "python -m training forecaster --start runs/first.npz --steps 2 --folder elsewhere"
    assert commands_of(record) == (
        "python -m training forecaster --steps 4 --weights runs/first.npz"
        " && python -m training forecaster --start runs/first.npz --steps 2"
    )
    curves = curves_of(record)
    assert [row["step"] for row in curves] == [4, 6]
    assert curves[0]["seconds"] <= curves[1]["seconds"]


def test_finished_stages_are_read_from_their_files(tmp_path: Path) -> None:
    stages = (TINY, replace(TINY, seed=1, steps=2))
    network, record = train_stages(stages, CPU, tmp_path, None)
    assert [row["step"] for row in curves_of(record)] == [4, 6]
    copy, copied_record = train_stages(stages, CPU, tmp_path, None)
    assert curves_of(copied_record) == curves_of(record)
    assert _same_weights(network, copy)
    direct, _ = train(stages[1], CPU, None, None, train(stages[0], CPU, None, None))
    assert _same_weights(network, direct)


def test_a_finished_stage_of_another_configuration_is_refused(tmp_path: Path) -> None:
    train_stages((TINY,), CPU, tmp_path, None)
    with pytest.raises(OtherRun, match="configuration seed"):
        train_stages((replace(TINY, seed=5),), CPU, tmp_path, None)
    train_stages((replace(TINY, seed=5),), CPU, tmp_path, None, accept_other=True)
