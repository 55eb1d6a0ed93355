"""Series in and out of `POST /forecast`: the request's types, from them the engine's items, from results the answer.

`read` knows only the limits of the service, `pack` knows the model as well and where each series stood before,
`predictions` and `unpack` make the answer. A series that goes on (`state`, or a live connection) is judged as a whole:
its counts and the model's limits include all that was sent before.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct, field

from service.codec.state_tokens import SequenceState
from service.codec.strict_json import FieldErrors, StrictDecoder
from service.contract.errors import FieldError, InvalidRequest, RitmoError
from service.contract.manifest import Manifest
from service.contract.types import Floats, ForecastItem, ForecastResult
from service.settings import Settings

DEFAULT_MODEL = "forecaster"
MEDIAN = 0.5
_FAR = 1e100  # beyond this magnitude arithmetic on float64 may leave the finite numbers
_NEAR_CERTAIN = 1e-9  # levels nearer to 0 or 1 than this may have no finite quantile

Level = Annotated[float, Meta(gt=0, lt=1)]
ItemId = Annotated[str, Meta(max_length=256, description="echoed in the answer")]
StateToken = Annotated[str, Meta(description="token of an earlier answer: what it was about goes on from there")]
ReturnState = Annotated[bool, Meta(description="answer a token with which a later request can go on from here")]
Timeout = Annotated[int, Meta(ge=1, le=3_600_000, description="deadline for the whole request, in milliseconds")]


class SeriesInput(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One series."""

    target: Annotated[
        list[float | None],
        Meta(description="oldest first; null is a missing value; with state only the new values, or none"),
    ]
    item_id: ItemId | None = None
    state: StateToken | None = None


