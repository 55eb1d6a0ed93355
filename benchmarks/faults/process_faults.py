"""Faults of processes, files and the machine: stops, dead and hung workers, files that are none, many connections."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest.mock import patch

from benchmarks.faults.bench import (
    JSON,
    ROOT,
    SMALL,
    Flood,
    Outcome,
    Service,
    SkippedError,
    connect,
    fault,
    models,
    quantile,
    request,
    send_all,
    serving,
    started,
)
from benchmarks.faults.bystanders import bystanders_of

DRAIN_TESTS = "tests/integration/test_drain.py"
WORKER_TESTS = "tests/integration/test_workers.py; tests/service/server/test_supervisor.py"


@fault(
    "R9",
    "SIGTERM while threads work",
    "two bodies of 4 MB of unknown names, then SIGTERM (drain_seconds 3)",
    "tests/service/server/test_server.py: test_a_process_ends_although_its_threads_work",
)
def stop_beside_threads() -> Outcome:
    from benchmarks.faults.work_faults import _anagrams

    body = _anagrams(4_000_000)
    with serving(drain_seconds=3, drain_delay_seconds=0.2) as service:
        with Flood(2, lambda: request(service.port, "POST", "/forecast", body)[0]):
            time.sleep(1)
            service.signal(signal.SIGTERM)
            seconds = service.wait(60)
        return Outcome(seconds is not None and seconds < 8, f"gone after {seconds and round(seconds, 1)} s")


def _stop_under_load(workers: int, clients: int, number: signal.Signals) -> Outcome:
    losses: list[str] = []
    answered = 0
    ended = threading.Event()
    lock = threading.Lock()

    def work(port: int) -> None:
        nonlocal answered
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not ended.is_set():
            try:
                if connection.sock is None:
                    connection.connect()
            except OSError:  # refused: nothing was accepted
                connection.close()
                time.sleep(0.05)
                continue
            try:
                connection.request("POST", "/forecast", SMALL, JSON)
                answer = connection.getresponse()
                answer.read()
                with lock:
                    answered += 1
            except (OSError, http.client.HTTPException) as error:
                with lock:
                    losses.append(type(error).__name__)
                connection.close()

    with serving(workers=workers, drain_delay_seconds=0.5) as service:
        threads = [threading.Thread(target=work, args=(service.port,), daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        start = time.monotonic()
        service.signal(number)
        service.wait(60)
        seconds = time.monotonic() - start
        ended.set()
        for thread in threads:
            thread.join(10)
    return Outcome(
        not losses and seconds < 25, f"{len(losses)} of {answered + len(losses)} lost; gone after {seconds:.1f} s"
    )


for _workers in (1, 2):
    for _number in (signal.SIGTERM, signal.SIGINT):
        fault("R10", "a stop under load", f"64 keep-alive clients, {_number.name}, workers: {_workers}", DRAIN_TESTS)(
            lambda workers=_workers, number=_number: _stop_under_load(workers, 64, number)  # type: ignore[misc]
        )


@fault(
    "R19",
    "a replacement that cannot be a replica",
    "two workers, the models' folder is gone, one worker is killed",
    WORKER_TESTS,
)
def replacement() -> Outcome:
    with models("naive") as folder, started(folder, workers=2) as service:
        service.ready()
        shutil.rmtree(folder / "naive")
        worker = workers_of(service)[0]
        os.kill(worker, signal.SIGKILL)
        with Flood(4, lambda: request(service.port, "POST", "/forecast", SMALL)[0]) as flood:
            time.sleep(12)
        ready = request(service.management, "GET", "/readyz")[0]
        passed = set(flood.statuses) <= {0, 200} and flood.statuses.get(0, 0) <= 4
        return Outcome(passed, f"{flood.text()}; /readyz {ready}")


@fault(
    "R20",
    "a full temporary file system",
    "two workers, TMPDIR on a file system of 256 kB",
    "tests/service/metrics/test_store.py",
)
def full_disk() -> Outcome:
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SkippedError("unshare is not installed")
    script = (
        "mkdir -p /tmp/ritmo-full && mount -t tmpfs -o size=256k none /tmp/ritmo-full && "
        f"TMPDIR=/tmp/ritmo-full exec {sys.executable} -m service serve"
    )
    with models("naive") as folder:
        environment = {**os.environ, "RITMO_MODELS": str(folder), "RITMO_PORT": "0", "RITMO_WORKERS": "2"}
        command = [unshare, "--mount", "--map-root-user", "sh", "-c", script]
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    if "mount" in result.stderr and "permission" in result.stderr.lower():
        raise SkippedError("file systems cannot be mounted here")
    reason = "No space left on device" in result.stderr
    return Outcome(
        result.returncode == 3 and reason,
        f"exit status {result.returncode}, {'with' if reason else 'without'} the reason in the log",
    )


@fault("R21", "no models", "a folder that does not exist; a forecast", "tests/integration/test_lifecycle.py")
def no_models() -> Outcome:
    with started(Path("/nonexistent/models")) as service:
        service.listening()
        until(lambda: b"cannot be looked up" in request(service.port, "POST", "/forecast", SMALL)[1])
        codes = request(service.port, "POST", "/forecast", SMALL)[0], request(service.port, "GET", "/readyz")[0]
        return Outcome(codes == (503, 503), f"POST {codes[0]}, /readyz {codes[1]}")


@fault("R22", "an empty host", "RITMO_HOST=", "tests/service/test_settings.py")
def empty_host() -> Outcome:
    environment = {**os.environ, "RITMO_HOST": "", "RITMO_PORT": "0"}
    command = [sys.executable, "-m", "service", "serve"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return Outcome(result.returncode != 0 and "must not be empty" in result.stderr, f"exit status {result.returncode}")


@fault("R23", "SIGUSR2", "two workers under load, SIGUSR2", WORKER_TESTS)
def hangup() -> Outcome:
    with serving(workers=2) as service:
        baseline = set(workers_of(service))
        with Flood(16, lambda: request(service.port, "POST", "/forecast", SMALL)[0]) as flood:
            time.sleep(1)
            service.signal(signal.SIGUSR2)
            until(lambda: not baseline & set(workers_of(service)) and len(workers_of(service)) >= 2)
            time.sleep(1)
        return Outcome(set(flood.statuses) == {200}, f"both workers replaced; {flood.text()}")


@fault("R24", "a worker that hangs", "two workers, SIGSTOP to one", WORKER_TESTS)
def hung_worker() -> Outcome:
    with serving(workers=2) as service:
        worker = workers_of(service)[0]
        os.kill(worker, signal.SIGSTOP)
        start = time.monotonic()
        until(lambda: worker not in workers_of(service))
        seconds = time.monotonic() - start
        until(lambda: len(workers_of(service)) == 2)
        return Outcome(seconds < 14, f"killed after {seconds:.1f} s and replaced")


@fault("R25", "files that are none", "manifest.json is a FIFO; SIGTERM", "tests/service/contract/test_files.py")
def fifo() -> Outcome:
    with models("naive") as folder:
        (folder / "forecaster" / "1").mkdir(parents=True)
        os.mkfifo(folder / "forecaster" / "1" / "manifest.json")
        with started(folder) as service:
            service.listening()
            until(lambda: request(service.port, "POST", "/forecast", SMALL)[0] == 200)
            service.signal(signal.SIGTERM)
            seconds = service.wait(30)
            return Outcome(
                seconds is not None and seconds < 5,
                f"other models served; gone after {seconds and round(seconds, 1)} s",
            )


@fault(
    "R26",
    "the price of /metrics",
    "five dead workers; /metrics over and over by 4 connections",
    "tests/service/metrics/test_store.py",
)
def metrics_price() -> Outcome:
    with serving(workers=2) as service:
        first = _page_seconds(service)
        for _ in range(5):
            victim = workers_of(service)[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda victim=victim: victim not in workers_of(service) and len(workers_of(service)) == 2)
            service.ready()
        last = _page_seconds(service)
        with Flood(4, lambda: request(service.management, "GET", "/metrics")[0]), bystanders_of(service) as bystanders:
            time.sleep(5)
        passed = last < 3 * first + 0.02 and bystanders.worst_probe < 0.3
        return Outcome(passed, f"{1e3 * first:.0f} ms before, {1e3 * last:.0f} ms after five deaths", bystanders.text())


@fault(
    "R27",
    "thousands of connections",
    "connections that say nothing, up to 6,000, and 256 that send without a pause; probes of the management port",
    "tests/integration/test_management.py",
)
def many_connections() -> Outcome:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(6000, hard - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with serving() as service:
        sockets = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                sockets.append(connect(service.port))
                send_all(sockets[-1], b"GET / HTTP/1.1\r\n")
        waits = []
        with Flood(256, lambda: request(service.port, "POST", "/forecast", SMALL)[0]) as flood:
            until = time.monotonic() + 10
            while time.monotonic() < until:
                for path in ("/livez", "/readyz"):
                    start = time.monotonic()
                    request(service.management, "GET", path)
                    waits.append(time.monotonic() - start)
                time.sleep(0.05)
        for sock in sockets:
            sock.close()
        p50, worst = 1e3 * quantile(waits, 0.5), 1e3 * max(waits)
        figures = f"{len(sockets)} connections; probes p50 {p50:.0f}, at most {worst:.0f} ms"
        return Outcome(max(waits) < 0.3, figures, f"busy clients: {flood.text()}")


@fault(
    "R42",
    "a log that nobody reads",
    "standard error is a full pipe, every request is logged; 16 clients, then SIGTERM",
    "tests/service/runtime/test_logs.py; tests/integration/test_lifecycle.py",
)
def unread_log() -> Outcome:
    port, management = _free_port(), _free_port()
    receiver, sender = os.pipe()  # of 64 KiB
    with models("naive") as folder:
        settings = {
            "models": folder,
            "port": port,
            "management_port": management,
            "device": "cpu",
            "access_log": "true",
        }
        environment = os.environ | {f"RITMO_{name.upper()}": str(value) for name, value in settings.items()}
        child = subprocess.Popen([sys.executable, "-m", "service", "serve"], cwd=ROOT, env=environment, stderr=sender)
        os.close(sender)
        try:
            until(lambda: request(management, "GET", "/readyz")[0] == 200)
            with Flood(16, lambda: request(port, "POST", "/forecast", SMALL)[0]) as flood:
                time.sleep(5)
                ready = request(management, "GET", "/readyz")[0]
            start = time.monotonic()
            child.terminate()
            status = child.wait(30)
            seconds = time.monotonic() - start
        finally:
            child.kill()
            os.close(receiver)
    passed = set(flood.statuses) == {200} and (ready, status) == (200, 0) and seconds < 6
    return Outcome(passed, f"{flood.text()}; gone after {seconds:.1f} s with status {status}")


@fault(
    "R43",
    "a model that never returns",
    "from its first call; a model beside it is asked; then SIGTERM (model_load_seconds 3)",
    "tests/integration/test_lifecycle.py: test_a_stop_is_heard_while_a_model_loads_for_ever",
)
def endless_model() -> Outcome:
    from tests.models import write_endless

    with models("naive") as folder:
        write_endless(folder)
        with started(folder, model_load_seconds=3) as service:
            service.ready()
            with bystanders_of(service) as bystanders:
                time.sleep(3)
            failed = b"it was not loaded within 3 s" in request(service.management, "GET", "/readyz")[1]
            service.signal(signal.SIGTERM)
            seconds = service.wait(30)
        passed = failed and seconds is not None and seconds < 5
        figures = f"{'set aside' if failed else 'not set aside'}; gone after {seconds and round(seconds, 1)} s"
        return Outcome(passed and bystanders.worst_probe < 0.3, figures, bystanders.text())


@fault(
    "R44",
    "a version that kills its process",
    "two workers start with a version that divides the least integer by -1 (SIGFPE)",
    "tests/integration/test_workers.py: test_versions_that_end_their_processes_are_set_aside",
)
def fatal_version() -> Outcome:
    from tests.models import Fatal, write_model

    with models("naive") as folder:
        write_model(folder, "fatal", Fatal(rows=1))
        with started(folder, workers=2) as service:
            service.ready()
            text = request(service.management, "GET", "/readyz")[1]
            status = request(service.port, "POST", "/forecast", SMALL)[0]
            deaths = service.text().count("a worker died")
        reason = b"processes ended while it was loaded, the last one by SIGFPE" in text
        figures = (
            f"{deaths} processes lost; {'with' if reason else 'without'} the reason in /readyz; a forecast {status}"
        )
        return Outcome(reason and status == 200 and deaths <= 4, figures)


@fault(
    "R45",
    "the parent is killed",
    "two workers, 16 clients, SIGKILL to the parent; then the service is started again",
    "tests/integration/test_workers.py: test_two_processes_are_one_service",
)
def killed_parent() -> Outcome:
    with models("naive") as folder, tempfile.TemporaryDirectory() as scratch:
        environment = patch.dict(os.environ, TMPDIR=scratch)
        with environment, started(folder, workers=2, drain_delay_seconds=0.2) as service:
            service.ready()
            workers = workers_of(service)
            with Flood(16, lambda: request(service.port, "POST", "/forecast", SMALL)[0]) as flood:
                time.sleep(1)
                service.signal(signal.SIGKILL)
                start = time.monotonic()
                until(lambda: not any(_is_worker(pid) for pid in workers))
                seconds = time.monotonic() - start
            abandoned = len(list(Path(scratch).glob("ritmo-*")))
        with environment, started(folder, workers=2) as service:
            service.ready()
            remaining = len(list(Path(scratch).glob("ritmo-*")))
        passed = seconds < 5 and (abandoned, remaining) == (1, 1) and set(flood.statuses) <= {0, 200}
        return Outcome(
            passed,
            f"workers gone after {seconds:.1f} s; temporary folders: {abandoned}, after the next start {remaining}",
        )


@fault(
    "R46",
    "a worker that starts or ends beside others",
    "two workers, one is killed, then SIGUSR2; /readyz of the management port every 50 ms",
    "tests/service/server/test_management.py: test_a_process_that_starts_or_ends_leaves_the_answers_to_the_others",
)
def readiness_of_the_others() -> Outcome:
    with serving(workers=2) as service:
        first_workers = set(workers_of(service))

        def probe() -> int:
            time.sleep(0.05)
            return request(service.management, "GET", "/readyz")[0]

        with Flood(1, probe) as probes:
            os.kill(min(first_workers), signal.SIGKILL)
            until(lambda: service.text().count("is ready after") == 3)
            service.signal(signal.SIGUSR2)
            until(lambda: not first_workers & set(workers_of(service)) and service.text().count("is ready after") == 5)
            until(lambda: len(workers_of(service)) == 2)
        refused = sum(probes.statuses.values()) - probes.statuses.get(200, 0)
        # A process that ends is asked for a tenth of a second more; a probe is lost with the one that is killed.
        return Outcome(refused <= 4, f"probes: {probes.text()}")


@fault(
    "R47",
    "a storm of signals",
    "two workers, 16 clients, SIGHUP 100 times in a second, a new version on disk",
    "tests/service/server/test_model_changes.py: test_reloads_that_nobody_waits_for_become_one",
)
def storm() -> Outcome:
    from tests.models import LastValue, write_model

    with models("naive") as folder, started(folder, workers=2) as service:
        service.ready()
        with Flood(16, lambda: request(service.port, "POST", "/forecast", SMALL)[0]) as flood:
            write_model(folder, "fresh", LastValue())
            for _ in range(100):
                service.signal(signal.SIGHUP)
                time.sleep(0.01)
            until(lambda: b'"fresh"' in request(service.management, "GET", "/readyz")[1])
            time.sleep(1)
        reloads = service.text().count("the models are served by plan")
        return Outcome(set(flood.statuses) == {200} and reloads <= 20, f"{reloads} reloads; {flood.text()}")


def _page_seconds(service: Service) -> float:
    times = []
    for _ in range(10):
        start = time.monotonic()
        request(service.management, "GET", "/metrics")
        times.append(time.monotonic() - start)
    return quantile(times, 0.5)


def workers_of(service: Service) -> list[int]:
    """Processes that serve: children of the parent that have loaded torch."""
    return [pid for pid in service.pids() if pid != service.child.pid and _is_worker(pid)]


def _is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(condition: object) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if condition():  # type: ignore[operator]
                return
        time.sleep(0.05)
    raise TimeoutError("it did not happen within two minutes")
