"""`python -m benchmarks.serving.queueing`: a queueing model, fitted to measured times and checked at three loads.

The model is one server with batches: when it is free it takes all requests that wait, n of them, and answers them after
`fixed + each * n` seconds; on the way in and out a request spends `overhead`. The three numbers are fitted to loops of
1 to 16 clients, each of which sends when it has its answer. Then requests come at random (Poisson) at three shares of
what one process can do, and the mean time to an answer is compared with the model's, which is given the same arrivals.
Figures of scale in docs/scale.md are computed with this model.
"""

from __future__ import annotations

import argparse
import math
import queue
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import table
from benchmarks.serving.contestants import ROOT
from benchmarks.serving.fairness import Connection, request, serving

RESULT = ROOT / "benchmarks/results/queueing.csv"
CLIENTS = (1, 2, 4, 8, 16)
LOADS = (0.3, 0.6, 0.8)  # of the requests a second that the largest loop gets
SENDERS = 64  # connections of the random arrivals; more requests are never in flight
TOLERANCE = 0.15


@dataclass(frozen=True)
class Model:
    """Seconds of a batch of n requests: `fixed + each * n`; `overhead` outside the batch."""

    fixed: float
    each: float
    overhead: float

    def response_times(self, arrivals: Sequence[float] | np.ndarray) -> np.ndarray:
        """Seconds from each arrival to its answer, the arrivals in order."""
        times = np.asarray(arrivals)
        answers = np.empty(len(times))
        free = 0.0
        first = 0
        while first < len(times):
            begin = max(free, times[first])
            last = int(np.searchsorted(times, begin, side="right"))
            free = begin + self.fixed + self.each * (last - first)
            answers[first:last] = free
            first = last
        seconds: np.ndarray = answers - times + self.overhead
        return seconds


@dataclass(frozen=True)
class Loop:
    """What a closed loop of clients saw, in seconds; the batch as the service's own metrics count it."""

    clients: float
    rate: float
    response: float
    batch_requests: float
    batch_seconds: float


@dataclass(frozen=True)
class Row:
    """One load: times to an answer in milliseconds."""

    load: float
    requests_per_second: float
    measured_mean_ms: float
    modelled_mean_ms: float
    error: float
    measured_p90_ms: float
    modelled_p90_ms: float
    fixed_ms: float
    each_ms: float
    overhead_ms: float
    capacity_per_second: float
    workload: str
    date: str


