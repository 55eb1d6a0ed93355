"""`python -m benchmarks.serving.fairness`: does one small caller still get its answers beside eight that send in bulk?

For each source tree given (`--source NAME=FOLDER`, the present one if none is) a server is started. In every round, and
for all sources in turn so that the noise of the machine falls on all alike, three loads run against each: a small
caller alone (one series of 24 values, then a pause), eight connections that send `--series` series a request without a
pause, and both together. The goals: beside the bulk the small caller gets 99 % of its answers, with a p99 of at most
five times what it has alone; the bulk keeps 85 % of the series a second that it has alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks import table
from benchmarks.serving.contestants import ROOT, SCRATCH, is_warm
from benchmarks.serving.processes import Server, free_port, server

RESULT = ROOT / "benchmarks" / "results" / "serving-fairness.csv"
BULK_CONNECTIONS = 8
TIMEOUT = 60.0  # seconds for one answer

Answers = list[tuple[int, float]]  # status, seconds


@dataclass(frozen=True)
class Row:
    """One round of one source: latencies in milliseconds, rates in series a second."""

    source: str
    model: str
    values: int
    round: int
    alone_p50: float
    alone_p99: float
    beside_p50: float
    beside_p99: float
    answered: float  # share of the small caller's requests beside the bulk
    bulk_alone: float
    bulk_beside: float


def request(model: str, series: int, values: int, include: list[str]) -> bytes:
    """The bytes of a POST of so many series."""
    rng = np.random.default_rng(0)
    inputs = [{"target": np.round(row, 2).tolist()} for row in rng.normal(10, 1, (series, values))]
    parameters = {"include": include} if include else {}
    body = json.dumps({"model": model, "inputs": inputs, "parameters": parameters}, separators=(",", ":")).encode()
    head = (
        f"POST /forecast HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """A keep-alive connection that reads statuses and skips bodies."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, message: bytes) -> int:
        """The status of the answer to `message`."""
        self._socket.sendall(message)
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self._file.read(length)
        return status


def small_caller(port: int, seconds: float, pause: float, model: str, answers: Queue[Answers]) -> None:
    """One series after another; puts (status, seconds) of each."""
    message = request(model, 1, 24, [])
    outcomes: Answers = []
    until = time.monotonic() + seconds
    with Connection(port) as connection:
        while time.monotonic() < until:
            started = time.monotonic()
            status = connection.ask(message)
            outcomes.append((status, time.monotonic() - started))
            time.sleep(pause)
    answers.put(outcomes)


