"""A series or digit that is sent in parts, with a token between them, is answered as if it had been sent at once.

Where parts end at a multiple of the engine's chunk, the computation is the same call by call, and so are the bits, for
every model. Elsewhere they are for models that compute step by step in float64, and within a tolerance for the others:
products over more steps at once may be summed in another order. Each committed model is held to its own statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.backend.buckets import CHUNK
from service.backend.model import LoadedModel, load_served
from service.codec.digit_items import DigitBatch
from service.codec.digit_types import DigitAnswer, DigitInput, DigitParameters, DigitPrediction
from service.codec.digits import DigitCodec
from service.codec.forecast import ForecastCodec
from service.codec.forecast_types import (
    ForecastAnswer,
    ForecastParameters,
    ForecastRequest,
    SeriesInput,
    SeriesPrediction,
)
from service.codec.state_tokens import StateTokens
from service.settings import Settings

MODELS = Path(__file__).resolve().parents[3] / "models"
TOKENS = StateTokens([b"a key of a test, long enough"])
FORECASTS, DIGITS = ForecastCodec(Settings(), TOKENS), DigitCodec(Settings(), TOKENS)
EXACT = ("naive", "rnn-1", "rnn-20", "digits-rnn-10", "digits-rnn-16-8-4")  # float64, step by step
PARAMETERS = ForecastParameters(prediction_length=5, return_state=True)
A_FEW = settings(max_examples=8)  # a real network takes its time


def named(*names: str) -> list[str]:
    """Those of `names` that are committed."""
    return [name for name in names if (MODELS / name).is_dir()]


@cache
def loaded(name: str) -> LoadedModel:
    newest = max((MODELS / name).iterdir(), key=lambda folder: int(folder.name))
    return load_served(newest)  # the bits are those after the warm-up, which takes seconds


def forecast(name: str, target: Sequence[float | None], token: str | None = None) -> SeriesPrediction:
    """One request, through all but HTTP."""
    model = loaded(name)
    request = ForecastRequest([SeriesInput(list(target), state=token)], name, PARAMETERS)
    call = FORECASTS.to_items(request, model.manifest)
    content = FORECASTS.encode(call, model.run(call.items))  # type: ignore[arg-type]
    (prediction,) = msgspec.json.decode(content, type=ForecastAnswer).predictions
    return prediction


def forecast_in_parts(name: str, target: Sequence[float | None], cuts: Sequence[int]) -> SeriesPrediction:
    bounds = [0, *cuts, len(target)]
    answer = forecast(name, target[: bounds[1]])
    for start, end in pairwise(bounds[1:]):
        answer = forecast(name, target[start:end], answer.state)
    return answer


def read(name: str, rows: list[list[float]], token: str | None = None, stop: float | None = None) -> DigitPrediction:
    model = loaded(name)
    parameters = DigitParameters(stop_at_confidence=stop, return_state=True)
    batch = DigitBatch(name, [DigitInput(rows, state=token)], parameters)
    call = DIGITS.to_items(batch, model.manifest)
    content = DIGITS.encode(call, model.run(call.items))  # type: ignore[arg-type]
    (prediction,) = msgspec.json.decode(content, type=DigitAnswer).predictions
    return prediction


def values(length: int, seed: int) -> list[float | None]:
    rng = np.random.default_rng(seed)
    walk = 50 + rng.normal(size=length).cumsum() + 5 * np.sin(np.arange(length) / 3)
    return [float(value) for value in walk]


def ink(rows: int, seed: int) -> list[list[float]]:
    """A blank row, then strokes somewhere: 0..255."""
    picture: NDArray[np.int64] = np.random.default_rng(seed).integers(0, 256, (rows, 28))
    picture[:, :8] = picture[:, 20:] = picture[:2] = 0
    return [[float(value) for value in row] for row in picture]


def is_identical(actual: SeriesPrediction, expected: SeriesPrediction) -> bool:
    return (actual.mean, actual.quantiles, actual.context) == (expected.mean, expected.quantiles, expected.context)


def assert_near(actual: SeriesPrediction, expected: SeriesPrediction, tolerance: float) -> None:
    assert actual.context == expected.context
    spread = max(np.ptp(list(expected.quantiles.values())), 1e-9)
    np.testing.assert_allclose(actual.mean, expected.mean, atol=tolerance * spread)
    for level, line in expected.quantiles.items():
        np.testing.assert_allclose(actual.quantiles[level], line, atol=tolerance * spread)


CUTS = st.lists(st.integers(1, 299), max_size=6, unique=True).map(sorted)


@pytest.mark.parametrize("name", named("naive", "rnn-1", "rnn-20"))
@A_FEW
@given(cuts=CUTS, seed=st.integers(0, 99))
def test_step_by_step_any_parts_give_the_same_bits(name: str, cuts: list[int], seed: int) -> None:
    target = values(300, seed)
    assert is_identical(forecast_in_parts(name, target, cuts), forecast(name, target))


@pytest.mark.parametrize("name", named("naive", "rnn-20", "forecaster", "sines"))
@pytest.mark.parametrize("cuts", [[CHUNK], [CHUNK, 2 * CHUNK], [2 * CHUNK, 2 * CHUNK], [300]])
def test_parts_that_end_at_a_chunk_give_the_same_bits(name: str, cuts: list[int]) -> None:
    target = values(300, 7)
    assert is_identical(forecast_in_parts(name, target, cuts), forecast(name, target))


@pytest.mark.parametrize("name", named("forecaster", "sines"))
@A_FEW
@given(cuts=CUTS, seed=st.integers(0, 99), gaps=st.lists(st.integers(1, 299), max_size=30))
def test_any_parts_give_the_same_forecast(name: str, cuts: list[int], seed: int, gaps: list[int]) -> None:
    target = values(300, seed)
    if loaded(name).manifest.input.missing:
        for gap in gaps:
            target[gap] = None
    assert_near(forecast_in_parts(name, target, cuts), forecast(name, target), 1e-5)


def test_a_fixed_length_is_that_of_the_whole() -> None:
    target = values(50, 1)
    assert is_identical(forecast_in_parts("linear", target, [50]), forecast("linear", target))


@pytest.mark.parametrize("name", named("naive", "rnn-20", "forecaster"))
def test_a_token_asks_for_the_same_forecast_again(name: str) -> None:
    first = forecast(name, values(40, 2))
    assert is_identical(forecast(name, [], first.state), first)


@pytest.mark.parametrize("name", named("digits-rnn-10", "digits-rnn-16-8-4", "digits"))
@A_FEW
@given(cuts=st.lists(st.integers(1, 27), max_size=6, unique=True).map(sorted), seed=st.integers(0, 99))
def test_any_parts_of_a_digit_give_the_same_reading(name: str, cuts: list[int], seed: int) -> None:
    rows = ink(28, seed)
    expected = read(name, rows)
    bounds = [0, *cuts, len(rows)]
    answer = read(name, rows[: bounds[1]])
    for start, end in pairwise(bounds[1:]):
        answer = read(name, rows[start:end], answer.state)
    assert (answer.rows_used, answer.warnings) == (28, expected.warnings)
    if name in EXACT:
        assert answer.probabilities == expected.probabilities
    else:
        np.testing.assert_allclose(answer.probabilities, expected.probabilities, atol=1e-5)


@pytest.mark.parametrize("name", named("digits-rnn-10", "digits"))
def test_the_token_of_a_stopped_reading_belongs_to_its_last_row(name: str) -> None:
    rows = ink(28, 5)
    stopped = read(name, rows, stop=0.15)
    assert 0 < stopped.rows_used < 28
    upto = read(name, rows[: stopped.rows_used])
    resumed = read(name, rows[stopped.rows_used :], stopped.state)
    np.testing.assert_allclose(stopped.probabilities, upto.probabilities, atol=1e-6)
    assert resumed.rows_used == 28
    np.testing.assert_allclose(resumed.probabilities, read(name, rows).probabilities, atol=1e-5)


@pytest.mark.parametrize("name", named("rnn-20", "digits", "forecaster"))
def test_a_token_keeps_the_state_to_the_last_bit(name: str) -> None:
    """What a token stores as float32 was float32: the contract of docs/models.md."""
    model = loaded(name)
    if model.manifest.task == "forecast":
        request = ForecastRequest([SeriesInput(values(70, 3))], name)
        (result,) = model.run(FORECASTS.to_items(request, model.manifest).items)
        token = forecast(name, values(70, 3)).state
    else:
        batch = DigitBatch(name, [DigitInput(ink(9, 3))], DigitParameters())
        (result,) = model.run(DIGITS.to_items(batch, model.manifest).items)
        token = read(name, ink(9, 3)).state
    assert token is not None
    np.testing.assert_array_equal(TOKENS.open(token, model.manifest).state, result.state)
