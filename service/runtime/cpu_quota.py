"""How many CPUs this process may really use: the affinity mask, and the quota of its control group (v1 and v2)."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """CPUs to plan with, at least 1: a container with `cpus: 1.5` on a 64-core host gets 2, not 64."""
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = quota(cgroups, membership)
    return mask if allowed is None else max(1, min(mask, math.ceil(allowed)))


def quota(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """The tightest CPU quota of this process' control group and the groups above it; None where there is none."""
    quotas = [share for folder in _folders(cgroups, membership) if (share := _share(folder)) is not None]
    return min(quotas, default=None)


def _folders(cgroups: Path, membership: Path) -> list[Path]:
    """Every folder that may limit this process, in both hierarchies."""
    folders = [cgroups, cgroups / "cpu", cgroups / "cpu,cpuacct"]
    for line in _text(membership).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        inside = [part for part in path.split("/") if part not in {"", ".."}]
        roots = [cgroups] if controllers == "" else [cgroups / controllers] if "cpu" in controllers.split(",") else []
        folders += [root.joinpath(*inside[:depth]) for root in roots for depth in range(1, len(inside) + 1)]
    return folders


def _share(folder: Path) -> float | None:
    """The quota of one control group in CPUs: `cpu.max` (v2), or `cpu.cfs_quota_us` over `cpu.cfs_period_us` (v1)."""
    words = _text(folder / "cpu.max").split()
    if not words:
        words = [_text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip()]
    try:
        limit, period = float(words[0]), float(words[1])
    except (IndexError, ValueError):  # absent, or `max`
        return None
    return limit / period if limit > 0 and period > 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
