"""A client of the service, for programs that wait (`Client`) and for those that do not (`AsyncClient`).

    from ritmo.client import Client

    with Client("http://127.0.0.1:8000") as client:
        (forecast,) = client.forecast([[112, 118, 132, 129]], prediction_length=3)
        print(forecast.mean, forecast.quantiles["0.9"])
        frame = client.forecast_table(sales, prediction_length=28)  # a frame of pandas or polars, a path, or CSV

What the service refuses is `ServiceError`, with its code and faults. Answers that say so (429, 503) and connections
that fail are tried again, after the time that `Retry-After` names. It needs httpx, and websockets for live connections.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import httpx

Values = Sequence[float | None]
Json = dict[str, Any]

DEFAULT_URL = "http://127.0.0.1:8000"
RETRY_STATUSES = (429, 503)
MAX_WAIT = 30.0  # seconds between two tries
_CSV, _JSON = "text/csv", "application/json"


class ServiceError(Exception):
    """The service refused a request, or failed: `code` is stable, `errors` point at what is wrong."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail", ""))
        self.errors: list[Json] = list(problem.get("errors", ()))
        self.request_id = problem.get("request_id")
        self.retryable = bool(problem.get("retryable", False))
        super().__init__(f"{status} {self.code}: {self.detail}")


@dataclass(frozen=True)
class Forecast:
    """The forecast of one series; `raw` is the prediction as the service wrote it."""

    item_id: str | None
    mean: list[float]
    quantiles: dict[str, list[float]]
    timestamps: list[str] | None
    season_length: int
    state: str | None
    warnings: list[str]
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, raw: Json) -> Self:
        """The forecast that a prediction object means."""
        season = raw["context"]["season_length"]
        names = ("item_id", "mean", "quantiles", "state", "warnings")
        return cls(
            timestamps=raw.get("timestamps"), season_length=season, raw=raw, **{name: raw[name] for name in names}
        )


@dataclass(frozen=True)
class Digit:
    """The reading of one digit; `raw` is the prediction as the service wrote it."""

    item_id: str | None
    label: int | None
    score: float | None
    probabilities: list[float]
    state: str | None
    warnings: list[str]
    raw: Json = field(repr=False)

    @classmethod
    def of(cls, raw: Json) -> Self:
        """The reading that a prediction object means."""
        names = ("item_id", "label", "score", "probabilities", "state", "warnings")
        return cls(raw=raw, **{name: raw[name] for name in names})


