"""What `ritmo doctor` looks at of the machine or container: software, processors, memory, limits, clock, ports.

Each check yields findings; one that is a fault would keep the service from starting, or from serving as its settings
promise.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import importlib.metadata
import os
import platform
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.runtime import compiled
from service.runtime.cpu_quota import available
from service.server.commands.findings import MIB, Finding
from service.server.listener import bind
from service.settings import Settings

WORKER_BYTES, PARENT_BYTES = 700 * MIB, 100 * MIB  # that a process takes with the committed models
WORKER_THREADS = 64  # that a process may need, processes of Linux that count towards its limits
TEMPORARY_BYTES = 64 * MIB
_DAY = 86_400.0
_CGROUP = Path("/sys/fs/cgroup")
_UNSYNCHRONISED = 5  # adjtimex(2): TIME_ERROR
_PORT_ADVICE = {
    errno.EADDRINUSE: "a service may be running there already",
    errno.EACCES: "this user may not take it: choose one above 1023",
    errno.EADDRNOTAVAIL: "it is no address of this machine: set RITMO_HOST",
}


def check_software(settings: Settings) -> Iterator[Finding]:
    """The interpreter, and the release of torch that checkpoints are checked against, which must be importable."""
    text = f"Python {platform.python_version()}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding("fault", "software", f"{text}: use Python 3.11, 3.12 or 3.13")
    for name in ("torch", "uvicorn", "fastapi"):
        try:
            text += f", {name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield Finding("fault", "software", f"{name} is not installed: install ritmo as docs/settings.md says")
            return
    expected = _pinned("torch")
    found = importlib.metadata.version("torch").partition("+")[0]
    if expected not in (None, found):
        yield Finding(
            "fault", "software", f"torch is {found}, and checkpoints are checked against {expected}: install that"
        )
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        yield Finding(
            "fault", "software", f"torch cannot be imported: {error}: install it again, for this processor and system"
        )
        return
    yield Finding("ok", "software", text)
    yield from _check_device(settings.device, torch)


def check_extension(settings: Settings) -> Iterator[Finding]:
    """Whether small requests are served by the functions in C, or why not."""
    text = compiled.in_words(settings.compiled)
    if compiled.built is None and settings.compiled == "on":
        text += ": with one (gcc, python3-dev), install it again for 1.3 times as many answers a second"
        yield Finding("advice", "extension", text)
    else:
        yield Finding("ok", "extension", text)


def _check_device(device: str, torch: Any) -> Iterator[Finding]:
    """Whether the requested GPU is there."""
    if not device.startswith("cuda"):
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        text = f"RITMO_DEVICE is {device}, and torch finds {count} GPUs: install its CUDA build and a driver"
        yield Finding("fault", "software", text)


def check_processors(settings: Settings) -> Iterator[Finding]:
    """What the processors can do, and whether threads and processes fit them."""
    cpus = available()
    flags = _cpu_flags()
    wide = next((name for name in ("avx512f", "avx2") if name in flags), "")
    if platform.machine() == "x86_64" and flags and not wide:
        text = "the processor has no AVX2: networks are computed several times slower than on one that has"
        yield Finding("advice", "processors", text)
    else:
        yield Finding("ok", "processors", f"{cpus} that may be used" + (f", with {wide}" if wide else ""))
    threads = settings.threads or max(1, min(4, cpus // settings.workers))
    if threads * settings.workers > cpus:
        text = f"{settings.workers} processes with {threads} threads each share {cpus} processors"
        yield Finding("advice", "processors", f"{text}: lower RITMO_WORKERS or RITMO_THREADS")
    throttled = _field(_CGROUP / "cpu.stat", "nr_throttled")
    if throttled:
        yield Finding("advice", "processors", f"the CPU quota has held this container up {throttled} times: raise it")


def check_memory(settings: Settings) -> Iterator[Finding]:
    """Whether the processes fit the memory that the container or the machine has."""
    needed = WORKER_BYTES * settings.workers + PARENT_BYTES * (settings.workers > 1) + settings.max_held_bytes
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    quota = _number(_CGROUP / "memory.max") or _number(_CGROUP / "memory" / "memory.limit_in_bytes")
    limit = min(limit, quota or limit)
    text = f"{limit // MIB} MiB, of which the service with RITMO_WORKERS={settings.workers} takes about {needed // MIB}"
    if needed > limit:
        yield Finding("fault", "memory", f"{text}: raise the limit, or lower RITMO_WORKERS or RITMO_MAX_HELD_BYTES")
    else:
        yield Finding("ok", "memory", text)


def check_descriptors(settings: Settings) -> Iterator[Finding]:
    """Whether a process may open as many files as it may have connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < settings.max_live_connections + 256:
        text = f"a process may open {hard}, and RITMO_MAX_LIVE_CONNECTIONS is {settings.max_live_connections}"
        yield Finding(
            "advice", "open files", f"{text}: raise the limit (ulimits.nofile, LimitNOFILE), or lower the setting"
        )
    else:
        yield Finding(
            "ok", "open files", f"a process may open {'any number' if hard == resource.RLIM_INFINITY else hard}"
        )


