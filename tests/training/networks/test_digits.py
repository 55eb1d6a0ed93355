"""training.networks.digits: the served reader answers as the trained one, row by row, and uses no later row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.networks.digits import MAX_ROWS, DigitJudge, DigitReader, RowReader, digit_log_probabilities


def _core(layers: int = 2) -> RowReader:
    torch.manual_seed(1)
    return RowReader(hidden=9, layers=layers).eval()


def _rows(batch: int, steps: int) -> Tensor:
    """Rows on paper at zero, which `PaperLevel` leaves as they are."""
    torch.manual_seed(2)
    rows = torch.rand(batch, steps, 28)
    rows[:, 0] = 0
    rows[:, :, ::27] = 0
    return rows


@torch.inference_mode()
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_trace_is_the_trained_networks_answer_at_its_temperatures(layers: int) -> None:
    core = _core(layers)
    temperatures = torch.linspace(0.5, 2.0, MAX_ROWS)
    reader = DigitReader(core, temperatures).eval()
    rows = _rows(3, MAX_ROWS)
    state, trace = reader.trace(rows, torch.full((3,), MAX_ROWS), reader.initial(3))
    expected = digit_log_probabilities(core(rows) / temperatures[:, None])
    torch.testing.assert_close(trace, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(reader.read(state), expected[:, -1], rtol=1e-5, atol=1e-6)
    assert state.shape == (3, 2 * layers * 9 + 87)
    assert torch.equal(state[:, -87:-31], rows[:, -2:].flatten(1).double())


def test_an_image_of_no_digit_makes_every_digit_as_likely() -> None:
    logits = torch.tensor([[0.0] * 10 + [50.0], [3.0] + [0.0] * 9 + [-50.0], [0.0] * 11])
    answers = digit_log_probabilities(logits).exp()
    torch.testing.assert_close(answers.sum(-1), torch.ones(3))
    torch.testing.assert_close(answers[0], torch.full((10,), 0.1))
    torch.testing.assert_close(answers[1], logits[1, :10].softmax(-1))
    torch.testing.assert_close(answers[2], torch.full((10,), 0.1))
    half = torch.cat([torch.tensor([20.0]), torch.zeros(9), torch.tensor([20.0])])  # either a 0 or none at all
    assert digit_log_probabilities(half).exp()[0] == pytest.approx(0.55, abs=1e-3)


@torch.inference_mode()
def test_strokes_span_three_rows_across_calls() -> None:
    core, rows = _core(1), _rows(1, 6)
    reader = DigitReader(core).eval()
    state = reader.initial(1)
    for row in rows.unbind(1):
        state = reader.step(row[:, None], torch.tensor([1]), state)
    torch.testing.assert_close(reader.read(state), digit_log_probabilities(core(rows)[:, -1]), rtol=1e-5, atol=1e-6)
    blank_state = state.clone()
    blank_state[:, -87:-31] = 0  # as if the last two rows had been paper
    next_row = torch.rand(1, 1, 28)
    end, blank_end = (reader.step(next_row, torch.tensor([1]), start) for start in (state, blank_state))
    assert not torch.allclose(end[:, :9], blank_end[:, :9])


@torch.inference_mode()
def test_no_answer_depends_on_a_later_row() -> None:
    core, rows = _core(), _rows(2, 20)
    changed = rows.clone()
    changed[:, 11:] = 1 - changed[:, 11:]
    logits, changed_logits = core(rows), core(changed)
    assert torch.equal(logits[:, :11], changed_logits[:, :11])
    assert not torch.equal(logits[:, 11], changed_logits[:, 11])


@torch.inference_mode()
def test_rows_past_the_64th_keep_the_last_temperature() -> None:
    core = _core()
    temperatures = torch.ones(MAX_ROWS)
    temperatures[-1] = 3.0
    reader = DigitReader(core, temperatures).eval()
    rows = _rows(1, 70)
    _, trace = reader.trace(rows, torch.tensor([70]), reader.initial(1))
    expected = digit_log_probabilities(core(rows)[:, 63:] / 3.0)
    torch.testing.assert_close(trace[:, 63:], expected, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_rows_are_counted_across_calls_and_before_the_first_every_digit_is_as_likely() -> None:
    reader = DigitReader(_core()).eval()
    state = reader.initial(2)
    assert torch.allclose(reader.read(state), torch.tensor(-math.log(10)))
    state = reader.step(_rows(2, 5), torch.tensor([5, 0]), state)
    assert state[:, -1].tolist() == [5, 0]
    answers = reader.read(state)
    assert not torch.allclose(answers[0], torch.tensor(-math.log(10)), atol=1e-3)
    assert torch.allclose(answers[1], torch.tensor(-math.log(10)))
    assert reader.step(_rows(2, 5), torch.tensor([2, 3]), state)[:, -1].tolist() == [7, 3]


@torch.inference_mode()
def test_a_digit_that_ended_keeps_its_cells_bit_for_bit_while_others_go_on() -> None:
    reader = DigitReader(_core()).eval()
    rows = _rows(4, 40)
    short = reader.step(rows[:, :3], torch.full((4,), 3), reader.initial(4))
    ragged = reader.step(rows, torch.tensor([3, 40, 3, 17]), reader.initial(4))
    assert torch.equal(short[[0, 2]], ragged[[0, 2]])


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


def test_a_judge_spreads_the_answer_by_its_odds_and_resumes_bit_for_bit() -> None:
    core, rows = _core(), torch.zeros(3, 28, 28)
    rows[:, 5:20, 8:20] = torch.rand(3, 15, 12)
    judge, caution = DigitJudge(9, 4).eval(), torch.linspace(-1, 1, MAX_ROWS)
    reader = torch.jit.script(DigitReader(core, None, judge, caution).eval())
    with torch.no_grad():
        seen = core.seen(rows)
        share = torch.sigmoid(-(judge(core.hidden_after(seen), seen) + caution[:28]))[..., None]
        expected = digit_log_probabilities(core(rows)).exp() * share + (1 - share) / 10
        state, answers = reader.trace(rows, torch.full((3,), 28), reader.initial(3))
        # Evidence is kept in steps of 1/256.
        torch.testing.assert_close(answers.exp(), expected, rtol=0, atol=2e-3)
        parts = reader.initial(3)
        for part in rows.split((1, 0, 9, 18), dim=1):
            parts = reader.step(part, torch.full((3,), part.shape[1]), parts)
    assert torch.equal(parts, state)
    assert torch.equal(state, state.float().double())


@torch.inference_mode()
@pytest.mark.parametrize("judge", [None, DigitJudge(9, 4)], ids=["reader", "judge"])
def test_digits_without_padding_have_the_numbers_of_those_with(judge: DigitJudge | None) -> None:
    caution = None if judge is None else torch.zeros(MAX_ROWS)
    reader = torch.jit.script(DigitReader(_core(), None, judge, caution).eval())
    rows, lengths = _rows(4, 28), torch.full((4,), 28)
    full = reader.step(rows, lengths, reader.initial(4))
    padded = torch.nn.functional.pad(rows, (0, 0, 0, 4), value=math.nan)
    assert torch.equal(reader.step(padded, lengths, reader.initial(4)), full)
    assert torch.equal(reader.trace(rows, lengths, reader.initial(4))[0], full)
    answers = reader.trace(padded, lengths, reader.initial(4))[1][:, 27]
    torch.testing.assert_close(reader.read(full), answers, rtol=1e-6, atol=1e-6)