def bulk_callers(port: int, seconds: float, message: bytes, series: int, rates: Queue[float]) -> None:
    """Eight connections that send `message` without a pause, refused or not; puts the series answered a second."""
    counts = [0] * BULK_CONNECTIONS
    until = time.monotonic() + seconds

    def call(index: int) -> None:
        with Connection(port) as connection:
            while time.monotonic() < until:
                status = connection.ask(message)
                if status == 200 and time.monotonic() < until:
                    counts[index] += series

    threads = [threading.Thread(target=call, args=(index,)) for index in range(BULK_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rates.put(sum(counts) / seconds)


def measure(port: int, options: argparse.Namespace, *, small: bool, bulk: bool) -> tuple[Answers, float]:
    """The answers to the small caller, and series a second of the bulk."""
    seconds: float = options.seconds
    context = multiprocessing.get_context("spawn")
    answers: Queue[Answers] = context.Queue()
    rates: Queue[float] = context.Queue()
    processes = []
    if bulk:
        message = request(options.model, options.series, options.values, options.include)
        processes.append(context.Process(target=bulk_callers, args=(port, seconds, message, options.series, rates)))
    if small:
        arguments = (port, seconds, options.pause, options.small_model or options.model, answers)
        processes.append(context.Process(target=small_caller, args=arguments))
    for process in processes:
        process.start()
    outcomes = answers.get(timeout=seconds + 2 * TIMEOUT) if small else []
    rate = rates.get(timeout=seconds + 2 * TIMEOUT) if bulk else 0.0
    for process in processes:
        process.join()
    return outcomes, rate


def one_round(source: str, port: int, number: int, options: argparse.Namespace) -> Row:
    """All three loads against one server."""
    undisturbed, _ = measure(port, options, small=True, bulk=False)
    _, bulk_alone = measure(port, options, small=False, bulk=True)
    disturbed, bulk_beside = measure(port, options, small=True, bulk=True)
    latencies = [
        np.array([busy for status, busy in outcomes if status == 200] or [np.nan])
        for outcomes in (undisturbed, disturbed)
    ]
    p50s, p99s = ([1e3 * float(np.quantile(of, q)) for of in latencies] for q in (0.5, 0.99))
    answered = sum(status == 200 for status, _ in disturbed) / max(1, len(disturbed))
    return Row(
        source,
        options.model,
        options.values,
        number,
        p50s[0],
        p99s[0],
        p50s[1],
        p99s[1],
        answered,
        bulk_alone,
        bulk_beside,
    )


@contextlib.contextmanager
def serving(
    source: str,
    folder: Path,
    models: Path,
    threads: int,
    settings: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A ready and warm server of the source tree in `folder`; `settings` are further variables of its environment.

    `headers` are sent where the server is asked whether it is warm.
    """
    port = free_port()
    environment = {
        "RITMO_MODELS": str(models),
        "RITMO_PORT": str(port),
        "RITMO_THREADS": str(threads),
        **(settings or {}),
    }
    command = [sys.executable, "-m", "service", "serve"]
    log = SCRATCH / "logs" / f"fairness-{source}.log"
    with server(command, port=port, environment=environment, folder=folder, log=log) as process:
        until = time.monotonic() + 180
        while not (_is_ready(port) and is_warm(port, headers)):
            if time.monotonic() > until or not process.alive:
                raise RuntimeError(process.log_tail())
            time.sleep(0.2)
        yield process


def _is_ready(port: int) -> bool:
    try:
        with Connection(port) as connection:
            return connection.ask(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n") == 200
    except (OSError, IndexError):
        return False


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--model", default="naive", help="that the bulk asks")
    parser.add_argument("--small-model", help="that the small caller asks; default: the same")
    parser.add_argument("--series", type=int, default=1024)
    parser.add_argument("--values", type=int, default=1, help="of each series of the bulk")
    parser.add_argument("--include", nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.01, help="of the small caller, in seconds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"append the rows to {RESULT.relative_to(ROOT)}")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, print a line for each round, and write the rows."""
    options = parsed()
    sources = dict(text.split("=", 1) for text in options.source) or {"present": str(ROOT)}
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(serving(name, Path(folder), options.models, options.threads)).port
            for name, folder in sources.items()
        }
        for number in range(options.rounds):
            for name, port in ports.items():
                rows.append(one_round(name, port, number, options))
                print(_line(rows[-1]), flush=True)
    if options.write:
        table.append(RESULT, map(_rounded, rows))
    return 0


def _line(row: Row) -> str:
    ratio, share_of_bulk = row.beside_p99 / row.alone_p99, row.bulk_beside / max(1.0, row.bulk_alone)
    return (
        f"{row.source:10} {row.model} x {row.values}: alone p50 {row.alone_p50:.1f} p99 {row.alone_p99:.1f} ms; "
        f"beside p50 {row.beside_p50:.1f} p99 {row.beside_p99:.1f} ms ({ratio:.1f} x), answered {row.answered:.1%}; "
        f"bulk {row.bulk_alone:.0f} -> {row.bulk_beside:.0f} series/s ({share_of_bulk:.0%})"
    )


def _rounded(row: Row) -> dict[str, object]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(row).items()}


if __name__ == "__main__":
    raise SystemExit(main())
