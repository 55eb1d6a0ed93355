"""training.networks.convolutional: teachers answer with the complete image at every row, and stay frozen."""

from __future__ import annotations

import pytest
import torch

from training.networks.convolutional import Committee, ImageReader, StridedReader
from training.networks.digits import RowReader, digit_log_probabilities


@pytest.mark.parametrize("shape", [ImageReader, StridedReader])
def test_a_teacher_answers_with_the_complete_image_at_every_row_and_its_committee_stays_frozen(
    shape: type[ImageReader | StridedReader],
) -> None:
    torch.manual_seed(0)
    teacher = shape(width=4).eval()
    rows = torch.rand(2, 28, 28)
    logits = teacher(rows)
    assert logits.shape == (2, 28, 10)
    assert torch.equal(logits[:, 0], logits[:, 27])
    rows[:, 27] = 1 - rows[:, 27]
    assert not torch.allclose(teacher(rows)[:, 0], logits[:, 0])
    committee = Committee([teacher])
    committee.train()
    assert not committee.members[0].training
    assert not any(p.requires_grad for p in committee.parameters())


def test_a_row_reader_in_a_committee_answers_without_its_class_for_no_digit() -> None:
    torch.manual_seed(3)
    reader, teacher = RowReader(5).eval(), ImageReader(4).eval()
    rows = torch.rand(3, 28, 28)
    answers = Committee([reader, teacher]).probabilities(rows)
    torch.testing.assert_close(answers, (digit_log_probabilities(reader(rows)).exp() + teacher(rows).softmax(-1)) / 2)
    torch.testing.assert_close(answers.sum(-1), torch.ones(3, 28))
