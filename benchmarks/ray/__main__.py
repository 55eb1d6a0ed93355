"""A cluster of Ray with the service: scale, kill a replica, kill a node, roll a version out. `make ray-test`.

Two nodes on this machine, in a network of their own: throughput says what Ray costs, not what a second machine brings.
Each phase is a row of benchmarks/results/ray.csv: how every request ended, and how long it took to be whole again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ray.cluster import HEAD, PORT, SECOND, Cluster, enter_own_network, in_own_network
from benchmarks.table import ROOT, append, circumstances

RESULTS = ROOT / "benchmarks/results/ray.csv"
URL = f"http://{HEAD}:8000"
MODEL = ROOT / "models/forecaster"
GENTLE = ("--clients", "8", "--rate", "30")  # below what one replica can do, so that what fails is not overload
WAIT = 240.0  # seconds; a guard


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load for each number of replicas")
    parser.add_argument("--only", default="", help="batch, throughput, tokens, replica, version, node or autoscaling")
    arguments = parser.parse_args()
    if not in_own_network():
        return enter_own_network("benchmarks.ray")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the nodes are ended then, too
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    cluster = Cluster(folder, settings(folder))
    try:
        start = time.monotonic()
        cluster.start()
        Phases(cluster, arguments.seconds, time.monotonic() - start).run(arguments.only)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def settings(folder: Path) -> dict[str, str]:
    """The service's settings: the newest forecaster alone, one thread for each replica, shared keys."""
    newest = max(MODEL.iterdir(), key=lambda version: int(version.name) if version.name.isdigit() else 0)
    shutil.copytree(newest, folder / "models/forecaster" / newest.name)
    keys = secrets.token_hex(32)
    here = {"RITMO_MODELS": str(folder / "models"), "RITMO_THREADS": "1", "RITMO_STATE_KEYS": keys}
    return {**here, "PYTHONPATH": str(ROOT), "RAY_SERVE_ENABLE_HA_PROXY": os.environ.get("HA_PROXY", "0")}


