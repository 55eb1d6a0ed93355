"""Two nodes of Ray on one machine, in a network namespace of their own, and what their processes are."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HEAD, SECOND = "127.0.0.2", "127.0.0.3"
PORT = 6400
RAY = Path(sys.executable).with_name("ray")
NODE = ("--num-cpus=1", "--object-store-memory=104857600", "--disable-usage-stats", "--block")
REPLICA = "ray::ServeReplica:"


def in_own_network() -> bool:
    """Whether this process is in a network namespace that `enter_own_network` made."""
    return os.environ.get("RITMO_RAY_NETWORK") == "own"


def enter_own_network(module: str) -> int:
    """Run `python -m module` again in a new network namespace, which has nothing but the two nodes' addresses."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        print("needs root and unshare: the two nodes get a network of their own")
        return 2
    setup = 'ip link set lo up && ip addr add 127.0.0.2/8 dev lo && ip addr add 127.0.0.3/8 dev lo && exec "$@"'
    command = ["unshare", "-n", "sh", "-c", setup, "sh", sys.executable, "-m", module, *sys.argv[1:]]
    return subprocess.run(command, env={**os.environ, "RITMO_RAY_NETWORK": "own"}, check=False).returncode


class Cluster:
    """The nodes; `environment` is that of every process of the cluster."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.environment = {
            **os.environ,
            # A busy machine takes longer than Ray expects to start a node.
            "RAY_raylet_start_wait_time_s": "180",
            "RAY_agent_register_timeout_ms": "200000",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            **environment,
        }
        self._folder = folder
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Both nodes; returns when both say that they run. Raises `TimeoutError`."""
        self._start(HEAD, "--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self._folder}")
        self._start(SECOND, f"--address={HEAD}:{PORT}", '--resources={"second": 1}')

    def _start(self, address: str, *options: str) -> None:
        command = [str(RAY), "start", f"--node-ip-address={address}", *options, *NODE]
        log = self._folder / f"{address}.log"
        with log.open("wb") as out:
            self._nodes[address] = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)
        end = time.monotonic() + 240
        while b"Ray runtime started" not in log.read_bytes():
            if self._nodes[address].poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"node {address} did not start:\n{log.read_text()}")
            time.sleep(0.2)

    def replicas(self, address: str | None = None) -> list[int]:
        """Processes of replicas, on one node or on all."""
        nodes = self._nodes if address is None else [address]
        return [pid for node in nodes for pid in descendants(self._nodes[node].pid) if title(pid).startswith(REPLICA)]

    def kill_node(self, address: str) -> None:
        """End a node as a power cut does."""
        node = self._nodes.pop(address)
        for pid in [*descendants(node.pid), node.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()

    def stop(self) -> None:
        """End all nodes."""
        for address in list(self._nodes):
            self.kill_node(address)


def descendants(pid: int) -> list[int]:
    """Processes below `pid`, children first."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))

    def walk(parent: int) -> Iterator[int]:
        for child in children.get(parent, ()):
            yield child
            yield from walk(child)

    return list(walk(pid))


def title(pid: int) -> str:
    """How a process calls itself; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
