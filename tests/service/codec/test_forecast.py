from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.codec.common import Body, SequenceState
from service.codec.forecast import SERIES_NUMBERS, ForecastCall, ForecastCodec, decimal
from service.codec.forecast_types import ForecastRequest
from service.codec.state_tokens import StateTokens
from service.contract.errors import InvalidRequest
from service.contract.manifest import StateContract
from service.contract.types import ForecastItem, ForecastResult
from service.settings import Settings
from tests.fakes import manifest

TOKENS = StateTokens([b"a key of a test, long enough"])
CODEC = ForecastCodec(Settings(max_items=3, max_observations=100, max_answer_numbers=1000), TOKENS)


def decode(codec: ForecastCodec = CODEC, **body: Any) -> ForecastRequest:
    return codec.decode(Body(json.dumps(body).encode()))


def refused(codec: ForecastCodec = CODEC, **body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(codec, **body)
    return caught.value


def result(item: ForecastItem, value: float = 1.0) -> ForecastResult:
    levels = len(item.levels)
    history = np.full((len(item.values), 1 + levels), 2.0) if item.history else None
    if history is not None:
        history[0] = np.nan
        history[1:, 1:] = item.levels
    quantiles = value + item.levels[:, None] * np.ones(item.horizon)
    return ForecastResult(np.full(item.horizon, value), quantiles, history, item.season or 1, np.zeros(2))


def answer(request: ForecastRequest, **inputs: Any) -> dict[str, Any]:
    return encoded(CODEC.to_items(request, manifest("forecaster", **inputs)))


def encoded(call: ForecastCall, value: float = 1.0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(CODEC.encode(call, [result(item, value) for item in call.items]))
    return document


def test_the_shortest_legal_body_has_the_documented_defaults() -> None:
    request = decode(inputs=[{"target": [1, 2, 3, 4, 5]}])
    assert request.model == "forecaster"
    (item,) = CODEC.to_items(request, manifest("forecaster")).items
    assert item.values.tolist() == [1, 2, 3, 4, 5]
    assert item.values.dtype == np.float64
    assert (item.horizon, item.levels.tolist(), item.season, item.history) == (1, [0.1, 0.5, 0.9], 0, False)


def test_null_is_a_missing_value() -> None:
    (item,) = CODEC.to_items(decode(inputs=[{"target": [1, None, 3]}]), manifest("forecaster")).items
    np.testing.assert_array_equal(item.values, [1, np.nan, 3])


def test_the_answer_has_every_field_in_the_order_of_the_inputs() -> None:
    request = decode(
        inputs=[{"item_id": "a", "target": [1, None, 3, 4]}, {"target": [5]}],
        parameters={"prediction_length": 2, "quantile_levels": [0.9, 0.1], "season_length": 2},
    )
    document = answer(request)
    first, second = document["predictions"]
    assert document["model"] == "forecaster"
    assert document["model_version"] == "1"
    assert document["model_digest"] == "sha256:" + "ab" * 32
    assert first == {
        "item_id": "a",
        "mean": [1.0, 1.0],
        "quantiles": {"0.1": [1.1, 1.1], "0.9": [1.9, 1.9]},
        "context": {"observations": 4, "missing": 1, "used": 4, "season_length": 2},
        "state": None,
        "history": None,
        "warnings": [],
    }
    assert second["item_id"] is None
    assert list(first["quantiles"]) == ["0.1", "0.9"]  # ascending, in any order of the request


def test_a_series_longer_than_the_context_is_cut_to_its_last_part() -> None:
    request = decode(inputs=[{"target": [None, *range(9)]}])
    contract = manifest("forecaster", context=4)
    (item,) = CODEC.to_items(request, contract).items
    assert item.values.tolist() == [5, 6, 7, 8]
    prediction = answer(request, context=4)["predictions"][0]
    assert prediction["context"] == {"observations": 10, "missing": 1, "used": 4, "season_length": 1}
    assert prediction["warnings"] == ["truncated"]


def test_history_has_the_median_and_null_before_the_first_value() -> None:
    request = decode(inputs=[{"target": [1, 2]}], parameters={"include": ["history"], "quantile_levels": [0.25]})
    prediction = answer(request)["predictions"][0]
    assert prediction["history"] == {"median": [None, 0.5], "mean": [None, 2.0], "quantiles": {"0.25": [None, 0.25]}}
    assert list(prediction["quantiles"]) == ["0.25"]


def test_no_levels_means_the_mean_alone() -> None:
    prediction = answer(decode(inputs=[{"target": [1]}], parameters={"quantile_levels": []}))["predictions"][0]
    assert prediction["quantiles"] == {}
    assert prediction["mean"] == [1.0]


def test_repeated_levels_are_answered_once() -> None:
    prediction = answer(decode(inputs=[{"target": [1]}], parameters={"quantile_levels": [0.5, 0.1, 0.5]}))[
        "predictions"
    ][0]
    assert list(prediction["quantiles"]) == ["0.1", "0.5"]


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_quantile_keys_read_back_as_the_level(level: float) -> None:
    key = decimal(level)
    assert float(key) == level
    assert "e" not in key


@pytest.mark.parametrize(("level", "key"), [(0.1, "0.1"), (0.025, "0.025"), (1e-5, "0.00001")])
def test_quantile_keys_are_the_shortest_decimal(level: float, key: str) -> None:
    assert decimal(level) == key


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"inputs": []}, "out_of_range", "#/inputs"),
        ({"inputs": [{"target": []}]}, "out_of_range", "#/inputs/0/target"),
        ({"inputs": [{"target": [1] * 101}]}, "series_too_long", "#/inputs/0/target"),
        ({"inputs": [{"target": [1], "item_id": "x" * 257}]}, "out_of_range", "#/inputs/0/item_id"),
        (
            {"inputs": [{"target": [1]}], "parameters": {"quantile_levels": [1]}},
            "out_of_range",
            "#/parameters/quantile_levels/0",
        ),
        (
            {"inputs": [{"target": [1]}], "parameters": {"quantile_levels": [0.5] * 100}},
            "out_of_range",
            "#/parameters/quantile_levels",
        ),
        (
            {"inputs": [{"target": [1]}], "parameters": {"prediction_length": 0}},
            "out_of_range",
            "#/parameters/prediction_length",
        ),
        (
            {"inputs": [{"target": [1]}], "parameters": {"season_length": 0}},
            "out_of_range",
            "#/parameters/season_length",
        ),
        ({"inputs": [{"target": [1]}], "parameters": {"timeout_ms": 0}}, "out_of_range", "#/parameters/timeout_ms"),
    ],
)
def test_what_no_model_can_serve(body: dict[str, Any], code: str, pointer: str) -> None:
    error = refused(**body)
    assert (error.code, error.errors[0].pointer) == (code, pointer)


