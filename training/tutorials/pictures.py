"""`python -m training pictures`: what the two tutorials show, from the exported models, in the tutorials' own order.

Fifteen series with the value to predict; the same with each model's prediction and its deviation; a picture of MNIST
titled "predicted: N"; and the linear map trained on to where the tutorial's figure is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import numpy as np
from torch.nn import functional

from service.backend.model import load
from service.contract.types import DigitItem, DigitResult
from training.data import mnist
from training.data.drawn_digits import digit_images
from training.data.tutorial_series import WINDOW, tutorial_series
from training.evaluation import evaluate, plots
from training.folders import FIGURES, MODELS
from training.tutorials.config import FORECASTERS, READERS, Config
from training.tutorials.results import PUBLISHED
from training.tutorials.train import least_squares, next_values, train_forecaster

N_SERIES = 15
TUTORIAL_IMAGE = 36  # of MNIST's training images, the one that the tutorial reads
LONG = Config(batch=64, epochs=40)  # as often as the tutorial's cell was probably run, four times ten epochs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m training pictures`."""
    parser.add_argument("--models", type=Path, default=MODELS, help="where the models are (default: models/)")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where they go (default: training/figures/)")
    parser.add_argument("--epochs", type=int, default=LONG.epochs, help="of the linear map (default: %(default)s)")


def main(arguments: argparse.Namespace) -> None:
    """Draw everything, and print the linear map's errors."""
    draw_series(arguments.models, arguments.figures)
    draw_digits(arguments.models, arguments.figures)
    longer, best = linear_errors(arguments.epochs)
    print(f"linear: {longer:.4f} after {arguments.epochs} epochs, {best:.4f} by least squares, ", end="")
    print(f"{PUBLISHED['linear']:.4f} published")


def draw_series(models: Path, figures: Path) -> None:
    """The data alone, and each forecaster's next value with its deviation."""
    test = tutorial_series().test[:N_SERIES]
    past, actual = test[:, :WINDOW], test[:, WINDOW]
    plots.value_grid(past, actual, figures / "tutorial-series.png", "50 values, and the one to predict")
    for name in FORECASTERS:
        [folder] = evaluate.folders(models, [name])
        points, _ = evaluate.forecasts(load(folder, warm=False), past, 1)
        plots.value_grid(past, actual, figures / f"tutorial-{name}.png", name, points[:, 0])


def draw_digits(models: Path, figures: Path) -> None:
    """The tutorial's picture with each reader's answer in the title; a drawn digit where MNIST is not at hand."""
    image = tutorial_image()
    for name in READERS:
        [folder] = evaluate.folders(models, [name])
        answer = cast("DigitResult", load(folder, warm=False).run([DigitItem(rows=image)])[0])
        title = f"predicted: {int(np.argmax(answer.probabilities))}"
        plots.one_digit(image, figures / f"tutorial-{name}.png", title)


def tutorial_image() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The image that the tutorial reads, (28, 28), ink 0..1."""
    try:
        images = mnist.load().train.images
    except (OSError, ValueError):
        images = digit_images(TUTORIAL_IMAGE + 1, seed=3)[0]
    return images[TUTORIAL_IMAGE].astype(np.float32) / np.float32(255)


def linear_errors(epochs: int) -> tuple[float, float]:
    """Test errors of the linear map after `epochs`, and of the best one that there is."""
    data = tutorial_series()
    module, _ = train_forecaster("linear", data, 0, Config(batch=LONG.batch, epochs=epochs))
    windows, targets = next_values(data.test)
    return float(functional.mse_loss(module(windows.double()), targets.double()).detach()), least_squares(data)
