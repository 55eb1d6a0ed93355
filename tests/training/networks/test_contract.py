"""docs/models.md, sentence by sentence, for every forecaster: networks with seeded weights and committed models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.subjects import NETWORKS, Subject, build, names, subject

LEVELS = (0.001, 0.1, 0.5, 0.9, 0.999)
LENGTHS = (50, 1, 17, 2, 33)
EXTREMES = (0.0, 1.0, -1.0, 1e-300, -1e-300, 5e-324, 1e300, -1e300, 1.7e308, -1.7e308, 0.1, 7.25, 1e6, 1e6 + 1)

every_forecaster = pytest.mark.parametrize("name", names("forecast"))
fewer = settings(max_examples=8)


def _series(batch: Subject, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Five ragged series of different scales: (5, 50) with zeros in the padding, and their lengths."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(50) * 2 * np.pi / 12) + 0.1 * rng.normal(size=(5, 50))
    values = wave * np.array([[1.0], [1e4], [1e-3], [1.0], [50.0]]) + np.array([[0.0], [5e4], [0.0], [-3.0], [200.0]])
    if batch.missing:
        values[rng.random(values.shape) < 0.15] = math.nan
        values[0, 0] = math.nan  # leading, and the only value of the shortest row is there
        values[1, 0] = 5.0
    lengths = np.array(LENGTHS)
    values[np.arange(50) >= lengths[:, None]] = 0
    return torch.from_numpy(values), torch.from_numpy(lengths)


def _levels(rows: int) -> Tensor:
    return torch.tensor([LEVELS] * rows, dtype=torch.float64)


def _fresh(batch: Subject, rows: int) -> Tensor:
    return batch.module.initial(torch.tensor(([0, 0, 12, 0, 7] * rows)[:rows]))


def _equal_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.int64), b.contiguous().view(torch.int64))


def _assert_near(actual: Tensor, expected: Tensor, scale: Tensor | float = 1.0) -> None:
    """Equal up to float32 rounding, relative to the size of a row's values."""
    unit = scale if isinstance(scale, float) else scale.reshape(-1, *[1] * (actual.dim() - 1))
    torch.testing.assert_close(actual / unit, expected / unit, rtol=2e-4, atol=2e-5, equal_nan=True)


