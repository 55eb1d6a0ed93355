"""training.networks.digits: the served reader says what the trained one says, row by row, and looks at no later row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.networks.digits import MAX_ROWS, DigitReader, RowReader, answered


def _core(layers: int = 2) -> RowReader:
    torch.manual_seed(1)
    return RowReader(hidden=9, layers=layers).eval()


def _rows(batch: int, steps: int) -> Tensor:
    torch.manual_seed(2)
    return torch.rand(batch, steps, 28)


@torch.inference_mode()
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_trace_is_the_trained_networks_answer_at_its_temperatures(layers: int) -> None:
    core = _core(layers)
    temperatures = torch.linspace(0.5, 2.0, MAX_ROWS)
    reader = DigitReader(core, temperatures).eval()
    rows = _rows(3, MAX_ROWS)
    state, trace = reader.trace(rows, torch.full((3,), MAX_ROWS), reader.initial(3))
    want = answered(core(rows) / temperatures[:, None])
    torch.testing.assert_close(trace, want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(reader.read(state), want[:, -1], rtol=1e-5, atol=1e-6)
    assert state.shape == (3, 2 * layers * 9 + 57)
    assert torch.equal(state[:, -57:-1], rows[:, -2:].flatten(1).double())


def test_what_is_no_digit_makes_every_digit_as_likely() -> None:
    logits = torch.tensor([[0.0] * 10 + [50.0], [3.0] + [0.0] * 9 + [-50.0], [0.0] * 11])
    said = answered(logits).exp()
    torch.testing.assert_close(said.sum(-1), torch.ones(3))
    torch.testing.assert_close(said[0], torch.full((10,), 0.1))
    torch.testing.assert_close(said[1], logits[1, :10].softmax(-1))
    torch.testing.assert_close(said[2], torch.full((10,), 0.1))
    half = torch.cat([torch.tensor([20.0]), torch.zeros(9), torch.tensor([20.0])])  # either a 0 or none at all
    assert answered(half).exp()[0] == pytest.approx(0.55, abs=1e-3)


@torch.inference_mode()
def test_strokes_are_seen_in_three_rows_across_calls() -> None:
    core, rows = _core(1), _rows(1, 6)
    reader = DigitReader(core).eval()
    state = reader.initial(1)
    for row in rows.unbind(1):
        state = reader.step(row[:, None], torch.tensor([1]), state)
    torch.testing.assert_close(reader.read(state), answered(core(rows)[:, -1]), rtol=1e-5, atol=1e-6)
    other = state.clone()
    other[:, -57:-1] = 0  # as if the last two rows had been paper
    more = torch.rand(1, 1, 28)
    after, without = (reader.step(more, torch.tensor([1]), start) for start in (state, other))
    assert not torch.allclose(after[:, :9], without[:, :9])


@torch.inference_mode()
def test_no_answer_depends_on_a_later_row() -> None:
    core, rows = _core(), _rows(2, 20)
    other = rows.clone()
    other[:, 11:] = 1 - other[:, 11:]
    before, after = core(rows), core(other)
    assert torch.equal(before[:, :11], after[:, :11])
    assert not torch.equal(before[:, 11], after[:, 11])


@torch.inference_mode()
def test_rows_past_the_64th_keep_the_last_temperature() -> None:
    core = _core()
    temperatures = torch.ones(MAX_ROWS)
    temperatures[-1] = 3.0
    reader = DigitReader(core, temperatures).eval()
    rows = _rows(1, 70)
    _, trace = reader.trace(rows, torch.tensor([70]), reader.initial(1))
    want = answered(core(rows)[:, 63:] / 3.0)
    torch.testing.assert_close(trace[:, 63:], want, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_rows_are_counted_across_calls_and_before_the_first_every_digit_is_as_likely() -> None:
    reader = DigitReader(_core()).eval()
    state = reader.initial(2)
    assert torch.allclose(reader.read(state), torch.tensor(-math.log(10)))
    state = reader.step(_rows(2, 5), torch.tensor([5, 0]), state)
    assert state[:, -1].tolist() == [5, 0]
    said = reader.read(state)
    assert not torch.allclose(said[0], torch.tensor(-math.log(10)), atol=1e-3)
    assert torch.allclose(said[1], torch.tensor(-math.log(10)))
    assert reader.step(_rows(2, 5), torch.tensor([2, 3]), state)[:, -1].tolist() == [7, 3]


@torch.inference_mode()
def test_a_digit_that_ended_keeps_its_cells_bit_for_bit_while_others_go_on() -> None:
    reader = DigitReader(_core()).eval()
    rows = _rows(4, 40)
    alone = reader.step(rows[:, :3], torch.full((4,), 3), reader.initial(4))
    together = reader.step(rows, torch.tensor([3, 40, 3, 17]), reader.initial(4))
    assert torch.equal(alone[[0, 2]], together[[0, 2]])


@pytest.mark.parametrize("wrong", [torch.ones(28), torch.zeros(MAX_ROWS), -torch.ones(MAX_ROWS)])
def test_temperatures_are_64_positive_numbers(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="64 positive"):
        DigitReader(_core(), wrong)


def test_answers_last_at_first_since_the_forget_gate_starts_open() -> None:
    for lstm in _core().lstms:
        weights = dict(lstm.named_parameters())
        bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        assert bias[9:18].tolist() == [1.0] * 9
        assert bias[:9].abs().sum() == bias[18:].abs().sum() == 0
        for gate in weights["weight_hh_l0"].split(9):
            torch.testing.assert_close(gate @ gate.T, torch.eye(9))
