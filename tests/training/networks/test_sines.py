"""training.networks.sines: the committed specialist is near the smallest possible error, its trust is continuous."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from service.contract.manifest import MODEL_FILE
from training.data import priors
from training.data.sine_mixture import BAYES_ERRORS, NOISE_VARIANCE
from training.fit.export import reload
from training.folders import MODELS


def _committed() -> Any:
    newest = max((MODELS / "sines").iterdir(), key=lambda folder: int(folder.name))
    return reload((newest / MODEL_FILE).read_bytes())


def _mixtures(rows: int, length: int, seed: int = 31) -> tuple[Tensor, Tensor]:
    """Series and their noise-free values, (rows, length)."""
    generator = torch.Generator().manual_seed(seed)
    return priors.sines_and_truth(rows, length, generator, torch.device("cpu"))[:2]


def _forecast(module: Any, values: Tensor, horizon: int, *levels: float) -> Tensor:
    lengths = torch.full((len(values),), values.shape[1])
    level_rows = torch.tensor([levels], dtype=torch.float64).expand(len(values), -1)
    with torch.inference_mode():
        state = module.step(values, lengths, module.initial(lengths))
        return cast("Tensor", module.forecast(state, horizon, level_rows))


def _lstm_mean(module: Any, values: Tensor) -> Tensor:
    """The LSTM's own forecast of the next value, (rows,)."""
    lengths = torch.full((len(values),), values.shape[1])
    with torch.inference_mode():
        units = module.step(values, lengths, module.initial(lengths))[:, 1 : 1 + module.hidden]
        return cast("Tensor", module.mean(units.float(), torch.ones(1))[:, 0].double())


@pytest.mark.parametrize("context", [20, 50, 200])
def test_the_committed_model_is_near_the_limit_and_its_intervals_hold(context: int) -> None:
    values, clean = _mixtures(1500, context + 10)
    forecast = _forecast(_committed(), values[:, :context], 10, 0.025, 0.1, 0.9, 0.975)
    # Against the noise-free value: the noise of 1,500 values would hide the difference.
    error = float((forecast[:, 0, 0] - clean[:, context]).square().mean()) + NOISE_VARIANCE
    assert error < 1.05 * BAYES_ERRORS[context, 1]
    future = values[:, context:, None]
    inside = (future >= forecast[:, :, [2, 1]]) & (future <= forecast[:, :, [3, 4]])
    for share, level in zip(inside.double().mean((0, 1)).tolist(), (0.8, 0.95), strict=True):
        assert abs(share - level) < 0.03


def test_with_half_of_the_values_missing_it_stays_near_the_limit() -> None:
    module = _committed()
    values, clean = _mixtures(500, 201)
    missing = torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    gapped = values.masked_fill(missing, math.nan)[:, :200]
    mean = _forecast(module, gapped, 1, 0.5)[:, 0, 0]
    error = float((mean - clean[:, 200]).square().mean())
    assert error + NOISE_VARIANCE < 1.1 * BAYES_ERRORS[200, 1]
    assert error < 0.5 * float((_lstm_mean(module, gapped) - clean[:, 200]).square().mean())


def test_a_series_that_is_no_mixture_gets_the_lstm_s_own_forecast() -> None:
    module = _committed()
    walk = torch.randn(50, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64).cumsum(1)
    torch.testing.assert_close(_forecast(module, walk, 1, 0.5)[:, 0, 0], _lstm_mean(module, walk), rtol=0, atol=1e-12)
    values, _ = _mixtures(50, 60)
    assert (_forecast(module, values, 1, 0.5)[:, 0, 0] - _lstm_mean(module, values)).abs().mean() > 1e-3


def test_trust_falls_smoothly_as_a_window_fits_less() -> None:
    module = _committed()
    values, _ = _mixtures(1, 60)
    sizes = torch.linspace(0, 0.4, 400, dtype=torch.float64)
    spiked = values.repeat(400, 1)
    spiked[:, 40] += sizes * (values[0, 40] - values[0, 39]).sign()
    forecast = _forecast(module, spiked, 1, 0.1, 0.9)[:, 0]
    torch.testing.assert_close(forecast[-1:, 0], _lstm_mean(module, spiked[-1:]), rtol=0, atol=1e-12)
    assert forecast.diff(dim=0).abs().max() < 0.005  # the interval is 0.08 wide


def test_chunks_and_history_have_the_bits_of_one_call() -> None:
    module = _committed()
    values, _ = _mixtures(6, 40)
    lengths, one_step = torch.full((6,), 40), torch.ones(6, dtype=torch.int64)
    levels = torch.tensor([[0.1, 0.5]], dtype=torch.float64).expand(6, -1)
    with torch.inference_mode():
        final_state, history = module.history(values, lengths, module.initial(lengths), levels)
        state = module.initial(lengths)
        for t in range(40):
            forecast = module.forecast(state, 1, levels)[:, 0]
            assert t == 0 or torch.equal(history[:, t], forecast)
            state = module.step(values[:, t : t + 1], one_step, state)
    assert torch.equal(state, final_state)


def test_a_row_has_the_same_bits_in_a_batch_of_any_size() -> None:
    module = _committed()
    values, _ = _mixtures(40, 30)
    values[::4] *= 3  # no mixtures
    levels = torch.tensor([[0.01, 0.5, 0.77]], dtype=torch.float64).expand(40, -1)
    with torch.inference_mode():
        for length in (1, 7, 30):
            lengths = torch.full((40,), length)
            state = module.step(values[:, :length], lengths, module.initial(lengths))
            all_rows = module.forecast(state, 9, levels)
            for rows in range(1, 20):
                assert torch.equal(module.forecast(state[:rows], 9, levels[:rows]), all_rows[:rows])
                assert torch.equal(module.forecast(state[-rows:], 9, levels[-rows:]), all_rows[-rows:])
