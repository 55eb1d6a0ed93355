"""The times of the series of a request: each series with times is put on its grid, and all errors are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from service.codec.common import ALL_INPUTS
from service.codec.forecast_types import SeriesInput
from service.codec.strict_json import FieldErrors
from service.codec.timeline import (
    Fault,
    Placed,
    Timeline,
    check_end,
    from_start,
    from_timestamps,
    read_frequency,
    spread,
)


class Timed(NamedTuple):
    """A series with missing values where a time is left out, and what its times say."""

    series: SeriesInput
    timeline: Timeline | None = None
    season: int = 1  # that the frequency suggests


def place_inputs(inputs: Sequence[SeriesInput], horizon: int, max_length: int) -> list[Timed]:
    """The series on their grids, as far as they have times, none longer than `max_length`.

    Raises `InvalidRequest` with a pointer to every time that is not as it must be.
    """
    errors = FieldErrors()
    timed: list[Timed] = []
    for index, series in enumerate(inputs):
        try:
            timed.append(_timed(series, horizon, max_length))
        except Fault as fault:
            error = fault.at(ALL_INPUTS.format(index))
            errors.add(error.pointer, error.code, error.detail)
    errors.check()
    return timed


def _timed(series: SeriesInput, horizon: int, max_length: int) -> Timed:
    """`series` on its grid; one that states nothing but its frequency has no times, and one without either stays."""
    if series.timestamps is None and series.start is None:
        return Timed(series, None, read_frequency(series.freq).season if series.freq is not None else 1)
    placed = _on_grid(series, max_length)
    check_end(placed.timeline, horizon)
    return Timed(replace(series, target=spread(series.target, placed)), placed.timeline, placed.timeline.season)


def _on_grid(series: SeriesInput, max_length: int) -> Placed:
    length = len(series.target)
    if series.timestamps is None:
        if series.freq is None:
            raise Fault("start needs freq, such as 'D', 'h' or 'MS'", "freq", code="missing_field")
        return from_start(series.start or "", series.freq, length)
    if series.start is not None:
        raise Fault("beside timestamps there is no start: they say it", "start")
    if len(series.timestamps) != length:
        raise Fault(f"{len(series.timestamps)} times for {length} values: one for each")
    if not length:
        raise Fault("without a new value there is no time either: state the start of the next one, and freq")
    return from_timestamps(series.timestamps, series.freq, max_length)
