"""The specialist of the sine mixture: it learns, and the service serves it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.backend import load
from training import sine_recipe, sines
from training.generators import sine_mixture
from training.networks.sine_fit import SineFit
from training.networks.sines import SineForecaster

TINY = sine_recipe.Knobs(
    steps=40, values=2_000, lengths=(20, 40), hidden=16, evaluations=1, head_steps=40, head_places=6
)


def test_a_batch_is_a_function_of_seed_and_step_and_its_truth_has_no_noise() -> None:
    drawn = sine_recipe.draw(TINY, 4)
    again = sine_recipe.draw(TINY, 4)
    assert torch.equal(drawn.noisy, again.noisy)
    assert not torch.equal(drawn.noisy, sine_recipe.draw(TINY, 6).noisy)
    known = torch.isfinite(drawn.seen)
    assert torch.equal(drawn.seen[known], drawn.noisy[:, : drawn.seen.shape[1]][known])
    assert drawn.ahead[0] == 1
    assert (drawn.ahead >= 1).all()
    assert (drawn.ahead <= 64).all()
    noise = drawn.noisy - drawn.clean
    assert noise.abs().max() <= 0.05
    assert abs(float(noise.square().mean()) / sine_recipe.NOISE - 1) < 0.1


def test_true_sines_are_those_that_made_the_series() -> None:
    drawn = sine_recipe.draw(TINY, 4)
    place = torch.randint(20, (len(drawn.sines), 3), generator=torch.Generator().manual_seed(0))
    true = sine_recipe.true_sines(drawn.sines, place).flatten(0, 1)
    waves = SineFit(8).wave(true[:, None], torch.arange(5))[:, 0]
    index = place.flatten()[:, None] + 1 + torch.arange(5)
    truth = drawn.clean.repeat_interleave(3, 0).gather(1, index)
    torch.testing.assert_close(waves, truth)
    assert float(sine_recipe.guess_loss(true + torch.tensor([2 * np.pi, 0, -2 * np.pi, 0]), true)) < 1e-12


def test_weights_are_the_inverse_of_what_is_unavoidable() -> None:
    weights = sine_recipe.weights(300)
    assert weights.shape == (300,)
    assert (weights.diff() >= 0).all()
    assert weights[0] < 60
    assert weights[-1] > 1e4


def test_the_losses_fall_and_the_second_stage_leaves_the_lstm_alone() -> None:
    knobs = replace(TINY, steps=120, lengths=(40,), evaluations=2)
    network, lstm = sine_recipe.train_lstm(knobs, None)
    first, last = lstm.rows[0], lstm.last
    assert last["loss"] < 0.8 * first["loss"]
    assert last["sines20"] < first["sines20"]
    before = {k: v.clone() for k, v in network.state_dict().items() if k.startswith("lstm.")}
    heads = sine_recipe.train_heads(network, replace(knobs, head_steps=120), None)
    assert heads.last["loss"] < 0.9 * heads.rows[0]["loss"]
    after = network.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert all(p.requires_grad for p in network.parameters())
    assert not network.training


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    knobs = replace(TINY, lengths=(20,), head_steps=10)
    network, _ = sine_recipe.train_lstm(replace(knobs, steps=4), None)
    start = {k: v.clone() for k, v in network.state_dict().items()}
    sine_recipe.train_heads(network, knobs, tmp_path)
    content = torch.load(tmp_path / "heads" / "checkpoint.pt", weights_only=True)
    assert content["step"] == 10
    whole = {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(start)
    sine_recipe.train_heads(network, knobs, tmp_path)  # all of it is in the checkpoint
    assert all(torch.equal(v, whole[k]) for k, v in network.state_dict().items())


def test_quantiles_are_ordered_and_the_horizon_does_not_matter() -> None:
    torch.manual_seed(0)
    network = SineForecaster(16).eval()
    series = torch.from_numpy(sine_mixture(5, 30, np.random.default_rng(0)))
    lengths = torch.full((5,), 30)
    levels = torch.tensor([[0.001, 0.1, 0.5, 0.9, 0.999]], dtype=torch.float64).expand(5, -1)
    with torch.no_grad():
        state = network.step(series, lengths, network.initial(lengths))
        said = network.forecast(state, 64, levels)
        torch.testing.assert_close(network.forecast(state, 3, levels), said[:, :3])
    assert torch.isfinite(said).all()
    assert (said[..., 1:].diff(dim=2) >= 0).all()


def test_the_command_trains_exports_and_the_service_loads(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    sines.add_arguments(parser)
    few = ["--values", "960", "--hidden", "8", "--head-steps", "2", "--models", str(tmp_path), "--figures"]
    few += [str(tmp_path / "figures"), "--folder", str(tmp_path / "run")]
    sines.main(parser.parse_args(["--steps", "2", *few]))
    model = load(tmp_path / "sines" / "1", warm=False)
    assert model.manifest.metrics["tutorial_mse"] > 0
    assert "--models" not in model.manifest.training.command
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"sines-curves.png", "sines-lstm-curves.png"}

    # The second stage alone, from what the first one left, comes to the same network.
    weights = tmp_path / "run" / "lstm.npz"
    sines.main(parser.parse_args([*few[:-2], "--from-weights", str(weights), "--steps", "2"]))
    again = load(tmp_path / "sines" / "2", warm=False)
    assert again.manifest.metrics == pytest.approx(model.manifest.metrics, rel=1e-2)
