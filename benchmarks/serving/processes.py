"""Server processes: started in a session of their own, watched through /proc, ended by pid with all their children."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT = 120.0  # seconds from a server's start to its first answer
STOP_TIMEOUT = 15.0  # seconds from SIGTERM to a server's end
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """The cores of the server and of its client; empty: any."""

    server: frozenset[int] = frozenset()
    client: frozenset[int] = frozenset()

    @classmethod
    def apart(cls) -> Cores:
        """The last core for the client, all others for the server."""
        *others, last = sorted(os.sched_getaffinity(0))
        if not others:
            raise SystemExit("to pin the server and its client apart takes two cores")
        return cls(frozenset(others), frozenset((last,)))


FREE = Cores()


def pin(pid: int, cores: frozenset[int]) -> None:
    """Keep a process that has just been started, and all that it starts, on `cores`, where there are any."""
    if cores:
        os.sched_setaffinity(pid, cores)


@dataclass(frozen=True)
class Memory:
    """Memory of a server and all processes that it started, in MiB. Pages shared by several count once in `pss`."""

    pss: float
    rss: float


class Server:
    """A running server: the process we started and its descendants."""

    def __init__(self, child: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        self._child = child
        self._start_times: dict[int, str] = {}  # by pid, so that a reused pid is not taken for the old process

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def pids(self) -> list[int]:
        """The process and its descendants that are alive."""
        parents = _parents()
        family = {self._child.pid}
        grown = True
        while grown:
            children = {pid for pid, parent in parents.items() if parent in family} - family
            family |= children
            grown = bool(children)
        for pid in family:
            if (start_time := _start_time(pid)) is not None:
                self._start_times.setdefault(pid, start_time)
        return sorted(pid for pid, start_time in self._start_times.items() if _start_time(pid) == start_time)

    def cpu_seconds(self) -> float:
        """CPU time that all of them have used so far."""
        return sum(_cpu(pid) for pid in self.pids())

    def memory(self) -> Memory:
        """Memory of all of them at this moment."""
        totals = {"Pss": 0, "Rss": 0}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    name, _, size = line.partition(":")
                    if name in totals:
                        totals[name] += int(size.split()[0])
        return Memory(totals["Pss"] / 1024, totals["Rss"] / 1024)

    def stop(self) -> None:
        """Send SIGTERM, wait, and end the remaining processes by pid."""
        self.pids()
        if self.alive:
            self._child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(STOP_TIMEOUT)
        for number, timeout in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            until = time.monotonic() + timeout
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self.pids() and time.monotonic() < until:
                self._child.poll()  # reaps it
                time.sleep(0.05)

    def log_tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


@contextlib.contextmanager
def server(
    command: Sequence[str],
    *,
    port: int,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    cores: frozenset[int] = FREE.server,
) -> Iterator[Server]:
    """Start `command` in `folder` and stop it at the end, also after an exception."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    pin(child.pid, cores)
    process = Server(child, port, log)
    try:
        yield process
    finally:
        process.stop()


def free_port() -> int:
    """A port of the loopback interface without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on; empty when there is no such process or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def _parents() -> dict[int, int]:
    stats = {int(path.name): _stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    return {pid: int(fields[1]) for pid, fields in stats.items() if fields}


def _start_time(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[19] if fields else None


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0
