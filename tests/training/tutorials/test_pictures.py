"""training.tutorials.pictures: what the tutorials show is drawn from the committed models."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from training.data import mnist
from training.folders import FIGURES, MODELS
from training.tutorials import pictures
from training.tutorials.config import FORECASTERS, READERS

DRAWN = {"tutorial-series.png", *(f"tutorial-{name}.png" for name in (*FORECASTERS, *READERS))}


@pytest.mark.slow
def test_every_picture_is_drawn_also_without_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing() -> mnist.Mnist:
        raise FileNotFoundError

    monkeypatch.setattr(mnist, "load", nothing)
    pictures.main(argparse.Namespace(models=MODELS, figures=tmp_path, epochs=1))
    assert {path.name for path in tmp_path.iterdir()} == DRAWN
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
    assert "by least squares, 0.0031 published" in capsys.readouterr().out


def test_the_pages_show_pictures_that_are_there() -> None:
    assert {path.name for path in FIGURES.glob("tutorial-*.png")} == DRAWN
