"""training.digits.train: batches by step number, targets, weights, and a short fit that learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.data import drawn_digits as glyphs
from training.data.mnist import Digits, Mnist
from training.digits.train import Cohort, Deck, Knobs, Lesson, begin_from, build, logits_of, train
from training.networks.convolutional import Committee, ImageReader, StridedReader
from training.networks.digits import RowReader, answered

CPU = torch.device("cpu")
KNOBS = Knobs(sizes=("12x1",), epochs=1, batch=20, drawn=10, ones=0, others=10, bfloat16=False, free=0.3)


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
    assert sum(int(deck.deal(step)[2].sum()) for step in range(10)) == 160, "MNIST's"


def test_ones_without_a_foot_join_the_deck(data: Mnist) -> None:
    more = Deck(data.train, replace(KNOBS, ones=20), CPU)
    assert more.per_epoch == 11
    assert sum(int((more.deal(step)[1] == 1).sum()) for step in range(11)) == 38


def test_a_steps_loss_depends_on_its_number_only(deck: Deck) -> None:
    torch.manual_seed(1)
    lesson = Lesson(Cohort(replace(KNOBS, dropout=0.5)), deck, KNOBS, None)
    losses = [lesson(step).item() for step in (3, 12, 3)]
    assert losses[0] == losses[2] != losses[1]


def test_targets_are_smoothed_labels_and_an_eleventh_class_for_what_is_no_digit(deck: Deck) -> None:
    lesson = Lesson(Cohort(KNOBS), deck, replace(KNOBS, smoothing=0.1), None)
    target = lesson._target(torch.zeros(2, 5, 28), torch.tensor([3, -1]), torch.tensor([True, False]), torch.ones(2, 5))
    assert target.shape == (2, 5, 11)
    assert target[0, 4, 3] == pytest.approx(0.91)
    assert target[0, 0, 4] == pytest.approx(0.01)
    assert target[0, 0, 10] == 0
    assert target[1, 0, 10] == pytest.approx(0.9)
    assert torch.allclose(target.sum(-1), torch.tensor(1.0))


def test_with_teachers_the_target_of_a_digit_that_was_seen_whole_is_mostly_theirs(deck: Deck) -> None:
    torch.manual_seed(2)
    teachers = Committee([ImageReader(4).eval(), ImageReader(4).eval()])
    lesson = Lesson(Cohort(KNOBS), deck, replace(KNOBS, smoothing=0.0, distilled=0.75), teachers)
    rows, seen = torch.rand(4, 28, 28), (torch.arange(1, 29) / 28).expand(4, -1)
    labels, known = torch.tensor([3, 4, -1, 1]), torch.tensor([True, True, False, False])
    target = lesson._target(rows, labels, known, seen)
    said = torch.stack([m(rows).softmax(-1) for m in teachers.members]).mean(0)
    hard = torch.eye(11)[[3, 4, 10, 1]]
    torch.testing.assert_close(target[:, :24], hard[:, None].expand(-1, 24, -1))
    torch.testing.assert_close(target[:2, 24:, :10], 0.75 * said[:2, 24:] + 0.25 * hard[:2, None, :10])
    torch.testing.assert_close(target[2], hard[2].expand(28, -1), msg="teachers know digits only")
    torch.testing.assert_close(target[3], hard[3].expand(28, -1), msg="and of these MNIST's")
    assert not target.requires_grad
    tall = lesson._target(torch.rand(4, 40, 28), labels, known, torch.ones(4, 40))
    torch.testing.assert_close(tall, hard[:, None].expand(-1, 40, -1), msg="teachers read 28 rows")


def test_a_reader_may_teach_with_the_others_and_leaves_out_that_it_may_be_no_digit() -> None:
    torch.manual_seed(3)
    reader, teacher = RowReader(5).eval(), ImageReader(4).eval()
    rows = torch.rand(3, 28, 28)
    said = Committee([reader, teacher]).probabilities(rows)
    torch.testing.assert_close(said, (answered(reader(rows)).exp() + teacher(rows).softmax(-1)) / 2)
    torch.testing.assert_close(said.sum(-1), torch.ones(3, 28))


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
    assert said["6x2"].shape == (40, 28, 11)
    loss = cohort(rows)[0].sum()
    loss.backward()
    assert all(p.grad is None for p in cohort.members[1].parameters())


def test_a_short_fit_learns_and_repeats_itself(data: Mnist) -> None:
    knobs = replace(KNOBS, epochs=14, sizes=("32x1",), peak=1.5e-2, ema=0.9, free=0.0, others=0)
    _, curves = train(data, knobs, CPU)
    _, again = train(data, knobs, CPU)
    assert curves.last["step"] == 126
    assert curves.last["32x1 row 28"] > 0.3, "a guess is right one time in ten"
    assert curves.last["loss"] < 0.9 * curves.rows[0]["loss"]
    assert curves.last["loss"] == again.last["loss"]


def test_an_interrupted_fit_goes_on_where_it_was(data: Mnist, tmp_path: Path) -> None:
    knobs = replace(KNOBS, epochs=1, ema=0.9)
    _, whole = train(data, knobs, CPU, folder=tmp_path / "a")
    assert (tmp_path / "a" / "checkpoint.pt").exists()
    _, resumed = train(data, knobs, CPU, folder=tmp_path / "a")
    assert resumed.last == whole.last


def test_a_reader_that_begins_from_a_smaller_one_says_the_same_digits() -> None:
    torch.manual_seed(5)
    core = RowReader(6).eval()
    smaller = {name: value.clone() for name, value in core.state_dict().items() if "strokes" not in name}
    smaller["lstms.0.weight_ih_l0"] = smaller["lstms.0.weight_ih_l0"][:, :28]
    smaller["head.weight"], smaller["head.bias"] = smaller["head.weight"][:10], smaller["head.bias"][:10]
    begin_from(core, smaller)
    rows = torch.rand(2, 9, 28)
    lstm = torch.nn.LSTM(28, 6, batch_first=True)
    lstm.load_state_dict({k.removeprefix("lstms.0."): v for k, v in smaller.items() if k.startswith("lstms")})
    want = lstm(rows)[0] @ smaller["head.weight"].T + smaller["head.bias"]
    torch.testing.assert_close(core(rows)[..., :10], want)
    assert not core(rows)[..., 10].any()


@pytest.mark.parametrize("shape", [ImageReader, StridedReader])
def test_a_teacher_answers_with_the_whole_image_at_every_row_and_its_committee_stays_frozen(
    shape: type[ImageReader | StridedReader],
) -> None:
    torch.manual_seed(0)
    teacher = shape(width=4).eval()
    rows = torch.rand(2, 28, 28)
    said = teacher(rows)
    assert said.shape == (2, 28, 10)
    assert torch.equal(said[:, 0], said[:, 27])
    rows[:, 27] = 1 - rows[:, 27]
    assert not torch.allclose(teacher(rows)[:, 0], said[:, 0])
    committee = Committee([teacher])
    committee.train()
    assert not committee.members[0].training
    assert not any(p.requires_grad for p in committee.parameters())


def test_teacher_and_reader_learn_from_their_steps(data: Mnist) -> None:
    knobs = replace(KNOBS, sizes=("image",), epochs=3, free=0.0, drawn=0, others=0)
    teacher, curves = train(data, knobs, CPU)
    assert curves.last["loss"] < curves.rows[0]["loss"]
    _, curves = train(data, replace(KNOBS, epochs=5, peak=1e-2, free=0.0), CPU, Committee([teacher.members[0]]))
    assert curves.last["loss"] < curves.rows[0]["loss"]


def test_sizes_name_networks() -> None:
    reader = build("20x3", 0.1)
    assert isinstance(reader, RowReader)
    assert (reader.hidden, reader.layers) == (20, 3)
    assert isinstance(build("image", 0.1), ImageReader)
    assert isinstance(build("strided", 0.1), StridedReader)
