"""service.runtime.starvation: what Linux says about threads that wait for a processor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.runtime.starvation import longest_wait, waits


def write(proc: Path, pid: int, thread: int, text: str) -> None:
    folder = proc / str(pid) / "task" / str(thread)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedstat").write_text(text)


def test_the_second_number_is_the_wait_in_nanoseconds(tmp_path: Path) -> None:
    write(tmp_path, 7, 7, "5834140 1500000000 2\n")
    write(tmp_path, 7, 8, "0 250000000 1\n")
    write(tmp_path, 7, 9, "")  # of a thread that ends just now
    assert waits(7, tmp_path) == {7: 1.5, 8: 0.25}


def test_a_process_that_has_ended_has_none(tmp_path: Path) -> None:
    assert waits(7, tmp_path) == {}


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count")
def test_this_process_has_waited_sometimes() -> None:
    found = waits(os.getpid())
    assert os.getpid() in found
    assert all(seconds >= 0 for seconds in found.values())


def test_the_thread_that_waited_longest_counts() -> None:
    assert longest_wait({1: 2.0, 2: 5.0}, {1: 2.5, 2: 7.0, 3: 90.0}) == 2.0  # the third is new
    assert longest_wait({1: 2.0}, {}) == 0.0
