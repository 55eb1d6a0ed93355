"""Rows as people send them: other levels of ink and paper, other sizes and places; the newest `digits` reads them.

The digits are the project's own drawings, brought to MNIST's form by the service's preparation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.digits import handwriting
from service.backend.model import load
from service.contract.types import DigitItem, DigitResult
from service.imaging.mnist import normalized
from training.evaluation.evaluate import folders
from training.folders import MODELS

Rows = NDArray[np.float32]  # (N, 28, 28)
COUNT = 60


def striped(rows: Rows) -> Rows:
    """Inverted along both sides."""
    return np.concatenate([1 - rows[:, :, :7], rows[:, :, 7:21], 1 - rows[:, :, 21:]], axis=2)


def foggy(rows: Rows) -> Rows:
    """Behind clouds as strong as the ink."""
    generator = np.random.default_rng(4)
    clouds = [
        np.asarray(
            Image.fromarray(generator.random((6, 6)).astype(np.float32)).resize((28, 28), Image.Resampling.BICUBIC)
        )
        for _ in rows
    ]
    return np.asarray((rows + np.stack([np.asarray(one) for one in clouds]).clip(0, 1)) / 2, np.float32)


def half(rows: Rows) -> Rows:
    """At half the size, in the middle."""
    small = rows.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return np.pad(small, ((0, 0), (7, 7), (7, 7)))


KINDS: dict[str, Callable[[Rows], Rows]] = {
    "as they are": lambda rows: rows,
    "inverted": lambda rows: 1 - rows,
    "bright": lambda rows: (rows + 0.5).clip(0, 1),
    "dark on grey": lambda rows: 0.6 - 0.4 * rows,
    "little contrast": lambda rows: 0.2 * rows,
    "little contrast on grey": lambda rows: 0.4 + 0.25 * rows,
    "0 to 100": lambda rows: rows * np.float32(100 / 255),
    "striped": striped,
    "foggy": foggy,
    "shifted": lambda rows: np.roll(rows, (3, -4), (1, 2)),
    "inverted and shifted": lambda rows: 1 - np.roll(rows, (-3, 3), (1, 2)),
    "half the size": half,
}

WRONG = {"half the size": 0.15}  # share: strokes of a thin pen are half a pixel wide there


@pytest.fixture(scope="module")
def digits() -> tuple[Rows, list[int]]:
    """Drawings in MNIST's form."""
    drawings = handwriting.drawings(COUNT, "pen", 17)
    return np.stack([normalized(drawing.ink) for drawing in drawings]), [drawing.label for drawing in drawings]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_rows_is_read(kind: str, digits: tuple[Rows, list[int]]) -> None:
    rows, labels = digits
    model = load(folders(MODELS, ["digits"])[0], warm=False)
    changed = np.ascontiguousarray(KINDS[kind](rows), np.float32)
    results = model.run([DigitItem(digit) for digit in changed])
    read = [int(result.probabilities.argmax()) for result in results if isinstance(result, DigitResult)]
    wrong = [f"{label} read as {answer}" for label, answer in zip(labels, read, strict=True) if label != answer]
    assert len(wrong) <= WRONG.get(kind, 0.05) * COUNT, wrong