def test_null_stands_for_absent() -> None:
    request = decode(
        inputs=[{"target": [1], "item_id": None, "state": None}],
        parameters={"season_length": None, "timeout_ms": None},
    )
    assert request.parameters.season_length is None


def test_too_many_series() -> None:
    assert refused(inputs=[{"target": [1]}] * 4).code == "too_many_items"


def test_too_many_values_in_one_request() -> None:
    codec = ForecastCodec(Settings(max_items=3, max_observations=5, max_queue_observations=6), TOKENS)
    assert refused(codec, inputs=[{"target": [1] * 4}] * 2).code == "too_many_items"


def test_an_answer_too_large_to_hold() -> None:
    error = refused(inputs=[{"target": [1]}], parameters={"prediction_length": 300})
    assert error.code == "too_many_items"
    assert "1200 numbers" in error.detail


@pytest.mark.parametrize(
    ("target", "inputs", "code", "pointer"),
    [
        ([1] * 49, {"min_length": 50, "max_length": 50}, "length_not_supported", "#/inputs/0/target"),
        ([1] * 51, {"min_length": 50, "max_length": 50}, "length_not_supported", "#/inputs/0/target"),
        ([1, None, 2], {"missing": False}, "wrong_type", "#/inputs/0/target/1"),
        ([None], {}, "out_of_range", "#/inputs/0/target"),
        ([None, None], {}, "out_of_range", "#/inputs/0/target"),
        ([1, None, None], {"context": 2}, "out_of_range", "#/inputs/0/target"),
        ([1], {"max_horizon": 4}, "out_of_range", "#/parameters/prediction_length"),
    ],
)
def test_what_this_model_cannot_serve(target: list[Any], inputs: dict[str, Any], code: str, pointer: str) -> None:
    request = decode(inputs=[{"target": target}], parameters={"prediction_length": 5})
    with pytest.raises(InvalidRequest) as caught:
        CODEC.to_items(request, manifest("forecaster", **inputs))
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