def _assert_same_state(batch: Subject, actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(
        actual[:, : batch.exact], expected[:, : batch.exact], rtol=1e-9, atol=1e-9, equal_nan=True
    )
    torch.testing.assert_close(actual[:, batch.exact :], expected[:, batch.exact :], rtol=2e-4, atol=2e-5)


def _sizes(batch: Subject, values: Tensor) -> Tensor:
    return values.nan_to_num().abs().amax(1).clamp(min=batch.unit)


@pytest.mark.parametrize("name", [name for name, (_, task) in NETWORKS.items() if task == "forecast"])
def test_scripted_equals_eager(name: str) -> None:
    eager: Any = build(name)
    batch = subject(f"network:{name}")
    values, lengths = _series(batch)
    levels = _levels(5)
    with torch.no_grad():
        state = eager.step(values, lengths, eager.initial(torch.zeros(5, dtype=torch.int64)))
        for _ in range(3):  # the executor may specialise after its first calls
            scripted = batch.module.step(values, lengths, batch.module.initial(torch.zeros(5, dtype=torch.int64)))
            _assert_same_state(batch, scripted, state)
            _assert_near(
                batch.module.forecast(state, 5, levels), eager.forecast(state, 5, levels), _sizes(batch, values)
            )
            actual = batch.module.history(values, lengths, state, levels)[1]
            _assert_near(actual, eager.history(values, lengths, state, levels)[1], _sizes(batch, values))
            assert torch.equal(batch.module.season(state), eager.season(state))


@every_forecaster
def test_the_state_is_one_float64_tensor_whose_tail_holds_float32_values(name: str) -> None:
    batch = subject(name)
    values, lengths = _series(batch)
    state = batch.module.step(values, lengths, _fresh(batch, 5))
    assert state.dtype == torch.float64
    assert state.shape == _fresh(batch, 5).shape
    tail = state[:, batch.exact :]
    assert torch.equal(tail, tail.float().double())
    season = batch.module.season(state)
    assert season.dtype == torch.int64
    assert season.shape == (5,)
    assert (season >= 1).all()


@every_forecaster
def test_a_batch_equals_its_rows_alone(name: str) -> None:
    batch = subject(name)
    values, lengths = _series(batch)
    fresh, levels, sizes = _fresh(batch, 5), _levels(5), _sizes(batch, values)
    state, history = batch.module.history(values, lengths, fresh, levels)
    _assert_same_state(batch, batch.module.step(values, lengths, fresh), state)
    forecast = batch.module.forecast(state, 6, levels)
    for row, length in enumerate(LENGTHS):
        rows = slice(row, row + 1)
        single_state, single_history = batch.module.history(
            values[rows, :length], lengths[rows], fresh[rows], levels[rows]
        )
        _assert_same_state(batch, single_state, state[rows])
        _assert_near(single_history, history[rows, :length], sizes[rows])
        _assert_near(batch.module.forecast(single_state, 6, levels[rows]), forecast[rows], sizes[rows])


@every_forecaster
@given(cuts=st.lists(st.integers(0, 20), max_size=5))
@fewer
def test_resuming_in_any_chunks_equals_one_call(name: str, cuts: list[int]) -> None:
    batch = subject(name)
    values, lengths = _series(batch, seed=1)
    full_state, history = batch.module.history(values, lengths, _fresh(batch, 5), _levels(5))
    state, pieces, at = _fresh(batch, 5), [], 0
    for size in [*cuts, 50]:
        part = values[:, at : at + size]
        remaining = (lengths - at).clamp(0, part.shape[1])
        resumed, chunk_history = batch.module.history(part, remaining, state, _levels(5))
        _assert_same_state(batch, batch.module.step(part, remaining, state), resumed)
        state = resumed
        pieces.append(chunk_history)
        at += part.shape[1]
    _assert_same_state(batch, state, full_state)
    real = (torch.arange(50) < lengths[:, None])[:, :, None]
    _assert_near(torch.cat(pieces, 1).where(real, 0.0), history.where(real, 0.0), _sizes(batch, values))


@every_forecaster
@pytest.mark.parametrize("filling", [math.nan, math.inf, -1e300, 3.0])
def test_values_in_the_padding_never_matter(name: str, filling: float) -> None:
    batch = subject(name)
    values, lengths = _series(batch)
    filled = values.where(torch.arange(50) < lengths[:, None], filling)
    fresh, levels = _fresh(batch, 5), _levels(5)
    assert _equal_bits(batch.module.step(values, lengths, fresh), batch.module.step(filled, lengths, fresh))
    state, history = batch.module.history(values, lengths, fresh, levels)
    filled_state, filled_history = batch.module.history(filled, lengths, fresh, levels)
    assert _equal_bits(state, filled_state)
    for row, length in enumerate(LENGTHS):
        assert _equal_bits(history[row, :length], filled_history[row, :length])


@every_forecaster
def test_a_row_of_length_zero_keeps_its_state_bit_for_bit(name: str) -> None:
    batch = subject(name)
    values, lengths = _series(batch)
    fresh = _fresh(batch, 5)
    state = batch.module.step(values, lengths, fresh)
    for start in (fresh, state):
        for counts in (torch.tensor([0, 7, 0, 50, 0]), torch.zeros(5, dtype=torch.int64)):
            end = batch.module.step(values, counts, start)
            assert _equal_bits(end[counts == 0], start[counts == 0])
            assert _equal_bits(
                batch.module.history(values, counts, start, _levels(5))[0][counts == 0],
                start[counts == 0],
            )
        no_values = values[:, :0]
        assert _equal_bits(batch.module.step(no_values, torch.zeros(5, dtype=torch.int64), start), start)


@every_forecaster
def test_step_k_of_a_forecast_does_not_depend_on_the_horizon(name: str) -> None:
    batch = subject(name)
    values, lengths = _series(batch)
    state = batch.module.step(values, lengths, _fresh(batch, 5))
    longest = batch.module.forecast(state, min(batch.max_horizon, 70), _levels(5))
    for horizon in (1, 2, 13):
        _assert_near(batch.module.forecast(state, horizon, _levels(5)), longest[:, :horizon], _sizes(batch, values))


@every_forecaster
def test_a_quantile_does_not_depend_on_the_other_levels(name: str) -> None:
    batch = subject(name)
    values, lengths = _series(batch)
    state = batch.module.step(values, lengths, _fresh(batch, 5))
    five_levels = batch.module.forecast(state, 3, _levels(5))
    two_levels = batch.module.forecast(state, 3, _levels(5)[:, [1, 3]])
    _assert_near(two_levels, five_levels[:, :, [0, 2, 4]], _sizes(batch, values))


@every_forecaster
def test_history_is_the_forecast_before_each_value(name: str) -> None:
    batch = subject(name)
    values, lengths = _series(batch, seed=2)
    _, history = batch.module.history(values, lengths, _fresh(batch, 5), _levels(5))
    for row, length in enumerate(LENGTHS):
        state = _fresh(batch, 5)[row : row + 1]
        observed = False
        for t in range(length):
            forecast = history[row, t]
            if observed:
                expected = batch.module.forecast(state, 1, _levels(1))[0, 0]
                _assert_near(forecast, expected, float(_sizes(batch, values)[row]))
            else:
                assert forecast.isnan().all()
            state = batch.module.step(values[row : row + 1, t : t + 1], torch.ones(1, dtype=torch.int64), state)
            observed = observed or not bool(values[row, t].isnan())


@every_forecaster
@given(
    rows=st.lists(
        st.lists(st.one_of(st.sampled_from(EXTREMES), st.floats(allow_nan=False, allow_infinity=False)), min_size=1),
        min_size=1,
        max_size=4,
    ),
    constant=st.one_of(st.none(), st.sampled_from(EXTREMES)),
    holes=st.sets(st.integers(1, 9)),
)
@settings(max_examples=20)
def test_any_finite_input_gives_a_finite_ordered_forecast(
    name: str, rows: list[list[float]], constant: float | None, holes: set[int]
) -> None:
    batch = subject(name)
    if constant is not None:
        rows = [[constant] * 8, *rows]
    lengths = torch.tensor([len(row) for row in rows])
    values = torch.zeros(len(rows), int(lengths.max()), dtype=torch.float64)
    for k, row in enumerate(rows):
        values[k, : len(row)] = torch.tensor(row, dtype=torch.float64)
    if batch.missing:  # the first value stays, so every row has observed one
        values[:, [hole for hole in holes if hole < values.shape[1]]] = math.nan
    levels = _levels(len(rows))
    state, history = batch.module.history(values, lengths, _fresh(batch, len(rows)), levels)
    horizon = min(batch.max_horizon, 20)
    for forecast in (batch.module.forecast(state, horizon, levels), batch.module.forecast(state, 1, levels)):
        assert forecast.isfinite().all()
        assert (forecast[:, :, 2:] >= forecast[:, :, 1:-1]).all()
    for row, length in zip(history, lengths.tolist(), strict=True):
        past = row[1:length]
        assert past.isfinite().all()
        assert (past[:, 2:] >= past[:, 1:-1]).all()


@every_forecaster
def test_a_served_module_has_no_gradients(name: str) -> None:
    module = subject(name).module
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
