"""Series in and out: JSON to the items of `POST /forecast` and `/forecast/stream`, and their results to JSON.

A series that is resumed (`state`, or a live connection) is judged as a whole: its counts and the limits of the model
include all values that were sent before.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np
from msgspec import UNSET, Struct
from msgspec.structs import replace

from service.codec.anomalies import outside
from service.codec.common import ALL_INPUTS, JSON, MESSAGE, STATE_NUMBERS, Body, SequenceState
from service.codec.forecast_types import (
    Context,
    ForecastAnswer,
    ForecastParameters,
    ForecastRequest,
    History,
    NewValues,
    SeriesInput,
    SeriesOpening,
    SeriesPrediction,
)
from service.codec.large_forecasts import are_stored, as_arrays, decode_large, is_large, too_many_series
from service.codec.query import refuse_query
from service.codec.state_tokens import StateTokens
from service.codec.statements import (
    NO_FLOOR,
    SECOND,
    Bounds,
    bounds_of,
    check_bounds,
    differs,
    in_words,
    season_number,
    season_warning,
    stated_seasons,
)
from service.codec.strict_json import FieldErrors, StrictDecoder
from service.codec.timeline import SENTENCES, Fault, Timeline, check_end, comes_back, from_start, is_likely
from service.codec.timing import Timed, place_inputs
from service.contract.errors import FieldError, InvalidRequest
from service.contract.manifest import InputContract, Manifest, Task
from service.contract.types import Floats, ForecastItem, ForecastResult
from service.settings import Settings

MEDIAN = 0.5
SERIES_NUMBERS = 33  # numbers that are read, or written, in the time that each series takes besides
ANOMALY_ENDS = (0.005, 0.995)  # of the interval beyond which a value is an anomaly

_EMPTY: Floats = np.empty(0)
_NO_VALUE = "no value is present"
_WEEK, _YEAR = 7, 365  # values of a day
_request_decoder = StrictDecoder(ForecastRequest)
_opening_decoder = StrictDecoder(SeriesOpening)
_message_decoder = StrictDecoder(NewValues)
_encoder = msgspec.json.Encoder()


class QuantileLevels(Struct, frozen=True, eq=False):
    """Levels as the model computes them: 0.5 is added where the median is needed or no level was requested."""

    computed: Floats  # (Q,) ascending
    keys: tuple[str, ...]  # (Q,) as the answer names them
    requested: tuple[int, ...]  # positions in `computed` of the levels to answer
    median: int  # position of 0.5, or -1


class Counts(Struct, frozen=True, eq=False, gc=False):
    """What of a whole series was observed, missing and not shown to the model; the season stated at its beginning."""

    observations: int
    missing: int
    truncated: int
    season: int  # with what else was stated: see `service.codec.statements`


class ForecastCall(Struct, frozen=True, eq=False):
    """The items of a request or message, with what `encode` needs to turn their results into an answer."""

    manifest: Manifest
    parameters: ForecastParameters
    levels: QuantileLevels
    item_ids: list[str | None]
    items: list[ForecastItem]
    counts: list[Counts]
    bounds: list[Bounds | None] | None  # of each series; None: no series has any
    answer_size: int  # see `service.codec.common.Call`
    timelines: Sequence[Timeline | None] = ()  # of the series, where any of them has times


class _RunningSeries(SeriesOpening, frozen=True):
    """The opening of a live series with times, after messages."""

    passed: int = 0  # values since the opening, and before the next message


def _timeline_of(opening: SeriesOpening, length: int) -> Timeline | None:
    """The timeline of a live series up to the end of a message of `length` values; raises `Fault`."""
    if opening.start is None:
        if opening.freq is not None:
            raise Fault("freq needs start, the time of the first value that comes", "start", code="missing_field")
        return None
    if opening.freq is None:
        raise Fault("start needs freq, such as 'D', 'h' or 'MS'", "freq", code="missing_field")
    passed = opening.passed if isinstance(opening, _RunningSeries) else 0
    timeline = from_start(opening.start, opening.freq, passed + length).timeline
    check_end(timeline, opening.parameters.prediction_length)
    return timeline


class ForecastCodec:
    """The codec of `service.codec.common.Codec` for forecasts."""

    task: Final[Task] = "forecast"
    media_types = (JSON,)

    def __init__(self, settings: Settings, tokens: StateTokens) -> None:
        self._settings = settings
        self._tokens = tokens
        self.max_body_bytes = settings.max_body_bytes

    def decode(self, body: Body) -> ForecastRequest:
        """The request in `body`; raises `InvalidRequest` for all that is wrong independently of the model."""
        if body.query_string:
            refuse_query(body.query_string)
        content = body.content
        request = decode_large(content, self._settings.max_items) if is_large(content) else None
        if request is None:
            request = _request_decoder.decode(content)
        self.check_limits(request)
        return request

    def preparation_size(self, request: ForecastRequest) -> int:
        """Numbers of all series that are lists yet, and what each series takes besides."""
        n_numbers = SERIES_NUMBERS * len(request.inputs)
        if are_stored(request.inputs) and not _has_times(request.inputs):
            return n_numbers
        return n_numbers + sum([len(series.target) for series in request.inputs])

    def to_items(self, request: ForecastRequest, manifest: Manifest, _deadline: float = math.inf) -> ForecastCall:
        """The items of `request`; raises `InvalidRequest` for what this model cannot serve."""
        tokens = [series.state for series in request.inputs]
        is_resumed = tokens.count(None) < len(tokens)
        resumed_from = self._tokens.open_all(tokens, manifest) if is_resumed else [None] * len(tokens)
        if _has_times(request.inputs):
            return self._timed_call(request, manifest, resumed_from)
        return _to_call(request.inputs, request.parameters, manifest, resumed_from, ALL_INPUTS)

    def _timed_call(
        self, request: ForecastRequest, manifest: Manifest, resumed_from: Sequence[SequenceState | None]
    ) -> ForecastCall:
        """The items of series of which at least one has times: missing values where a time is left out."""
        parameters = request.parameters
        timed = place_inputs(request.inputs, parameters.prediction_length, self._settings.max_observations)
        inputs = [entry.series for entry in timed]
        self._check_size(parameters, len(inputs), sum([len(series.target) for series in inputs]))
        call = _to_call(inputs, parameters, manifest, resumed_from, ALL_INPUTS)
        return with_times(call, [entry.timeline for entry in timed], [entry.season for entry in timed])

    def encode(self, call: ForecastCall, results: Sequence[ForecastResult]) -> bytes:
        """The answer to a request as JSON."""
        manifest = call.manifest
        tokens: Sequence[str | None] = [None] * len(results)
        if call.parameters.return_state:
            tokens = self._tokens.seal_all(sequence_states(call, results), manifest)
        predictions = _predictions(call, results, tokens)
        return _encoder.encode(ForecastAnswer(manifest.name, str(manifest.version), manifest.digest, predictions))

    def to_grids(self, request: ForecastRequest) -> list[Timed]:
        """The series of a request within the limits, on the grids of their times; raises `InvalidRequest`."""
        self.check_limits(request)
        return place_inputs(request.inputs, request.parameters.prediction_length, self._settings.max_observations)

    def predictions(self, call: ForecastCall, results: Sequence[ForecastResult]) -> list[SeriesPrediction]:
        """The predictions of an answer that is written in another form; they have no states."""
        return _predictions(call, results, [None] * len(results))

    def decode_opening(self, content: bytes) -> SeriesOpening:
        """The first message of a live series."""
        return _opening_decoder.decode(content)

    def resume(self, opening: SeriesOpening, manifest: Manifest) -> SequenceState | None:
        """The state that a live series begins with; raises `InvalidRequest` for parameters the model cannot serve."""
        errors = FieldErrors()
        _check_horizon(opening.parameters, manifest, errors)
        try:
            _timeline_of(opening, 0)
        except Fault as fault:
            error = fault.at(MESSAGE)
            errors.add(error.pointer, error.code, error.detail)
        errors.check()
        (state,) = self._tokens.open_all([opening.state], manifest, MESSAGE)
        return state

    def message_to_items(
        self, content: bytes, opening: SeriesOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> ForecastCall | None:
        """The values of a later message of a live series; None where it only asks for another series."""
        message = _message_decoder.decode(content)
        if message.target is None:
            if message.reset:
                return None
            errors = FieldErrors()
            errors.add(f"{MESSAGE}/target", "missing_field", "this field is required")
            errors.check()
        return self._message_call(message.target or [], opening, manifest, None if message.reset else resumed_from)

    def opening_to_items(
        self, opening: SeriesOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> ForecastCall | None:
        """The values of the first message of a live series, where it brings any."""
        return None if opening.target is None else self._message_call(opening.target, opening, manifest, resumed_from)

    def _message_call(
        self, target: list[float | None], opening: SeriesOpening, manifest: Manifest, resumed_from: SequenceState | None
    ) -> ForecastCall:
        errors = FieldErrors()
        self._check_target(target, resumed_from is not None, MESSAGE, errors)
        if errors.total:
            errors.check()
        self._check_size(opening.parameters, 1, len(target))
        series = SeriesInput(target, opening.item_id)
        call = _to_call([series], opening.parameters, manifest, [resumed_from], MESSAGE)
        timeline = _timeline_of(opening, len(target))
        return call if timeline is None else with_times(call, [timeline], [timeline.season])

    def continued(self, opening: SeriesOpening, call: ForecastCall) -> SeriesOpening:
        """`opening` as it is for the message after that of `call`: its times go on."""
        if not call.timelines or call.timelines[0] is None:
            return opening
        passed = call.timelines[0].length
        if isinstance(opening, _RunningSeries):
            return replace(opening, passed=passed)
        fields = {name: getattr(opening, name) for name in opening.__struct_fields__}
        return _RunningSeries(**fields, passed=passed)

    def encode_message(self, call: ForecastCall, results: Sequence[ForecastResult]) -> tuple[bytes, SequenceState]:
        """The prediction of a live series as JSON, and its state."""
        (state,) = sequence_states(call, results)
        token = self._tokens.seal(state, call.manifest) if call.parameters.return_state else None
        (prediction,) = _predictions(call, results, [token])
        return _encoder.encode(prediction), state

    def last_token(self, state: SequenceState, manifest: Manifest) -> str | None:
        """The token of `state`, None where no other service could open it."""
        return self._tokens.seal(state, manifest) if self._tokens.outlive_service else None

    def check_limits(self, request: ForecastRequest) -> None:
        """Raise `InvalidRequest` where a request has more than the settings allow, or no value."""
        lengths = [len(series.target) for series in request.inputs]
        if len(lengths) > self._settings.max_items:
            raise too_many_series(len(lengths), self._settings.max_items)
        if not lengths or min(lengths) == 0 or max(lengths) > self._settings.max_observations:
            self._check_targets(request)
        self._check_size(request.parameters, len(lengths), sum(lengths))

    def _check_targets(self, request: ForecastRequest) -> None:
        errors = FieldErrors()
        if not request.inputs:
            errors.add("#/inputs", "out_of_range", "at least one series")
        for index, series in enumerate(request.inputs):
            self._check_target(series.target, series.state is not None, ALL_INPUTS.format(index), errors)
        errors.check()

    def _check_target(self, target: list[float | None], is_resumed: bool, pointer: str, errors: FieldErrors) -> None:
        """Record whether `target` has too many values, or none although there is no earlier state."""
        if len(target) > self._settings.max_observations:
            detail = f"{len(target)} values; at most {self._settings.max_observations}"
            errors.add(f"{pointer}/target", "series_too_long", detail)
        elif not target and not is_resumed:
            errors.add(f"{pointer}/target", "out_of_range", "at least one value")

    def _check_size(self, parameters: ForecastParameters, n_series: int, n_values: int) -> None:
        """Refuse what no queue could take and what no answer could hold."""
        max_values, max_numbers = self._settings.max_queue_observations, self._settings.max_answer_numbers
        if n_values > max_values:
            detail = f"{n_values} values in one request; at most {max_values}: send several requests"
            raise InvalidRequest(detail, code="too_many_items")
        numbers = _answer_numbers(parameters, n_series, n_values)
        if numbers > max_numbers:
            detail = f"the answer would hold {numbers} numbers; at most {max_numbers}: send several requests"
            raise InvalidRequest(detail, code="too_many_items")


def sequence_states(call: ForecastCall, results: Sequence[ForecastResult]) -> list[SequenceState]:
    """The state of each series after `results`."""
    return [
        SequenceState(result.state, counts.observations, counts.missing, counts.truncated, counts.season)
        for counts, result in zip(call.counts, results, strict=True)
    ]


def with_times(call: ForecastCall, timelines: Sequence[Timeline | None], seasons: Sequence[int]) -> ForecastCall:
    """`call` with timelines, and the `seasons` that frequencies suggest unless the values show others."""
    items = call.items
    if call.parameters.season_length is None and call.manifest.input.season:
        items = [_with_hint(item, season, call.manifest.input) for item, season in zip(items, seasons, strict=True)]
    return replace(call, items=items, timelines=timelines)


def _to_call(
    inputs: Sequence[SeriesInput],
    parameters: ForecastParameters,
    manifest: Manifest,
    resumed_from: Sequence[SequenceState | None],
    pointer_template: str,
) -> ForecastCall:
    """The items of `inputs`, each with the state that it resumes from; raises `InvalidRequest` with all errors."""
    errors = FieldErrors()
    _check_horizon(parameters, manifest, errors)
    history = bool(parameters.include)
    levels = _quantile_levels(tuple(parameters.quantile_levels), history, "anomaly" in parameters.include)
    seasons: tuple[int, ...] = ()
    season = 0
    if parameters.season_length is not None:
        seasons = stated_seasons(parameters)
        season = season_number(seasons, False, manifest.input)
    bounds: list[Bounds | None] | None = None
    no_floor: list[bool] = []
    if _has_bounds(inputs, parameters):
        bounds, no_floor = _bounds(inputs, parameters, pointer_template, errors)
    item_ids: list[str | None] = []
    items: list[ForecastItem] = []
    all_counts: list[Counts] = []
    shown = [_shown(series.target, state, manifest) for series, state in zip(inputs, resumed_from, strict=True)]
    shortest, longest = manifest.input.min_length, manifest.input.max_length or sys.maxsize
    arrays = as_arrays(shown)
    for index, (series, state, (sent, is_complete)) in enumerate(zip(inputs, resumed_from, arrays, strict=True)):
        target = series.target
        if bounds is not None:
            season = season_number(seasons, no_floor[index], manifest.input)
        if state is None and is_complete and shortest <= len(sent) == len(target) <= longest:
            values, missing = sent, 0  # there is nothing to look for
        else:
            values, missing, error = _values(target, sent, is_complete, manifest, state)
            if error is not None:
                pointer = f"{pointer_template.format(index)}/target{error.pointer}"
                errors.add(pointer, error.code, error.detail)
        if state is None:
            state_row, counts = None, Counts(len(target), missing, len(target) - len(values), season)
        else:
            _check_season(season, state, manifest, errors)
            state_row, counts = state.state, _resumed_counts(state, len(target), missing)
        item_ids.append(series.item_id)
        items.append(ForecastItem(values, parameters.prediction_length, levels.computed, season, history, state_row))
        all_counts.append(counts)
    if errors.total:
        errors.check()
    numbers = _answer_numbers(parameters, len(items), sum([len(item.values) for item in items]) if history else 0)
    numbers += len(items) * (SERIES_NUMBERS + parameters.return_state * manifest.state.width // STATE_NUMBERS)
    return ForecastCall(manifest, parameters, levels, item_ids, items, all_counts, bounds, numbers)


def _check_horizon(parameters: ForecastParameters, manifest: Manifest, errors: FieldErrors) -> None:
    max_horizon = manifest.input.max_horizon
    if max_horizon is not None and parameters.prediction_length > max_horizon:
        detail = f"'{manifest.name}' looks at most {max_horizon} steps ahead"
        errors.add("#/parameters/prediction_length", "out_of_range", detail)


def _has_times(inputs: Sequence[SeriesInput]) -> bool:
    """Whether any of the series says when its values are from, or how far apart."""
    for series in inputs:
        if series.timestamps is not None or series.freq is not None or series.start is not None:
            return True
    return False


def _has_bounds(inputs: Sequence[SeriesInput], parameters: ForecastParameters) -> bool:
    if parameters.lower is not UNSET or parameters.upper is not UNSET:
        return True
    for series in inputs:  # noqa: SIM110 (a generator would be entered for each of the series)
        if series.lower is not UNSET or series.upper is not UNSET:
            return True
    return False


def _bounds(
    inputs: Sequence[SeriesInput], parameters: ForecastParameters, pointer_template: str, errors: FieldErrors
) -> tuple[list[Bounds | None], list[bool]]:
    """The bounds of each series, and whether they exclude a floor at zero; records those that exclude one another."""
    pairs = [bounds_of(series, parameters) for series in inputs]
    for index, (series, (bounds, _)) in enumerate(zip(inputs, pairs, strict=True)):
        if bounds is not None:
            is_own = series.lower is not UNSET or series.upper is not UNSET
            check_bounds(bounds, pointer_template.format(index) if is_own else "#/parameters", errors)
    return [bounds for bounds, _ in pairs], [no_floor for _, no_floor in pairs]


def _check_season(season: int, state: SequenceState, manifest: Manifest, errors: FieldErrors) -> None:
    """Record whether a resumed series states another season than at its beginning, in so far as that has an effect."""
    if not manifest.input.season or season in (0, state.season) or not differs(season, state.season):
        return
    if not differs(season % NO_FLOOR, state.season):
        detail = "this series was begun with a floor at zero, which is part of its state: send the whole series"
        errors.add("#/parameters/lower", "out_of_range", detail)
        return
    origin = in_words(state.season)
    detail = f"this series was begun {origin}: the season is part of its state, send the whole series to change it"
    errors.add("#/parameters/season_length", "out_of_range", detail)


def _resumed_counts(state: SequenceState, length: int, missing: int) -> Counts:
    """The counts of a series after `length` more values, all of which the model is shown."""
    return Counts(state.observations + length, state.missing + missing, state.truncated, state.season)


def _predictions(
    call: ForecastCall, results: Sequence[ForecastResult], tokens: Sequence[str | None]
) -> list[SeriesPrediction]:
    """The forecasts of `results`, one for each series, with `tokens` as their states."""
    levels = call.levels
    seasons = () if call.parameters.season_length is None else stated_seasons(call.parameters)
    bounded = results if call.bounds is None else map(_bounded, results, call.bounds)
    quantile_rows = [(levels.keys[position], position) for position in levels.requested]
    predictions = []
    for item_id, counts, result, token in zip(call.item_ids, call.counts, bounded, tokens, strict=True):
        rows: list[list[float]] = result.quantiles.tolist()
        mean: list[float] = result.mean.tolist()
        total = counts.observations
        context = Context(total, counts.missing, total - counts.truncated, result.season)
        history = None if result.history is None else _history(result.history, levels)
        quantiles = {key: rows[position] for key, position in quantile_rows}
        if counts.truncated or seasons:
            details = _warnings(call, counts, result, seasons)
            prediction = SeriesPrediction(
                item_id, mean, quantiles, context, token, history, list(details), warning_details=details or UNSET
            )
        else:
            prediction = SeriesPrediction(item_id, mean, quantiles, context, token, history, [])
        predictions.append(prediction)
    if call.timelines:
        predictions = list(map(_timed, predictions, call.timelines))
    if call.parameters.include and "anomaly" in call.parameters.include:
        predictions = [
            _with_anomalies(call, index, prediction, results) for index, prediction in enumerate(predictions)
        ]
    return predictions


def _with_anomalies(
    call: ForecastCall, index: int, prediction: SeriesPrediction, results: Sequence[ForecastResult]
) -> SeriesPrediction:
    """`prediction` with the values sent that are outside their intervals, and its history where that was asked for."""
    item, counts, history = call.items[index], call.counts[index], results[index].history
    if history is None:
        history = np.zeros((0, 1 + len(call.levels.computed)))
    low, high = (1 + int(np.searchsorted(call.levels.computed, level)) for level in ANOMALY_ENDS)
    n_present = int(np.isfinite(item.values).sum())
    before = counts.observations - counts.missing - n_present if item.state is not None else 0
    first = counts.truncated if item.state is None else 0
    timeline = call.timelines[index] if call.timelines else None
    offset = timeline.length - len(item.values) - first if timeline is not None else 0
    _, anomalies = outside(
        item.values, history[:, [low, 1 + call.levels.median, high]], before, first + offset, timeline
    )
    if offset:
        anomalies = [replace(anomaly, index=anomaly.index - offset) for anomaly in anomalies]
    is_kept = "history" in call.parameters.include
    return replace(prediction, anomalies=anomalies, history=prediction.history if is_kept else None)


def _timed(prediction: SeriesPrediction, timeline: Timeline | None) -> SeriesPrediction:
    """`prediction` with the times of its steps ahead and of its history."""
    if timeline is None:
        return prediction
    history = prediction.history
    if history is not None:
        past = len(history.mean)
        history = replace(history, timestamps=timeline.texts(timeline.length - past, past))
    times = timeline.texts(timeline.length, len(prediction.mean))
    details = dict(prediction.warning_details or {}) | {code: SENTENCES[code] for code in timeline.warnings}
    return replace(
        prediction, timestamps=times, history=history, warnings=list(details), warning_details=details or UNSET
    )


def season_of(series: SeriesInput, suggested: int) -> int:
    """The season that a frequency suggests, unless the values of `series` show another one; else 0."""
    return suggested if is_likely(np.array(series.target, np.float64), suggested) else 0


def _with_hint(item: ForecastItem, season: int, contract: InputContract) -> ForecastItem:
    """`item` with what its frequency suggests, where nothing is stated: a season, and a year of days that shows."""
    if item.season % NO_FLOOR or item.state is not None or not is_likely(item.values, season):
        return item
    has_year = season == _WEEK and contract.seasons == 2 and comes_back(item.values, _YEAR)
    return replace(item, season=item.season + season + (SECOND * _YEAR if has_year else 0))


def _warnings(call: ForecastCall, counts: Counts, result: ForecastResult, seasons: tuple[int, ...]) -> dict[str, str]:
    """Code to sentence, for each warning of one series."""
    total = counts.observations
    warnings: dict[str, str] = {}
    if counts.truncated:
        warnings["truncated"] = f"{total} values were sent, of which the last {total - counts.truncated} were read."
    season = season_warning(seasons, result, total, call.manifest)
    return warnings if season is None else warnings | dict([season])


def _bounded(result: ForecastResult, bounds: Bounds | None) -> ForecastResult:
    if bounds is None:
        return result
    history = None if result.history is None else bounds.applied(result.history)
    return ForecastResult(
        bounds.applied(result.mean), bounds.applied(result.quantiles), history, result.season, result.state
    )


def _answer_numbers(parameters: ForecastParameters, n_series: int, n_values: int) -> int:
    """Numbers in the answer to `n_series` series that have `n_values` values together."""
    width = 1 + len(parameters.quantile_levels)
    return width * (n_series * parameters.prediction_length + (n_values if parameters.include else 0))


def _shown(target: list[float | None], state: SequenceState | None, manifest: Manifest) -> list[float | None]:
    """`target`, cut to what the model can use.

    A resumed series is not cut: what came before it is in the state, and nothing may be missing in between.
    """
    context = manifest.input.context
    return target[-context:] if context is not None and state is None and len(target) > context else target


def _values(
    target: list[float | None], values: Floats, is_complete: bool, manifest: Manifest, state: SequenceState | None
) -> tuple[Floats, int, FieldError | None]:
    """The `values` of `target` that the model is shown; how many of `target` are missing; what is wrong with it.

    The pointer of an error is relative to the target.
    """
    contract = manifest.input
    length = len(target)
    total = length if state is None else state.observations + length
    if total < contract.min_length or (contract.max_length is not None and total > contract.max_length):
        detail = f"{total} values; '{manifest.name}' reads {_lengths(manifest)}"
        return _EMPTY, 0, FieldError("", "length_not_supported", detail)
    is_cut = len(values) < length
    missing = 0 if is_complete and not is_cut else target.count(None)
    error = None
    if missing and not contract.missing:
        detail = f"'{manifest.name}' cannot read missing values (null)"
        error = FieldError(f"/{target.index(None)}", "wrong_type", detail)
    elif state is None and target[-1] is None and np.isnan(values).all():
        subject = f"the last {len(values)} values, all that the model reads, are missing" if is_cut else _NO_VALUE
        error = FieldError("", "out_of_range", f"{subject}: at least one must be a number")
    return values, missing, error


def _lengths(manifest: Manifest) -> str:
    shortest, longest = manifest.input.min_length, manifest.input.max_length
    if longest is None:
        return f"at least {shortest}"
    return f"exactly {shortest}" if shortest == longest else f"{shortest} to {longest}"


@lru_cache(maxsize=256)
def _quantile_levels(requested: tuple[float, ...], median: bool, anomaly: bool = False) -> QuantileLevels:
    ascending = sorted(set(requested))
    computed = sorted({*ascending, MEDIAN}) if median or not ascending else ascending
    computed = sorted({*computed, *ANOMALY_ENDS}) if anomaly else computed
    return QuantileLevels(
        computed=np.array(computed, np.float64),
        keys=tuple(decimal(level) for level in computed),
        requested=tuple(computed.index(level) for level in ascending),
        median=computed.index(MEDIAN) if MEDIAN in computed else -1,
    )


def decimal(level: float) -> str:
    """The shortest decimal that parses back to `level`, never in exponent notation: 0.1, 0.025, 0.00001."""
    text = repr(level)
    return np.format_float_positional(level, trim="-") if "e" in text else text


def _history(history: Floats, levels: QuantileLevels) -> History:
    """`history` is (T, 1 + Q): mean and quantiles; NaN becomes null."""
    numbers: list[list[float]] = history.T.tolist()
    columns: list[list[float | None]] = [list(column) for column in numbers]
    if np.isnan(history).any():
        columns = [[None if math.isnan(value) else value for value in column] for column in numbers]
    quantiles = {levels.keys[position]: columns[1 + position] for position in levels.requested}
    return History(columns[1 + levels.median], columns[0], quantiles)
