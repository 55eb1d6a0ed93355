"""The tutorials' command from training to a served folder, with recipes cut short; and the table that it prints."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from service.backend.model import load
from service.contract.manifest import read_manifest
from service.contract.types import ForecastItem, ForecastResult
from training.data.tutorial_series import TutorialSeries, tutorial_series
from training.tutorials import command as tutorials
from training.tutorials import results as tutorial_runs
from training.tutorials import train as tutorial_recipes
from training.tutorials.results import Run
from training.tutorials.train import Batches, DigitSplits, Recipe, best_temperature, train_forecaster, train_reader

SHORT = Recipe(batch=64, epochs=1)


def _few() -> TutorialSeries:
    data = tutorial_series()
    return TutorialSeries(data.train[:700], data.validation[:300], data.test[:100])


def test_the_data_set_is_seeded_and_its_parts_do_not_overlap() -> None:
    data = tutorial_series()
    assert (len(data.train), len(data.validation), len(data.test)) == (7000, 2000, 1000)
    everything = np.concatenate([data.train, data.validation, data.test])
    assert len(np.unique(everything[:, 0])) == 10_000
    np.testing.assert_array_equal(tutorial_series().test, data.test)


def test_an_epoch_is_one_shuffled_pass_and_a_function_of_the_seed() -> None:
    batches = Batches(150, Recipe(batch=64, epochs=2), seed=3)
    assert batches.steps == 6
    first = torch.cat([batches(step) for step in range(3)])
    second = torch.cat([batches(step) for step in range(3, 6)])
    assert sorted(first.tolist()) == list(range(150)) == sorted(second.tolist())
    assert not torch.equal(first, second)
    resumed = Batches(150, Recipe(batch=64, epochs=2), seed=3)
    assert torch.equal(resumed(4), batches(4))
    assert not torch.equal(Batches(150, Recipe(batch=64, epochs=2), seed=4)(0), batches(0))


def test_training_lowers_the_error_and_repeats_bit_for_bit() -> None:
    module, curves = train_forecaster("linear", _few(), 0, Recipe(batch=64, epochs=3))
    losses = [row["validation"] for row in curves.rows]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    again, _ = train_forecaster("linear", _few(), 0, Recipe(batch=64, epochs=3))
    other, _ = train_forecaster("linear", _few(), 1, Recipe(batch=64, epochs=3))
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert not torch.equal(module.get_parameter("dense.weight"), other.get_parameter("dense.weight"))


def test_least_squares_is_better_than_any_training_and_than_the_last_value() -> None:
    best = tutorial_recipes.least_squares(tutorial_series())
    assert 0.0025 < best < 0.0035  # published: 0.0031


def test_a_reader_learns_to_tell_its_digits_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(640) % 10
    rows = 0.05 * torch.rand(640, 28, 28, generator=generator)
    rows[torch.arange(640), :, 2 * labels + 4] = 1.0  # a vertical stroke whose place is the label
    data = DigitSplits(rows[:512], labels[:512], rows[512:], labels[512:])
    module, curves = train_reader("digits-rnn-10", data, 0, Recipe(batch=32, epochs=12, rate=1e-2))
    assert curves.last["validation_accuracy"] > 0.9
    assert curves.last["accuracy"] > 0.9
    assert module.temperature.item() != 1.0


def test_the_best_temperature_undoes_overconfidence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    assert best_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
    right = functional.cross_entropy(logits, labels)
    assert functional.cross_entropy(3 * logits / best_temperature(3 * logits, labels), labels) == pytest.approx(
        float(right), rel=1e-3
    )


def test_the_command_leaves_models_that_the_service_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    tutorials.add_arguments(parser)
    places = ["--models", str(tmp_path), "--figures", str(tmp_path / "figures"), "--results", str(tmp_path / "t.csv")]
    tutorials.main(parser.parse_args(["--only", "naive", "--seeds", "2", *places]))
    manifest = read_manifest(tmp_path / "naive" / "1")
    assert manifest.metrics["tutorial_mse"] == pytest.approx(0.0206, rel=0.1)
    assert manifest.training.parameters == 0
    assert [path.name for path in (tmp_path / "naive").iterdir()] == ["1"]
    (answer,) = load(tmp_path / "naive" / "1").run([ForecastItem(np.array([1.0, 4.0]), 1, np.array([0.5]))])
    assert isinstance(answer, ForecastResult)
    assert answer.mean == [4.0]
    assert "| naive | tutorial_mse | 0.0206 |" in capsys.readouterr().out
    assert [run.seed for run in tutorial_runs.read(tmp_path / "t.csv")] == [0, 1]


def test_rows_of_other_models_stay_when_one_is_trained_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    tutorial_runs.save(
        [Run("rnn-20", 0, "tutorial_mse", 0.004, 2.0), Run("rnn-20", 1, "tutorial_mse", 0.006, 2.0)], path
    )
    tutorial_runs.save([Run("naive", 0, "tutorial_mse", 0.02, 0.0)], path)
    tutorial_runs.save([Run("naive", 0, "tutorial_mse", 0.03, 0.0)], path)
    runs = tutorial_runs.read(path)
    assert [(run.model, run.value) for run in runs] == [("naive", 0.03), ("rnn-20", 0.004), ("rnn-20", 0.006)]
    assert "| rnn-20 | tutorial_mse | 0.0044 | 0.0050 | 0.0040 | 0.0060 | 2 |" in tutorial_runs.table(runs)
