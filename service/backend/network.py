"""The seam between passes over batches and the network that computes them: numpy arrays in, numpy arrays out.

Shapes: R rows, T steps, S state width, H steps ahead, Q quantile levels. A row is one series or digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from service.backend.buckets import Ints
from service.contract.errors import ModelFault
from service.contract.types import Floats, Item, Result

Array = NDArray[Any]
IndexedResults = list[tuple[int, Result | Exception]]
ForecastOutput = tuple[Floats, Ints]  # mean and quantiles (R, H, 1 + Q), and season lengths (R,)
T = TypeVar("T", bound=Item)


class Network(Protocol):
    """The methods of docs/models.md over numpy arrays; `initial` answers for one row, (S,).

    `finish` is `step` and `forecast`, `finish_reading` is `step` and `read`, each in one call.
    """

    max_horizon: int | None

    def initial(self, season: int) -> Floats: ...
    def step(self, values: Array, lengths: Ints, state: Floats) -> Floats: ...
    def forecast(self, state: Floats, horizon: int, levels: Floats) -> ForecastOutput: ...
    def finish(
        self, values: Array, lengths: Ints, state: Floats, horizon: int, levels: Floats
    ) -> tuple[Floats, ForecastOutput]: ...
    def history(self, values: Array, lengths: Ints, state: Floats, levels: Floats) -> tuple[Floats, Floats]: ...
    def read(self, state: Floats) -> Array: ...
    def finish_reading(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]: ...
    def trace(self, rows: Array, lengths: Ints, state: Floats) -> tuple[Floats, Array]: ...
    def fault(self, description: str) -> ModelFault:
        """The error that takes the place of an answer which is not sound; it names model and version."""


def partition(items: Iterable[T], key: Callable[[T], Any]) -> list[list[int]]:
    """Indices of `items`, those of equal key together."""
    groups: dict[Any, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append(index)
    return list(groups.values())
