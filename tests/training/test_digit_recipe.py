"""training.digit_recipe: batches by step number, targets, weights, and a short fit that learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training import glyphs
from training.digit_recipe import Cohort, Deck, Knobs, Lesson, build, logits_of, train
from training.mnist import Digits, Mnist
from training.networks.convolutional import Committee, ConvolutionalReader
from training.networks.digits import RowReader

CPU = torch.device("cpu")
KNOBS = Knobs(sizes=("12x1",), epochs=1, batch=20, drawn=20, others=20, bfloat16=False, free=0.3)


@pytest.fixture(scope="module")
def data() -> Mnist:
    """Drawn digits in the place of MNIST's."""
    train_part, validation = Digits(*glyphs.digit_images(160, 21)), Digits(*glyphs.digit_images(40, 22))
    return Mnist(train_part, validation, validation)


@pytest.fixture(scope="module")
def deck(data: Mnist) -> Deck:
    return Deck(data.train, KNOBS, CPU)


def test_a_pass_deals_every_image_once_and_the_next_one_in_another_order(deck: Deck) -> None:
    assert deck.per_epoch == 10
    first = torch.cat([deck.deal(step)[0] for step in range(10)])
    second = torch.cat([deck.deal(step)[0] for step in range(10, 20)])
    assert not torch.equal(first, second)
    assert torch.equal(first.flatten(1).sum(1).sort().values, second.flatten(1).sum(1).sort().values)
    labels = torch.cat([deck.deal(step)[1] for step in range(10)])
    assert (labels + 1).bincount().tolist() == [20, *[18] * 10], "20 are no digit"


def test_a_steps_loss_depends_on_its_number_only(deck: Deck) -> None:
    torch.manual_seed(1)
    lesson = Lesson(Cohort(replace(KNOBS, dropout=0.5)), deck, KNOBS, None)
    losses = [lesson(step).item() for step in (3, 12, 3)]
    assert losses[0] == losses[2] != losses[1]


def test_targets_are_smoothed_labels_and_even_for_what_is_no_digit(deck: Deck) -> None:
    lesson = Lesson(Cohort(KNOBS), deck, replace(KNOBS, smoothing=0.1), None)
    target = lesson._target(torch.zeros(2, 5, 28), torch.tensor([3, -1]))
    assert target.shape == (2, 1, 10)
    assert target[0, 0, 3] == pytest.approx(0.91)
    assert target[0, 0, 4] == pytest.approx(0.01)
    assert torch.allclose(target[1], torch.tensor(0.1))
    assert torch.allclose(target.sum(-1), torch.tensor(1.0))


def test_with_teachers_the_target_is_mostly_theirs_after_each_row(deck: Deck) -> None:
    torch.manual_seed(2)
    teachers = Committee([RowReader(6).eval(), RowReader(6).eval()])
    lesson = Lesson(Cohort(KNOBS), deck, replace(KNOBS, smoothing=0.0, distilled=0.75), teachers)
    rows = torch.rand(2, 5, 28)
    said = torch.stack([m(rows).softmax(-1) for m in teachers.members]).mean(0)
    target = lesson._target(rows, torch.tensor([3, 4]))
    hard = torch.zeros(2, 1, 10)
    hard[0, 0, 3] = hard[1, 0, 4] = 1
    torch.testing.assert_close(target, 0.75 * said + 0.25 * hard)
    assert not target.requires_grad


def test_later_rows_and_most_of_all_the_last_weigh_more(deck: Deck) -> None:
    weight = Lesson(Cohort(KNOBS), deck, KNOBS, None)._weight(torch.arange(1, 29)[None] / 28)
    assert weight.sum() == pytest.approx(1)
    assert (weight[0].diff() > 0).all()
    assert weight[0, -1] > 2.5 * weight[0, -2]
    assert weight[0, 0] > 0


def test_members_of_a_cohort_do_not_disturb_each_other(data: Mnist) -> None:
    knobs = replace(KNOBS, sizes=("8x1", "6x2"))
    rows = torch.from_numpy(data.validation.rows())
    cohort = Cohort(knobs).eval()
    said = logits_of(cohort, rows)
    assert set(said) == {"8x1", "6x2"}
    assert said["6x2"].shape == (40, 28, 10)
    loss = cohort(rows)[0].sum()
    loss.backward()
    assert all(p.grad is None for p in cohort.members[1].parameters())


def test_a_short_fit_learns_and_repeats_itself(data: Mnist) -> None:
    knobs = replace(KNOBS, epochs=12, sizes=("24x1",), peak=1e-2, ema=0.9, free=0.0, others=0)
    _, curves, ran = train(data, knobs, CPU)
    _, again, _ = train(data, knobs, CPU)
    assert ran == knobs
    assert curves.last["step"] == 108
    assert curves.last["24x1 row 28"] > 0.3, "a guess is right one time in ten"
    assert curves.last["loss"] < 0.9 * curves.rows[0]["loss"]
    assert curves.last["loss"] == again.last["loss"]


def test_an_interrupted_fit_goes_on_where_it_was(data: Mnist, tmp_path: Path) -> None:
    knobs = replace(KNOBS, epochs=1, ema=0.9)
    _, whole, _ = train(data, knobs, CPU, folder=tmp_path / "a")
    assert (tmp_path / "a" / "checkpoint.pt").exists()
    _, resumed, _ = train(data, knobs, CPU, folder=tmp_path / "a")
    assert resumed.last == whole.last


def test_a_budget_lowers_the_epochs_and_says_so(data: Mnist) -> None:
    _, curves, knobs = train(data, replace(KNOBS, epochs=1e6), CPU, budget=1.0)
    assert 0 < knobs.epochs < 1000
    assert curves.last["step"] == max(round(knobs.epochs * 10), 1)


def test_the_teacher_is_causal_and_its_committee_stays_frozen() -> None:
    torch.manual_seed(0)
    teacher = ConvolutionalReader(width=4, hidden=8, layers=1).eval()
    rows = torch.rand(2, 12, 28)
    other = rows.clone()
    other[:, 7:] = torch.rand(2, 5, 28)
    before, after = teacher(rows), teacher(other)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7], after[:, 7])
    committee = Committee([teacher])
    committee.train()
    assert not committee.members[0].training
    assert not any(p.requires_grad for p in committee.parameters())


def test_sizes_name_networks() -> None:
    reader = build("20x3", 0, 0.1)
    assert isinstance(reader, RowReader)
    assert (reader.hidden, reader.layers) == (20, 3)
    assert isinstance(build("conv", 0, 0.1), ConvolutionalReader)
