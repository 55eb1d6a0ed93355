"""Networks of numpy for the tests: what all share, and one that records its calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.backend.buckets import Ints
from service.contract.errors import ModelFault
from service.contract.types import Floats

Array = NDArray[Any]


class InOneCall(ABC):
    """The two methods that are nothing but a step and the output there, and the fault of the network."""

    @abstractmethod
    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats: ...
    @abstractmethod
    def forecast(self, state: Floats, horizon: int, levels: Floats) -> tuple[Floats, Ints]: ...
    @abstractmethod
    def read(self, state: Floats) -> Array: ...

    def finish(
        self, values: Array, lengths: Ints, state: Floats, horizon: int, levels: Floats
    ) -> tuple[Floats, tuple[Floats, Ints]]:
        new_state = self.step(values, lengths, state)
        return new_state, self.forecast(new_state, horizon, levels)

    def finish_reading(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        new_state = self.step(rows, lengths, state)
        return new_state, self.read(new_state)

    def fault(self, description: str) -> ModelFault:
        return ModelFault("fake", 1, description)


@dataclass
class Summing(InOneCall):
    """State (sum, count). Forecasts the sum; reads the class of the sum of ink; records (method, rows, columns)."""

    max_horizon: int | None = None
    calls: list[tuple[str, int, int]] = field(default_factory=list)

    def initial(self, season: int) -> Floats:
        return np.zeros(2)

    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats:
        self.calls.append(("step", *values.shape[:2]))
        values = values.sum(axis=2) if values.ndim == 3 else values
        return self._add(values, lengths, state)[:, -1]

    def forecast(self, state: Floats, horizon: int, levels: Floats) -> tuple[Floats, Ints]:
        self.calls.append(("forecast", len(state), horizon))
        forecasts = np.concatenate((state[:, :1], state[:, :1] + levels), axis=1)
        return np.repeat(forecasts[:, None], horizon, axis=1), np.ones(len(state), np.int64)

    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]:
        self.calls.append(("history", *values.shape[:2]))
        sums = np.concatenate((state[:, None], self._add(values, lengths, state)), axis=1)
        forecasts = np.concatenate((sums[:, :-1, :1], sums[:, :-1, :1] + levels[:, None]), axis=2)
        forecasts[sums[:, :-1, 1] == 0] = np.nan
        return sums[:, -1], forecasts

    def read(self, state: Floats) -> Array:
        self.calls.append(("read", len(state), 1))
        return self._classes(state)

    def trace(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]:
        self.calls.append(("trace", *rows.shape[:2]))
        states = self._add(rows.sum(axis=2), lengths, state)
        return states[:, -1], self._classes(states)

    @staticmethod
    def _add(values: Array, lengths: Ints, state: Floats) -> Floats:
        if values.ndim == 3:
            values = values.sum(axis=2)
        real = np.arange(values.shape[1]) < lengths[:, None]
        added = np.where(real, np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf), 0.0).cumsum(axis=1)
        return state[:, None] + np.stack((added, real.cumsum(axis=1)), axis=2)

    @staticmethod
    def _classes(state: Floats) -> Array:
        """The more ink, the surer of class 7."""
        odds = np.zeros((*state.shape[:-1], 10))
        odds[..., 7] = state[..., 0]
        with np.errstate(invalid="ignore"):
            return odds - np.log(np.exp(odds).sum(axis=-1, keepdims=True))
