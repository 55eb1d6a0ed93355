"""Large forecast requests, decoded series by series.

A list of numbers takes 32 bytes a value in Python, and an array 8: where a request has millions of values, only one
series at a time is a list, and none where the extension reads the numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast, overload

import msgspec
import numpy as np

from service.codec.forecast_types import ForecastRequest, SeriesInput
from service.contract.errors import InvalidRequest
from service.contract.types import Floats
from service.runtime import compiled

LARGE = 256 << 10  # bytes of a body that is decoded so
_OTHER_OBJECTS = 100  # that a request may have besides its series, and more
LARGE_COMPILED = 64 << 10  # the same where the extension reads the numbers: it is quicker than lists are


class StoredValues(Sequence["float | None"]):
    """The values of a series as an array (T,) float64, in which NaN is a missing value; reads like their list."""

    __slots__ = ("array", "n_missing")

    def __init__(self, array: Floats, n_missing: int | None = None) -> None:
        """`n_missing`: how many of `array` are missing, where that is known."""
        self.array = array
        self.n_missing = int(np.isnan(array).sum()) if n_missing is None else n_missing

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> float | None: ...
    @overload
    def __getitem__(self, index: slice) -> StoredValues: ...
    def __getitem__(self, index: int | slice) -> float | StoredValues | None:
        if isinstance(index, slice):
            return StoredValues(self.array[index])
        value = float(self.array[index])
        return None if value != value else value  # noqa: PLR0124 (only NaN differs from itself)

    def __iter__(self) -> Iterator[float | None]:
        numbers: list[float] = self.array.tolist()
        if not self.n_missing:
            return iter(numbers)
        return iter([None if value != value else value for value in numbers])  # noqa: PLR0124 (as above)

    def count(self, value: object) -> int:
        """How many values are missing, of None; else as of a list."""
        return self.n_missing if value is None else super().count(value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Floats:
        return np.array(self.array, dtype) if copy or dtype not in (None, self.array.dtype) else self.array


if TYPE_CHECKING:
    _LargeSeries, _LargeRequest = SeriesInput, ForecastRequest
else:

    class _LargeSeries(SeriesInput, forbid_unknown_fields=True, frozen=True, gc=False):
        target: msgspec.Raw

    class _LargeRequest(ForecastRequest, forbid_unknown_fields=True, frozen=True):
        inputs: list[_LargeSeries]


class _CountedRequest(msgspec.Struct, gc=False):
    inputs: list[msgspec.Raw]


_count_decoder = msgspec.json.Decoder(_CountedRequest, strict=True)
_request_decoder = msgspec.json.Decoder(_LargeRequest, strict=True)
_values_decoder = msgspec.json.Decoder(list[float | None], strict=True)


def is_large(content: bytes) -> bool:
    """Whether a body is decoded so."""
    return len(content) > (LARGE if compiled.in_use is None else LARGE_COMPILED)


def decode_large(content: bytes, max_items: int) -> ForecastRequest | None:
    """The request in `content`, its series with `StoredValues`; None where it is at fault: another decoder tells how.

    Raises `InvalidRequest` where it has more than `max_items` series, before it looks at their values.
    """
    try:
        if content.count(b"{") > max_items + _OTHER_OBJECTS:  # an object for each takes three times as long
            _check_count(_count_decoder.decode(content).inputs, max_items)
        request = _request_decoder.decode(content)
        _check_count(request.inputs, max_items)
        inputs = [_stored(series) for series in request.inputs]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return ForecastRequest(inputs, request.model, request.parameters)


def _check_count(inputs: Sequence[object], max_items: int) -> None:
    if len(inputs) > max_items:
        raise too_many_series(len(inputs), max_items)


def are_stored(inputs: Sequence[SeriesInput]) -> bool:
    """Whether the values of `inputs`, of which there is one at least, are arrays already; either all are or none is."""
    return isinstance(inputs[0].target, StoredValues)


def too_many_series(n_series: int, max_items: int) -> InvalidRequest:
    """The error of a request with more than `max_items` series."""
    return InvalidRequest(f"{n_series} series in one request; at most {max_items}", code="too_many_items")


def _stored(series: SeriesInput) -> SeriesInput:
    stored = cast("list[float | None]", _read(cast("msgspec.Raw", series.target)))
    return SeriesInput(
        stored, series.item_id, series.state, series.start, series.freq, series.timestamps, series.lower, series.upper
    )


def _read(text: msgspec.Raw) -> StoredValues:
    numbers = None if compiled.in_use is None else compiled.in_use.read_numbers(text)
    if numbers is not None:
        return StoredValues(np.frombuffer(numbers[0]), numbers[1])
    values, is_complete = _as_array(_values_decoder.decode(text))
    return StoredValues(values, 0 if is_complete else None)


def as_arrays(targets: Sequence[list[float | None]]) -> list[tuple[Floats, bool]]:
    """The values of each series as float64, NaN where one is missing, and whether none is."""
    return [_as_array(numbers) for numbers in targets]


def _as_array(numbers: list[float | None]) -> tuple[Floats, bool]:
    """`numbers` as float64, and whether none is missing. `struct` takes a quarter of numpy's time, and refuses None."""
    if isinstance(numbers, StoredValues):
        return numbers.array, not numbers.n_missing
    try:
        return np.frombuffer(_doubles(len(numbers)).pack(*numbers)), True
    except struct.error:
        return np.array(numbers, np.float64), False


@lru_cache(maxsize=1024)
def _doubles(length: int) -> struct.Struct:
    return struct.Struct(f"{length}d")
