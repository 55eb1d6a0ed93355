"""training.sines.train: the losses fall, the second stage leaves the LSTM alone, runs resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.networks.sine_fit import SineFit
from training.sines.config import Config
from training.sines.train import error_weights, guess_loss, read_lstm, train_heads, train_lstm, true_sines
from training.sines.windows import draw

TINY = Config(steps=40, values=2_000, lengths=(20, 40), hidden=16, evaluations=1, head_steps=40, head_places=6)

pytestmark = pytest.mark.usefixtures("few_series")


def test_true_sines_are_those_that_made_the_series() -> None:
    windows = draw(TINY, 4)
    position = torch.randint(20, (len(windows.components), 3), generator=torch.Generator().manual_seed(0))
    true = true_sines(windows.components, position).flatten(0, 1)
    waves = SineFit(8).wave(true[:, None], torch.arange(5))[:, 0]
    index = position.flatten()[:, None] + 1 + torch.arange(5)
    truth = windows.clean.repeat_interleave(3, 0).gather(1, index)
    torch.testing.assert_close(waves, truth)
    assert float(guess_loss(true + torch.tensor([2 * np.pi, 0, -2 * np.pi, 0]), true)) < 1e-12


def test_error_weights_are_the_inverse_of_the_unavoidable_error() -> None:
    weights = error_weights(300)
    assert weights.shape == (300,)
    assert (weights.diff() >= 0).all()
    assert weights[0] < 60
    assert weights[-1] > 1e4


@pytest.mark.slow
def test_the_losses_fall_and_the_second_stage_leaves_the_lstm_alone() -> None:
    config = replace(TINY, steps=120, lengths=(40,), evaluations=2)
    network, record = train_lstm(config, None)
    first, last = record["curves"]
    assert last["loss"] < 0.8 * first["loss"]
    assert last["sines20"] < first["sines20"]
    start = {k: v.clone() for k, v in network.state_dict().items() if k.startswith("lstm.")}
    heads = train_heads(network, replace(config, head_steps=120), None)
    assert heads.last["loss"] < 0.9 * heads.rows[0]["loss"]
    end = network.state_dict()
    assert all(torch.equal(end[k], v) for k, v in start.items())
    assert all(p.requires_grad for p in network.parameters())
    assert not network.training


def test_an_interrupted_run_resumes_to_the_same_end(tmp_path: Path) -> None:
    config = replace(TINY, lengths=(20,), head_steps=10)
    network, _ = train_lstm(replace(config, steps=4), None)
    start = {k: v.clone() for k, v in network.state_dict().items()}
    train_heads(network, config, tmp_path)
    content = torch.load(tmp_path / "heads" / "checkpoint.pt", weights_only=True)
    assert content["step"] == 10
    end = {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(start)
    train_heads(network, config, tmp_path)  # all of it is in the checkpoint
    assert all(torch.equal(v, end[k]) for k, v in network.state_dict().items())


def test_the_first_stage_comes_back_from_its_file(tmp_path: Path) -> None:
    network, record = train_lstm(replace(TINY, steps=2), tmp_path)
    copy, copied_record = read_lstm(tmp_path / "lstm.npz")
    assert copied_record["curves"] == record["curves"]
    inputs = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ahead = torch.arange(1, 4)
    units, copied_units = network.follow(inputs).flatten(0, 1), copy.follow(inputs).flatten(0, 1)
    assert torch.equal(network.mean(units, ahead), copy.mean(copied_units, ahead))
