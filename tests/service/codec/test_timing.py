"""Times in the body of a forecast, and in its answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from service.codec.forecast import with_times
from service.contract.errors import InvalidRequest
from service.contract.types import ForecastItem
from tests.fakes import manifest
from tests.service.codec.test_forecast import CODEC, answer, decode, refused, result


def items(series: dict[str, Any], **parameters: Any) -> list[ForecastItem]:
    return CODEC.to_items(decode(inputs=[series], parameters=parameters), manifest("forecaster")).items


def refusal(series: dict[str, Any], **parameters: Any) -> tuple[str, str]:
    """Pointer and code of the first error."""
    with pytest.raises(InvalidRequest) as caught:
        items(series, **parameters)
    return caught.value.errors[0].pointer, caught.value.errors[0].code


def test_the_answer_has_the_times_of_its_steps() -> None:
    inputs = [
        {"target": [1, 2, 3], "start": "2024-01-31", "freq": "ME"},
        {"target": [1, 2, 3], "timestamps": ["2024-01-05", "2024-01-08", "2024-01-09"]},
        {"target": [1, 2, 3]},
    ]
    first, second, third = answer(decode(inputs=inputs, parameters={"prediction_length": 2}))["predictions"]
    assert first["timestamps"] == ["2024-04-30", "2024-05-31"]
    assert second["timestamps"] == ["2024-01-10", "2024-01-11"]
    assert "timestamps" not in third


def test_gaps_are_missing_values_and_history_says_when_they_are() -> None:
    inputs = [{"target": [1, 2, 3], "timestamps": ["2024-01-01", "2024-01-02", "2024-01-04"]}]
    request = decode(inputs=inputs, parameters={"include": ["history"]})
    call = CODEC.to_items(request, manifest("forecaster"))
    np.testing.assert_array_equal(call.items[0].values, [1, 2, np.nan, 3])
    prediction = json.loads(CODEC.encode(call, [result(item) for item in call.items]))["predictions"][0]
    assert (prediction["context"]["observations"], prediction["context"]["missing"]) == (4, 1)
    assert prediction["history"]["timestamps"] == ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]


def test_history_of_a_cut_series_has_the_times_of_its_last_values() -> None:
    request = decode(inputs=[{"target": [1] * 9, "start": "2024", "freq": "YS"}], parameters={"include": ["history"]})
    (prediction,) = answer(request, context=2)["predictions"]
    assert prediction["history"]["timestamps"] == ["2031", "2032"]
    assert prediction["timestamps"] == ["2033"]


@pytest.mark.parametrize(
    ("series", "pointer", "code"),
    [
        ({"target": [1], "start": "2024"}, "/freq", "missing_field"),
        ({"target": [1], "start": "2024", "freq": "SM"}, "/freq", "out_of_range"),
        ({"target": [1], "start": "soon", "freq": "D"}, "/start", "wrong_type"),
        ({"target": [1], "freq": "SM"}, "/freq", "out_of_range"),
        ({"target": [1, 2], "timestamps": ["2024"]}, "/timestamps", "out_of_range"),
        ({"target": [1], "timestamps": ["2024"], "start": "2024"}, "/start", "out_of_range"),
        ({"target": [1], "start": "9999", "freq": "YS"}, "/freq", "out_of_range"),
        (
            {"target": [1, 2], "timestamps": ["2024-01-01", "2034-01-01"], "freq": "h"},
            "/timestamps/1",
            "series_too_long",
        ),
    ],
)
def test_errors_point_at_what_is_wrong(series: dict[str, Any], pointer: str, code: str) -> None:
    assert refusal(series) == ("#/inputs/0" + pointer, code)


@pytest.mark.parametrize("timestamps", [[1, 2], ["2024", None], "2024"])
def test_times_are_strings(timestamps: Any) -> None:
    assert refused(inputs=[{"target": [1, 2], "timestamps": timestamps}]).code == "wrong_type"


def test_all_series_at_fault_are_listed() -> None:
    request = decode(inputs=[{"target": [1], "start": "x", "freq": "D"}] * 3)
    with pytest.raises(InvalidRequest) as caught:
        CODEC.to_items(request, manifest("forecaster"))
    assert caught.value.errors_total == 3


def test_filled_gaps_count_among_the_values_of_a_request() -> None:
    inputs = [{"target": [1] * 10, "timestamps": [f"2024-01-{day:02}" for day in range(1, 20, 2)], "freq": "D"}] * 3
    request = decode(
        inputs=inputs, parameters={"prediction_length": 1, "quantile_levels": [0.1] * 19, "include": ["history"]}
    )
    with pytest.raises(InvalidRequest, match="numbers") as caught:
        CODEC.to_items(request, manifest("forecaster"))
    assert caught.value.code == "too_many_items"


WEEKS = [0, 0, 1, 2, 3, 8, 9] * 5


def test_a_frequency_suggests_a_season_unless_the_values_show_another_one() -> None:
    noise = np.random.default_rng(1).normal(size=40).tolist()
    assert items({"target": WEEKS, "freq": "D"})[0].season == 7
    assert items({"target": WEEKS, "start": "2024-01-01", "freq": "D"})[0].season == 7
    assert items({"target": noise, "freq": "D"})[0].season == 7
    assert items({"target": [1, 2, 3] * 10, "freq": "D"})[0].season == 0
    assert items({"target": noise[:7], "freq": "D"})[0].season == 0
    assert items({"target": WEEKS, "freq": "h"})[0].season == 0


def test_days_that_show_a_year_have_both_seasons() -> None:
    day = np.arange(800)
    sales = 200 + 50 * np.sin(2 * np.pi * day / 365.25) + 30 * (day % 7 > 4)
    one = manifest("forecaster")
    two = one.model_copy(update={"input": one.input.model_copy(update={"seasons": 2})})
    call = CODEC.to_items(decode(inputs=[{"target": [1]}]), one)
    for values, contract, season in ((sales, two, 7 + 4096 * 365), (sales[:300], two, 7), (sales, one, 7)):
        untold = replace(call, items=[replace(call.items[0], values=values)], manifest=contract)
        assert with_times(untold, [None], [7]).items[0].season == season


def test_a_stated_season_beats_the_frequency() -> None:
    assert items({"target": WEEKS, "freq": "D"}, season_length=3)[0].season == 3


def test_a_resumed_series_keeps_its_season() -> None:
    request = decode(inputs=[{"target": WEEKS}], parameters={"return_state": True})
    token = answer(request)["predictions"][0]["state"]
    (item,) = items({"target": WEEKS, "state": token, "start": "2024-02-01", "freq": "D"})
    assert item.season == 0


def test_a_start_beside_its_frequency_is_told() -> None:
    request = decode(inputs=[{"target": [1, 2], "start": "2024-01-01", "freq": "ME"}])
    (prediction,) = answer(request)["predictions"]
    assert (prediction["warnings"], prediction["timestamps"]) == (["frequency_not_followed"], ["2024-03-01"])
