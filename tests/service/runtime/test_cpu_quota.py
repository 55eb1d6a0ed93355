"""CPU quotas of control groups, in folders laid out as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.runtime import cpu_quota as cpus


def group(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({}, "", None),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 0.5),
        ({"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "200000 100000\n"}, "0::/a/b\n", 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "", None),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3:cpu,cpuacct:/docker/1\n", 2.5),
        (
            {"cpu,cpuacct/docker/1/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/docker/1/cpu.cfs_period_us": "50000\n"},
            "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n",
            2.0,
        ),
        ({"cpu.max": "nonsense\n"}, "0::/\n", None),
        ({"cpu.max": "100000 0\n"}, "0::/\n", None),
        ({"cpu.max": "100000 100000\n"}, "garbage", 1.0),
    ],
)
def test_the_tightest_quota_counts(
    tmp_path: Path, files: dict[str, str], membership: str, expected: float | None
) -> None:
    groups = group(tmp_path / "cgroup", files)
    path = tmp_path / "self"
    path.write_text(membership)
    assert cpus.quota(groups, path) == expected


def test_available_is_the_smaller_of_mask_and_quota(tmp_path: Path) -> None:
    mask = len(os.sched_getaffinity(0))
    missing = tmp_path / "nothing"
    assert cpus.available(missing, missing) == mask
    for text, expected in (("10000 100000", 1), ("150000 100000", min(2, mask)), ("99900000 100000", mask)):
        assert cpus.available(group(tmp_path, {"cpu.max": text}), missing) == expected


def test_this_machine_has_at_least_one() -> None:
    assert cpus.available() >= 1