def test_every_error_of_every_series_is_counted() -> None:
    request = decode(inputs=[{"target": [None]}, {"target": [1]}, {"target": [None]}])
    with pytest.raises(InvalidRequest) as caught:
        CODEC.to_items(request, manifest("forecaster"))
    assert [error.pointer for error in caught.value.errors] == ["#/inputs/0/target", "#/inputs/2/target"]


def test_a_season_the_model_has_no_use_for_is_said() -> None:
    request = decode(inputs=[{"target": [1]}], parameters={"season_length": 7})
    assert answer(request, season=False)["predictions"][0]["warnings"] == ["season_length_ignored"]


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_values_travel_unchanged(target: list[float | None]) -> None:
    request = decode(inputs=[{"target": target}])
    try:
        (item,) = CODEC.to_items(request, manifest("forecaster")).items
    except InvalidRequest:
        assert all(value is None for value in target)
    else:
        assert [None if math.isnan(value) else value for value in item.values.tolist()] == target


@pytest.mark.parametrize("query", [b"model=naive", b"x=1", b"prediction_length=5&x"])
def test_query_fields_are_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.decode(Body(b'{"inputs": [{"target": [1]}]}', query_string=query))
    assert caught.value.code == "unknown_field"


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ({}, 2 * 4),
        ({"prediction_length": 5, "quantile_levels": [0.5]}, 2 * 2 * 5),
        ({"include": ["history"]}, 4 * (2 + 5)),
        ({"return_state": True}, 2 * 4 + 2 * 8 // 4),
    ],
)
def test_the_size_of_an_answer_is_that_of_its_numbers_and_of_its_series(parameters: dict[str, Any], size: int) -> None:
    contract = manifest("forecaster")
    contract = contract.model_copy(update={"state": StateContract(width=8, exact=1)})
    request = decode(inputs=[{"target": [1, 2, 3]}, {"target": [1, 2]}], parameters=parameters)
    assert CODEC.to_items(request, contract).answer_size == size + 2 * SERIES_NUMBERS


# --- resumed series --------------------------------------------------------------------------------------------------

STATE = np.array([0.5, 0.25])  # to the bit as a token keeps it: float64, float32


def resumed(request: ForecastRequest, state: SequenceState, **inputs: Any) -> ForecastCall:
    """The call of `request` with the token of `state` in its single series."""
    contract = manifest("forecaster", **inputs)
    (series,) = request.inputs
    series = replace(series, state=TOKENS.seal(state, contract))
    return CODEC.to_items(replace(request, inputs=[series]), contract)


def test_a_resumed_series_counts_all_its_values() -> None:
    request = decode(inputs=[{"target": [1, None], "state": "x"}], parameters={"return_state": True})
    call = resumed(request, SequenceState(STATE, 100, 7, 30, 12), context=50)
    assert call.items[0].state is not None
    np.testing.assert_array_equal(call.items[0].state, STATE)
    (prediction,) = encoded(call)["predictions"]
    assert prediction["context"] == {"observations": 102, "missing": 8, "used": 72, "season_length": 1}
    assert prediction["warnings"] == ["truncated"]
    state = TOKENS.open(prediction["state"], manifest("forecaster"))
    assert (state.observations, state.missing, state.truncated, state.season) == (102, 8, 30, 12)


def test_no_new_values_ask_for_the_forecast_again() -> None:
    call = resumed(decode(inputs=[{"target": [], "state": "x"}]), SequenceState(STATE, 3))
    assert call.items[0].values.tolist() == []


def test_new_values_are_not_cut_and_may_all_be_missing() -> None:
    request = decode(inputs=[{"target": [None] * 60, "state": "x"}])
    call = resumed(request, SequenceState(STATE, 3), context=50)
    assert len(call.items[0].values) == 60


@pytest.mark.parametrize(("count", "fits"), [(3, False), (4, True), (6, True), (7, False)])
def test_the_lengths_of_a_model_are_those_of_the_whole_series(count: int, fits: bool) -> None:
    request = decode(inputs=[{"target": [1] * count, "state": "x"}])
    if fits:
        resumed(request, SequenceState(STATE, 6), min_length=10, max_length=12)
        return
    with pytest.raises(InvalidRequest) as caught:
        resumed(request, SequenceState(STATE, 6), min_length=10, max_length=12)
    assert caught.value.code == "length_not_supported"


