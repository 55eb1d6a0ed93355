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

PATIENCE = 120.0  # seconds until a server must have given its first answer
STOP = 15.0  # seconds that a server may take to stop when told to
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Of a server and all processes that it started, in MiB. Pages shared by several count once in `pss`."""

    pss: float
    rss: float


class Server:
    """A running server: the process we started and its descendants."""

    def __init__(self, child: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        self._child = child
        self._seen: dict[int, str] = {}  # pid -> its start time, which a reused pid would not share

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def pids(self) -> list[int]:
        """The process and its descendants that live now."""
        parents = _parents()
        family = {self._child.pid}
        grown = True
        while grown:
            children = {pid for pid, parent in parents.items() if parent in family} - family
            family |= children
            grown = bool(children)
        for pid in family:
            if (born := _born(pid)) is not None:
                self._seen.setdefault(pid, born)
        return sorted(pid for pid, born in self._seen.items() if _born(pid) == born)

    def cpu_seconds(self) -> float:
        """CPU time that all of them have used until now."""
        return sum(_cpu(pid) for pid in self.pids())

    def memory(self) -> Memory:
        """What they hold now."""
        totals = {"Pss": 0, "Rss": 0}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    name, _, rest = line.partition(":")
                    if name in totals:
                        totals[name] += int(rest.split()[0])
        return Memory(totals["Pss"] / 1024, totals["Rss"] / 1024)

    def stop(self) -> None:
        """Ask it to stop, wait, and end what is left of its own, by pid."""
        self.pids()
        if self.alive:
            self._child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(STOP)
        for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            until = time.monotonic() + patience
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self.pids() and time.monotonic() < until:
                self._child.poll()  # reaps it
                time.sleep(0.05)

    def tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


@contextlib.contextmanager
def server(
    command: Sequence[str], *, port: int, environment: Mapping[str, str], folder: Path, log: Path
) -> Iterator[Server]:
    """Start `command` in `folder`; it is stopped at the end, whatever happens."""
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
    running = Server(child, port, log)
    try:
        yield running
    finally:
        running.stop()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on; empty when there is no such process (a zombie is none either)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def _parents() -> dict[int, int]:
    found = {int(one.name): _stat(int(one.name)) for one in Path("/proc").iterdir() if one.name.isdigit()}
    return {pid: int(fields[1]) for pid, fields in found.items() if fields}


def _born(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[19] if fields else None


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0