def batches(port: int, model: str) -> tuple[float, float, float]:
    """Batches so far, their items, and the seconds that they took."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        page = answer.read().decode()
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels.get("model") == model
    }
    names = ("ritmo_batch_items_count", "ritmo_batch_items_sum", "ritmo_batch_seconds_sum")
    count, items, seconds = (samples.get(name, 0.0) for name in names)
    return count, items, seconds


def closed_loop(port: int, options: argparse.Namespace, clients: int) -> Loop:
    """`clients` that each send when they have their answer, for some seconds."""
    message = request(options.model, options.series, options.values, [])
    seen: list[float] = []
    before = batches(port, options.model)
    start = time.monotonic()
    until = start + options.seconds

    def client() -> None:
        with Connection(port) as connection:
            while (began := time.monotonic()) < until:
                if connection.ask(message) != 200:
                    raise RuntimeError("a request was refused")
                seen.append(time.monotonic() - began)

    run_all([client] * clients)
    seconds = time.monotonic() - start
    count, items, busy = np.subtract(batches(port, options.model), before)
    return Loop(clients, len(seen) / seconds, float(np.mean(seen)), items / options.series / count, busy / count)


def run_all(functions: Sequence[object]) -> None:
    """Run the functions at once, each in a thread."""
    threads = [threading.Thread(target=function) for function in functions]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def fit(loops: Sequence[Loop]) -> Model:
    """The model that explains the mean batches of the loops (least squares of relative errors)."""
    sizes = np.array([loop.batch_requests for loop in loops])
    seconds = np.array([loop.batch_seconds for loop in loops])
    columns = np.stack([np.ones_like(sizes), sizes], axis=1) / seconds[:, None]
    (fixed, each), *_ = np.linalg.lstsq(columns, np.ones_like(seconds), rcond=None)
    # One client alone waits for nobody: what its batch does not explain is spent outside of it.
    return Model(max(0.0, float(fixed)), float(each), max(0.0, loops[0].response - loops[0].batch_seconds))


def replicas(capacity: float, requests_per_second: float, share: float) -> int:
    """Processes for that many requests, each at `share` of the `capacity` requests a second that it has."""
    return math.ceil(requests_per_second / (capacity * share))


def random_arrivals(port: int, options: argparse.Namespace, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """When requests were sent, and how long after that their answers came, by arrivals at random."""
    message = request(options.model, options.series, options.values, [])
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=int(rate * options.seconds * 3))
    due: queue.Queue[float | None] = queue.Queue()
    seen: list[tuple[float, float]] = []

    def sender() -> None:
        with Connection(port) as connection:
            while (arrival := due.get()) is not None:
                if connection.ask(message) != 200:
                    raise RuntimeError("a request was refused")
                seen.append((arrival, time.monotonic() - arrival))

    def clock() -> None:
        begin = time.monotonic() + 0.5
        for arrival in begin + np.cumsum(gaps):
            time.sleep(max(0.0, arrival - time.monotonic()))
            due.put(time.monotonic())
        for _ in range(SENDERS):
            due.put(None)

    run_all([clock, *[sender] * SENDERS])
    arrivals, seconds = np.array(sorted(seen)).T
    return arrivals, seconds


def check(port: int, options: argparse.Namespace) -> list[Row]:
    """The fit, and a row for each load.

    Loops and loads take turns, so that whatever else the machine does falls on the fit and on what it is checked by.
    """
    capacity = 0.0
    for clients in CLIENTS:  # every shape of batch is met once
        capacity = closed_loop(port, options, clients).rate
    loops: list[list[Loop]] = [[] for _ in CLIENTS]
    seen: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in LOADS]
    for number in range(options.rounds):
        for clients, of_size in zip(CLIENTS, loops, strict=True):
            of_size.append(closed_loop(port, options, clients))
        for load, segments in zip(LOADS, seen, strict=True):
            segments.append(random_arrivals(port, options, load * capacity, number))
    model = fit([mean_of(of_size) for of_size in loops])
    print(model)
    return [row(load, capacity, model, segments, options) for load, segments in zip(LOADS, seen, strict=True)]


def mean_of(loops: Sequence[Loop]) -> Loop:
    """Rounds of one loop as one."""
    return Loop(*(float(np.mean([getattr(loop, field.name) for loop in loops])) for field in fields(Loop)))


def row(
    load: float,
    capacity: float,
    model: Model,
    segments: Sequence[tuple[np.ndarray, np.ndarray]],
    options: argparse.Namespace,
) -> Row:
    """What was measured at a load, beside what the model makes of the same arrivals."""
    measured = 1e3 * np.concatenate([seconds for _, seconds in segments])
    modelled = 1e3 * np.concatenate([model.response_times(arrivals) for arrivals, _ in segments])
    return Row(
        load,
        load * capacity,
        float(measured.mean()),
        float(modelled.mean()),
        float(modelled.mean() / measured.mean() - 1),
        float(np.quantile(measured, 0.9)),
        float(np.quantile(modelled, 0.9)),
        model.fixed * 1e3,
        model.each * 1e3,
        model.overhead * 1e3,
        capacity,
        f"{options.series} series of {options.values} values, {options.model}",
        datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def main() -> int:
    """Measure and print; 1 where the model is off by more than `TOLERANCE` at some load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="forecaster")
    parser.add_argument("--series", type=int, default=8, help="in each request")
    parser.add_argument("--values", type=int, default=100, help="of each series")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each loop; loads take three times as long")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--write", action="store_true", help=f"replace {RESULT.relative_to(ROOT)}")
    options = parser.parse_args()
    with serving("queueing", ROOT, ROOT / "models", 1) as process:
        rows = check(process.port, options)
    if options.write:
        table.write(RESULT, Row, rows)
    for one in rows:
        print(one)
    worst = max(abs(row.error) for row in rows)
    print(f"largest error of the mean: {worst:.1%}, {'within' if worst <= TOLERANCE else 'beyond'} {TOLERANCE:.0%}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
