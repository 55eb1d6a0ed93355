from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest

from service.api.sessions import Session
from service.codec.forecast import ForecastCall, ForecastCodec
from service.codec.forecast_types import ForecastRequest, SeriesOpening
from service.codec.state_tokens import StateTokens
from service.contract.errors import InvalidRequest
from service.contract.types import ForecastResult
from service.registry.served import Served
from service.settings import Settings
from tests.fakes import FakeModel, manifest

CODEC = ForecastCodec(Settings(), StateTokens([b"a key of a test, long enough"]))


def opened(opening: str) -> Session[ForecastRequest, ForecastCall, SeriesOpening]:
    model = cast(Served, FakeModel(manifest("forecaster", max_horizon=4)))
    return Session(CODEC, CODEC.decode_opening(opening.encode()), model)


def results(call: ForecastCall, state: float) -> list[ForecastResult]:
    batch = np.full((1, 2), state)
    return [ForecastResult(np.ones(1), np.ones((3, 1)), None, 1, batch[0]) for _ in call.items]


def test_each_message_continues_from_the_state_of_the_last_answer() -> None:
    session = opened('{"parameters": {"timeout_ms": 50}}')
    assert session.timeout_ms == 50
    call = session.to_items(b'{"target": [1, 2]}')
    assert call is not None
    assert call.items[0].state is None
    batch = results(call, 7.0)
    assert json.loads(session.encode(call, batch))["context"]["observations"] == 2
    call = session.to_items(b'{"target": [3]}')
    assert call is not None
    state = call.items[0].state
    assert state is not None
    assert state.tolist() == [7.0, 7.0]
    assert not np.shares_memory(state, batch[0].state)  # or the whole batch would stay in memory
    assert json.loads(session.encode(call, results(call, 8.0)))["context"]["observations"] == 3


def test_a_message_that_fails_changes_nothing() -> None:
    session = opened("{}")
    call = session.to_items(b'{"target": [1]}')
    assert call is not None
    session.encode(call, results(call, 7.0))
    with pytest.raises(InvalidRequest):
        session.to_items(b'{"target": ["2"]}')
    session.to_items(b'{"target": [2]}')  # computed, and its answer lost
    call = session.to_items(b'{"target": [2]}')
    assert call is not None
    assert call.counts[0].observations == 2


def test_an_opening_that_the_model_cannot_serve_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        opened('{"parameters": {"prediction_length": 5}}')
    assert caught.value.code == "out_of_range"


def test_the_opening_may_bring_values() -> None:
    session = opened('{"target": [1, 2]}')
    call = session.first_items()
    assert call is not None
    session.encode(call, results(call, 7.0))
    call = session.to_items(b'{"target": [3]}')
    assert call is not None
    assert call.counts[0].observations == 3
    assert opened("{}").first_items() is None
    with pytest.raises(InvalidRequest):
        opened('{"target": []}').first_items()


def test_a_reset_forgets_the_series() -> None:
    session = opened("{}")
    for message, observations in (
        (b'{"target": [1, 2]}', 2),
        (b'{"target": [3]}', 3),
        (b'{"reset": true, "target": [1]}', 1),
    ):
        call = session.to_items(message)
        assert call is not None
        assert call.counts[0].observations == observations
        session.encode(call, results(call, 7.0))
    assert session.to_items(b'{"reset": true}') is None
    with pytest.raises(InvalidRequest):
        session.to_items(b'{"reset": true, "target": []}')
    call = session.to_items(b'{"target": [3]}')
    assert call is not None
    assert (call.items[0].state, call.counts[0].observations) == (None, 1)
    for message in (b"{}", b'{"reset": false}', b'{"reset": 1, "target": [1]}'):
        with pytest.raises(InvalidRequest):
            session.to_items(message)


def exchange(session: Session[ForecastRequest, ForecastCall, SeriesOpening], message: str) -> dict[str, Any]:
    """The answer to a message: each value is forecast to be between 0.9 and 1.1."""
    call = session.to_items(message.encode())
    assert call is not None
    batch = np.zeros((1, 2))
    answers = []
    for item in call.items:
        row = np.array([1.0, *(1 + (level - 0.5) / 5 for level in item.levels)])
        history = np.tile(row, (len(item.values), 1)) if item.history else None
        answers.append(ForecastResult(np.ones(1), np.ones((len(item.levels), 1)), history, 1, batch[0]))
    document: dict[str, Any] = json.loads(session.encode(call, answers))
    return document


def test_times_go_on_from_message_to_message() -> None:
    session = opened('{"start": "2024-01-31", "freq": "ME"}')
    assert exchange(session, '{"target": [1, 2]}')["timestamps"] == ["2024-03-31"]
    assert exchange(session, '{"target": [3]}')["timestamps"] == ["2024-04-30"]
    assert exchange(session, '{"reset": true, "target": [1]}')["timestamps"] == ["2024-05-31"]


@pytest.mark.parametrize(
    ("opening", "pointer"),
    [
        ('{"start": "2024-01-31"}', "#/freq"),
        ('{"freq": "D"}', "#/start"),
        ('{"start": "soon", "freq": "D"}', "#/start"),
        ('{"start": "2024-01-31", "freq": "lunar"}', "#/freq"),
    ],
)
def test_times_that_cannot_be_are_refused_at_once(opening: str, pointer: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        opened(opening)
    assert caught.value.errors[0].pointer == pointer


def test_anomalies_of_the_values_of_each_message() -> None:
    session = opened('{"start": "2024-01-01", "freq": "D", "parameters": {"include": ["anomaly"]}}')
    assert exchange(session, '{"target": [5, 1, 1, 1, 1, 1, 1, 1]}')["anomalies"] == []  # too early to be judged
    answer = exchange(session, '{"target": [1, 1.2]}')
    assert answer["history"] is None
    (anomaly,) = answer["anomalies"]
    assert (anomaly["index"], anomaly["value"], anomaly["timestamp"]) == (1, 1.2, "2024-01-10")
    assert (anomaly["lower"], anomaly["upper"]) == pytest.approx((0.901, 1.099))
    assert anomaly["score"] == pytest.approx(0.2 / 0.099)
    assert set(answer["quantiles"]) == {"0.1", "0.5", "0.9"}
