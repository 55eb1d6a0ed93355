"""This service as a forecasting method: requests over HTTP, with many series each and with one series each."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.forecasting.scoring import Forecasts
from benchmarks.forecasting.windows import LEVELS, Floats, Part
from benchmarks.serving import workloads
from benchmarks.serving.contestants import SCRATCH, ritmo
from benchmarks.serving.load import Request
from benchmarks.serving.measure import first_answer, wait_until_warm
from benchmarks.serving.processes import Server, free_port, server
from service.contract.manifest import Manifest, read_manifest

BATCH = 64  # series in a request
SECONDS = 1.0  # for which requests are repeated when they are timed
MIN_REPEATS = 3
# A request of 64 long series with all digits is larger and slower than the service's defaults allow.
LIMITS = {"RITMO_MAX_BODY_BYTES": str(64 << 20), "RITMO_TIMEOUT_MS": "600000"}


@dataclass(frozen=True)
class Timing:
    """Seconds for one series: CPU time of the service, and the caller's clock."""

    cpu: float
    wall: float


class Service:
    """A running service over the folder `models`; a model is `name` or `name@version`."""

    def __init__(self, process: Server, models: Path) -> None:
        self._process = process
        self._models = models
        self._connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=600)

    def manifest(self, model: str) -> Manifest:
        """The manifest of the version that answers to `model`."""
        body = {"model": model, "inputs": [{"target": [1.0, 2.0, 3.0]}]}
        answer = self._send(Request("/forecast", json.dumps(body).encode()))
        return read_manifest(self._models / answer["model"] / answer["model_version"])

    def forecast(self, model: str, part: Part, *, season_known: bool = True) -> Forecasts:
        """The forecasts of all windows, in batches of series that have horizon and season in common.

        `season_known`: whether requests state the season.
        """
        quantiles: dict[int, Floats] = {}
        for group in _groups(part):
            for start in range(0, len(group), BATCH):
                indices = group[start : start + BATCH]
                answer = self._send(self._request(model, part, indices, season_known=season_known))
                for i, prediction in zip(indices, answer["predictions"], strict=True):
                    quantiles[i] = np.array(list(prediction["quantiles"].values())).T
        return Forecasts([quantiles[i] for i in range(len(part.windows))])

    def timing(self, model: str, part: Part, series: int) -> Timing:
        """The cost of a series in requests of `series` each, over the most common horizon and season of the part."""
        group = max(_groups(part), key=len)
        rows = [group[i % len(group)] for i in range(max(series, len(group)))]
        requests = [self._request(model, part, rows[i : i + series]) for i in range(0, len(rows) - series + 1, series)]
        repeats = max(MIN_REPEATS, len(requests))
        return self._repeated(lambda k: self._send(requests[k % len(requests)]), repeats, series)

    def close(self) -> None:
        """Close the connection; the service keeps running."""
        self._connection.close()

    def _repeated(self, send: Callable[[int], object], min_repeats: int, series: int) -> Timing:
        for k in range(min_repeats):
            send(k)  # an untimed pass warms every shape
        cpu_start, start, count = self._process.cpu_seconds(), time.perf_counter(), 0
        while count < min_repeats or time.perf_counter() - start < SECONDS:
            send(count)
            count += 1
        wall = time.perf_counter() - start
        return Timing((self._process.cpu_seconds() - cpu_start) / count / series, wall / count / series)

    def _request(self, model: str, part: Part, indices: Sequence[int], *, season_known: bool = True) -> Request:
        first = part.windows[indices[0]]
        parameters: dict[str, object] = {"prediction_length": len(first.future), "quantile_levels": LEVELS}
        if season_known:
            parameters["season_length"] = first.season
        contexts = part.contexts
        inputs = [{"target": [None if math.isnan(x) else x for x in contexts[i].tolist()]} for i in indices]
        body = {"model": model, "inputs": inputs, "parameters": parameters}
        return Request("/forecast", json.dumps(body, separators=(",", ":")).encode())

    def _send(self, request: Request) -> Any:
        status, answer = workloads.send(self._process.port, request, self._connection)
        if status != 200:
            raise SystemExit(f"the service answered {status}: {answer!r}\n{self._process.log_tail()}")
        return answer


@contextlib.contextmanager
def running_service(models: Path, model: str) -> Iterator[Service]:
    """A service on `models`, one process with one thread on a free port, as soon as it is as fast as it will be."""
    dialect = workloads.ritmo(model)
    first = workloads.Workload("first", [dialect.encode([1.0, 2.0, 3.0])], dialect.decode)
    port = free_port()
    contestant = ritmo("ritmo", models, lambda: first, lambda _: [])
    launch = contestant.launch(port, 1)
    variables = {**launch.variables, **LIMITS}
    log = SCRATCH / "logs" / "forecasting.log"
    with server(launch.command, port=port, environment=variables, folder=launch.folder, log=log) as process:
        first_answer(process, first.requests[0])
        wait_until_warm(process, contestant)
        with contextlib.closing(Service(process, models)) as service:
            yield service


def _groups(part: Part) -> list[list[int]]:
    """Indices of windows that one request can carry: equal horizon and season."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, window in enumerate(part.windows):
        groups.setdefault((len(window.future), window.season), []).append(i)
    return list(groups.values())
