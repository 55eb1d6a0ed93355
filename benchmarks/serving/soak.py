"""`python -m benchmarks.serving.soak`: the growth of the service's memory under half an hour of random requests.

Series of 1 to 2,000 values, alone and in groups, for the small network and for every committed model that takes them,
digits as rows and as images, and bad requests among them. Resident memory is read every second; after the warm-up its
slope is fitted to the means of blocks (neighbouring seconds are not independent) and given with its 95 % confidence
interval, in MiB an hour. Flat means that the interval holds 0, or less growth than `FLAT`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from benchmarks import table
from benchmarks.serving import load, lstm64, workloads
from benchmarks.serving.contestants import MODELS, PLAIN, ROOT, SCRATCH, Launch, ritmo
from benchmarks.serving.load import Request
from benchmarks.serving.measure import first_answer
from benchmarks.serving.processes import Server, free_port, server

RESULT = ROOT / "benchmarks" / "results" / "serving-soak.csv"
CONNECTIONS = 24
REQUESTS = 6_000  # different ones; batches gather by chance, so that each is computed among others at every turn
LONGEST = 2_000
BLOCKS = 20
FLAT = 1.0  # MiB an hour
INTERVAL = 1.0  # seconds between two readings of memory


def main() -> int:
    options = _options()
    load.require_wrk()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    lstm64.write(MODELS, PLAIN)
    folder = _models()
    port = free_port()
    launch = _launch(folder, port)
    file = SCRATCH / "soak.bin"
    prepared = requests(folder, REQUESTS)
    load.write_requests(file, prepared)
    log = SCRATCH / "logs" / "soak.log"
    with server(launch.command, port=port, environment=launch.variables, folder=launch.folder, log=log) as process:
        first_answer(process, prepared[0])
        _ready(port)
        readings: list[tuple[float, float]] = []
        loads: list[load.Load] = []
        seconds = max(1, round(options.minutes * 60))
        sender = threading.Thread(
            target=lambda: loads.append(load.run(port, file, connections=CONNECTIONS, seconds=seconds))
        )
        sender.start()
        _watch(process, sender, readings)
        if not process.alive or not loads:
            print(f"the service did not survive:\n{process.log_tail()}", file=sys.stderr)
            return 1
    return _report(np.array(readings), loads[0], options)


def requests(models: Path, count: int) -> list[Request]:
    """Seeded requests; the first is a valid one."""
    rng = np.random.default_rng(workloads.SEED)
    names = [lstm64.NAME, *(name for name in ("forecaster", "sines", "rnn-20", "naive") if (models / name).is_dir())]
    digits = [request for workload in workloads.digit_workloads()[:2] for request in workload.requests]
    mixture = [workloads.ritmo(lstm64.NAME).encode([1.0, 2.0, 3.0])]
    while len(mixture) < count:
        kind = rng.random()
        if kind < 0.15 and (models / "digits").is_dir():
            mixture.append(digits[int(rng.integers(len(digits)))])
        elif kind < 0.18:
            mixture.append(Request("/forecast", b'{"inputs":[{"target":[1,"2",null]}]}'))  # refused: a string
        else:
            group = 1 if kind < 0.9 else int(rng.integers(2, 17))
            lengths = np.exp(rng.uniform(0, np.log(LONGEST), group)).astype(int)
            series = [rng.normal(size=max(1, length)).round(3).tolist() for length in lengths]
            mixture.append(_forecast(rng, names, series))
    return mixture


def _forecast(rng: np.random.Generator, names: Sequence[str], series: list[list[float]]) -> Request:
    parameters: dict[str, object] = {"prediction_length": int(rng.integers(1, 33))}
    if rng.random() < 0.1:
        parameters["include"] = ["history"]
    if rng.random() < 0.1:
        parameters["return_state"] = True
    inputs = [{"target": values} for values in series]
    body = {"model": names[int(rng.integers(len(names)))], "inputs": inputs, "parameters": parameters}
    return Request("/forecast", json.dumps(body).encode())


def _models() -> Path:
    """The committed models and the small network in one folder, by links."""
    folder = SCRATCH / "soak-models"
    folder.mkdir(parents=True, exist_ok=True)
    for source in [*(ROOT / "models").iterdir(), MODELS / lstm64.NAME]:
        link = folder / source.name
        if source.is_dir() and not link.exists():
            link.symlink_to(source)
    return folder


def _launch(folder: Path, port: int) -> Launch:
    def unused() -> workloads.Workload:
        raise NotImplementedError

    return ritmo("ritmo", folder, unused, lambda _: []).launch(port, 1)


def _ready(port: int) -> None:
    """Wait until every model has been loaded."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        time.sleep(0.5)
    raise SystemExit("the service was not ready within three minutes")


def _watch(process: Server, sender: threading.Thread, readings: list[tuple[float, float]]) -> None:
    start = last_print = time.monotonic()
    while sender.is_alive():
        clock = time.monotonic()
        readings.append((clock - start, process.memory().rss))
        if clock - last_print >= 60:
            last_print = clock
            print(f"{(clock - start) / 60:5.1f} min  RSS {readings[-1][1]:.1f} MiB", flush=True)
        sender.join(INTERVAL)


def slope(times: np.ndarray, values: np.ndarray, blocks: int) -> tuple[float, float, float]:
    """Least-squares slope of the block means, and its 95 % confidence interval, per unit of `times`."""
    t = np.array([block.mean() for block in np.array_split(times, blocks)])
    y = np.array([block.mean() for block in np.array_split(values, blocks)])
    fit = stats.linregress(t, y)
    half = stats.t.ppf(0.975, len(t) - 2) * fit.stderr
    return float(fit.slope), float(fit.slope - half), float(fit.slope + half)


def _report(readings: np.ndarray, traffic: load.Load, options: argparse.Namespace) -> int:
    warm = readings[readings[:, 0] >= options.warm_up * 60]
    blocks = min(BLOCKS, len(warm) // 5)
    if blocks < 4:
        print(f"{len(warm)} readings after the warm-up are too few to fit a slope", file=sys.stderr)
        return 1
    hourly, low, high = slope(warm[:, 0] / 3600, warm[:, 1], blocks)
    flat = (low <= 0 <= high) or high < FLAT
    row = {
        **table.circumstances("python -m benchmarks.serving.soak " + " ".join(sys.argv[1:])),
        "minutes": options.minutes,
        "warm_up_minutes": options.warm_up,
        "requests": traffic.requests,
        "refused_or_failed": traffic.failed,
        "rss_first_mib": round(float(readings[0, 1]), 1),
        "rss_after_warm_up_mib": round(float(warm[0, 1]), 1),
        "rss_last_mib": round(float(warm[-1, 1]), 1),
        "slope_mib_per_hour": round(hourly, 2),
        "low": round(low, 2),
        "high": round(high, 2),
        "flat": flat,
    }
    table.append(options.output, [row])
    print(json.dumps(row, indent=1))
    return 0 if flat else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of load [30]")
    parser.add_argument("--warm-up", type=float, help="minutes at the start that do not count [a third of all]")
    parser.add_argument("--output", type=Path, default=RESULT, help="a CSV file, to which one row is added")
    options = parser.parse_args()
    options.warm_up = options.minutes / 3 if options.warm_up is None else options.warm_up
    return options


if __name__ == "__main__":
    raise SystemExit(main())
