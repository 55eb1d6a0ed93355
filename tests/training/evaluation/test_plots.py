"""training.evaluation.plots: figures are small, show something, and have the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.evaluation import plots

SMALL = 60_000  # bytes of a figure that may be committed


def test_figures_are_small_and_the_same_each_time(tmp_path: Path) -> None:
    rows = [{"loss": 1 / k, "validation": 2 / k} for k in range(1, 11)]

    def draw(folder: Path) -> list[Path]:
        plots.training_curves(rows, {"loss": ("loss", "validation")}, folder / "curves.png", "a run")
        plots.confusion(np.full((10, 10), 7), folder / "confusion.png", "a reader")
        plots.accuracy_by_row({"a": np.linspace(0, 1, 28), "b": np.ones(28)}, folder / "rows.png")
        plots.digit_answer(np.eye(28, dtype=np.float32), np.full(10, 0.1), folder / "digit.png", "a digit")
        return sorted(folder.iterdir())

    for first, second in zip(draw(tmp_path / "1"), draw(tmp_path / "2"), strict=True):
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size < SMALL
        with Image.open(first) as image:
            assert len(image.convert("RGB").getcolors(100_000) or []) > 2  # something is drawn
