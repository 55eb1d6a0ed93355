"""service.codec.statements: seasons, bounds and warnings in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.codec import statements
from service.codec.common import Body
from service.codec.forecast import ForecastCall, ForecastCodec
from service.codec.state_tokens import StateTokens
from service.contract.errors import InvalidRequest
from service.contract.types import ForecastItem, ForecastResult
from service.settings import Settings
from tests.fakes import manifest

CODEC = ForecastCodec(Settings(), StateTokens([b"a key of a test, long enough"]))
FULL = {"season": True, "seasons": 2, "max_season": 512, "optional_floor": True}
WEEKS = [float(k % 7) for k in range(70)]


def call(inputs: list[dict[str, Any]], parameters: dict[str, Any], contract: dict[str, Any]) -> ForecastCall:
    request = CODEC.decode(Body(json.dumps({"inputs": inputs, "parameters": parameters}).encode()))
    return CODEC.to_items(request, manifest("forecaster", **contract))


def predictions(
    inputs: list[dict[str, Any]], parameters: dict[str, Any], in_use: int = 1, contract: dict[str, Any] = FULL
) -> Any:
    """The predictions of a model that says -5, 0 and 5 and uses the season `in_use`."""
    made = call(inputs, parameters, contract)

    def result(item: ForecastItem) -> ForecastResult:
        quantiles = np.repeat([[-5.0], [0.0], [5.0]], item.horizon, axis=1)
        history = np.tile([0.0, -5.0, 0.0, 5.0], (len(item.values), 1)) if item.history else None
        return ForecastResult(np.full(item.horizon, -1.0), quantiles, history, in_use, np.zeros(2))

    return json.loads(CODEC.encode(made, [result(item) for item in made.items]))["predictions"]


def numbers(parameters: dict[str, Any], series: dict[str, Any] | None = None, contract: Any = FULL) -> list[int]:
    return [item.season for item in call([{"target": WEEKS} | (series or {})], parameters, contract).items]


@pytest.mark.parametrize(
    ("stated", "number"),
    [(7, 7), ([7], 7), ([7, 365], 7 + 365 * 4096), ([365, 7], 7 + 365 * 4096), ([7, 7], 7), (5000, 0), ([7, 5000], 7)],
)
def test_seasons_travel_in_one_number(stated: Any, number: int) -> None:
    assert numbers({"season_length": stated}) == [number]


def test_a_model_of_one_season_gets_the_shorter_one() -> None:
    assert numbers({"season_length": [7, 365], "lower": None}, contract={"season": True}) == [7]


@pytest.mark.parametrize(
    ("parameters", "series", "has_floor"),
    [
        ({}, {}, True),
        ({"lower": None}, {}, False),
        ({"lower": -3}, {}, False),
        ({"lower": 0}, {}, True),
        ({"lower": None}, {"lower": 2.5}, True),
        ({"lower": 1}, {"lower": None}, False),
        ({"upper": 100}, {}, True),
    ],
)
def test_a_bound_below_zero_or_none_takes_the_floor_away(
    parameters: dict[str, Any], series: dict[str, Any], has_floor: bool
) -> None:
    assert numbers(parameters, series) == [0 if has_floor else statements.NO_FLOOR]


@pytest.mark.parametrize(
    ("parameters", "series", "quantiles", "mean"),
    [
        ({"lower": -2}, {}, [-2, 0, 5], -1),
        ({"upper": 3}, {}, [-5, 0, 3], -1),
        ({"lower": 1, "upper": 2}, {}, [1, 1, 2], 1),
        ({"lower": 1}, {"lower": None, "upper": -4}, [-5, -4, -4], -4),
    ],
)
def test_bounds_hold_for_mean_quantiles_and_history(
    parameters: dict[str, Any], series: dict[str, Any], quantiles: list[float], mean: float
) -> None:
    other, bounded = predictions(
        [{"target": WEEKS, "lower": None, "upper": None}, {"target": WEEKS} | series],
        parameters | {"prediction_length": 2, "include": ["history"]},
    )
    assert [rows[0] for rows in other["quantiles"].values()] == [-5, 0, 5]
    assert [rows[1] for rows in bounded["quantiles"].values()] == quantiles
    assert [rows[-1] for rows in bounded["history"]["quantiles"].values()] == quantiles
    assert bounded["mean"] == [mean, mean]


@pytest.mark.parametrize(
    ("inputs", "parameters", "pointer"),
    [
        ([{"target": [1]}], {"lower": 5, "upper": 4}, "#/parameters/lower"),
        ([{"target": [1]}, {"target": [1], "upper": -1}], {"lower": 0}, "#/inputs/1/lower"),
    ],
)
def test_bounds_that_exclude_one_another_are_refused(inputs: Any, parameters: Any, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call(inputs, parameters, FULL)
    assert [(error.pointer, error.code) for error in caught.value.errors] == [(pointer, "out_of_range")]


@pytest.mark.parametrize("season_length", [[], [7, 30, 365], [0], "7", [7, None], 7.5, {"week": 7}])
def test_what_is_no_season_is_refused(season_length: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call([{"target": [1]}], {"season_length": season_length}, FULL)
    assert caught.value.errors[0].pointer.startswith("#/parameters/season_length")


@pytest.mark.parametrize(
    ("stated", "in_use", "words"),
    [
        (7, 7, None),
        ([7, 35], 7, None),
        (672, 1, "a season of 672 was not used: the model can use seasons of up to 512; no season is in use."),
        (
            400,
            7,
            "a season of 400 was not used: only 70 values are known, less than one season; the season in use is 7.",
        ),
        (
            [7, 365],
            7,
            "a season of 365 was not used: only 70 values are known, less than one season; the season in use is 7.",
        ),
    ],
)
def test_a_season_that_is_not_used_is_said_in_words(stated: Any, in_use: int, words: str | None) -> None:
    (prediction,) = predictions([{"target": WEEKS}], {"season_length": stated}, in_use)
    assert prediction["warnings"] == ([] if words is None else ["season_length_unused"])
    assert prediction.get("warning_details") == (None if words is None else {"season_length_unused": words})


def test_a_second_season_for_a_model_of_one_is_said_in_words() -> None:
    (prediction,) = predictions([{"target": WEEKS}], {"season_length": [7, 35]}, 7, {"season": True})
    assert prediction["warning_details"] == {
        "season_length_unused": "a second season of 35 was not used: the model takes one; the season in use is 7."
    }


@pytest.mark.parametrize(
    ("stated", "begun_with", "differs"),
    [
        (0, 7, False),
        (7, 7, False),
        (8, 7, True),
        (7 + 365 * 4096, 7, True),
        (statements.NO_FLOOR, statements.NO_FLOOR + 7, False),
        (statements.NO_FLOOR, 7, True),
        (7, statements.NO_FLOOR + 7, False),
    ],
)
def test_what_is_left_open_is_no_difference(stated: int, begun_with: int, differs: bool) -> None:
    assert statements.differs(stated, begun_with) is differs


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"inputs": [{"target": [1]}], "horizon": 3}, "use 'prediction_length' in 'parameters', not 'horizon'"),
        ({"inputs": [{"target": [1]}], "parameters": {"h": 3}}, "use 'prediction_length'"),
        ({"inputs": [{"target": [1], "steps": 3}]}, "use 'prediction_length'"),
        ({"inputs": [{"target": [1]}], "parameters": {"level": [80]}}, "use 'quantile_levels'"),
        ({"inputs": [{"target": [1]}], "parameters": {"freq": "D"}}, "use 'freq' with 'start' in an entry of 'inputs'"),
        ({"inputs": [{"values": [1]}]}, "use 'target'"),
        ({"data": [1, 2]}, "use 'target'"),
        ([1, 2, 3], 'must be an object such as {"inputs": [{"target": [1, 2, 3]}]}, not an array'),
        ({"inputs": [[1, 2, 3]]}, 'must be an object such as {"target": [1, 2, 3]}, not an array'),
        ({"inputs": [{"target": [{"value": 1}, {"value": 2}]}]}, "must be an array of numbers, not of objects"),
        ({"inputs": [{"target": [1], "ds": ["2024-01-01"]}]}, "use 'timestamps'"),
        ({"target": [1, 2]}, "it belongs in an entry of 'inputs'"),
        ({"inputs": [{"target": [1]}], "prediction_length": 3}, "it belongs in 'parameters'"),
    ],
)
def test_names_and_forms_of_other_tools_are_explained(body: Any, hint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.decode(Body(json.dumps(body).encode()))
    assert any(hint in error.detail for error in caught.value.errors)
