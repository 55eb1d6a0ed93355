"""The functions in C, where the extension was built and is to be used.

Every caller has the same in Python, for installations without it, and looks at `in_use`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from msgspec import Raw
    from numpy.typing import NDArray

T = TypeVar("T")
# Name of the model, values as float64, how many are missing, id, steps ahead, quantile levels; None: it is not stated.
ReadRequest = tuple[str | None, bytes, int, str | None, int, tuple[float, ...] | None]

Limit = tuple[int, int, float]  # of a key: the place of the resource, the amount and the seconds in which it refills


class Functions(Protocol):
    """What `_hot_path.c` offers; its docstrings say more."""

    def find_head(self, data: bytes, heads: Mapping[bytes, T], /) -> tuple[T, bytes, int] | None:
        """See `service.server.known_heads.KnownHeads.find`."""

    def read_request(self, data: bytes, start: int, /) -> ReadRequest | None:
        """The request for one forecast that begins at `start`; None where it is not of the simplest form."""

    def read_numbers(self, text: Raw, /) -> tuple[bytes, int] | None:
        """The numbers of a list as float64, and how many are null; None where it is not of the simplest form."""

    def fill_rows(self, sequences: Sequence[NDArray[Any]], dense: NDArray[Any], counts: NDArray[Any], /) -> None:
        """See `service.backend.chunks.pack`."""

    def cheapest_cuts(
        self,
        bounds: NDArray[Any],
        steps: NDArray[Any],
        max_rows: NDArray[Any],
        rows_for: NDArray[Any],
        call_cost: float,
        step_cost: float,
        /,
    ) -> list[int]:
        """See `service.backend.buckets.ShapeBuckets`."""

    def take_allowances(
        self, buckets: memoryview[float], first: int, now: float, limits: Sequence[Limit], counts: Sequence[int], /
    ) -> tuple[int, float] | None:
        """See `service.runtime.allowances.Allowances.take_in_turn`; the key's buckets begin at `first`."""

    def describe_allowances(
        self, buckets: memoryview[float], first: int, now: float, limits: Sequence[Limit], pieces: Sequence[str], /
    ) -> str:
        """See `service.runtime.allowances.Allowances.describe`; the key's buckets begin at `first`."""

    def write_answer(
        self,
        head: bytes,
        pieces: tuple[bytes, ...],
        item_id: str | None,
        numbers: bytes,
        n_values: int,
        n_missing: int,
        season: int,
        queue_ms: float,
        compute_ms: float,
        request_id: str,
        /,
    ) -> bytes | None:
        """See `service.codec.single_forecasts.SingleForm`; None where numbers and pieces do not fit."""


def _load() -> Functions | None:
    try:
        module = import_module("service.runtime._hot_path")
    except ImportError:  # no compiler was there when the service was installed, or it was for another Python
        return None
    names = [name for name in vars(Functions) if not name.startswith("_")]
    return cast("Functions", module) if all(hasattr(module, name) for name in names) else None  # built before an update


built: Functions | None = _load()
in_use: Functions | None = built  # looked up at each use: an application sets it as its settings say


def chosen(compiled: str) -> Functions | None:
    """The functions to use where the setting `compiled` is "on" or "off"."""
    return None if compiled == "off" else built


def in_words(compiled: str) -> str:
    """Which functions are used then, and why."""
    if compiled == "off":
        return "small requests are served in pure Python: RITMO_COMPILED=off"
    if built is None:
        return "small requests are served in pure Python: no C compiler was there when the service was installed"
    return "small requests are served by the compiled extension"