def check_processes(settings: Settings) -> Iterator[Finding]:
    """Whether the service may start its processes and threads."""
    needed = WORKER_THREADS * settings.workers
    limits = {"pids.max of the container": _number(_CGROUP / "pids.max")}
    if os.geteuid() != 0:  # root is not held to it
        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        limits["ulimit -u of this user"] = 0 if soft == resource.RLIM_INFINITY else soft
    for name, limit in limits.items():
        if 0 < limit < needed:
            text = f"{name} is {limit}, and {settings.workers} processes may need {needed} with their threads"
            yield Finding("advice", "processes", f"{text}: raise it (pids_limit, TasksMax)")


def check_clock(_settings: Settings) -> Iterator[Finding]:
    """Whether the clock can be right: tokens, keys and certificates expire by it."""
    newest = Path(__file__).stat().st_mtime
    now = datetime.now(UTC)
    if now.timestamp() < newest - _DAY:
        yield Finding("fault", "clock", f"it says {now:%Y-%m-%d %H:%M} UTC, before this release was installed: set it")
    elif _is_unsynchronised():
        yield Finding("advice", "clock", f"{now:%Y-%m-%d %H:%M} UTC, but nothing keeps it right: run an NTP client")
    else:
        yield Finding("ok", "clock", f"{now:%Y-%m-%d %H:%M} UTC")


def check_user(settings: Settings) -> Iterator[Finding]:
    """Whether the service could change what it runs."""
    if os.geteuid() == 0:
        yield Finding("advice", "user", "this is root: run the service as a user of its own")
    elif os.access(settings.models, os.W_OK):
        text = f"the service may write to {settings.models}, which holds what it runs: mount it read-only"
        yield Finding("advice", "user", text)
    else:
        yield Finding("ok", "user", f"uid {os.geteuid()}, which cannot change the models")


def check_temporary_files(settings: Settings) -> Iterator[Finding]:
    """Room for the counters of several processes, and for tables that are too large for the memory."""
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        yield Finding("fault", "temporary", f"{folder} cannot be written: mount a tmpfs there, or set TMPDIR")
    elif free < TEMPORARY_BYTES:
        text = f"{folder} has {free // MIB} MiB left: {TEMPORARY_BYTES // MIB} are needed for several processes"
        yield Finding("advice", "temporary", text)
    elif free < settings.max_table_bytes:
        text = f"{folder} has {free // MIB} MiB left, and a table may have {settings.max_table_bytes // MIB}"
        yield Finding("advice", "temporary", f"{text}: lower RITMO_MAX_TABLE_BYTES, or set TMPDIR to a larger place")
    else:
        yield Finding("ok", "temporary", f"{folder} has {free // MIB} MiB left")


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Whether the ports are free, and may be taken."""
    for name, port in (("RITMO_PORT", settings.port), ("RITMO_MANAGEMENT_PORT", settings.management_port)):
        if port is None:
            continue
        try:
            for sock in bind(settings.host, port):
                sock.close()
        except OSError as error:
            advice = _PORT_ADVICE.get(error.errno or 0, "choose another")
            yield Finding("fault", "ports", f"{name}: {error.strerror or error}: {advice}")
        else:
            yield Finding("ok", "ports", f"{settings.host}, port {port} ({name}) is free")
    if settings.management_port is None:
        yield Finding("advice", "ports", "RITMO_MANAGEMENT_PORT is not set: probes wait behind requests")


def _pinned(name: str) -> str | None:
    """The release of a package that this one needs exactly; None where that is not known."""
    try:
        needs = importlib.metadata.requires("ritmo") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((match[1] for need in needs if (match := re.match(rf"{name}\s*==\s*([0-9.]+)$", need))), None)


def _cpu_flags() -> set[str]:
    """What the processor can do, as Linux names it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def _field(path: Path, name: str) -> int:
    """The number behind `name` in a file of the control group, 0 where there is none."""
    try:
        fields = dict(line.split(None, 1) for line in path.read_text(encoding="ascii").splitlines())
        return int(fields[name])
    except (OSError, KeyError, ValueError):
        return 0


def _number(path: Path) -> int:
    """The number in a file of the control group, 0 where there is none, or no limit."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _is_unsynchronised() -> bool:
    """Whether the system says that nothing keeps its clock right; False where it does not say."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return False
    return bool(adjtimex(ctypes.create_string_buffer(512)) == _UNSYNCHRONISED)
