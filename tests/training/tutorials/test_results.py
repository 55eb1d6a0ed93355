"""training.tutorials.results: rows of several runs, kept in a file and shown as a table."""

from __future__ import annotations

from pathlib import Path

from training.tutorials.results import Run, read, save, table


def test_rows_of_other_models_stay_when_one_is_trained_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert read(path) == []
    save([Run("rnn-20", 0, "tutorial_mse", 0.004, 2.0), Run("rnn-20", 1, "tutorial_mse", 0.006, 2.0)], path)
    save([Run("naive", 0, "tutorial_mse", 0.02, 0.0)], path)
    save([Run("naive", 0, "tutorial_mse", 0.03, 0.0)], path)
    runs = read(path)
    assert [(run.model, run.value) for run in runs] == [("naive", 0.03), ("rnn-20", 0.004), ("rnn-20", 0.006)]
    assert "| rnn-20 | tutorial_mse | 0.0044 | 0.0050 | 0.0040 | 0.0060 | 2 |" in table(runs)
