"""`python -m benchmarks.faults.stops`: how often each signal is sent under load, and how many requests that cost.

Each run starts the service anew, with `naive`, and sends the signal once every client has been answered twice.
benchmarks/results/stops.csv has a row for each kind of stop, to which every further run adds; `--anew` forgets them.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from benchmarks import table
from benchmarks.faults.bench import ROOT, Service, serving
from benchmarks.faults.process_faults import until, workers_of
from benchmarks.faults.stop_load import StopLoad

RESULT = ROOT / "benchmarks" / "results" / "stops.csv"
CLIENTS = ((64, 8), (512, 64))  # that keep their connections, and that make one for each request
STOPS = (("SIGTERM", 1), ("SIGINT", 1), ("SIGHUP", 1), ("SIGTERM", 2), ("SIGINT", 2), ("SIGHUP", 2), ("SIGUSR2", 2))
SMALL = b'{"model":"naive","inputs":[{"target":[1,2,3]}]}'
WAIT = 600.0  # seconds, for anything, on a busy machine too


@dataclass(frozen=True)
class Row:
    """All runs of one kind of stop. The service is gone so many seconds after its last answer."""

    signal: str
    workers: int
    keep_alive: int
    fresh: int
    runs: int
    answered: int
    lost: int
    gone_mean: float
    gone_most: float
    date: str
    machine: str
    cores: int
    command: str
    commit: str


def main() -> int:
    options = _options()
    rows = {_key(row): row for row in table.read(RESULT, Row)} if RESULT.exists() and not options.anew else {}
    for clients, (name, workers) in (pair for _ in range(options.runs) for pair in product(CLIENTS, STOPS)):
        key = (name, workers, *clients)
        if key in rows and rows[key].runs >= options.runs:
            continue
        answered, errors, gone = asyncio.run(_stop(name, workers, clients))
        rows[key] = _with_run(rows.get(key), key, answered, len(errors), gone)
        print(
            f"{name}, {workers} workers, {clients}: {answered} answered, {len(errors)} lost {errors[:2]}, {gone:.2f} s"
        )
        table.write(RESULT, Row, [rows[key] for key in sorted(rows)])
    return int(any(row.lost for row in rows.values()))


def _key(row: Row) -> tuple[str, int, int, int]:
    return row.signal, row.workers, row.keep_alive, row.fresh


def _with_run(row: Row | None, key: tuple[str, int, int, int], answered: int, lost: int, gone: float) -> Row:
    """`row` with one run more, of which `gone` is how long the process outlived its last answer."""
    circumstances: dict[str, Any] = table.circumstances("python -m benchmarks.faults.stops")
    if row is None:
        return Row(*key, 1, answered, lost, gone, gone, **circumstances)
    return replace(
        row,
        runs=row.runs + 1,
        answered=row.answered + answered,
        lost=row.lost + lost,
        gone_mean=(row.gone_mean * row.runs + gone) / (row.runs + 1),
        gone_most=max(row.gone_most, gone),
        **circumstances,
    )


async def _stop(name: str, workers: int, clients: tuple[int, int]) -> tuple[int, list[str], float]:
    """Requests answered, what was lost, and seconds from the last answer to the end."""
    with serving(workers=workers) as service:
        load = StopLoad(service.port, *clients, body=SMALL)
        asking = asyncio.create_task(load.run())
        async with asyncio.timeout(WAIT):
            await load.warm.wait()
            await _signalled(service, name)
            await asyncio.to_thread(service.wait, WAIT)
            gone = time.monotonic() - load.last_answer
            await asking
        return load.answered, load.errors, gone


async def _signalled(service: Service, name: str) -> None:
    """Send the signal; one that does not end the service is followed by SIGTERM when it has had its effect."""
    before = set(workers_of(service))
    service.signal(signal.Signals[name])
    if name == "SIGUSR2":
        await asyncio.to_thread(until, lambda: len(workers_of(service)) > 1 and not before & set(workers_of(service)))
    if name == "SIGHUP":
        await asyncio.sleep(1)  # the models are looked at anew during the requests
    if name in {"SIGHUP", "SIGUSR2"}:
        service.signal(signal.SIGTERM)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.stops", description=__doc__)
    parser.add_argument("--runs", type=int, default=50, help="of each kind (default: 50)")
    parser.add_argument("--anew", action="store_true", help="forget the runs so far")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
