"""This service, asked over HTTP as a user would: batches of series a request, and one series a request."""

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

from benchmarks.forecasting.answers import Answers
from benchmarks.forecasting.windows import LEVELS, Floats, Part
from benchmarks.serving import workloads
from benchmarks.serving.contestants import SCRATCH, ours
from benchmarks.serving.load import Request
from benchmarks.serving.measure import first_answer
from benchmarks.serving.processes import Server, free_port, server
from service.contract.manifest import Manifest, read_manifest

BATCH = 64  # series in a request
SECONDS = 1.0  # that requests are repeated for when they are timed
AT_LEAST = 3
LIMITS = {"RITMO_MAX_BODY_BYTES": str(64 << 20), "RITMO_TIMEOUT_MS": "600000"}  # a batch of long series with all digits


@dataclass(frozen=True)
class Timing:
    """Seconds for one series: CPU time of the service, and as the caller's clock has it."""

    cpu: float
    wall: float


class Service:
    """A running service over the folder `models`; a model is `name` or `name@version`."""

    def __init__(self, running: Server, models: Path) -> None:
        self._running = running
        self._models = models
        self._connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=600)

    def manifest(self, model: str) -> Manifest:
        """Of what answers to `model`."""
        body = {"model": model, "inputs": [{"target": [1.0, 2.0, 3.0]}]}
        answer = self._send(Request("/forecast", json.dumps(body).encode()))
        return read_manifest(self._models / answer["model"] / answer["model_version"])

    def answer(self, model: str, part: Part, *, told: bool = True) -> Answers:
        """The forecasts of all windows, in batches of series that have horizon and season in common.

        `told`: whether requests state the season.
        """
        found: dict[int, Floats] = {}
        for group in _groups(part):
            for start in range(0, len(group), BATCH):
                chosen = group[start : start + BATCH]
                answer = self._send(self._request(model, part, chosen, told=told))
                for i, prediction in zip(chosen, answer["predictions"], strict=True):
                    found[i] = np.array(list(prediction["quantiles"].values())).T
        return Answers([found[i] for i in range(len(part.windows))])

    def timed(self, model: str, part: Part, series: int) -> Timing:
        """What a series costs in requests of `series`, over the most common horizon and season of the part."""
        group = max(_groups(part), key=len)
        rows = [group[i % len(group)] for i in range(max(series, len(group)))]
        requests = [self._request(model, part, rows[i : i + series]) for i in range(0, len(rows) - series + 1, series)]
        return self._repeated(lambda k: self._send(requests[k % len(requests)]), max(AT_LEAST, len(requests)), series)

    def close(self) -> None:
        """Close the connection; the service goes on."""
        self._connection.close()

    def _repeated(self, send: Callable[[int], object], least: int, series: int) -> Timing:
        for k in range(least):
            send(k)  # the shapes are warm, then
        before, begun, count = self._running.cpu_seconds(), time.perf_counter(), 0
        while count < least or time.perf_counter() - begun < SECONDS:
            send(count)
            count += 1
        wall = time.perf_counter() - begun
        return Timing((self._running.cpu_seconds() - before) / count / series, wall / count / series)

    def _request(self, model: str, part: Part, chosen: Sequence[int], *, told: bool = True) -> Request:
        first = part.windows[chosen[0]]
        parameters: dict[str, object] = {"prediction_length": len(first.future), "quantile_levels": LEVELS}
        if told:
            parameters["season_length"] = first.season
        contexts = part.contexts
        inputs = [{"target": [None if math.isnan(x) else x for x in contexts[i].tolist()]} for i in chosen]
        body = {"model": model, "inputs": inputs, "parameters": parameters}
        return Request("/forecast", json.dumps(body, separators=(",", ":")).encode())

    def _send(self, request: Request) -> Any:
        status, answer = workloads.ask(self._running.port, request, self._connection)
        if status != 200:
            raise SystemExit(f"the service answered {status}: {answer!r}\n{self._running.tail()}")
        return answer


@contextlib.contextmanager
def service(models: Path, model: str) -> Iterator[Service]:
    """Start the service on `models`, one process with one thread, on a free port; it is there once `model` answers."""
    dialect = workloads.ritmo(model)
    first = workloads.Workload("first", [dialect.one([1.0, 2.0, 3.0])], dialect.read)
    port = free_port()
    launch = ours("ritmo", models, lambda: first, lambda _: []).launch(port, 1)
    variables = {**launch.variables, **LIMITS}
    log = SCRATCH / "logs" / "forecasting.log"
    with server(launch.command, port=port, environment=variables, folder=launch.folder, log=log) as running:
        first_answer(running, first.requests[0])
        with contextlib.closing(Service(running, models)) as asked:
            yield asked


def _groups(part: Part) -> list[list[int]]:
    """Windows that one request can ask for together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, window in enumerate(part.windows):
        groups.setdefault((len(window.future), window.season), []).append(i)
    return list(groups.values())
