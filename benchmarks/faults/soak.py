"""`python -m benchmarks.faults.soak`: half an hour of everything at once, and what the service holds meanwhile.

All routes, good and bad requests, live connections, clients that leave, send slowly or do not read, and a restart of
all workers (SIGUSR2) every five minutes. Memory and open files of all processes are read every second and drawn in
benchmarks/results/soak.png. Flat means that the last third of the time needs no more than `GROWTH` of the second one,
and that as many files are open in the end, without traffic, as before it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl

from benchmarks import table
from benchmarks.faults.bench import ROOT, Service, connect, head, request, send_all, serving
from benchmarks.faults.connection_faults import frame, live

mpl.use("Agg")
RESULTS = ROOT / "benchmarks" / "results"
GROWTH = 1.05
RESTART_SECONDS = 300.0
MODELS = ("naive", "forecaster", "digits")
IMAGE = (ROOT / "docs" / "seven.png").read_bytes()


def forecast(port: int, rng: random.Random) -> int:
    """A good forecast of random size, sometimes with every option."""
    lengths = [rng.randrange(1, 400) for _ in range(rng.choice([1, 1, 1, 8]))]
    inputs = [{"target": [round(rng.gauss(0, 1), 3) for _ in range(length)]} for length in lengths]
    parameters: dict[str, object] = {"prediction_length": rng.randrange(1, 32)}
    if rng.random() < 0.1:
        parameters |= {"include": ["history"], "return_state": True}
    body = {"model": rng.choice(["naive", "forecaster"]), "inputs": inputs, "parameters": parameters}
    return request(port, "POST", "/forecast", json.dumps(body).encode())[0]


def digit(port: int, _: random.Random) -> int:
    """An image."""
    return request(port, "POST", "/classify-digit", IMAGE, **{"Content-Type": "image/png"})[0]


def page(port: int, rng: random.Random) -> int:
    """One of the other routes."""
    return request(port, "GET", rng.choice(["/livez", "/readyz", "/metrics", "/models", "/openapi.json", "/nothing"]))[
        0
    ]


def bad_request(port: int, rng: random.Random) -> int:
    """A request that is refused."""
    bodies = [
        b"{",
        b'{"inputs":[{"target":[1,"2"]}]}',
        b"[" * 3000,
        b'{"inputs":[{"target":[NaN]}]}',
        rng.randbytes(500),
    ]
    return request(port, "POST", "/forecast", rng.choice(bodies))[0]


def conversation(port: int, rng: random.Random) -> int:
    """A live series of a few messages; some clients leave in its middle."""
    sock = live(port)
    for _ in range(rng.randrange(1, 20)):
        if not send_all(sock, frame(1, b'{"target":[%d]}' % rng.randrange(100))):
            return 0
        if not sock.recv(1 << 16):
            return 0
    if rng.random() < 0.7:
        send_all(sock, frame(8, b"\x03\xe8"))
    sock.close()
    return 101


def rude(port: int, rng: random.Random) -> int:
    """A client that sends half a request, too much, or garbage, and one that does not read."""
    with contextlib.suppress(OSError), connect(port, receive_buffer=4096) as sock:
        choice = rng.randrange(4)
        if choice == 0:
            send_all(sock, head("/forecast", 1000) + b"{")
        elif choice == 1:
            send_all(sock, b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000)
        elif choice == 2:
            send_all(sock, rng.randbytes(200))
        else:
            sock.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                sock.sendall(head("/openapi.json", method="GET") * 200)
        time.sleep(rng.random())
        if rng.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return 0


TRAFFIC: Sequence[Callable[[int, random.Random], int]] = (
    *(forecast, forecast, forecast, digit, page, bad_request, conversation, conversation, rude, rude),
)


def main() -> int:
    options = _options()
    counts: Counter[str] = Counter()
    readings: list[tuple[float, float, int]] = []
    with serving(*MODELS, workers=2, send_seconds=5, receive_seconds=5) as service:
        idle_files = _files(service)
        _load(service, options.minutes * 60, readings, counts)
        time.sleep(12)  # the last rude clients are cut off
        files_after = _files(service)
    row = {
        **table.circumstances("python -m benchmarks.faults.soak " + " ".join(sys.argv[1:])),
        "minutes": options.minutes,
        "answers": sum(counts.values()),
        "server_errors": sum(count for name, count in counts.items() if name.rpartition(" ")[2] == "500"),
        "rss_second_third_mib": round(_highest(readings, 1), 1),
        "rss_last_third_mib": round(_highest(readings, 2), 1),
        "files_before": idle_files,
        "files_after": files_after,
    }
    growth = row["rss_last_third_mib"] / row["rss_second_third_mib"]
    flat = growth <= GROWTH and files_after <= idle_files + 8 and not row["server_errors"]
    table.append(options.output, [row | {"flat": flat}])
    _draw(options.output.with_suffix(".png"), readings)
    print(json.dumps(row | {"flat": flat, "answers_by_kind": dict(sorted(counts.items()))}, indent=1))
    return 0 if flat else 1


def _load(service: Service, seconds: float, readings: list[tuple[float, float, int]], counts: Counter[str]) -> None:
    ended = threading.Event()

    def work(number: int) -> None:
        rng = random.Random(number)
        kind = TRAFFIC[number % len(TRAFFIC)]
        while not ended.is_set():
            try:
                code = kind(service.port, rng)
            except (OSError, ValueError):
                code = 0
            counts[f"{kind.__name__} {code}"] += 1
            ended.wait(0.01)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(2 * len(TRAFFIC))]
    for thread in threads:
        thread.start()
    start = restarted = time.monotonic()
    while (time_now := time.monotonic()) - start < seconds:
        readings.append((time_now - start, service.rss(), _files(service)))
        if time_now - restarted > RESTART_SECONDS:
            restarted = time_now
            service.signal(signal.SIGUSR2)
        time.sleep(1)
    ended.set()
    for thread in threads:
        thread.join(30)


def _files(service: Service) -> int:
    count = 0
    for pid in service.pids():
        with contextlib.suppress(OSError):
            count += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return count


def _highest(readings: list[tuple[float, float, int]], third: int) -> float:
    """The median of memory in a third of the time: restarts double it for a while."""
    part = sorted(rss for _, rss, _ in readings[third * len(readings) // 3 : (third + 1) * len(readings) // 3])
    return part[len(part) // 2]


def _draw(file: Path, readings: list[tuple[float, float, int]]) -> None:
    from matplotlib import pyplot as plt

    minutes = [seconds / 60 for seconds, _, _ in readings]
    figure, axes = plt.subplots(2, 1, sharex=True, figsize=(9, 5))
    axes[0].plot(minutes, [rss for _, rss, _ in readings], linewidth=0.8)
    axes[0].set_ylabel("memory, MiB")
    axes[1].plot(minutes, [files for _, _, files in readings], linewidth=0.8)
    axes[1].set_ylabel("open files")
    axes[1].set_xlabel("minutes; the workers are restarted every five")
    for axis in axes:
        axis.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of traffic [30]")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "soak.csv", help="a row is added; the plot is beside it"
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
