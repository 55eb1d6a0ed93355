"""training.networks.recurrence: sequences that their last two values say go on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.networks.past import summed
from training.networks.recurrence import second_order

WIDTH = 64
AHEAD = torch.tensor([[1, 2, 3, 10]])


def said(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The continuation of `values` at AHEAD, and the doubt about it."""
    scale = float(np.abs(np.diff(values)).mean())
    remembered = np.full(WIDTH, np.nan)
    remembered[-len(values) :] = (values - values[-1]) / scale
    path, doubt, _ = second_order(summed(torch.from_numpy(remembered)[None]), AHEAD)
    return path[0].numpy() * scale + values[-1], doubt[0].numpy()


def fibonacci(count: int) -> np.ndarray:
    numbers = [1.0, 1.0]
    while len(numbers) < count:
        numbers.append(numbers[-1] + numbers[-2])
    return np.array(numbers)


SEQUENCES = {
    "squares": np.arange(1.0, 40) ** 2,
    "triangles": np.cumsum(np.arange(1.0, 40)),
    "Fibonacci": fibonacci(30),
    "a sine": 5 + np.sin(np.arange(60) * 0.4),
    "a dying wave": 0.95 ** np.arange(60) * np.cos(np.arange(60) * 0.6),
    "two decays": 0.9 ** np.arange(60) + 3 * 0.7 ** np.arange(60),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("seen", [8, 20])
def test_an_exact_sequence_goes_on(name: str, seen: int) -> None:
    values = SEQUENCES[name]
    path, doubt = said(values[:seen])
    truth = values[seen - 1 + AHEAD[0].numpy()]
    np.testing.assert_allclose(path, truth, rtol=1e-3, atol=1e-3 * np.abs(values[:seen]).max())
    assert (doubt < 0.05).all()


@pytest.mark.parametrize("values", [[1.0, 4, 9, 16, 25], [1.0, 1, 2, 3, 5, 8]])
def test_five_squares_or_six_numbers_of_fibonacci_are_enough(values: list[float]) -> None:
    path, doubt = said(np.array(values))
    assert path[0] == pytest.approx({25: 36, 8: 13}[int(values[-1])])
    assert doubt[0] < 0.01


@pytest.mark.parametrize("seen", [5, 7, 12, 40])
def test_noise_and_walks_are_doubted(seen: int) -> None:
    rng = np.random.default_rng(seen)
    noise = rng.normal(size=(100, seen))
    doubts = [said(row)[1][0] for row in (*noise, *noise.cumsum(1))]
    assert np.mean(np.array(doubts) > 0.9) >= 0.97


def test_many_steps_ahead_stay_finite() -> None:
    path, _, _ = second_order(summed(torch.arange(8.0, dtype=torch.float64)[None] ** 3), torch.tensor([[1024]]))
    assert torch.isfinite(path).all()
