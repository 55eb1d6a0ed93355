"""training.sines.windows: batches by seed and step, with their noise-free truth."""

from __future__ import annotations

import torch

from training.data.sine_mixture import NOISE_VARIANCE
from training.sines.config import Config
from training.sines.windows import draw

TINY = Config(values=2_000, lengths=(20, 40))


def test_a_batch_is_a_function_of_seed_and_step_and_its_truth_has_no_noise() -> None:
    windows, twin = draw(TINY, 4), draw(TINY, 4)
    assert torch.equal(windows.noisy, twin.noisy)
    assert not torch.equal(windows.noisy, draw(TINY, 6).noisy)
    observed = torch.isfinite(windows.inputs)
    assert torch.equal(windows.inputs[observed], windows.noisy[:, : windows.inputs.shape[1]][observed])
    assert windows.ahead[0] == 1
    assert (windows.ahead >= 1).all()
    assert (windows.ahead <= 64).all()
    noise = windows.noisy - windows.clean
    assert noise.abs().max() <= 0.05
    assert abs(float(noise.square().mean()) / NOISE_VARIANCE - 1) < 0.1
