from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec import forecast as series
from service.codec.state_tokens import SequenceState, StateTokens
from service.contract.errors import InvalidRequest, RitmoError
from service.contract.manifest import Manifest
from service.contract.types import ForecastItem, ForecastResult
from service.settings import Settings
from tests.fakes import manifest

SETTINGS = Settings(max_items=3, max_observations=100, max_answer_numbers=1000)


TOKENS = StateTokens([b"a key of a test, long enough"])


def read(**body: Any) -> series.ForecastRequest:
    return series.read(json.dumps(body).encode(), SETTINGS)


def refused(**body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(**body)
    return caught.value


def result(item: ForecastItem, value: float = 1.0) -> ForecastResult:
    levels = len(item.levels)
    history = np.full((len(item.values), 1 + levels), 2.0) if item.history else None
    if history is not None:
        history[0] = np.nan
        history[1:, 1:] = item.levels
    quantiles = value + item.levels[:, None] * np.ones(item.horizon)
    return ForecastResult(np.full(item.horizon, value), quantiles, history, item.season or 1, np.zeros(2))


def answer(request: series.ForecastRequest, **inputs: Any) -> dict[str, Any]:
    contract = manifest("forecaster", **inputs)
    packed = series.pack(request, contract)
    return unpacked(request, contract, packed, [result(item) for item in packed.items])


def unpacked(
    request: series.ForecastRequest, contract: Manifest, packed: series.PackedSeries, results: list[ForecastResult]
) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(series.unpack(request, contract, packed, results, TOKENS.seal))
    return decoded


def test_the_shortest_legal_body_has_the_documented_defaults() -> None:
    request = read(inputs=[{"target": [1, 2, 3, 4, 5]}])
    assert request.model == "forecaster"
    (item,) = series.pack(request, manifest("forecaster")).items
    assert item.values.tolist() == [1, 2, 3, 4, 5]
    assert item.values.dtype == np.float64
    assert (item.horizon, item.levels.tolist(), item.season, item.history) == (1, [0.1, 0.5, 0.9], 0, False)


def test_null_is_a_missing_value() -> None:
    (item,) = series.pack(read(inputs=[{"target": [1, None, 3]}]), manifest("forecaster")).items
    np.testing.assert_array_equal(item.values, [1, np.nan, 3])


def test_the_answer_has_every_field_in_the_order_of_the_inputs() -> None:
    request = read(
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
    assert list(first["quantiles"]) == ["0.1", "0.9"]  # ascending, whatever was asked


def test_a_series_longer_than_the_context_is_cut_to_its_last_part() -> None:
    request = read(inputs=[{"target": [None, *range(9)]}])
    contract = manifest("forecaster", context=4)
    (item,) = series.pack(request, contract).items
    assert item.values.tolist() == [5, 6, 7, 8]
    prediction = answer(request, context=4)["predictions"][0]
    assert prediction["context"] == {"observations": 10, "missing": 1, "used": 4, "season_length": 1}
    assert prediction["warnings"] == ["truncated"]


def test_history_has_the_median_and_null_before_the_first_value() -> None:
    request = read(inputs=[{"target": [1, 2]}], parameters={"include": ["history"], "quantile_levels": [0.25]})
    prediction = answer(request)["predictions"][0]
    assert prediction["history"] == {"median": [None, 0.5], "mean": [None, 2.0], "quantiles": {"0.25": [None, 0.25]}}
    assert list(prediction["quantiles"]) == ["0.25"]


def test_no_levels_means_the_mean_alone() -> None:
    prediction = answer(read(inputs=[{"target": [1]}], parameters={"quantile_levels": []}))["predictions"][0]
    assert prediction["quantiles"] == {}
    assert prediction["mean"] == [1.0]


def test_repeated_levels_are_answered_once() -> None:
    prediction = answer(read(inputs=[{"target": [1]}], parameters={"quantile_levels": [0.5, 0.1, 0.5]}))["predictions"][
        0
    ]
    assert list(prediction["quantiles"]) == ["0.1", "0.5"]


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_quantile_keys_read_back_as_the_level(level: float) -> None:
    key = series.decimal(level)
    assert float(key) == level
    assert "e" not in key


@pytest.mark.parametrize(("level", "key"), [(0.1, "0.1"), (0.025, "0.025"), (1e-5, "0.00001")])
def test_quantile_keys_are_the_shortest_decimal(level: float, key: str) -> None:
    assert series.decimal(level) == key


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
    request = read(
        inputs=[{"target": [1], "item_id": None, "state": None}],
        parameters={"season_length": None, "timeout_ms": None},
    )
    assert request.parameters.season_length is None


def test_too_many_series() -> None:
    assert refused(inputs=[{"target": [1]}] * 4).code == "too_many_items"


def test_too_many_values_in_one_request() -> None:
    settings = Settings(max_items=3, max_observations=5, max_queue_observations=6)
    with pytest.raises(InvalidRequest) as caught:
        series.read(json.dumps({"inputs": [{"target": [1] * 4}] * 2}).encode(), settings)
    assert caught.value.code == "too_many_items"


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
    request = read(inputs=[{"target": target}], parameters={"prediction_length": 5})
    with pytest.raises(InvalidRequest) as caught:
        series.pack(request, manifest("forecaster", **inputs))
    assert (caught.value.code, caught.value.errors[0].pointer) == (code, pointer)


def test_every_fault_of_every_series_is_counted() -> None:
    request = read(inputs=[{"target": [None]}, {"target": [1]}, {"target": [None]}])
    with pytest.raises(InvalidRequest) as caught:
        series.pack(request, manifest("forecaster"))
    assert [fault.pointer for fault in caught.value.errors] == ["#/inputs/0/target", "#/inputs/2/target"]


def test_a_season_the_model_has_no_use_for_is_said() -> None:
    request = read(inputs=[{"target": [1]}], parameters={"season_length": 7})
    assert answer(request, season=False)["predictions"][0]["warnings"] == ["season_length_ignored"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_never_leaves(bad: float) -> None:
    request, contract = read(inputs=[{"target": [1]}]), manifest("forecaster")
    packed = series.pack(request, contract)
    with pytest.raises(RitmoError) as caught:
        unpacked(request, contract, packed, [result(packed.items[0], bad)])
    assert caught.value.code == "internal_error"


@pytest.mark.parametrize(
    ("target", "levels", "pointer"),
    [([1e308], [0.5], "#/inputs/0/target"), ([1], [1e-300], "#/parameters/quantile_levels")],
)
def test_extremes_without_a_finite_forecast_are_the_callers(
    target: list[float], levels: list[float], pointer: str
) -> None:
    request, contract = (
        read(inputs=[{"target": target}], parameters={"quantile_levels": levels}),
        manifest("forecaster"),
    )
    packed = series.pack(request, contract)
    with pytest.raises(InvalidRequest) as caught:
        unpacked(request, contract, packed, [result(packed.items[0], math.inf)])
    assert (caught.value.code, caught.value.errors[0].pointer) == ("out_of_range", pointer)


def test_finite_numbers_whose_sum_is_not_are_answered() -> None:
    request, contract = read(inputs=[{"target": [1]}], parameters={"prediction_length": 4}), manifest("forecaster")
    packed = series.pack(request, contract)
    document = unpacked(request, contract, packed, [result(packed.items[0], 1e308)])
    assert document["predictions"][0]["mean"] == [1e308] * 4


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_values_travel_unchanged(target: list[float | None]) -> None:
    request = read(inputs=[{"target": target}])
    try:
        (item,) = series.pack(request, manifest("forecaster")).items
    except InvalidRequest:
        assert all(value is None for value in target)
    else:
        assert [None if math.isnan(value) else value for value in item.values.tolist()] == target


# --- series that go on -----------------------------------------------------------------------------------------------

STATE = np.array([0.1, 0.5])


def go_on(request: series.ForecastRequest, before: SequenceState, **inputs: Any) -> series.PackedSeries:
    return series.pack(request, manifest("forecaster", **inputs), [before])


def test_a_series_that_goes_on_counts_all_its_values() -> None:
    request = read(inputs=[{"target": [1, None], "state": "x"}], parameters={"return_state": True})
    packed = go_on(request, SequenceState(STATE, 100, 7, 30, 12), context=50)
    assert packed.items[0].state is STATE
    (prediction,) = unpacked(request, manifest("forecaster"), packed, [result(packed.items[0])])["predictions"]
    assert prediction["context"] == {"observations": 102, "missing": 8, "used": 72, "season_length": 1}
    assert prediction["warnings"] == ["truncated"]
    after = TOKENS.open(prediction["state"], manifest("forecaster"))
    assert (after.observations, after.missing, after.skipped, after.season) == (102, 8, 30, 12)


def test_no_new_values_ask_for_the_forecast_again() -> None:
    packed = go_on(read(inputs=[{"target": [], "state": "x"}]), SequenceState(STATE, 3))
    assert packed.items[0].values.tolist() == []


def test_new_values_are_not_cut_and_may_all_be_missing() -> None:
    packed = go_on(read(inputs=[{"target": [None] * 60, "state": "x"}]), SequenceState(STATE, 3), context=50)
    assert len(packed.items[0].values) == 60


@pytest.mark.parametrize(("sent", "fits"), [(3, False), (4, True), (6, True), (7, False)])
def test_a_models_lengths_are_those_of_the_whole_series(sent: int, fits: bool) -> None:
    request = read(inputs=[{"target": [1] * sent, "state": "x"}])
    if fits:
        go_on(request, SequenceState(STATE, 6), min_length=10, max_length=12)
        return
    with pytest.raises(InvalidRequest) as caught:
        go_on(request, SequenceState(STATE, 6), min_length=10, max_length=12)
    assert caught.value.code == "length_not_supported"


@pytest.mark.parametrize(("begun", "asked", "fits"), [(12, 12, True), (12, None, True), (12, 7, False), (0, 7, False)])
def test_the_season_of_a_series_cannot_change(begun: int, asked: int | None, fits: bool) -> None:
    request = read(inputs=[{"target": [1], "state": "x"}], parameters={"season_length": asked} if asked else {})
    before = SequenceState(STATE, 6, season=begun)
    go_on(request, before, season=False)  # a model without seasons says so in a warning
    if fits:
        go_on(request, before, season=True)
        return
    with pytest.raises(InvalidRequest) as caught:
        go_on(request, before, season=True)
    assert (caught.value.code, caught.value.errors[0].pointer) == ("out_of_range", "#/parameters/season_length")


def test_what_was_too_extreme_before_is_still_the_callers() -> None:
    request, contract = read(inputs=[{"target": [1], "state": "x"}]), manifest("forecaster")
    packed = series.pack(request, contract, [SequenceState(np.array([1e200, 0.0]), 6)])
    with pytest.raises(InvalidRequest) as caught:
        unpacked(request, contract, packed, [result(packed.items[0], math.inf)])
    assert (caught.value.code, caught.value.errors[0].pointer) == ("out_of_range", "#/inputs/0/target")
