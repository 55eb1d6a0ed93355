"""`python -m benchmarks.serving.queueing`: a queueing model of one process, checked against measurement at three loads.

The model is one server with batches: when it is free it takes all requests that wait, n of them, and answers them after
`seconds(n)`, with all that cannot be done beside it: reading, decoding, computing, encoding, sending. A loop of k
clients, each of which sends when it has its answer, gets k answers in `seconds(k)`. These times are taken from loops of
1, 4, 16 and 64 clients, between them on a straight line of logarithms, beyond them in proportion. Loops of 2, 8 and 32
clients check the model. `--measure` measures the loops anew (wrk is needed) and writes benchmarks/results/queueing.csv;
without it, the committed rows are used. The figures of docs/scale.md are computed from the model, those of random
arrivals by simulation.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks import table
from benchmarks.serving.fairness import serving
from benchmarks.serving.load import Request, require_wrk, run, write_requests
from benchmarks.table import ROOT, head, line
from service.contract.types import Floats

MEASURED = ROOT / "benchmarks/results/queueing.csv"
FITTED, CHECKED = (1, 4, 16, 64), (2, 8, 32)  # clients
MODEL = "forecaster"
VALUES = 50  # of the one series in a request
TOLERANCE = 0.15
SHARES = (0.3, 0.5, 0.7, 0.8, 0.9)  # of what a process can do


class Model:
    """How long n requests take together, from how long some numbers of them took."""

    def __init__(self, seconds: Mapping[int, float]) -> None:
        """`seconds` by number of requests, ascending."""
        self._sizes = np.log(list(seconds))
        self._seconds = np.log(list(seconds.values()))
        self._most, self._longest = max(seconds), seconds[max(seconds)]

    @property
    def capacity(self) -> float:
        """Requests a second of one process whose batches are full."""
        return self._most / self._longest

    def seconds(self, requests: int) -> float:
        """How long so many requests take together."""
        if requests > self._most:
            return self._longest * requests / self._most
        return math.exp(np.interp(math.log(requests), self._sizes, self._seconds))

    def loop_rate(self, clients: int) -> float:
        """Requests a second of a loop of so many clients."""
        return clients / self.seconds(clients)

    def response_times(self, arrivals: Sequence[float] | Floats) -> Floats:
        """Seconds from each arrival to its answer, the arrivals in order."""
        times = np.asarray(arrivals)
        answers = np.empty(len(times))
        free = 0.0
        first = 0
        while first < len(times):
            begin = max(free, times[first])
            last = int(np.searchsorted(times, begin, side="right"))
            free = begin + self.seconds(last - first)
            answers[first:last] = free
            first = last
        waits: Floats = answers - times
        return waits

    def at_share(self, share: float, requests: int = 20_000) -> Floats:
        """Simulated response times of requests at random (Poisson), `share` of the capacity of them."""
        gaps = np.random.default_rng(1).exponential(1 / (share * self.capacity), requests)
        return self.response_times(np.cumsum(gaps))


@dataclass(frozen=True)
class Row:
    """Requests a second of a loop of clients, in one round."""

    clients: int
    round: int
    requests_per_second: float
    p50_ms: float
    model: str
    date: str


def measure(rounds: int, seconds: int) -> list[Row]:
    """Every loop in every round, against one process with the newest version of the model."""
    require_wrk()
    random_numbers = np.random.default_rng(0)
    series = np.round(random_numbers.normal(10, 1, (64, VALUES)), 2).tolist()
    bodies = [{"model": MODEL, "inputs": [{"target": values}]} for values in series]
    versions = [path for path in (ROOT / "models" / MODEL).iterdir() if path.name.isdigit()]
    newest = max(versions, key=lambda path: int(path.name))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(newest, folder / "models" / MODEL / newest.name)  # the others would only take time to load
        write_requests(folder / "requests", [Request("/forecast", json.dumps(body).encode()) for body in bodies])
        with serving("queueing", ROOT, folder / "models", 1) as process:
            run(process.port, folder / "requests", connections=64, seconds=2)  # every shape of batch is met once
            return [
                Row(clients, number, load.rate, load.p50_ms, f"{MODEL}@{newest.name}", f"{datetime.now(UTC):%Y-%m-%d}")
                for number in range(rounds)
                for clients in sorted(FITTED + CHECKED)
                for load in [run(process.port, folder / "requests", connections=clients, seconds=seconds)]
            ]


def measured() -> dict[int, float]:
    """Requests a second by clients, the median of the rounds: now and then one meets other work on the machine."""
    rates: defaultdict[int, list[float]] = defaultdict(list)
    for row in table.read(MEASURED, Row):
        rates[row.clients].append(row.requests_per_second)
    return {clients: float(np.median(values)) for clients, values in sorted(rates.items())}


def fitted(rates: Mapping[int, float]) -> Model:
    """The model, which has not seen the loops that check it."""
    return Model({clients: clients / rates[clients] for clients in FITTED})


def errors(rates: Mapping[int, float]) -> dict[int, float]:
    """By how much the model is off, for every loop that checks it."""
    model = fitted(rates)
    return {clients: model.loop_rate(clients) / rates[clients] - 1 for clients in CHECKED}


def replicas(capacity: float, requests_per_second: float, share: float) -> int:
    """Processes for that many requests, each at `share` of the `capacity` requests a second that it has."""
    return math.ceil(requests_per_second / (capacity * share))


def report() -> list[str]:
    """Tables of the check and of random arrivals, as lines of Markdown."""
    rates = measured()
    model = fitted(rates)
    lines = [*head(["clients", "measured, requests a second", "model", "error"])]
    for clients, error in errors(rates).items():
        cells = [f"{clients}", f"{rates[clients]:,.0f}", f"{rates[clients] * (1 + error):,.0f}", f"{error:+.1%}"]
        lines.append(line(cells))
    lines += [
        "",
        f"One process: {model.capacity:,.0f} requests a second, {1e3 * model.seconds(1):.1f} ms for one alone.",
        "",
    ]
    lines += head(["share of capacity", "requests a second", "mean", "99 in 100 within"])
    for share in SHARES:
        times = 1e3 * model.at_share(share)
        cells = [f"{share:.0%}", f"{share * model.capacity:,.0f}", f"{times.mean():.2f} ms"]
        lines.append(line([*cells, f"{np.quantile(times, 0.99):.2f} ms"]))
    return lines


def main() -> int:
    """Print the tables; 1 where the model is off by more than `TOLERANCE` somewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure the loops anew")
    parser.add_argument("--seconds", type=int, default=2, help="of each loop")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.measure:
        table.write(MEASURED, Row, measure(options.rounds, options.seconds))
    print("\n".join(report()))
    return int(max(map(abs, errors(measured()).values())) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
