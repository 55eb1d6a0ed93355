"""Forecasts of one series each, with values and an id alone: what is the same in all of them, made once.

A request and the answer to it go through `ForecastCodec` once for each model, number of steps and list of levels; what
its item and its text are then is used again for the others, in which only the numbers differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from service.codec.forecast import Counts, ForecastCodec
from service.codec.forecast_types import ForecastParameters, ForecastRequest, SeriesInput
from service.contract.manifest import Manifest
from service.contract.types import Floats, ForecastItem, ForecastResult

# What no answer has: they mark the places of the numbers in the text.
_OBSERVATIONS, _MISSING, _SEASON = 987_654_321, 765_432_109, 876_543_210
_ID = "765-432-109-987"
_FIRST_ROW = 7_654_000.5  # the mean; those of the quantiles follow
_MARKS = re.compile(rb"\[(7654\d\d\d\.5)(?:,\1)*\]|(987654321|765432109|876543210)|(\"765-432-109-987\")")

_CUT = b"\0"  # no JSON has it

_encode = msgspec.json.Encoder().encode


class SingleForm(Struct, frozen=True, eq=False):
    """What forecasts of one series have in common that ask the same of the same model."""

    steps: int
    levels: Floats
    rows: tuple[int, ...] | None  # of the quantiles, those that are answered; None: all
    pieces: tuple[bytes, ...]  # of the text of an answer, between its numbers
    reads_missing: bool
    lengths: range  # of the series that the model reads to their beginning

    def item(self, values: Floats) -> ForecastItem:
        """The item of a series."""
        return ForecastItem(values, self.steps, self.levels)

    def numbers(self, result: ForecastResult) -> bytes:
        """Those of an answer, as JSON: the mean, then the quantiles."""
        quantiles: list[list[float]] = result.quantiles.tolist()
        if self.rows is not None:
            quantiles = [quantiles[row] for row in self.rows]
        return _encode([result.mean.tolist(), *quantiles])


def single_form(
    codec: ForecastCodec, steps: int, levels: Sequence[float] | None, manifest: Manifest, longest: int, max_numbers: int
) -> SingleForm | None:
    """The form of forecasts of one series by the model of `manifest`.

    `longest`: values of a series that the settings allow; `max_numbers`: numbers of an answer, counted as in
    `service.codec.common.Call`. None for larger answers, and where the text is not as expected. Raises `InvalidRequest`
    where the model cannot serve such requests.
    """
    parameters = ForecastParameters(steps) if levels is None else ForecastParameters(steps, [*levels])
    contract = manifest.input
    sample: list[float | None] = [0.0] * contract.min_length
    request = ForecastRequest([SeriesInput(sample, _ID)], manifest.name, parameters)
    codec.check_limits(request)
    call = codec.to_items(request, manifest)
    if call.answer_size > max_numbers:
        return None
    item = call.items[0]
    rows = np.arange(1.0 + len(item.levels))[:, None].repeat(steps, axis=1) + _FIRST_ROW
    result = ForecastResult(rows[0], rows[1:], None, _SEASON, np.zeros(0))
    marked = codec.encode(replace(call, counts=[Counts(_OBSERVATIONS, _MISSING, 0, 0)]), [result])
    found = [match.lastindex for match in _MARKS.finditer(marked)]
    answered, limits = call.levels.requested, (longest, contract.max_length, contract.context)
    if found != [3] + [1] * (1 + len(answered)) + [2] * 4:
        return None
    return SingleForm(
        steps=steps,
        levels=item.levels,
        rows=None if answered == tuple(range(len(item.levels))) else answered,
        pieces=tuple(_MARKS.sub(_CUT, marked).split(_CUT)),
        reads_missing=contract.missing,
        lengths=range(contract.min_length, 1 + min(n for n in limits if n is not None)),
    )