@pytest.mark.parametrize(
    ("season", "season_length", "fits"), [(12, 12, True), (12, None, True), (12, 7, False), (0, 7, False)]
)
def test_the_season_of_a_series_cannot_change(season: int, season_length: int | None, fits: bool) -> None:
    parameters = {"season_length": season_length} if season_length else {}
    request = decode(inputs=[{"target": [1], "state": "x"}], parameters=parameters)
    state = SequenceState(STATE, 6, season=season)
    resumed(request, state, season=False)  # a model without seasons says so in a warning
    if fits:
        resumed(request, state, season=True)
        return
    with pytest.raises(InvalidRequest) as caught:
        resumed(request, state, season=True)
    assert (caught.value.code, caught.value.errors[0].pointer) == ("out_of_range", "#/parameters/season_length")


# --- live series -----------------------------------------------------------------------------------------------------


def test_a_live_series_continues_where_the_last_message_ended() -> None:
    contract = manifest("forecaster")
    opening = CODEC.decode_opening(b'{"item_id": "a", "parameters": {"return_state": true, "season_length": 4}}')
    state = CODEC.resume(opening, contract)
    assert state is None
    for observations in (2, 4):
        call = CODEC.message_to_items(b'{"target": [1, null]}', opening, contract, state)
        assert call is not None
        content, state = CODEC.encode_message(call, [result(item) for item in call.items])
        prediction = json.loads(content)
        assert prediction["item_id"] == "a"
        assert prediction["context"]["observations"] == state.observations == observations
        assert TOKENS.open(prediction["state"], contract).observations == observations
    assert state is not None
    assert (state.missing, state.season) == (2, 4)


@pytest.mark.parametrize(
    ("opening", "code", "pointer"),
    [
        ('{"state": "x"}', "state_invalid", "#/state"),
        ('{"parameters": {"prediction_length": 5}}', "out_of_range", "#/parameters/prediction_length"),
        ('{"rows": [1]}', "unknown_field", "#/rows"),
    ],
)
def test_bad_openings(opening: str, code: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.resume(CODEC.decode_opening(opening.encode()), manifest("forecaster", max_horizon=4))
    assert (caught.value.code, [error.pointer for error in caught.value.errors]) == (code, [pointer])


@pytest.mark.parametrize(
    ("message", "code", "pointer"),
    [
        ('{"target": []}', "out_of_range", "#/target"),
        ('{"target": [null]}', "out_of_range", "#/target"),
        ('{"target": ["1"]}', "wrong_type", "#/target/0"),
        ('{"target": [' + "1," * 100 + "1]}", "series_too_long", "#/target"),
    ],
)
def test_bad_messages(message: str, code: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.message_to_items(message.encode(), CODEC.decode_opening(b"{}"), manifest("forecaster"), None)
    assert (caught.value.code, [error.pointer for error in caught.value.errors]) == (code, [pointer])


def test_anomalies_beside_history_or_without_it() -> None:
    target = [0.5] * 12 + [2.0]
    parameters = {"include": ["anomaly", "history"], "quantile_levels": [0.5]}
    (prediction,) = answer(decode(inputs=[{"target": target}], parameters=parameters))["predictions"]
    assert list(prediction["history"]["quantiles"]) == ["0.5"]
    assert [(entry["index"], entry["value"]) for entry in prediction["anomalies"]] == [(12, 2.0)]
    (alone,) = answer(decode(inputs=[{"target": target}], parameters={"include": ["anomaly"]}))["predictions"]
    assert alone["history"] is None
    assert alone["anomalies"] == prediction["anomalies"]
    (cut,) = answer(decode(inputs=[{"target": target}], parameters={"include": ["anomaly"]}), context=10)["predictions"]
    assert [entry["index"] for entry in cut["anomalies"]] == [12]
    (timed,) = answer(
        decode(inputs=[{"target": target, "start": "2024-01-01", "freq": "D"}], parameters={"include": ["anomaly"]})
    )["predictions"]
    assert timed["anomalies"][0]["timestamp"] == "2024-01-13"
    (plain,) = answer(decode(inputs=[{"target": target}]))["predictions"]
    assert "anomalies" not in plain
