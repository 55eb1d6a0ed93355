"""Finding the least row count, with networks of known dependence on their shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.backend.buckets import LENGTHS, ROWS, Ints, ShapeBuckets
from service.backend.warmup import Invariance, rows_before_warm_up, warm_up
from service.contract.errors import Unavailable
from service.contract.types import DigitItem, Floats, ForecastItem, Item
from tests.networks import InOneCall

Array = NDArray[Any]
LEVELS = np.array([0.1, 0.9])


@dataclass
class Wavering(InOneCall):
    """The mean of a row, a little different in fewer than `rows` rows, or in fewer than `steps` steps."""

    rows: int = 1
    steps: int = 1
    shapes: set[tuple[int, int]] = field(default_factory=set)
    max_horizon: int | None = None

    def initial(self, season: int) -> Floats:
        return np.zeros(1)

    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats:
        self.shapes.add(values.shape[:2])
        padded = 1e-9 if values.shape[1] < self.steps else 0.0
        total = values.reshape(*values.shape[:2], -1).sum(axis=(1, 2))
        return state + (total / np.maximum(lengths, 1))[:, None] * (1.0 + padded)

    def forecast(self, state: Floats, horizon: int, levels: Floats) -> tuple[Floats, Ints]:
        forecasts = np.concatenate((state, state + levels), axis=1) * (1.0 + (1e-9 if len(state) < self.rows else 0.0))
        return np.repeat(forecasts[:, None], horizon, axis=1), np.ones(len(state), np.int64)

    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
        # Depends on the padding, as a product over all steps may: such items are padded by their own length alone.
        return self.step(values, lengths, state), np.full((*values.shape, 1 + levels.shape[1]), 1.0 / values.shape[1])

    def read(self, state: Floats) -> Array:
        return np.repeat(state, 10, axis=1) * (1.0 + (1e-9 if len(state) < self.rows else 0.0))

    def trace(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        return self.step(rows, lengths, state), np.zeros((*rows.shape[:2], 10))


def sample(kind: str) -> list[Item]:
    """Whole numbers, so that sums are exact in any order."""
    rng = np.random.default_rng(0)
    lengths = (1, 7, 30, 12)
    if kind == "digits":
        return [DigitItem(rng.integers(0, 9, (n, 28)).astype(np.float32)) for n in lengths]
    return [ForecastItem(rng.integers(1, 99, n).astype(np.float64), 1, LEVELS) for n in lengths]


@pytest.mark.parametrize("kind", ["series", "digits"])
@pytest.mark.parametrize(("threshold", "least_size"), [(1, 1), (2, 2), (3, 4), (8, 8), (9, 12), (32, 32)])
def test_the_least_row_count_is_the_first_bucket_that_agrees(kind: str, threshold: int, least_size: int) -> None:
    invariance = warm_up(Wavering(threshold), ShapeBuckets(), sample(kind), None)
    assert invariance == Invariance(True, least_size, 1, 0.0)


@pytest.mark.parametrize("kind", ["series", "digits"])
@pytest.mark.parametrize(("threshold", "least_size"), [(2, 2), (3, 4), (8, 8)])
def test_the_least_number_of_steps_is_the_first_bucket_that_agrees(kind: str, threshold: int, least_size: int) -> None:
    invariance = warm_up(Wavering(4, threshold), ShapeBuckets(), sample(kind), None)
    assert invariance == Invariance(True, 4, least_size, 0.0)


@pytest.mark.parametrize("kind", ["series", "digits"])
@pytest.mark.parametrize("network", [Wavering(rows=33), Wavering(rows=100, steps=16), Wavering(steps=64)])
def test_the_largest_difference_of_what_never_agrees_is_reported(kind: str, network: Wavering) -> None:
    invariance = warm_up(network, ShapeBuckets(), sample(kind), None)
    assert not invariance.exact
    assert invariance.deviation == pytest.approx(1e-9, rel=0.2)


@pytest.mark.parametrize("kind", ["series", "digits"])
@pytest.mark.parametrize(("threshold", "rows"), [(1, 4), (4, 4), (5, 32), (32, 32)])
def test_calls_before_the_warm_up_have_few_rows_where_these_agree_with_many(
    kind: str, threshold: int, rows: int
) -> None:
    network = Wavering(threshold)
    assert rows_before_warm_up(network, sample(kind), None) == rows
    assert {steps for _, steps in network.shapes} == {8}


def test_calls_before_the_warm_up_are_no_longer_than_a_model_takes() -> None:
    network = Wavering()
    rows_before_warm_up(network, sample("series"), 1)
    assert {steps for _, steps in network.shapes} == {1}


def test_every_row_count_and_every_length_is_run() -> None:
    network = Wavering()
    warm_up(network, ShapeBuckets(), sample("series"), None)
    assert {rows for rows, _ in network.shapes} == set(ROWS)
    assert {steps for _, steps in network.shapes} == set(LENGTHS)


def test_lengths_that_a_model_does_not_take_are_left_out() -> None:
    network = Wavering()
    warm_up(network, ShapeBuckets(), sample("digits"), 28)
    assert 28 <= max(steps for _, steps in network.shapes) < 2 * 28
    network = Wavering()
    warm_up(network, ShapeBuckets(), sample("series"), 1)
    assert {steps for _, steps in network.shapes} == {1}


def test_warming_up_ends_between_two_calls_when_the_model_is_no_longer_needed() -> None:
    network = Wavering()
    with pytest.raises(Unavailable):
        warm_up(network, ShapeBuckets(), sample("series"), None, lambda: len(network.shapes) < 3)
    assert len(network.shapes) == 3


class Watched:
    """A network that is asked whether it may be called before each of its calls."""

    def __init__(self) -> None:
        self.network = Wavering()
        self.looks = self.calls = 0

    def look(self) -> bool:
        self.looks += 1
        return True

    def __getattr__(self, name: str) -> Any:
        if name in {"step", "forecast", "history", "read", "trace"}:
            self.calls += 1
            assert self.calls == self.looks, name
        return getattr(self.network, name)


@pytest.mark.parametrize("kind", ["series", "digits"])
def test_a_warm_up_makes_way_before_each_of_its_calls(kind: str) -> None:
    watched: Any = Watched()
    warm_up(watched, ShapeBuckets(), sample(kind), None, watched.look)
    assert watched.calls > 100


@dataclass
class Counting(Wavering):
    """Counts the values that each series has had, and notes how many those of `history` had before."""

    seen: list[float] = field(default_factory=list)

    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats:
        return state + lengths[:, None]

    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
        self.seen += state[:, 0].tolist()
        return super().history(values, lengths, state, levels)


def test_a_history_is_priced_where_a_series_remembers_most() -> None:
    network = Counting()
    warm_up(network, ShapeBuckets(), sample("series"), None)
    assert min(network.seen) >= 1024
    network = Counting()
    warm_up(network, ShapeBuckets(), sample("series"), 50)  # such a model takes no longer series
    assert max(network.seen) == 0
