"""The shipped digit reader, trained on with labelled images of one's own, and kept only where that is better.

Labels that are the ten digits start from the shipped reader whole; other labels, up to a hundred, from all of it but
its last layer. The weights with the least cross-entropy on images that choose are kept, or their mean with the shipped
ones; one temperature for each number of rows read is fitted there too. Images of their own score.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from service.contract.manifest import MODEL_FILE
from service.contract.types import Floats
from training.data.mnist import Digits, Mnist
from training.digits.config import Config
from training.digits.export import logits, temperatures
from training.digits.train import train
from training.evaluation import scores
from training.fit.export import reload
from training.fit.loop import Curves
from training.networks.digits import MAX_ROWS, DigitReader, RowReader, digit_log_probabilities, row_reader

SHARES = (0.5, 1.0)  # of the trained weights in the mean with the shipped ones
FEWEST_FOR_TEMPERATURES = 100  # images that choose, below which the temperatures stay as they were
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Reader:
    """A reader with its temperatures, and its scores on the images that score."""

    name: str
    core: RowReader
    temperatures: Tensor
    probabilities: Floats  # (N, labels), of the images that score
    accuracy: float
    cross_entropy: float


def shipped_reader(folder: Path) -> tuple[RowReader, Tensor]:
    """The trainable network and the temperatures of a served reader; raises `KeyError` or `RuntimeError` for others."""
    weights = reload((folder / MODEL_FILE).read_bytes()).state_dict()
    return row_reader(weights), weights["temperatures"].clone()


def size_of(core: RowReader) -> str:
    """The size by which `training.digits.train.build` makes such a network."""
    return f"{core.hidden}x{core.layers}"


def without_head(core: RowReader, classes: int, seed: int) -> RowReader:
    """`core` with an untrained last layer, for so many labels that are no digits."""
    result = copy.deepcopy(core)
    torch.manual_seed(seed)
    result.head = RowReader(core.hidden, core.layers, classes=classes).head
    return result


def tune(
    start: RowReader,
    parts: tuple[Digits, Digits, Digits],
    config: Config,
    **options: Any,
) -> tuple[RowReader, Curves]:
    """The reader after a fit from `start`: the best mean of both by cross-entropy on the images that choose.

    `options` are those of `training.fit.loop.fit`.
    """
    learning, choosing, scoring = parts
    size = size_of(start)
    group, curves = train(
        Mnist(learning, choosing, scoring),
        config,
        CPU,
        start=start.state_dict(),
        best=f"{size} nll",
        progress=False,
        classes=start.head.out_features - 1,
        **options,
    )
    trained = group.members[0]
    means = [start, *(_mean(trained, start, share) for share in SHARES)]  # type: ignore[arg-type]
    losses = [_cross_entropy(mean, torch.ones(MAX_ROWS), choosing) for mean in means]
    return means[int(np.argmin(losses))], curves


def _mean(trained: RowReader, start: RowReader, share: float) -> RowReader:
    result = copy.deepcopy(start)
    weights = start.state_dict()
    result.load_state_dict(
        {name: torch.lerp(weights[name], value, share) for name, value in trained.state_dict().items()}
    )
    return result.eval()


def log_probabilities(core: RowReader, scale: Tensor, digits: Digits) -> Tensor:
    """(N, labels) after the last row."""
    n_rows = digits.images.shape[1]
    return digit_log_probabilities(logits(core, digits.rows())[:, -1] / scale[n_rows - 1])


def _cross_entropy(core: RowReader, scale: Tensor, digits: Digits) -> float:
    answers = log_probabilities(core, scale, digits)
    return float(functional.nll_loss(answers, torch.from_numpy(digits.labels)))


def calibrated(core: RowReader, shipped: Tensor, choosing: Digits) -> Tensor:
    """Temperatures (64,) fitted on the images that choose, where these are enough and it is better there."""
    if len(choosing) < FEWEST_FOR_TEMPERATURES:
        return shipped
    fitted = temperatures(core, choosing)
    return min((shipped, fitted), key=lambda scale: _cross_entropy(core, scale, choosing))


def scored(name: str, core: RowReader, scale: Tensor, scoring: Digits) -> Reader:
    """The reader with its scores."""
    answers = log_probabilities(core, scale, scoring)
    probabilities = np.asarray(answers.exp().double().numpy())
    entropy = float(functional.nll_loss(answers, torch.from_numpy(scoring.labels)))
    return Reader(name, core, scale, probabilities, scores.accuracy(scoring.labels, probabilities), entropy)


def best(shipped: Reader | None, tuned: Reader) -> Reader:
    """The tuned reader, unless the shipped one is more often right, or as often and surer of it."""
    if shipped is None:
        return tuned
    key = {reader.name: (-reader.accuracy, reader.cross_entropy) for reader in (tuned, shipped)}
    return min((tuned, shipped), key=lambda reader: key[reader.name])


def served(reader: Reader) -> DigitReader:
    """The reader behind the contract that it is served by."""
    return DigitReader(reader.core, reader.temperatures)


def steps(config: Config, count: int) -> int:
    """Steps of a fit on `count` images."""
    return max(round(config.epochs * max(count // config.batch, 1)), 1)


def usual_epochs(count: int, batch: int) -> float:
    """Passes over `count` images that come to some hundred steps: more where there are few."""
    return min(max(400 * batch / max(count, 1), 3.0), 60.0)