class Phases:
    """The phases, one after the other, in the cluster that runs."""

    def __init__(self, cluster: Cluster, seconds: float, start_seconds: float) -> None:
        self._cluster = cluster
        self._seconds = seconds
        os.environ.update(cluster.environment)
        import ray  # reads the environment when it is imported
        from ray import serve

        from deploy.ray.serving import build

        ray.init(address=f"{HEAD}:{PORT}", log_to_driver=False)
        serve.start(proxy_location="HeadOnly", http_options={"host": "0.0.0.0", "port": 8000, "access_log": False})
        self._serve, self._build = serve, build
        self._start_seconds = start_seconds
        self._facts = circumstances("make ray-test")

    def run(self, only: str = "") -> None:
        """All phases, or one of them."""
        phases = {
            "batch": self._batch,
            "throughput": self._throughput,
            "tokens": self._tokens,
            "replica": self._lose_replica,
            "version": self._roll_out,
            "node": self._lose_node,
            "autoscaling": self._autoscale,
        }
        if not only:
            RESULTS.unlink(missing_ok=True)  # the rows of a whole run take the place of the last one's
        self._row("start of the cluster", recovery_s=self._start_seconds, note="two nodes")
        for name, phase in phases.items():
            if only in ("", name):
                phase()

    def _throughput(self) -> None:
        for replicas in (1, 2, 4):
            started = self._deploy({"replicas": str(replicas)})
            with_load = self._under_load(lambda: time.sleep(self._seconds), "--clients", "32")
            self._row(f"throughput of {replicas}", replicas, with_load, recovery_s=started, note="deploy or scale")

    def _tokens(self) -> None:
        self._deploy({"replicas": "4"})
        self._row("tokens on any replica", 4, note=self._continue_series())

    def _lose_replica(self) -> None:
        self._deploy({"replicas": "4"})
        self._row("a replica is killed", 4, *self._fault(self._kill_replica, 4))

    def _roll_out(self) -> None:
        self._deploy({"replicas": "2"})
        ends, seconds = self._fault(lambda: self._deploy({"replicas": "2", "version": "2"}), 2, is_loss=False)
        self._row("a version is rolled out", 2, ends, seconds)

    def _lose_node(self) -> None:
        self._deploy({"replicas": "2", "version": "2"})
        there = len(self._cluster.replicas(SECOND))
        ends, seconds = self._fault(lambda: self._cluster.kill_node(SECOND), 2)
        self._row("a node is killed", 2, ends, seconds, f"{there} of 2 replicas were on it")

    def _autoscale(self) -> None:
        if "ritmo" in self._serve.status().applications:
            self._serve.delete("ritmo")
        self._deploy({"look_back_seconds": "5", "upscale_seconds": "2", "max_replicas": "4"})
        start = time.monotonic()
        ends = self._under_load(lambda: self._wait_for(4), "--clients", "24", "--series", "64", "--values", "500")
        self._row("scaled from 1 to 4 by queued work", 4, ends, time.monotonic() - start, "requests of 64 series")

    def _batch(self) -> None:
        """Bulk forecasts by Ray Data beside the same code in one process; a series has 100 values, 28 are forecast."""
        from deploy.ray.batch import Forecaster, remaining, run

        folder = Path(self._cluster.environment["RITMO_MODELS"]).parent
        [model] = (folder / "models/forecaster").iterdir()
        source = write_series(folder / "series")
        for name in ("one", "ray"):
            (folder / name).mkdir()
        forecaster = Forecaster(str(model), str(folder / "one"), 28, [0.1, 0.5, 0.9])
        warm_up, *files = sorted(source.glob("*.parquet"))
        forecaster.forecast(warm_up)
        start = time.monotonic()
        n_series = sum(forecaster.forecast(file) for file in files[:3])
        self._row("batch, one process", note=f"{n_series / (time.monotonic() - start):.0f} series a second")
        arguments = argparse.Namespace(model=model, output=folder / "ray", horizon=28, actors=2)
        start = time.monotonic()
        n_series, busy = run(remaining(source, folder / "ray"), arguments, [0.1, 0.5, 0.9])
        seconds = time.monotonic() - start
        note = f"{n_series} series, {n_series / seconds:.0f} a second in all; {2 * n_series / busy:.0f} once loaded"
        self._row("batch, Ray Data", 2, recovery_s=seconds, note=note)

    def _deploy(self, arguments: dict[str, str]) -> float:
        """Seconds until the replicas that `arguments` ask for are ready."""
        start = time.monotonic()
        self._serve.run(self._build({"cpus": "0.25", **arguments}), name="ritmo", route_prefix="/")
        self._wait_for(int(arguments.get("replicas", "1")))
        return time.monotonic() - start

    def _running(self) -> int:
        deployment = self._serve.status().applications["ritmo"].deployments["ritmo"]
        return int(deployment.replica_states.get("RUNNING", 0)) if deployment.status == "HEALTHY" else 0

    def _wait_for(self, replicas: int) -> None:
        end = time.monotonic() + WAIT
        while self._running() != replicas:
            if time.monotonic() > end:
                raise TimeoutError(f"not {replicas} replicas: {self._serve.status()}")
            time.sleep(0.2)

    def _wait_for_loss(self, replicas: int) -> None:
        """Until the cluster counts less than `replicas`, or another process has taken the place of a dead one."""
        known, end = set(self._cluster.replicas()), time.monotonic() + WAIT
        while self._running() >= replicas and set(self._cluster.replicas()) <= known:
            if time.monotonic() > end:
                raise TimeoutError(f"{replicas} replicas are still there: {self._serve.status()}")
            time.sleep(0.1)

    def _under_load(self, action: Callable[[], object], *options: str) -> dict[str, Any]:
        """How the requests ended that were sent while `action` ran."""
        command = [sys.executable, "-m", "benchmarks.ray.load", URL, *options]
        load = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            action()
        finally:
            load.send_signal(signal.SIGTERM)
            output, _ = load.communicate()
        document: dict[str, Any] = json.loads(output)
        return document

    def _fault(
        self, cause: Callable[[], object], replicas: int, *, is_loss: bool = True
    ) -> tuple[dict[str, Any], float]:
        """How requests ended while `cause` happened and until all replicas were back, and how long that took.

        `is_loss`: replicas die, and the cluster takes a moment to notice.
        """
        seconds = 0.0

        def happen() -> None:
            nonlocal seconds
            time.sleep(3)
            start = time.monotonic()
            cause()
            if is_loss:
                self._wait_for_loss(replicas)
            self._wait_for(replicas)
            seconds = time.monotonic() - start
            time.sleep(2)

        return self._under_load(happen, *GENTLE), seconds

    def _kill_replica(self) -> None:
        os.kill(random.choice(self._cluster.replicas()), signal.SIGKILL)

    def _continue_series(self) -> str:
        """Thirty series, each begun by one replica and continued by any."""
        continued = 0
        for number in range(30):
            first = forecast({"target": [1, 2, 3, 4, 5, 6 + number]}, return_state=True)
            second = forecast({"target": [7], "state": first["state"]}, return_state=True)
            whole = forecast({"target": [1, 2, 3, 4, 5, 6 + number, 7]})
            pairs = zip(second["mean"], whole["mean"], strict=True)
            continued += all(math.isclose(one, other, rel_tol=1e-5) for one, other in pairs)
        return f"{continued} of 30 continued"

    def _row(
        self,
        phase: str,
        replicas: int = 0,
        load: dict[str, Any] | None = None,
        recovery_s: float = 0.0,
        note: str = "",
    ) -> None:
        ends = load["ends"] if load else {}
        row = {
            "when": datetime.now(UTC).strftime("%H:%M"),
            **self._facts,
            "phase": phase,
            "replicas": replicas or "",
            "requests": sum(ends.values()),
            "answered": ends.get("answered", 0),
            "errors": sum(count for end, count in ends.items() if end not in {"answered", "vanished"}),
            "vanished": ends.get("vanished", 0),
            "rate": f"{ends.get('answered', 0) / load['seconds']:.1f}" if load else "",
            "p50_ms": f"{load['p50_ms']:.1f}" if load else "",
            "p99_ms": f"{load['p99_ms']:.1f}" if load else "",
            "recovery_s": f"{recovery_s:.1f}" if recovery_s else "",
            "note": "; ".join(
                [*filter(None, [note]), *(f"{end}: {n}" for end, n in ends.items() if end != "answered")]
            ),
        }
        append(RESULTS, [row])
        print(" ".join(f"{name}={value}" for name, value in row.items() if value != ""), flush=True)


def write_series(folder: Path, files: int = 8, series: int = 1000) -> Path:
    """A folder of Parquet files of random walks with a season."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    random_numbers = np.random.default_rng(1)
    for number in range(files):
        walks = random_numbers.normal(size=(series, 100)).cumsum(axis=1) + 5 * np.sin(np.arange(100) * np.pi / 6)
        names = [f"{number}-{index}" for index in range(series)]
        target = pa.ListArray.from_arrays(np.arange(1 + series, dtype=np.int32) * 100, walks.ravel())
        pq.write_table(pa.table({"item_id": names, "target": target}), folder / f"{number:04}.parquet")
    return folder


def forecast(series: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """The prediction of one series."""
    body = json.dumps({"inputs": [series], "parameters": {"prediction_length": 3, **parameters}}).encode()
    request = urllib.request.Request(f"{URL}/forecast", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        prediction: dict[str, Any] = json.load(answer)["predictions"][0]
    return prediction


if __name__ == "__main__":
    sys.exit(main())