@dataclass(frozen=True)
class Request:
    """One request, before it is sent."""

    method: str
    path: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class _Options:
    """What both clients have: how requests are made, and when one is tried again."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float, retries: int) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.retries = retries
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def wait(self, attempt: int, response: httpx.Response | None) -> float | None:
        """Seconds until the next try, None where there is none."""
        if attempt >= self.retries or (response is not None and response.status_code not in RETRY_STATUSES):
            return None
        stated = response.headers.get("retry-after", "") if response is not None else ""
        return min(float(stated) if stated.replace(".", "", 1).isdigit() else 0.2 * 2**attempt, MAX_WAIT)


class Client:
    """The client for programs that wait. It is a context manager, and may be used by several threads."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._options = _Options(base_url, api_key, timeout, retries)
        self._http = httpx.Client(
            base_url=self._options.base_url, headers=self._options.headers, timeout=timeout, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def forecast(
        self, series: Sequence[Values | Mapping[str, Any]], model: str | None = None, **parameters: Any
    ) -> list[Forecast]:
        """The forecasts of `series`: lists of values, or objects (`target`, `item_id`, `start`, `freq`, `state` …)."""
        return forecasts_in(self._json(forecast_request(series, model, parameters)))

    def forecast_table(self, table: Any, **options: Any) -> Any:
        """The forecasts of a table, in a table of the same kind: a frame of pandas or polars, or text of CSV."""
        return as_sent(table, self._send(table_request("/forecast", table, options, _CSV)).text)

    def backtest(self, table: Any, **options: Any) -> Json:
        """How good the model is on the past of a table, or of a list of series."""
        return self._json(evaluation_request("/backtest", table, options))

    def anomalies(self, table: Any, **options: Any) -> Json:
        """The past values of a table, or of a list of series, that fall outside their intervals."""
        return self._json(evaluation_request("/anomalies", table, options))

    def classify_digits(self, images: Sequence[Any], model: str | None = None, **parameters: Any) -> list[Digit]:
        """The digits in `images`: paths, bytes of files, or lists of rows."""
        return digits_in(self._json(digit_request(images, model, parameters)))

    def models(self) -> list[Json]:
        """What is served."""
        models: list[Json] = self._json(Request("GET", "/models"))["models"]
        return models

    def is_ready(self) -> bool:
        """Whether the service answers and every model is loaded."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    @contextmanager
    def live_series(self, model: str | None = None, **parameters: Any) -> Iterator[LiveSeries]:
        """A series that goes on: its state is carried from request to request, through any replica."""
        yield LiveSeries(self, model, parameters)

    def _json(self, request: Request) -> Json:
        document: Json = self._send(request).json()
        return document

    def _send(self, request: Request) -> httpx.Response:
        response: httpx.Response | None = None
        for attempt in range(self._options.retries + 1):
            response = None
            try:
                response = self._http.request(
                    request.method, request.path, content=request.content, headers=request.headers
                )
                if response.status_code < 400:
                    return response
            except httpx.TransportError:
                if self._options.wait(attempt, None) is None:
                    raise
            wait = self._options.wait(attempt, response)
            if wait is None:
                break
            time.sleep(wait)
        raise _error(response)


class AsyncClient:
    """The client for programs that do not wait. It is an asynchronous context manager."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._options = _Options(base_url, api_key, timeout, retries)
        self._http = httpx.AsyncClient(
            base_url=self._options.base_url, headers=self._options.headers, timeout=timeout, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def forecast(
        self, series: Sequence[Values | Mapping[str, Any]], model: str | None = None, **parameters: Any
    ) -> list[Forecast]:
        """As `Client.forecast`."""
        return forecasts_in(await self._json(forecast_request(series, model, parameters)))

    async def forecast_table(self, table: Any, **options: Any) -> Any:
        """As `Client.forecast_table`."""
        return as_sent(table, (await self._send(table_request("/forecast", table, options, _CSV))).text)

    async def backtest(self, table: Any, **options: Any) -> Json:
        """As `Client.backtest`."""
        return await self._json(evaluation_request("/backtest", table, options))

    async def anomalies(self, table: Any, **options: Any) -> Json:
        """As `Client.anomalies`."""
        return await self._json(evaluation_request("/anomalies", table, options))

    async def classify_digits(self, images: Sequence[Any], model: str | None = None, **parameters: Any) -> list[Digit]:
        """As `Client.classify_digits`."""
        return digits_in(await self._json(digit_request(images, model, parameters)))

    async def models(self) -> list[Json]:
        """What is served."""
        models: list[Json] = (await self._json(Request("GET", "/models")))["models"]
        return models

    @asynccontextmanager
    async def stream(
        self, path: str = "/forecast/stream", model: str | None = None, **parameters: Any
    ) -> AsyncIterator[Stream]:
        """A live connection, to `/forecast/stream` or `/classify-digit/stream`: new values in, a prediction out."""
        from websockets.asyncio.client import connect

        address = "ws" + self._options.base_url.removeprefix("http") + path
        async with connect(address, additional_headers=self._options.headers, max_size=None) as connection:
            await connection.send(json.dumps(_without_none({"model": model, "parameters": parameters})))
            yield Stream(connection)

    async def _json(self, request: Request) -> Json:
        document: Json = (await self._send(request)).json()
        return document

    async def _send(self, request: Request) -> httpx.Response:
        response: httpx.Response | None = None
        for attempt in range(self._options.retries + 1):
            response = None
            try:
                response = await self._http.request(
                    request.method, request.path, content=request.content, headers=request.headers
                )
                if response.status_code < 400:
                    return response
            except httpx.TransportError:
                if self._options.wait(attempt, None) is None:
                    raise
            wait = self._options.wait(attempt, response)
            if wait is None:
                break
            await asyncio.sleep(wait)
        raise _error(response)


class LiveSeries:
    """A series that goes on over ordinary requests; `state` may be kept, and given to another one later."""

    def __init__(self, client: Client, model: str | None, parameters: Json) -> None:
        self.state: str | None = None
        self._client = client
        self._model = model
        self._parameters = parameters

    def update(self, values: Values) -> Forecast:
        """The forecast after `values`, which come after all that were sent before."""
        series = _without_none({"target": list(values), "state": self.state})
        (forecast,) = self._client.forecast([series], self._model, return_state=True, **self._parameters)
        self.state = forecast.state
        return forecast


class Stream:
    """An open live connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def send(self, **message: Any) -> Json:
        """The prediction after new values (`target=[…]`) or rows (`rows=[…]`); raises `ServiceError`."""
        await self._connection.send(json.dumps(message))
        answer: Json = json.loads(await self._connection.recv())
        if "code" in answer and "status" in answer:
            raise ServiceError(answer["status"], answer)
        return answer


def forecast_request(series: Sequence[Values | Mapping[str, Any]], model: str | None, parameters: Json) -> Request:
    """`POST /forecast` for lists of values or objects of series."""
    inputs = [dict(entry) if isinstance(entry, Mapping) else {"target": _numbers(entry)} for entry in series]
    return _json_request("/forecast", inputs, model, parameters)


def digit_request(images: Sequence[Any], model: str | None, parameters: Json) -> Request:
    """`POST /classify-digit` for paths, bytes of files, or lists of rows."""
    return _json_request("/classify-digit", [_digit(image) for image in images], model, parameters)


def table_request(path: str, table: Any, options: Json, accept: str) -> Request:
    """A POST of a table with its options in the query."""
    query = {name: _option(value) for name, value in options.items() if value is not None}
    headers = {"Content-Type": _CSV, "Accept": accept}
    return Request("POST", f"{path}?{urlencode(query)}" if query else path, csv_of(table), headers)


def evaluation_request(path: str, table: Any, options: Json) -> Request:
    """A POST of a table, or of a list of series as JSON."""
    if isinstance(table, Sequence) and not isinstance(table, str | bytes):
        model = options.pop("model", None)
        inputs = [dict(entry) if isinstance(entry, Mapping) else {"target": _numbers(entry)} for entry in table]
        return _json_request(path, inputs, model, options)
    return table_request(path, table, options, _JSON)


def csv_of(table: Any) -> bytes:
    """A frame of pandas or polars, a path, text or bytes as CSV."""
    if isinstance(table, bytes):
        return table
    if isinstance(table, Path):
        return table.read_bytes()
    if isinstance(table, str):
        return table.encode()
    if hasattr(table, "write_csv"):  # polars
        return str(table.write_csv()).encode()
    if hasattr(table, "to_csv"):  # pandas
        return str(table.to_csv(index=not _is_counted(table.index))).encode()
    raise TypeError("a table is a frame of pandas or polars, a path, or CSV as text or bytes")


def as_sent(table: Any, text: str) -> Any:
    """CSV in the kind of `table`: a frame of the same library, with the ids as they were, else text."""
    if hasattr(table, "write_csv"):
        import polars as pl

        answer = pl.read_csv(io.StringIO(text), try_parse_dates=True, schema_overrides={"item_id": pl.String})
        are_numbers = _are_numbers(answer["item_id"], [table[name] for name in table.columns])
        return answer.with_columns(pl.col("item_id").cast(pl.Int64)) if are_numbers else answer
    if hasattr(table, "to_csv"):
        import pandas as pd

        dates = ["timestamp"] if "timestamp" in text[:40] else None
        answer = pd.read_csv(io.StringIO(text), parse_dates=dates, dtype={"item_id": str})
        flat = table.reset_index()
        are_numbers = _are_numbers(answer["item_id"], [flat[name] for name in flat.columns])
        return answer.astype({"item_id": "int64"}) if are_numbers else answer
    return text


def _are_numbers(ids: Any, columns: Sequence[Any]) -> bool:
    """Whether the ids of series stood in a column of whole numbers, and in none of text."""
    wanted = {str(name) for name in ids}
    found = [column for column in columns if wanted <= {str(value) for value in column}]
    return bool(found) and all("int" in str(column.dtype).lower() for column in found)


def forecasts_in(answer: Json) -> list[Forecast]:
    """The forecasts of an answer."""
    return [Forecast.of(raw) for raw in answer["predictions"]]


def digits_in(answer: Json) -> list[Digit]:
    """The readings of an answer."""
    return [Digit.of(raw) for raw in answer["predictions"]]


def _json_request(path: str, inputs: list[Json], model: str | None, parameters: Json) -> Request:
    document = _without_none({"model": model, "inputs": inputs, "parameters": _without_none(parameters)})
    return Request("POST", path, json.dumps(document, allow_nan=False).encode(), {"Content-Type": _JSON})


def _numbers(values: Any) -> list[float | None]:
    """Values as JSON has them; NaN is a missing one."""
    numbers = values.tolist() if hasattr(values, "tolist") else list(values)
    return [None if value is None or value != value else value for value in numbers]  # noqa: PLR0124 (NaN)


def _digit(image: Any) -> Json:
    if isinstance(image, str | Path):
        path = Path(image)
        return {"image": base64.b64encode(path.read_bytes()).decode(), "item_id": path.name}
    if isinstance(image, bytes):
        return {"image": base64.b64encode(image).decode()}
    return {"rows": image.tolist() if hasattr(image, "tolist") else image}


def _option(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _without_none(document: Json) -> Json:
    return {name: value for name, value in document.items() if value is not None}


def _is_counted(index: Any) -> bool:
    """Whether the index of a frame of pandas is only 0, 1, 2 …"""
    return type(index).__name__ == "RangeIndex"


def _error(response: httpx.Response | None) -> ServiceError:
    if response is None:
        return ServiceError(0, {"detail": "no answer"})
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": response.text[:200]}
    return ServiceError(response.status_code, problem if isinstance(problem, dict) else {"detail": str(problem)})
