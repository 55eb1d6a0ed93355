"""State tokens over real ports: through any replica with the same key, and never in a log."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.integration.servers import TIMEOUT, Server, new_client, running
from tests.models import LSTMDigits, RunningMean, write_model

KEYS = "the first secret of this test", "the other secret of this test"
ROW = [0] * 11 + [84, 185, 254, 254, 185, 84] + [0] * 11


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two services of one model folder in the middle of a rotation of keys; both log all they can."""
    folder: Path = tmp_path_factory.mktemp("replicas")
    write_model(folder, "forecaster", RunningMean())
    write_model(folder, "digits", LSTMDigits())
    common: dict[str, Any] = {"log_level": "debug", "access_log": True, "drain_delay_seconds": 0}
    with (
        running(folder, state_keys=KEYS[0] + "," + KEYS[1], **common) as first,
        running(folder, state_keys=KEYS[1], **common) as second,
    ):
        yield [first.settled(), second.settled()]


async def ask(server: Server, path: str, item: dict[str, Any], **parameters: Any) -> httpx.Response:
    async with new_client(server.url) as client:
        return await client.post(path, json={"inputs": [item], "parameters": parameters})


def prediction(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return dict(response.json()["predictions"][0])


async def test_a_series_goes_on_at_another_replica(replicas: list[Server]) -> None:
    first, second = replicas
    start = prediction(await ask(second, "/forecast", {"target": [1, None, 2]}, return_state=True))
    resumed = prediction(await ask(first, "/forecast", {"target": [3], "state": start["state"]}, return_state=True))
    expected = prediction(await ask(second, "/forecast", {"target": [1, None, 2, 3]}))
    assert resumed | {"state": None} == expected
    repeated = prediction(await ask(first, "/forecast", {"target": [], "state": resumed["state"]}))
    assert repeated == expected


async def test_new_values_are_counted_by_where_they_fell_from_their_interval(replicas: list[Server]) -> None:
    state = None
    for _ in range(41):  # values that never change are inside any interval
        answer = await ask(replicas[0], "/forecast", {"target": [5.0], "state": state}, return_state=True)
        state = prediction(answer)["state"]
        assert len(answer.json()["predictions"]) == 1
    async with new_client(replicas[0].url) as client:
        page = (await client.get("/metrics")).text
    assert 'ritmo_interval_outcomes_total{model="forecaster",outcome="below"} 0.0' in page
    counted = re.search(r'ritmo_interval_outcomes_total{model="forecaster",outcome="inside"} (\d+)', page)
    assert counted is not None
    assert int(counted[1]) >= 4


async def test_a_key_that_a_replica_does_not_have(replicas: list[Server]) -> None:
    first, second = replicas
    start = prediction(await ask(first, "/forecast", {"target": [1]}, return_state=True))
    refused = await ask(second, "/forecast", {"target": [2], "state": start["state"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "state_invalid")
    assert refused.json()["errors"][0]["pointer"] == "#/inputs/0/state"
    assert start["state"] not in refused.text


async def test_a_digit_goes_on_at_another_replica(replicas: list[Server]) -> None:
    first, second = replicas
    start = prediction(await ask(second, "/classify-digit", {"rows": [[0] * 28, ROW]}, return_state=True))
    item = {"rows": [ROW, ROW], "state": start["state"]}
    resumed = prediction(await ask(first, "/classify-digit", item, trace=True))
    assert resumed["rows_used"] == 4
    assert [point["row"] for point in resumed["trace"]] == [3, 4]
    foreign = await ask(first, "/forecast", {"target": [1], "state": start["state"]})
    assert (foreign.status_code, foreign.json()["code"]) == (422, "state_model_mismatch")


async def test_neither_tokens_nor_keys_nor_series_are_logged(replicas: list[Server]) -> None:
    """Requests with tokens, right and wrong ones, at the level that logs most; this test stops both servers."""
    first, second = replicas
    start = prediction(await ask(first, "/forecast", {"target": [1, 731.25]}, return_state=True))
    token = start["state"]
    assert (await ask(first, "/forecast", {"target": [1, 731.25], "state": token})).status_code == 200
    assert (await ask(second, "/forecast", {"target": [1], "state": token})).status_code == 422
    assert (await ask(first, "/forecast", {"target": [1], "state": token, token: 1})).status_code == 422
    assert (await ask(first, "/classify-digit", {"rows": [ROW], "state": token})).status_code == 422
    async with connect(first.url.replace("http", "ws", 1) + "/forecast/stream", open_timeout=TIMEOUT) as socket:
        for message in ({"state": token, "parameters": {"return_state": True}}, {"target": [731.25]}):
            await socket.send(json.dumps(message))
        token_of_stream = json.loads(await socket.recv())["state"]
    for server in replicas:
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0
        text = "".join(server.lines)
        assert "/forecast" in text  # requests are logged
        for secret in (token, token[:60], token[-43:], token_of_stream[:60], "731.25", "secret of this"):
            assert secret not in text
