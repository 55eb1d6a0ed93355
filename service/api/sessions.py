"""What is said over a live connection: its first message, the ones after it, and what becomes of them.

A message brings one series or digit, so pointers in problems start at the message: `#/target/3`, `#/rows/0`.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from service.api.inference import Served, is_large
from service.codec import digits
from service.codec import forecast as series
from service.codec.digits import DigitInput, DigitParameters, DigitRequest, PackedDigits
from service.codec.forecast import ForecastParameters, ForecastRequest, ItemId, PackedSeries, SeriesInput, StateToken
from service.codec.state_tokens import SequenceState, StateTokens
from service.codec.strict_json import FieldErrors, StrictDecoder
from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest
from service.contract.types import DigitResult, ForecastResult, Item
from service.settings import Settings

_HERE = "#"  # where a message's single input stands in it


class SeriesOpening(Struct, forbid_unknown_fields=True, frozen=True):
    """The first message of a live series."""

    model: Annotated[str, Meta(max_length=256)] = series.DEFAULT_MODEL
    parameters: ForecastParameters = field(default_factory=ForecastParameters)
    item_id: ItemId | None = None
    state: StateToken | None = None


class NewValues(Struct, forbid_unknown_fields=True, frozen=True):
    """What a live series brings; nothing asks for the forecast again."""

    target: list[float | None]


class DigitOpening(Struct, forbid_unknown_fields=True, frozen=True):
    """The first message of a live stroke."""

    model: Annotated[str, Meta(max_length=256)] = digits.DEFAULT_MODEL
    parameters: DigitParameters = field(default_factory=DigitParameters)
    item_id: ItemId | None = None
    state: StateToken | None = None


class NewRows(Struct, forbid_unknown_fields=True, frozen=True):
    """What a live stroke brings; nothing asks for the reading again."""

    rows: list[list[float]]


series_opening, _new_values = StrictDecoder(SeriesOpening), StrictDecoder(NewValues)
digit_opening, _new_rows = StrictDecoder(DigitOpening), StrictDecoder(NewRows)
_encoder = msgspec.json.Encoder()


class Session(Protocol):
    """One live series or digit: how its messages become items and its results answers."""

    served: Served
    timeout_ms: int | None

    def read(self, body: bytes) -> tuple[Any, list[Item], bool]:
        """A message, packed, its items, and whether the answer is large work; raises `InvalidRequest`."""

    def answer(self, packed: Any, results: Any) -> bytes:
        """The prediction object. From then on the series or digit stands where `results` left it."""


class ForecastSession:
    """`Session` of a series."""

    def __init__(self, opening: SeriesOpening, served: Served, settings: Settings, tokens: StateTokens) -> None:
        self.served = served
        self.timeout_ms = opening.parameters.timeout_ms
        self._parameters = opening.parameters
        self._item_id = opening.item_id
        self._settings = settings
        self._seal = tokens.seal
        faults = FieldErrors()
        series.check_parameters(opening.parameters, served.manifest, faults)
        faults.check()
        self._before = _resume(opening.state, served.manifest, tokens)

    def read(self, body: bytes) -> tuple[tuple[ForecastRequest, PackedSeries], list[Item], bool]:
        """See `Session`."""
        target = _new_values.read(body).target
        faults = FieldErrors()
        series.check_target(target, self._before is not None, f"{_HERE}/target", self._settings, faults)
        faults.check()
        request = ForecastRequest([SeriesInput(target, self._item_id)], parameters=self._parameters)
        series.check_size(request, len(target), self._settings)
        packed = series.pack(request, self.served.manifest, [self._before], _HERE)
        return (request, packed), [*packed.items], is_large(request, self.served.manifest)

    def answer(self, packed: tuple[ForecastRequest, PackedSeries], results: list[ForecastResult]) -> bytes:
        """See `Session`."""
        request, items = packed
        (prediction,) = series.predictions(request, self.served.manifest, items, results, self._seal)
        (reached,) = series.progress(request, items, results)
        self._before = _kept(reached)
        return _encoder.encode(prediction)


class DigitSession:
    """`Session` of a digit."""

    def __init__(self, opening: DigitOpening, served: Served, settings: Settings, tokens: StateTokens) -> None:
        self.served = served
        self.timeout_ms = opening.parameters.timeout_ms
        self._parameters = opening.parameters
        self._item_id = opening.item_id
        self._settings = settings
        self._seal = tokens.seal
        self._before = _resume(opening.state, served.manifest, tokens)

    def read(self, body: bytes) -> tuple[tuple[DigitRequest, PackedDigits], list[Item], bool]:
        """See `Session`."""
        rows = _new_rows.read(body).rows
        faults = FieldErrors()
        digits.check_rows(rows, self._before is not None, f"{_HERE}/rows", faults)
        faults.check()
        request = DigitRequest([DigitInput(rows, item_id=self._item_id)], parameters=self._parameters)
        packed = digits.pack(request, self.served.manifest, self._settings, before=[self._before], place=_HERE)
        return (request, packed), [*packed.items], False

    def answer(self, packed: tuple[DigitRequest, PackedDigits], results: list[DigitResult]) -> bytes:
        """See `Session`."""
        request, items = packed
        (prediction,) = digits.predictions(request, self.served.manifest, items, results, self._seal)
        (reached,) = digits.progress(items, results)
        self._before = _kept(reached)
        return _encoder.encode(prediction)


def _resume(token: str | None, manifest: Manifest, tokens: StateTokens) -> SequenceState | None:
    """Where the series or digit of the first message stands."""
    if token is None:
        return None
    faults = FieldErrors()
    try:
        return tokens.open(token, manifest)
    except InvalidRequest as error:
        faults.add(f"{_HERE}/state", error.code, error.detail)
    faults.check()
    return None


def _kept(progress: SequenceState) -> SequenceState:
    """`progress` without the batch that its state is a row of."""
    return replace(progress, state=progress.state.copy())
