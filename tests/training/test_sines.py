"""The specialist of the sine mixture: it learns, and the service serves it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from service.backend import load
from training import sines
from training.generators import sine_mixture
from training.networks.sines import SineForecaster

TINY = sines.Knobs(steps=40, values=2_000, lengths=(20, 40), hidden=16, evaluations=1)


def test_a_batch_is_a_function_of_seed_and_step_and_its_truth_has_no_noise() -> None:
    seen, noisy, clean = sines.draw(TINY, 4)
    again = sines.draw(TINY, 4)
    assert torch.equal(noisy, again[1])
    assert not torch.equal(noisy, sines.draw(TINY, 6)[1])
    known = torch.isfinite(seen)
    assert torch.equal(seen[known], noisy[:, : seen.shape[1]][known])
    noise = noisy - clean
    assert noise.abs().max() <= 0.05
    assert abs(float(noise.square().mean()) / sines.NOISE - 1) < 0.1


def test_weights_are_the_inverse_of_what_is_unavoidable() -> None:
    weights = sines.weights(300)
    assert weights.shape == (300,)
    assert (weights.diff() >= 0).all()
    assert weights[0] < 60
    assert weights[-1] > 1e4


def test_the_loss_falls() -> None:
    network, record = sines.train(replace(TINY, steps=120, lengths=(40,), evaluations=4), None)
    first, last = record.curves[0], record.curves[-1]
    assert last["loss"] < 0.7 * first["loss"]
    assert last["sines20"] < first["sines20"]
    assert not network.training


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
    sines.main(parser.parse_args(["--steps", "2", "--values", "960", "--hidden", "8", "--models", str(tmp_path)]))
    model = load(tmp_path / "sines" / "1", warm=False)
    assert model.manifest.metrics["tutorial_mse"] > 0
    assert "--models" not in model.manifest.training.command
