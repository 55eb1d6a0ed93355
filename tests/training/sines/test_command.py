"""The specialist of the sine mixture: it learns, and the service serves it."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from service.backend.model import load
from service.contract.manifest import MODEL_FILE
from training.data import priors
from training.fit.export import MODELS, reload
from training.networks.sine_fit import SineFit
from training.sines import command as sines
from training.sines import train as sine_recipe

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


def _served() -> Any:
    newest = max((MODELS / "sines").iterdir(), key=lambda folder: int(folder.name))
    return reload((newest / MODEL_FILE).read_bytes())


def _mixtures(rows: int, length: int, seed: int = 31) -> tuple[Tensor, Tensor]:
    """Series and their noise-free values, (rows, length)."""
    generator = torch.Generator().manual_seed(seed)
    return priors.sines_and_truth(rows, length, generator, torch.device("cpu"))[:2]


def _forecast(module: Any, values: Tensor, horizon: int, *levels: float) -> Tensor:
    lengths = torch.full((len(values),), values.shape[1])
    wanted = torch.tensor([levels], dtype=torch.float64).expand(len(values), -1)
    with torch.inference_mode():
        state = module.step(values, lengths, module.initial(lengths))
        return cast("Tensor", module.forecast(state, horizon, wanted))


def _own(module: Any, values: Tensor) -> Tensor:
    """What the LSTM says of the next value by itself, (rows,)."""
    lengths = torch.full((len(values),), values.shape[1])
    with torch.inference_mode():
        units = module.step(values, lengths, module.initial(lengths))[:, 1 : 1 + module.hidden]
        return cast("Tensor", module.mean(units.float(), torch.ones(1))[:, 0].double())


@pytest.mark.parametrize(("seen", "limit"), [(20, 1.21e-3), (50, 8.92e-4), (200, 8.37e-4)])
def test_the_served_model_is_near_the_limit_and_its_intervals_hold(seen: int, limit: float) -> None:
    values, clean = _mixtures(1500, seen + 10)
    said = _forecast(_served(), values[:, :seen], 10, 0.025, 0.1, 0.9, 0.975)
    # Against the noise-free value: the noise of 1,500 values would drown what is to be seen.
    error = float((said[:, 0, 0] - clean[:, seen]).square().mean()) + sine_recipe.NOISE
    assert error < 1.05 * limit
    future = values[:, seen:, None]
    inside = (future >= said[:, :, [2, 1]]) & (future <= said[:, :, [3, 4]])
    for share, level in zip(inside.double().mean((0, 1)).tolist(), (0.8, 0.95), strict=True):
        assert abs(share - level) < 0.03


def test_with_every_other_value_missing_it_stays_near() -> None:
    module = _served()
    values, clean = _mixtures(500, 201)
    gone = torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    seen = values.masked_fill(gone, math.nan)[:, :200]
    said = _forecast(module, seen, 1, 0.5)[:, 0, 0]
    error = float((said - clean[:, 200]).square().mean())
    assert error + sine_recipe.NOISE < 1.1 * 8.37e-4
    assert error < 0.5 * float((_own(module, seen) - clean[:, 200]).square().mean())


def test_what_is_no_mixture_gets_the_lstm_s_own_answer() -> None:
    module = _served()
    walk = torch.randn(50, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64).cumsum(1)
    torch.testing.assert_close(_forecast(module, walk, 1, 0.5)[:, 0, 0], _own(module, walk), rtol=0, atol=1e-12)
    values, _ = _mixtures(50, 60)
    assert (_forecast(module, values, 1, 0.5)[:, 0, 0] - _own(module, values)).abs().mean() > 1e-3


def test_trust_falls_smoothly_as_a_window_fits_less() -> None:
    module = _served()
    values, _ = _mixtures(1, 60)
    sizes = torch.linspace(0, 0.4, 400, dtype=torch.float64)
    spiked = values.repeat(400, 1)
    spiked[:, 40] += sizes * (values[0, 40] - values[0, 39]).sign()
    said = _forecast(module, spiked, 1, 0.1, 0.9)[:, 0]
    torch.testing.assert_close(said[-1:, 0], _own(module, spiked[-1:]), rtol=0, atol=1e-12)
    assert said.diff(dim=0).abs().max() < 0.005  # the interval is 0.08 wide


def test_parts_and_history_have_the_bits_of_the_whole() -> None:
    module = _served()
    values, _ = _mixtures(6, 40)
    lengths, one = torch.full((6,), 40), torch.ones(6, dtype=torch.int64)
    levels = torch.tensor([[0.1, 0.5]], dtype=torch.float64).expand(6, -1)
    with torch.inference_mode():
        whole, history = module.history(values, lengths, module.initial(lengths), levels)
        state = module.initial(lengths)
        for t in range(40):
            said = module.forecast(state, 1, levels)[:, 0]
            assert t == 0 or torch.equal(history[:, t], said)
            state = module.step(values[:, t : t + 1], one, state)
    assert torch.equal(state, whole)


def test_a_row_has_the_same_bits_in_any_company() -> None:
    module = _served()
    values, _ = _mixtures(40, 30)
    values[::4] *= 3  # no mixtures
    levels = torch.tensor([[0.01, 0.5, 0.77]], dtype=torch.float64).expand(40, -1)
    with torch.inference_mode():
        for seen in (1, 7, 30):
            lengths = torch.full((40,), seen)
            state = module.step(values[:, :seen], lengths, module.initial(lengths))
            whole = module.forecast(state, 9, levels)
            for rows in range(1, 20):
                assert torch.equal(module.forecast(state[:rows], 9, levels[:rows]), whole[:rows])
                assert torch.equal(module.forecast(state[-rows:], 9, levels[-rows:]), whole[-rows:])


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