class ForecastParameters(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What to answer."""

    prediction_length: Annotated[int, Meta(ge=1, le=1_000_000, description="steps ahead")] = 1
    quantile_levels: Annotated[list[Level], Meta(max_length=99)] = field(default_factory=lambda: [0.1, 0.5, 0.9])
    season_length: Annotated[int, Meta(ge=1, le=1_000_000, description="observations per season")] | None = None
    return_state: ReturnState = False
    include: Annotated[list[Literal["history"]], Meta(max_length=8)] = field(default_factory=list)
    timeout_ms: Timeout | None = None


class ForecastRequest(Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /forecast`."""

    inputs: Annotated[list[SeriesInput], Meta(description="series of any, different lengths")]
    model: Annotated[str, Meta(max_length=256, description="a name, or name@version")] = DEFAULT_MODEL
    parameters: ForecastParameters = field(default_factory=ForecastParameters)


class History(Struct, frozen=True, gc=False):
    """One-step-ahead predictions at every past point that was used; null where nothing had been observed yet."""

    median: list[float | None]
    mean: list[float | None]
    quantiles: dict[str, list[float | None]]


class Context(Struct, frozen=True, gc=False):
    """What of the series was there, and what was used; with state: of the whole series."""

    observations: int
    missing: int
    used: int
    season_length: int


class SeriesPrediction(Struct, frozen=True, gc=False):
    """The forecast of one series; every list has `prediction_length` entries."""

    item_id: str | None
    mean: list[float]
    quantiles: dict[str, list[float]]
    context: Context
    state: str | None
    history: History | None
    warnings: list[str]


class ForecastAnswer(Struct, frozen=True):
    """The body of the answer; one prediction per input, in the order of the inputs."""

    model: str
    model_version: str
    model_digest: str
    predictions: list[SeriesPrediction]


class _Levels(Struct, frozen=True, eq=False):
    """Requested levels as the engine computes them: where the median is needed or nothing was asked, 0.5 is added."""

    array: Floats  # (Q,) ascending
    keys: tuple[str, ...]
    asked: tuple[int, ...]  # positions in `array` of the levels that were asked for
    median: int  # position of 0.5, or -1


class Counts(Struct, frozen=True, eq=False, gc=False):
    """Values of a whole series, those of them that are missing, and those that were not read."""

    observations: int
    missing: int
    skipped: int


class PackedSeries(Struct, frozen=True, eq=False, gc=False):
    """The engine's items, where each series stood before (None: nowhere), and the counts with what was sent now."""

    items: list[ForecastItem]
    before: list[SequenceState | None]
    counts: list[Counts]
    place: str  # pointer to an input in the document that was sent


_NOTHING: Floats = np.empty(0)
_reader = StrictDecoder(ForecastRequest)
_encoder = msgspec.json.Encoder()


def read(body: bytes, settings: Settings) -> ForecastRequest:
    """The request in `body`; raises `InvalidRequest` for everything that is wrong whatever the model."""
    request = _reader.read(body)
    lengths = [len(item.target) for item in request.inputs]
    if len(lengths) > settings.max_items:
        detail = f"{len(lengths)} series in one request; at most {settings.max_items}"
        raise InvalidRequest(detail, code="too_many_items")
    if not lengths or min(lengths) == 0 or max(lengths) > settings.max_observations:
        _check_targets(request, settings)
    check_size(request, sum(lengths), settings)
    return request


def _check_targets(request: ForecastRequest, settings: Settings) -> None:
    faults = FieldErrors()
    if not request.inputs:
        faults.add("#/inputs", "out_of_range", "at least one series")
    for index, item in enumerate(request.inputs):
        check_target(item.target, item.state is not None, f"#/inputs/{index}/target", settings, faults)
    faults.check()


def check_target(
    target: list[float | None], goes_on: bool, pointer: str, settings: Settings, faults: FieldErrors
) -> None:
    """Note whether `target` has too many values, or none although the series does not go on from earlier ones."""
    if len(target) > settings.max_observations:
        faults.add(pointer, "series_too_long", f"{len(target)} values; at most {settings.max_observations}")
    elif not target and not goes_on:
        faults.add(pointer, "out_of_range", "at least one value")


def pack(
    request: ForecastRequest,
    manifest: Manifest,
    before: list[SequenceState | None] | None = None,
    place: str = "#/inputs/{}",
) -> PackedSeries:
    """The engine's items; raises `InvalidRequest` for what this model cannot serve.

    `before` says of each series where it stood; `place` is the pointer to an input in the document that was sent.
    """
    faults = FieldErrors()
    check_parameters(request.parameters, manifest, faults)
    before = before or [None] * len(request.inputs)
    packed = PackedSeries([], before, [], place)
    parameters = request.parameters
    history = "history" in parameters.include
    levels = _levels(tuple(parameters.quantile_levels), history).array
    season = parameters.season_length or 0
    for index, (asked, earlier) in enumerate(zip(request.inputs, before, strict=True)):
        values, missing, fault = _values(asked.target, manifest, earlier)
        if fault is not None:
            faults.add(f"{place.format(index)}/target{fault.pointer}", fault.code, fault.detail)
        if earlier is not None and season not in (0, earlier.season) and manifest.input.season:
            begun = f"with {earlier.season}" if earlier.season else "without one"
            detail = (
                f"this series was begun {begun}: the season is part of its state, send the whole series to change it"
            )
            faults.add("#/parameters/season_length", "out_of_range", detail)
        state = None if earlier is None else earlier.state
        packed.items.append(ForecastItem(values, parameters.prediction_length, levels, season, history, state))
        packed.counts.append(_counts(len(asked.target), missing, len(values), earlier))
    faults.check()
    return packed


def check_parameters(parameters: ForecastParameters, manifest: Manifest, faults: FieldErrors) -> None:
    """Note what of `parameters` this model cannot serve, whatever the series."""
    most = manifest.input.max_horizon
    if most is not None and parameters.prediction_length > most:
        detail = f"'{manifest.name}' looks at most {most} steps ahead"
        faults.add("#/parameters/prediction_length", "out_of_range", detail)


def progress(request: ForecastRequest, packed: PackedSeries, results: Sequence[ForecastResult]) -> list[SequenceState]:
    """Where each series stands after `results`."""
    stated = request.parameters.season_length or 0
    return [
        SequenceState(
            result.state, c.observations, c.missing, c.skipped, season=stated if earlier is None else earlier.season
        )
        for c, earlier, result in zip(packed.counts, packed.before, results, strict=True)
    ]


def _counts(sent: int, missing: int, used: int, earlier: SequenceState | None) -> Counts:
    if earlier is None:
        return Counts(sent, missing, sent - used)
    return Counts(earlier.observations + sent, earlier.missing + missing, earlier.skipped + sent - used)


def predictions(
    request: ForecastRequest,
    manifest: Manifest,
    packed: PackedSeries,
    results: Sequence[ForecastResult],
    seal: Callable[[SequenceState, Manifest], str],
) -> list[SeriesPrediction]:
    """The answers, one per series. Raises `InvalidRequest` where numbers as extreme as these have no finite forecast.

    `seal` makes the tokens where they were asked for.
    """
    levels = _levels(tuple(request.parameters.quantile_levels), packed.items[0].history)
    warnings = [] if manifest.input.season or request.parameters.season_length is None else ["season_length_ignored"]
    answers = []
    reached = progress(request, packed, results) if request.parameters.return_state else []
    for index, (asked, counts, result) in enumerate(zip(request.inputs, packed.counts, results, strict=True)):
        mean: list[float] = result.mean.tolist()
        rows: list[list[float]] = result.quantiles.tolist()
        quantiles = {levels.keys[position]: rows[position] for position in levels.asked}
        if not math.isfinite(sum(map(sum, rows), sum(mean))):
            _check_finite(packed.place.format(index), packed.items[index], result)
        context = Context(counts.observations, counts.missing, counts.observations - counts.skipped, result.season)
        state = seal(reached[index], manifest) if reached else None
        history = None if result.history is None else _history(result.history, levels)
        noted = ["truncated", *warnings] if counts.skipped else warnings
        answers.append(SeriesPrediction(asked.item_id, mean, quantiles, context, state, history, noted))
    return answers


def unpack(
    request: ForecastRequest,
    manifest: Manifest,
    packed: PackedSeries,
    results: Sequence[ForecastResult],
    seal: Callable[[SequenceState, Manifest], str],
) -> bytes:
    """The answer as JSON; see `predictions`."""
    answers = predictions(request, manifest, packed, results, seal)
    return _encoder.encode(ForecastAnswer(manifest.name, str(manifest.version), manifest.digest, answers))


def cost(request: ForecastRequest) -> int:
    """Numbers that reading and answering the request handles: what decides whether it is work for another thread."""
    observed = sum([len(item.target) for item in request.inputs])
    return observed + _answered(request, observed)


def _answered(request: ForecastRequest, observed: int) -> int:
    """Numbers in the answer to a request with `observed` values."""
    parameters = request.parameters
    width = 1 + len(parameters.quantile_levels)
    return width * (len(request.inputs) * parameters.prediction_length + (observed if parameters.include else 0))


def check_size(request: ForecastRequest, total: int, settings: Settings) -> None:
    """Refuse what no queue could take and what no answer could hold."""
    if total > settings.max_queue_observations:
        detail = f"{total} values in one request; at most {settings.max_queue_observations}: send several requests"
        raise InvalidRequest(detail, code="too_many_items")
    numbers = _answered(request, total)
    if numbers > settings.max_answer_numbers:
        detail = (
            f"the answer would hold {numbers} numbers; at most {settings.max_answer_numbers}: send several requests"
        )
        raise InvalidRequest(detail, code="too_many_items")


def _values(
    target: list[float | None], manifest: Manifest, before: SequenceState | None
) -> tuple[Floats, int, FieldError | None]:
    """`target` as float64 (NaN = missing), cut to what the model can use; how many are missing; what is wrong."""
    contract = manifest.input
    length = len(target)
    whole = length if before is None else before.observations + length
    if whole < contract.min_length or (contract.max_length is not None and whole > contract.max_length):
        detail = f"{whole} values; '{manifest.name}' reads {_lengths(manifest)}"
        return _NOTHING, 0, FieldError("", "length_not_supported", detail)
    # A series that goes on is not cut: what came before is in the state, and nothing may be missing in between.
    cut = before is None and contract.context is not None and length > contract.context
    values, complete = _array(target[-contract.context :] if cut and contract.context else target)
    missing = 0 if complete and not cut else target.count(None)
    fault = None
    if missing and not contract.missing:
        detail = f"'{manifest.name}' cannot read missing values (null)"
        fault = FieldError(f"/{target.index(None)}", "wrong_type", detail)
    elif before is None and target[-1] is None and np.isnan(values).all():
        what = f"the last {len(values)} values, all that the model reads, are missing" if cut else "no value is present"
        fault = FieldError("", "out_of_range", f"{what}: at least one must be a number")
    return values, missing, fault


def _array(numbers: list[float | None]) -> tuple[Floats, bool]:
    """`numbers` as float64, and whether none is missing. `struct` takes a quarter of numpy's time, and refuses None."""
    try:
        return np.frombuffer(_packing(len(numbers)).pack(*numbers)), True
    except struct.error:
        return np.array(numbers, np.float64), False


@lru_cache(maxsize=1024)
def _packing(length: int) -> struct.Struct:
    return struct.Struct(f"{length}d")


def _lengths(manifest: Manifest) -> str:
    least, most = manifest.input.min_length, manifest.input.max_length
    if most is None:
        return f"at least {least}"
    return f"exactly {least}" if least == most else f"{least} to {most}"


@lru_cache(maxsize=256)
def _levels(requested: tuple[float, ...], median: bool) -> _Levels:
    asked = sorted(set(requested))
    computed = sorted({*asked, MEDIAN}) if median or not asked else asked
    return _Levels(
        array=np.array(computed, np.float64),
        keys=tuple(decimal(level) for level in computed),
        asked=tuple(computed.index(level) for level in asked),
        median=computed.index(MEDIAN) if MEDIAN in computed else -1,
    )


def decimal(level: float) -> str:
    """The shortest decimal that reads back as `level`, never in exponent notation: 0.1, 0.025, 0.00001."""
    text = repr(level)
    return np.format_float_positional(level, trim="-") if "e" in text else text


def _history(history: Floats, levels: _Levels) -> History:
    """`history` is (T, 1 + Q); NaN becomes null."""
    numbers: list[list[float]] = history.T.tolist()
    columns: list[list[float | None]] = [list(column) for column in numbers]
    if np.isnan(history).any():
        columns = [[None if math.isnan(value) else value for value in column] for column in numbers]
    quantiles = {levels.keys[position]: columns[1 + position] for position in levels.asked}
    return History(columns[1 + levels.median], columns[0], quantiles)


def _check_finite(pointer: str, item: ForecastItem, result: ForecastResult) -> None:
    """A sum of finite numbers may overflow, so look closely; then say whose fault it is."""
    if np.isfinite(result.mean).all() and np.isfinite(result.quantiles).all():
        return
    extreme = float(np.nanmax(np.abs(item.values), initial=0.0)) > _FAR
    remembered = item.state is not None and float(np.nanmax(np.abs(item.state), initial=0.0)) > _FAR
    certain = bool((np.minimum(item.levels, 1 - item.levels) < _NEAR_CERTAIN).any())
    if not extreme and not remembered and not certain:
        raise RitmoError("the model answered with a number that is not finite", code="internal_error")
    place = f"{pointer}/target" if extreme or remembered else "#/parameters/quantile_levels"
    detail = "too extreme for a finite forecast" + (": scale the series" if extreme or remembered else "")
    faults = FieldErrors()
    faults.add(place, "out_of_range", detail)
    faults.check()
