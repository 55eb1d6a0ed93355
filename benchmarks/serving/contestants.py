"""Who is measured: how each server is started, and how it is asked.

All compute with one torch thread a process. `processes` is the number of processes that hold the network; mosec,
LitServe, MLServer (with two) and Ray Serve have others beside them for HTTP, and the memory figures count those too.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import environments, lstm64, workloads
from benchmarks.serving.processes import free_port
from benchmarks.serving.workloads import Dialect, Reference, Workload

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).with_name("peers")
BUILD = environments.BUILD
MODELS = BUILD / "models"
PLAIN = BUILD / "lstm64.pt"
SCRATCH = BUILD / "scratch"
STATE_KEY = "a key that all processes of a measurement know"


@dataclass(frozen=True)
class Launch:
    """A command line with its environment variables and folder."""

    command: Sequence[str]
    variables: Mapping[str, str]
    folder: Path = PEERS


@dataclass(frozen=True)
class Contestant:
    """One server; `workloads(port)` may ask it, which it can answer by then."""

    name: str
    launch: Callable[[int, int], Launch]  # port, processes
    first: Callable[[], Workload]  # what it is asked at its start, and checked with
    more: Callable[[int], list[Workload]]  # port -> other workloads
    environment: str | None = None  # None: this one
    packages: tuple[str, ...] = ("torch",)
    processes: tuple[int, ...] = (1, 2)

    @property
    def interpreter(self) -> Path:
        """The Python that runs it; makes its environment where that is absent."""
        return environments.python(self.environment) if self.environment else Path(sys.executable)


def ours(name: str, models: Path, first: Callable[[], Workload], more: Callable[[int], list[Workload]]) -> Contestant:
    """This service over a folder of models."""

    def launch(port: int, processes: int) -> Launch:
        flags = {"port": port, "workers": processes, "models": models, "log-level": "warning"}
        options = [f"--{flag}={value}" for flag, value in flags.items()]
        command = [sys.executable, "-m", "service", "serve", "--host=127.0.0.1", "--device=cpu", *options]
        return Launch(command, {"RITMO_STATE_KEYS": STATE_KEY}, ROOT)

    packages = ("ritmo", "torch", "uvicorn", "fastapi", "msgspec")
    return Contestant(name, launch, first, more, packages=packages)


def contestants() -> list[Contestant]:
    """All, this service first."""
    reference = Reference(PLAIN)
    found = [
        ours(
            "ritmo",
            MODELS,
            lambda: workloads.series_workload(workloads.ritmo(lstm64.NAME), reference),
            lambda port: [
                *_present(workloads.bulk_workload(workloads.ritmo(lstm64.NAME), reference)),
                *workloads.token_workloads(port, lstm64.NAME),
            ],
        ),
        _peer("mosec", _mosec, workloads.values("/inference"), reference),
        _peer("ray", _script("ray", "ray_server.py", _ray), workloads.values("/"), reference),
        _peer("mlserver", _mlserver, workloads.OPEN_INFERENCE, reference),
        _peer("bentoml", _bentoml, workloads.BENTOML, reference),
        _peer("litserve", _script("litserve", "litserve_server.py"), workloads.values("/predict"), reference),
        _peer("fastapi", _uvicorn("fastapi_server:app"), workloads.FASTAPI, reference),
        Contestant(
            "constant",
            _uvicorn("constant:app"),
            lambda: workloads.series_workload(workloads.CONSTANT, lambda series: [[0.0]] * len(series)),
            lambda _: [],
            environment="fastapi",
            packages=("uvicorn", "uvloop", "httptools"),
        ),
    ]
    return [*found, _defaults()]


def _defaults() -> Contestant:
    """This service as it comes: its committed models, `forecaster` and `digits` asked."""
    folder = ROOT / "models"
    digits = workloads.digit_workloads()
    if not (folder / "forecaster").is_dir():  # not trained yet in this checkout
        return ours("ritmo, own models", folder, lambda: digits[0], lambda _: digits[1:])
    dialect = workloads.ritmo("forecaster")
    series = Workload("forecaster", [dialect.one(one) for one in workloads.ragged()], dialect.read)
    tokens = workloads.token_workloads
    return ours("ritmo, own models", folder, lambda: series, lambda port: [*digits, *tokens(port, "forecaster")])


def _present(workload: Workload | None) -> list[Workload]:
    return [] if workload is None else [workload]


def _peer(name: str, launch: Callable[[int, int], Launch], dialect: Dialect, reference: Reference) -> Contestant:
    return Contestant(
        name,
        launch,
        lambda: workloads.series_workload(dialect, reference),
        lambda _: _present(workloads.bulk_workload(dialect, reference)),
        environment=name,
        packages=(name, "torch", "uvicorn"),
    )


def _variables(port: int, processes: int) -> dict[str, str]:
    return {
        "BENCH_MODEL": str(PLAIN),
        "BENCH_PORT": str(port),
        "BENCH_PROCESSES": str(processes),
        "PYTHONPATH": str(PEERS),
        "OMP_NUM_THREADS": "1",
    }


def _script(environment: str, file: str, more: Callable[[], Mapping[str, str]] = dict) -> Callable[[int, int], Launch]:
    def launch(port: int, processes: int) -> Launch:
        command = [str(environments.python(environment)), file]
        return Launch(command, {**_variables(port, processes), **more()})

    return launch


def _mosec(port: int, processes: int) -> Launch:
    options = [f"--port={port}", "--address=127.0.0.1", "--timeout=10000", "--log-level=warning"]
    return Launch([str(environments.python("mosec")), "mosec_server.py", *options], _variables(port, processes))


def _uvicorn(application: str) -> Callable[[int, int], Launch]:
    def launch(port: int, processes: int) -> Launch:
        options = [f"--port={port}", f"--workers={processes}", "--no-access-log", "--log-level=warning"]
        command = [str(environments.python("fastapi")), "-m", "uvicorn", application, "--host=127.0.0.1", *options]
        return Launch(command, _variables(port, processes))

    return launch


def _bentoml(port: int, processes: int) -> Launch:
    own = {"BENTOML_HOME": str(SCRATCH / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [str(environments.python("bentoml")), "-m", "bentoml", "serve", "bento_service:Forecast"]
    options = ["--host=127.0.0.1", f"--port={port}", f"--working-dir={PEERS}"]
    return Launch([*command, *options], {**_variables(port, processes), **own})


def _mlserver(port: int, processes: int) -> Launch:
    """One process: the network in the process that speaks HTTP. Two: MLServer's pool of inference processes."""
    folder = SCRATCH / "mlserver"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0 if processes == 1 else processes,
    }
    model = {
        "name": "lstm",
        "implementation": "mlserver_runtime.Forecast",
        "max_batch_size": 64,
        "max_batch_time": 0.001,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = environments.python("mlserver").with_name("mlserver")
    return Launch([str(command), "start", str(folder)], _variables(port, processes), folder)


def _ray() -> dict[str, str]:
    scratch = Path(tempfile.gettempdir()) / "ritmo-bench-ray"  # short: its sockets' paths must fit in 107 characters
    scratch.mkdir(parents=True, exist_ok=True)
    return {"BENCH_SCRATCH": str(scratch), "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
