"""training.tutorials.train: training lowers the error, repeats itself, and calibrates the readers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training.data.tutorial_series import TutorialSeries, tutorial_series
from training.tutorials.config import Config
from training.tutorials.train import DigitSplits, best_temperature, least_squares, train_forecaster, train_reader


@pytest.fixture
def few_series() -> TutorialSeries:
    data = tutorial_series()
    return TutorialSeries(data.train[:700], data.validation[:300], data.test[:100])


def test_training_lowers_the_error_and_repeats_bit_for_bit(few_series: TutorialSeries) -> None:
    config = Config(batch=64, epochs=3)
    module, curves = train_forecaster("linear", few_series, 0, config)
    losses = [row["validation"] for row in curves.rows]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    twin, _ = train_forecaster("linear", few_series, 0, config)
    other_seed, _ = train_forecaster("linear", few_series, 1, config)
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), twin.state_dict().values(), strict=True))
    assert not torch.equal(module.get_parameter("dense.weight"), other_seed.get_parameter("dense.weight"))


def test_least_squares_is_better_than_any_training_and_than_the_last_value() -> None:
    assert 0.0025 < least_squares(tutorial_series()) < 0.0035  # published: 0.0031


def test_a_reader_learns_to_tell_its_digits_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(640) % 10
    rows = 0.05 * torch.rand(640, 28, 28, generator=generator)
    rows[torch.arange(640), :, 2 * labels + 4] = 1.0  # a vertical stroke at a column that is the label
    data = DigitSplits(rows[:512], labels[:512], rows[512:], labels[512:])
    module, curves = train_reader("digits-rnn-10", data, 0, Config(batch=32, epochs=12, rate=1e-2))
    assert curves.last["validation_accuracy"] > 0.9
    assert curves.last["accuracy"] > 0.9
    assert module.temperature.item() != 1.0


def test_the_best_temperature_undoes_overconfidence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    temperature = best_temperature(3 * logits, labels)
    assert temperature == pytest.approx(3, rel=0.05)
    calibrated = functional.cross_entropy(3 * logits / temperature, labels)
    assert calibrated == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-3)
