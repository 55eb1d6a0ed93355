"""The client against the application itself, over ASGI, and against answers that a test makes up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ritmo.client import AsyncClient, Client, ServiceError, csv_of
from tests.integration.servers import Server, running
from tests.pictures import drawn, encoded
from tests.service.api.harness import ROW, Harness

TABLE = "id,date,y\na,2024-01-01,1\na,2024-01-02,2\nb,2024-01-01,5\nb,2024-01-02,6\n"


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    harness = Harness()
    transport = httpx.ASGITransport(harness.app)
    async with harness.app.router.lifespan_context(harness.app), AsyncClient(transport=transport) as client:
        yield client


async def test_series(client: AsyncClient) -> None:
    series: list[Any] = [
        [1, 2, 3],
        {"item_id": "a", "target": [4, None], "start": "2024-01-01", "freq": "D"},
        np.array([1, np.nan]),
    ]
    plain, dated, gap = await client.forecast(series, prediction_length=2, quantile_levels=[0.1])
    assert (plain.mean, plain.quantiles["0.1"], plain.timestamps) == ([3, 3], [2.2, 2.2], None)
    assert (dated.item_id, dated.timestamps) == ("a", ["2024-01-03", "2024-01-04"])
    assert gap.mean == [1, 1]


async def test_tables(client: AsyncClient, tmp_path: Path) -> None:
    answer = await client.forecast_table(TABLE, prediction_length=1, quantile_levels=[0.1, 0.9])
    assert answer.splitlines()[1] == "a,2024-01-03,2.0,1.2,2.8"
    path = tmp_path / "a.csv"
    path.write_text(TABLE, encoding="utf-8")
    assert await client.forecast_table(path, quantile_levels=[0.1, 0.9]) == answer
    assert (await client.backtest(TABLE * 1 + "a,2024-01-03,3\nb,2024-01-03,7\n", prediction_length=1))["series"]
    assert (await client.anomalies([[1.0] * 20]))["predictions"][0]["judged"] == 12


async def test_frames(client: AsyncClient) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"id": ["a", "a"], "date": ["2024-01-01", "2024-01-02"], "y": [1.0, 2.0]})
    answer = await client.forecast_table(frame)
    assert answer["timestamp"].iloc[0] == pandas.Timestamp("2024-01-03")
    for name in ("007", 7):  # ids come back as they were
        frame["id"] = [name, name]
        assert (await client.forecast_table(frame))["item_id"].tolist() == [name]


async def test_digits(client: AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "seven.png"
    drawn().save(path)
    rows, image, file = await client.classify_digits([[ROW] * 3, encoded(drawn(), "png"), path])
    assert (rows.label, image.label, file.item_id) == (3, 8, "seven.png")


async def test_models_and_errors(client: AsyncClient) -> None:
    assert {model["name"] for model in await client.models()} == {"forecaster", "linear", "digits"}
    with pytest.raises(ServiceError, match="422 out_of_range") as caught:
        await client.forecast([[]])
    assert caught.value.errors[0]["pointer"] == "#/inputs/0/target"
    with pytest.raises(ServiceError, match="model_not_found"):
        await client.forecast([[1]], model="nobody")


def answering(*answers: httpx.Response | Exception) -> tuple[Client, list[httpx.Request]]:
    """A client whose requests are answered so, one after the other."""
    requests: list[httpx.Request] = []
    waiting = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Client(transport=httpx.MockTransport(handle), api_key="secret"), requests


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr("ritmo.client.time.sleep", waits.append)
    return waits


def test_a_busy_service_is_asked_again_when_it_says(waits: list[float]) -> None:
    busy = httpx.Response(503, json={"code": "queue_full"}, headers={"Retry-After": "2"})
    client, requests = answering(busy, httpx.ConnectError("no"), httpx.Response(200, json={"models": []}))
    assert client.models() == []
    assert (waits, len(requests)) == ([2.0, 0.4], 3)
    assert requests[0].headers["authorization"] == "Bearer secret"


def test_what_is_wrong_is_not_asked_again(waits: list[float]) -> None:
    client, requests = answering(httpx.Response(422, json={"code": "wrong_type", "detail": "x"}))
    with pytest.raises(ServiceError, match="wrong_type"):
        client.models()
    assert (waits, len(requests)) == ([], 1)


def test_it_gives_up(waits: list[float]) -> None:
    client, _ = answering(*[httpx.Response(503, text="gone")] * 4)
    with pytest.raises(ServiceError, match="503"):
        client.models()
    assert len(waits) == 3
    client, _ = answering(*[httpx.ConnectError("no")] * 4)
    with pytest.raises(httpx.ConnectError):
        client.models()


def test_no_table() -> None:
    with pytest.raises(TypeError, match="frame"):
        csv_of(3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from tests.models import RunningMean, write_model

    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "forecaster", RunningMean())
    with running(folder) as server:
        yield server.settled()


def test_a_series_that_goes_on(server: Server) -> None:
    with Client(server.url) as client:
        assert client.is_ready()
        with client.live_series(prediction_length=2) as series:
            series.update([1, 2])
            forecast = series.update([6])
        (at_once,) = client.forecast([[1, 2, 6]], prediction_length=2)
        assert forecast.mean == at_once.mean


async def test_a_live_connection(server: Server) -> None:
    async with AsyncClient(server.url) as client, client.stream(prediction_length=2) as stream:
        await stream.send(target=[1, 2])
        with pytest.raises(ServiceError, match="wrong_type"):
            await stream.send(target=["x"])
        prediction = await stream.send(target=[6])
        (at_once,) = await client.forecast([[1, 2, 6]], prediction_length=2)
        assert prediction["mean"] == at_once.mean
