"""`python -m benchmarks.serving.key_cost`: what a key costs on the hot path, in processor time of the service.

Three services run side by side: one that asks for no key, one that asks for a key, and one whose key has limits, which
are counted for each request and stated in its answer. They are asked in turn, for a second each and in an order that
changes, and compared within a round: what a request takes depends on how many wait beside it, and so on what else the
machine does at that moment. The goal for a key is less than 5 % in the median of the rounds.

On a machine with other work that median is off by some percent. So the calls that a key adds to a request are timed by
themselves, too (`--calls` does that alone): the least of many repetitions.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import timeit
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import table
from benchmarks.serving.fairness import serving
from benchmarks.serving.load import Request, require_wrk, run, write_requests
from benchmarks.serving.processes import Server
from benchmarks.table import ROOT, head, line
from service.api.accounts import KeyRing
from service.api.problems import Header
from service.api.single_forecasts import Caller
from service.runtime.fair_share import Client
from service.runtime.key_file import KeyLimits, add_key

MEASURED = ROOT / "benchmarks/results/key-cost.csv"
OPEN, KEYED, LIMITED = "no key", "a key", "a key with three limits"
GOAL = 0.05
MODEL, VALUES = "rnn-20", 60
CONNECTIONS = 32  # to each of the three
_NEVER_REACHED = "1000000000/s"
LIMITS: dict[str, KeyLimits | None] = {
    OPEN: None,
    KEYED: KeyLimits(),
    LIMITED: KeyLimits(_NEVER_REACHED, _NEVER_REACHED, _NEVER_REACHED),  # counted like any other
}


@dataclass(frozen=True)
class Row:
    """One service in one round; `cpu_us` is processor time of the service for a request, in microseconds."""

    service: str
    round: int
    requests: int
    failed: int
    cpu_us: float
    date: str
    machine: str
    cores: int
    command: str
    commit: str


def costs(rows: Sequence[Row]) -> dict[str, float]:
    """By how much each service with a key costs more than the one without: the median of the rounds' ratios, less 1."""
    rounds: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for row in rows:
        rounds[row.round][row.service] = row.cpu_us
    return {
        name: float(np.median([times[name] / times[OPEN] for times in rounds.values()])) - 1
        for name in (KEYED, LIMITED)
    }


def report(rows: Sequence[Row]) -> list[str]:
    """A table, as lines of Markdown."""
    more = {OPEN: "", **{name: f"{cost:+.1%}" for name, cost in costs(rows).items()}}
    lines = [*head(["service", "processor time a request, median", "more"])]
    for name, cost in more.items():
        median = np.median([row.cpu_us for row in rows if row.service == name])
        lines.append(line([name, f"{median:.0f} µs", cost]))
    return lines


def measure(rounds: int, seconds: int) -> list[Row]:
    """Every service in every round; raises `RuntimeError` where one refused a request."""
    require_wrk()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        shutil.copytree(ROOT / "models" / MODEL, folder / "models" / MODEL)
        servers: dict[str, Server] = {}
        for service, limits in LIMITS.items():
            file, settings, header = folder / f"{len(servers)}.json", {}, ("", "")
            if limits is not None:
                header = ("Authorization", f"Bearer {add_key(file, ['infer'], limits=limits)[0]}")
                settings = {"RITMO_API_KEYS": str(file)}
            write_requests(folder / service, _requests(header))
            shown = dict([header]) if limits is not None else None
            process = serving("key-cost", ROOT, folder / "models", 1, settings, shown)
            servers[service] = stack.enter_context(process)
        rows: list[Row] = []
        facts: dict[str, Any] = table.circumstances(
            f"python -m benchmarks.serving.key_cost --rounds {rounds} --seconds {seconds}"
        )
        for number in range(-1, rounds):  # the first meets every shape of batch, and is left out
            order = list(servers)[number % len(servers) :] + list(servers)[: number % len(servers)]
            for service in order:
                before = servers[service].cpu_seconds()
                load = run(servers[service].port, folder / service, connections=CONNECTIONS, seconds=seconds)
                used = servers[service].cpu_seconds() - before
                if load.failed:
                    raise RuntimeError(f"{service}: {load.failed} requests failed")
                if number >= 0:
                    rows.append(Row(service, number, load.requests, load.failed, 1e6 * used / load.requests, **facts))
        return rows


def call_times() -> dict[str, float]:
    """Microseconds that a key takes of a request on the shortest way: the least of many repetitions."""
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for service, limits in LIMITS.items():
            if limits is None:
                continue
            file = Path(folder) / f"{len(times)}.json"
            key = add_key(file, ["infer"], limits=limits)[0].encode()
            fields = [
                (b"host", b"127.0.0.1:8000"),
                (b"content-type", b"application/json"),
                (b"content-length", b"500"),
                (b"x-api-key", key),
            ]
            ring = KeyRing(file)
            ring.load()
            call = partial(_pass, Caller(Client("127.0.0.1", 0)), ring, fields)
            times[service] = 1e6 * min(timeit.repeat(call, number=2_000, repeat=200)) / 2_000
    return times


def _pass(caller: Caller, ring: KeyRing, fields: Sequence[Header]) -> str:
    """What `service.api.single_forecasts` does for the key of a request and its answer."""
    account = caller.authenticate(ring, fields)
    account.charge_forecast(VALUES)
    return account.header_lines()


def _requests(header: tuple[str, str]) -> list[Request]:
    random_numbers = np.random.default_rng(0)
    series = np.round(random_numbers.normal(10, 1, (64, VALUES)), 2).tolist()
    bodies = [json.dumps({"model": MODEL, "inputs": [{"target": values}]}).encode() for values in series]
    return [Request("/forecast", body, extra_header=header) for body in bodies]


def main() -> int:
    """Measure, write the rows, print the table; 1 where a key, or its limits, cost more than the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=1, help="for each service in a round")
    parser.add_argument("--calls", action="store_true", help="only time the calls")
    options = parser.parse_args()
    times = call_times()
    for name, time in times.items():
        print(f"{name}: the calls take {time:.2f} µs")
    if options.calls:
        return 0
    rows = measure(options.rounds, options.seconds)
    table.write(MEASURED, Row, rows)
    print("\n".join(report(rows)))
    return int(max(costs(rows).values()) >= GOAL)


if __name__ == "__main__":
    sys.exit(main())
