"""The tutorials' models and what shapes their training: Adam with rate 1e-3 for ten epochs, as in the tutorials."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from training.networks.tutorials import Linear, Naive, Recurrent


@dataclass(frozen=True)
class Config:
    """The training of one model; the names of the fields are keys of the `knobs` of a record."""

    batch: int
    epochs: int = 10
    rate: float = 1e-3


FORECASTER = Config(batch=64)
READER = Config(batch=32)
VALIDATION_SHARE = 0.1  # of MNIST's 60,000 training images, the last ones, as Keras takes them

# name -> the network, and the description in its manifest
FORECASTERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "naive": (Naive, "The last value, with a random walk's intervals: the baseline that every forecaster must beat."),
    "linear": (Linear, "The tutorial's linear map from exactly 50 raw values to the next: 51 parameters."),
    "rnn-1": (
        functools.partial(Recurrent, 1, dense=False),
        "The tutorial's simple RNN of one unit over raw values: 4 parameters.",
    ),
    "rnn-20": (
        functools.partial(Recurrent, 20, dense=True),
        "The tutorial's simple RNN of 20 units and a dense layer over raw values: 481 parameters.",
    ),
}
# name -> units of the layers, and the description in its manifest
READERS: dict[str, tuple[tuple[int, ...], str]] = {
    "digits-rnn-10": ((10,), "The tutorial's simple RNN of 10 units that reads a digit row by row: 500 parameters."),
    "digits-rnn-16-8-4": ((16, 8, 4), "The tutorial's stack of three simple RNNs, 16, 8 and 4 units: 1022 parameters."),
}
NAMES = (*FORECASTERS, *READERS)
