"""training.digits.train: targets, weights of the rows, and short fits that learn and resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.data import drawn_digits
from training.data.mnist import Digits, Mnist
from training.digits.batches import BatchSampler
from training.digits.config import Config
from training.digits.train import DistillationLoss, ModelGroup, begin_from, build, logits_of, row_weights, train
from training.networks.convolutional import Committee, ImageReader, StridedReader
from training.networks.digits import RowReader

CPU = torch.device("cpu")
CONFIG = Config(sizes=("12x1",), epochs=1, batch=20, drawn=10, ones=0, others=10, bfloat16=False, free=0.3)


@pytest.fixture(scope="module")
def data() -> Mnist:
    """Drawn digits in place of MNIST's."""
    train_part, validation = Digits(*drawn_digits.digit_images(160, 21)), Digits(*drawn_digits.digit_images(40, 22))
    return Mnist(train_part, validation, validation)


@pytest.fixture(scope="module")
def sampler(data: Mnist) -> BatchSampler:
    return BatchSampler(data.train, CONFIG, CPU)


def test_the_loss_of_a_step_depends_on_its_number_only(sampler: BatchSampler) -> None:
    torch.manual_seed(1)
    loss = DistillationLoss(ModelGroup(replace(CONFIG, dropout=0.5)), sampler, CONFIG, None)
    losses = [loss(step).item() for step in (3, 12, 3)]
    assert losses[0] == losses[2] != losses[1]


def test_targets_are_smoothed_labels_and_an_eleventh_class_for_no_digit(sampler: BatchSampler) -> None:
    loss = DistillationLoss(ModelGroup(CONFIG), sampler, replace(CONFIG, smoothing=0.1), None)
    target = loss._target(torch.zeros(2, 5, 28), torch.tensor([3, -1]), torch.tensor([True, False]), torch.ones(2, 5))
    assert target.shape == (2, 5, 11)
    assert target[0, 4, 3] == pytest.approx(0.91)
    assert target[0, 0, 4] == pytest.approx(0.01)
    assert target[0, 0, 10] == 0
    assert target[1, 0, 10] == pytest.approx(0.9)
    assert torch.allclose(target.sum(-1), torch.tensor(1.0))


def test_with_teachers_the_target_of_a_complete_digit_is_mostly_their_answer(sampler: BatchSampler) -> None:
    torch.manual_seed(2)
    teachers = Committee([ImageReader(4).eval(), ImageReader(4).eval()])
    loss = DistillationLoss(ModelGroup(CONFIG), sampler, replace(CONFIG, smoothing=0.0, distilled=0.75), teachers)
    rows, share_read = torch.rand(4, 28, 28), (torch.arange(1, 29) / 28).expand(4, -1)
    labels, from_mnist = torch.tensor([3, 4, -1, 1]), torch.tensor([True, True, False, False])
    target = loss._target(rows, labels, from_mnist, share_read)
    answers = torch.stack([m(rows).softmax(-1) for m in teachers.members]).mean(0)
    hard = torch.eye(11)[[3, 4, 10, 1]]
    torch.testing.assert_close(target[:, :24], hard[:, None].expand(-1, 24, -1))
    torch.testing.assert_close(target[:2, 24:, :10], 0.75 * answers[:2, 24:] + 0.25 * hard[:2, None, :10])
    torch.testing.assert_close(target[2], hard[2].expand(28, -1), msg="teachers are for digits only")
    torch.testing.assert_close(target[3], hard[3].expand(28, -1), msg="and of these for MNIST's")
    assert not target.requires_grad
    tall = loss._target(torch.rand(4, 40, 28), labels, from_mnist, torch.ones(4, 40))
    torch.testing.assert_close(tall, hard[:, None].expand(-1, 40, -1), msg="teachers read 28 rows")


def test_later_rows_weigh_more_and_the_last_most() -> None:
    weight = row_weights(torch.arange(1, 29)[None] / 28, CONFIG)
    assert weight.sum() == pytest.approx(1)
    assert (weight[0].diff() > 0).all()
    assert weight[0, -1] > 2.5 * weight[0, -2]
    assert weight[0, 0] > 0


def test_members_of_a_group_are_independent(data: Mnist) -> None:
    config = replace(CONFIG, sizes=("8x1", "6x2"))
    rows = torch.from_numpy(data.validation.rows())
    group = ModelGroup(config).eval()
    logits = logits_of(group, rows)
    assert set(logits) == {"8x1", "6x2"}
    assert logits["6x2"].shape == (40, 28, 11)
    group(rows)[0].sum().backward()
    assert all(p.grad is None for p in group.members[1].parameters())


def test_a_short_fit_learns_and_repeats_itself(data: Mnist) -> None:
    config = replace(CONFIG, epochs=14, sizes=("32x1",), peak=1.5e-2, ema=0.9, free=0.0, others=0)
    _, curves = train(data, config, CPU)
    assert curves.last["step"] == 126
    assert curves.last["32x1 row 28"] > 0.3, "a guess is right one time in ten"
    assert curves.last["loss"] < 0.9 * curves.rows[0]["loss"]
    short = replace(config, epochs=1)
    assert train(data, short, CPU)[1].last["loss"] == train(data, short, CPU)[1].last["loss"]


def test_an_interrupted_fit_resumes_from_its_checkpoint(data: Mnist, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1, ema=0.9)
    _, curves = train(data, config, CPU, folder=tmp_path / "a")
    assert (tmp_path / "a" / "checkpoint.pt").exists()
    _, resumed = train(data, config, CPU, folder=tmp_path / "a")
    assert resumed.last == curves.last


def test_a_reader_that_begins_from_a_smaller_one_has_its_answers() -> None:
    torch.manual_seed(5)
    core = RowReader(6).eval()
    smaller = {name: value.clone() for name, value in core.state_dict().items() if "strokes" not in name}
    smaller["lstms.0.weight_ih_l0"] = smaller["lstms.0.weight_ih_l0"][:, :28]
    smaller["head.weight"], smaller["head.bias"] = smaller["head.weight"][:10], smaller["head.bias"][:10]
    begin_from(core, smaller)
    rows = torch.rand(2, 9, 28)
    lstm = torch.nn.LSTM(28, 6, batch_first=True)
    lstm.load_state_dict({k.removeprefix("lstms.0."): v for k, v in smaller.items() if k.startswith("lstms")})
    expected = lstm(rows)[0] @ smaller["head.weight"].T + smaller["head.bias"]
    torch.testing.assert_close(core(rows)[..., :10], expected)
    assert not core(rows)[..., 10].any()


def test_teacher_and_reader_learn_from_their_steps(data: Mnist) -> None:
    config = replace(CONFIG, sizes=("image",), epochs=1, free=0.0, drawn=0, others=0)
    teacher, curves = train(data, config, CPU)
    assert curves.last["loss"] < curves.rows[0]["loss"]
    committee = Committee([teacher.members[0]])
    _, curves = train(data, replace(CONFIG, epochs=3, peak=1e-2, free=0.0), CPU, committee)
    assert curves.last["loss"] < curves.rows[0]["loss"]


def test_sizes_name_networks() -> None:
    reader = build("20x3", 0.1)
    assert isinstance(reader, RowReader)
    assert (reader.hidden, reader.layers) == (20, 3)
    assert isinstance(build("image", 0.1), ImageReader)
    assert isinstance(build("strided", 0.1), StridedReader)
