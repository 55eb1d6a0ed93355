"""docs/models.md, sentence by sentence, for every digit reader: networks with seeded weights and committed models."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from tests.training.subjects import NETWORKS, Subject, build, names, subject
from training.data.drawn_digits import digit_images

LENGTHS = (28, 1, 17, 64, 7)

every_reader = pytest.mark.parametrize("name", names("classify-digit"))
fewer = settings(max_examples=8)


def _digits() -> tuple[Tensor, Tensor]:
    """Five drawn digits of different heights: (5, 64, 28) with zeros in the padding, and their lengths."""
    images = torch.from_numpy(digit_images(10, seed=1)[0][::2]).float() / 255
    lengths = torch.tensor(LENGTHS)
    rows = torch.cat([images, images, images[:, :8]], 1)
    return rows.where((torch.arange(64) < lengths[:, None])[:, :, None], 0.0), lengths


def _assert_near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)


def _assert_log_probabilities(answers: Tensor) -> None:
    assert answers.dtype == torch.float32
    assert answers.isfinite().all()
    torch.testing.assert_close(answers.exp().sum(-1), torch.ones(answers.shape[:-1]))


@pytest.mark.parametrize("name", [name for name, (_, task) in NETWORKS.items() if task == "classify-digit"])
def test_scripted_equals_eager(name: str) -> None:
    eager: Any = build(name)
    scripted = subject(f"network:{name}").module
    rows, lengths = _digits()
    state, trace = eager.trace(rows, lengths, eager.initial(5))
    for _ in range(3):  # the executor may specialise after its first calls
        _assert_near(scripted.step(rows, lengths, scripted.initial(5)), state)
        _assert_near(scripted.trace(rows, lengths, scripted.initial(5))[1], trace)
        _assert_near(scripted.read(state), eager.read(state))


@every_reader
def test_the_state_is_one_float64_tensor_whose_tail_holds_float32_values(name: str) -> None:
    batch = subject(name)
    rows, lengths = _digits()
    state = batch.module.step(rows, lengths, batch.module.initial(5))
    assert state.dtype == torch.float64
    assert state.shape == batch.module.initial(5).shape
    tail = state[:, batch.exact :]
    assert torch.equal(tail, tail.float().double())


@every_reader
def test_a_batch_equals_its_digits_alone(name: str) -> None:
    module = subject(name).module
    rows, lengths = _digits()
    state, trace = module.trace(rows, lengths, module.initial(5))
    _assert_near(module.step(rows, lengths, module.initial(5)), state)
    answers = module.read(state)
    for digit, length in enumerate(LENGTHS):
        digits = slice(digit, digit + 1)
        single_state, single_trace = module.trace(rows[digits, :length], lengths[digits], module.initial(1))
        _assert_near(single_state, state[digits])
        _assert_near(single_trace, trace[digits, :length])
        _assert_near(module.read(single_state), answers[digits])
        _assert_near(single_trace[:, -1], answers[digits])


@every_reader
@given(cuts=st.lists(st.integers(0, 30), max_size=4))
@fewer
def test_resuming_in_any_chunks_equals_one_call(name: str, cuts: list[int]) -> None:
    module = subject(name).module
    rows, lengths = _digits()
    full_state, trace = module.trace(rows, lengths, module.initial(5))
    state, pieces, at = module.initial(5), [], 0
    for size in [*cuts, 64]:
        part = rows[:, at : at + size]
        remaining = (lengths - at).clamp(0, part.shape[1])
        end, chunk_trace = module.trace(part, remaining, state)
        _assert_near(module.step(part, remaining, state), end)
        state = end
        pieces.append(chunk_trace)
        at += part.shape[1]
    _assert_near(state, full_state)
    joined = torch.cat(pieces, 1)
    for digit, length in enumerate(LENGTHS):
        _assert_near(joined[digit, :length], trace[digit, :length])


@every_reader
@pytest.mark.parametrize("filling", [math.nan, math.inf, -1e30, 1.0])
def test_values_in_the_padding_never_matter(name: str, filling: float) -> None:
    module = subject(name).module
    rows, lengths = _digits()
    filled = rows.where((torch.arange(64) < lengths[:, None])[:, :, None], filling)
    assert torch.equal(module.step(rows, lengths, module.initial(5)), module.step(filled, lengths, module.initial(5)))
    state, trace = module.trace(rows, lengths, module.initial(5))
    filled_state, filled_trace = module.trace(filled, lengths, module.initial(5))
    assert torch.equal(state, filled_state)
    for digit, length in enumerate(LENGTHS):
        assert torch.equal(trace[digit, :length], filled_trace[digit, :length])


@every_reader
def test_a_digit_of_no_rows_keeps_its_state_bit_for_bit(name: str) -> None:
    module = subject(name).module
    rows, lengths = _digits()
    zero_lengths = torch.zeros(5, dtype=torch.int64)
    for start in (module.initial(5), module.step(rows, lengths, module.initial(5))):
        row_lengths = torch.tensor([0, 7, 0, 28, 0])
        assert torch.equal(module.step(rows, row_lengths, start)[row_lengths == 0], start[row_lengths == 0])
        assert torch.equal(module.trace(rows, row_lengths, start)[0][row_lengths == 0], start[row_lengths == 0])
        assert torch.equal(module.step(rows[:, :0], zero_lengths, start), start)
        end, trace = module.trace(rows[:, :0], zero_lengths, start)
        assert torch.equal(end, start)
        assert trace.shape == (5, 0, 10)


@every_reader
@given(
    ink=hnp.arrays(
        "float32", st.tuples(st.integers(1, 3), st.integers(1, 64), st.just(28)), elements=st.floats(0, 1, width=32)
    )
)
@fewer
def test_any_ink_gives_finite_log_probabilities(name: str, ink: Any) -> None:
    module = subject(name).module
    rows = torch.from_numpy(ink)
    lengths = torch.full((len(rows),), rows.shape[1])
    state, trace = module.trace(rows, lengths, module.initial(len(rows)))
    _assert_log_probabilities(trace)
    _assert_log_probabilities(module.read(state))
    _assert_log_probabilities(module.read(module.initial(2)))


@every_reader
def test_a_served_module_has_no_gradients(name: str) -> None:
    module = subject(name).module
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_subjects_of_both_tasks_are_there() -> None:
    assert {"network:digits", "network:digits-rnn-10"} <= set(names("classify-digit"))
    assert isinstance(subject("network:digits"), Subject)
